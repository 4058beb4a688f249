"""The HTTP service in a thread of the tests, and clients of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import httpx2
import uvicorn

from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.registry.catalog import Catalog
from core.serving.http.app import build_service
from core.serving.http.auth import Guard
from core.serving.http.body_limit import BodyLimits
from core.serving.http.connections import server_config
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings
from core.sockets import listen
from tests.conftest import ROOT

__all__ = ["KEYS", "MODELS", "PATIENCE_S", "port_of", "post", "predict_remotely", "serving"]

MODELS = ROOT / "models"
"""Folder with the models of this repository."""
KEYS = ("first-key-of-some", "second-key-of-some")
"""Valid API keys."""
PATIENCE_S = 120.0
"""Timeout in seconds; far longer than it takes on a busy machine."""


@contextmanager
def serving(
    settings: Settings,
    catalog: Catalog,
    *,
    queue_size: int = 16,
    deadline_s: float = 30.0,
    ready: Callable[[], bool] = lambda: True,
    port: int = 0,
    guard: Guard | None = None,
    bodies: BodyLimits | None = None,
) -> Iterator[str]:
    """Serve in a thread, and yield the address."""
    telemetry = Telemetry()
    predictor = LocalPredictor(
        catalog, queue_size=queue_size, deadline_s=deadline_s, observer=telemetry
    )
    telemetry.watch_queue(lambda: predictor.waiting, queue_size)
    telemetry.watch_models(predictor.models)
    listening = listen("127.0.0.1", port)
    api = build_service(predictor, settings, telemetry, ready, guard=guard, bodies=bodies)
    server = uvicorn.Server(server_config(api, stopping_s=30))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        predictor.close()
        listening.close()


def predict_remotely(url: str, photo: Photo, **options: Any) -> Prediction:
    """Classify a photo with a remote predictor, to which the options are passed."""
    with closing(RemotePredictor(url, **options)) as remote:
        return asyncio.run(remote.predict(photo))


def post(url: str, **options: Any) -> httpx2.Response:
    """Send a request to the route /v1/predict."""
    return httpx2.post(f"{url}/v1/predict", timeout=PATIENCE_S, **options)


def port_of(url: str) -> int:
    """Return the port of a service's address."""
    return int(url.rpartition(":")[2])
