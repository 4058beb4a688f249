"""Probe whether the webhook's public address leads to this process."""

from __future__ import annotations

import hmac
import logging
import secrets
from urllib.parse import unquote, urlsplit

import httpx
from starlette.requests import Request

__all__ = ["WebhookProbe"]

_TIMEOUT_S = 20.0
_HEADER = "X-TenSight-Trial"

logger = logging.getLogger(__name__)


class WebhookProbe:
    """One request to the webhook's public address.

    Args:
        url: The address.
        transport: Transport of the request; None for the network.
    """

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._transport = transport
        self._path = unquote(urlsplit(url).path) or "/"
        # The webhook's secret is not sent, since the address may lead to somebody else.
        self._mark = secrets.token_hex(16)
        self._arrived = False

    def matches_path(self, request: Request) -> bool:
        """Return whether a request has the address's path, in any percent-encoding."""
        return bool(request.scope["path"] == self._path)

    def receive(self, request: Request) -> bool:
        """Return whether a request is this probe, and record whether its path arrived unchanged."""
        mark = request.headers.get(_HEADER, "")
        if not hmac.compare_digest(mark.encode(), self._mark.encode()):
            return False
        self._arrived = self._arrived or self.matches_path(request)
        return True

    async def run(self) -> None:
        """Send the request, and log a warning if it does not arrive."""
        try:
            async with httpx.AsyncClient(transport=self._transport, timeout=_TIMEOUT_S) as client:
                response = await client.post(self._url, headers={_HEADER: self._mark})
            result = f"status {response.status_code}"
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
