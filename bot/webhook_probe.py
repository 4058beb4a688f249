"""Probe whether the webhook's public address leads to this process, or to another replica."""

from __future__ import annotations

import hmac
import logging
from urllib.parse import unquote, urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response

from core.store.hash_key import keyed_hash

__all__ = ["WebhookProbe"]

_TIMEOUT_S = 20.0
_HEADER = "X-TenSight-Trial"

logger = logging.getLogger(__name__)


class WebhookProbe:
    """One request to the webhook's public address.

    Args:
        url: The address.
        key: Key that the replicas of the bot share, by which they know each other's requests.
        transport: Transport of the request; None for the network.
    """

    def __init__(
        self, url: str, key: bytes, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._url = url
        self._transport = transport
        self._path = unquote(urlsplit(url).path) or "/"
        # The webhook's secret is not sent, since the address may lead to somebody else.
        self._mark = keyed_hash(key, "webhook probe")
        self._arrival = keyed_hash(key, "webhook probe has arrived")
        self._arrived = False

    def matches_path(self, request: Request) -> bool:
        """Return whether a request has the address's path, in any percent-encoding."""
        return bool(request.scope["path"] == self._path)

    def receive(self, request: Request) -> Response | None:
        """Return the response to a probe, which says whether its path arrived unchanged.

        None where the request is not a probe.
        """
        mark = request.headers.get(_HEADER, "")
        if not hmac.compare_digest(mark.encode(), self._mark.encode()):
            return None
        if not self.matches_path(request):
            return Response(status_code=204)
        self._arrived = True
        return Response(status_code=204, headers={_HEADER: self._arrival})

    async def run(self) -> None:
        """Send the request, and log a warning if it does not arrive."""
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=_TIMEOUT_S) as client:
                response = await client.post(self._url, headers={_HEADER: self._mark})
            result = f"status {response.status_code}"
            if hmac.compare_digest(
                response.headers.get(_HEADER, "").encode(), self._arrival.encode()
            ):
                self._arrived = True  # at another replica
        except Exception as error:  # noqa: BLE001  # no update depends on the probe
            result = type(error).__name__
        if not self._arrived:
            logger.warning(
                "A request to %s did not arrive here (%s). Unless only this machine cannot reach "
                "its own address, no updates will arrive: check that the proxy there forwards POST "
                "requests to --host and --port with an unchanged path.",
                self._url,
                result,
            )
