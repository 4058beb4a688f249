"""A page served in the process of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gradio_client

from core.serving.http.body_limit import BodyLimits
from core.serving.local import LocalPredictor
from demo.app import build_page, launch
from demo.context import ClientRateLimiter
from demo.hosts import TrustedHosts
from demo.live import LiveFrames
from demo.server import Endpoint
from demo.uploads import UploadFolder
from tests.support.servers import free_port


@contextmanager
def served(
    predictor: LocalPredictor,
    *,
    upload_limiter: ClientRateLimiter | None = None,
    uploads: UploadFolder | None = None,
    proxies: int = 0,
    bodies: BodyLimits | None = None,
    mcp: Callable[[TrustedHosts], Endpoint] | None = None,
    frames: ClientRateLimiter | None = None,
    **options: Any,
) -> Iterator[str]:
    """Serve a page built with these options while the context is open; yield its address."""
    page = build_page(predictor, mcp=mcp is not None, live=True, **options)
    port = free_port()
    launch(
        page,
        host="127.0.0.1",
        port=port,
        upload_limiter=upload_limiter,
        uploads=uploads,
        proxies=proxies,
        bodies=bodies,
        mcp=mcp,
        live=LiveFrames(predictor, frames),
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        page.close(verbose=False)


@contextmanager
def serving(predictor: LocalPredictor, **options: Any) -> Iterator[gradio_client.Client]:
    """Serve a page while the context is open, and yield a client of it."""
    with served(predictor, **options) as address:
        yield gradio_client.Client(address, verbose=False)


def ask(
    client: gradio_client.Client, photo: Path, model: str | None = "classic", **options: Any
) -> Any:
    """Ask the API of a page for the prediction of one photo."""
    return client.predict(gradio_client.handle_file(photo), model, api_name="/predict", **options)
