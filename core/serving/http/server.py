"""Run the HTTP service until the process is asked to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial

import uvicorn

from core.registry.releases import Releases
from core.registry.sync import HubSync
from core.serving.connect import find_store, local_predictor
from core.serving.http.app import build_service
from core.serving.http.connections import server_config
from core.serving.retention import Retention
from core.serving.telemetry import Telemetry
from core.settings import Settings
from core.sockets import format_address, listen
from core.system import on_stop_signal

__all__ = ["serve"]

_STOPPING_S = 20


def serve(settings: Settings, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until the process receives a stop signal, then finish running requests for 20 s.

    Args:
        settings: The settings of models, queue, photo limits, keys and rate limits are used.
        host: Address to bind to.
        port: Port to bind to.
        say: Receives one line once the service is ready.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The address cannot be bound.
    """
    telemetry = Telemetry()
    predictor = local_predictor(settings, telemetry)
    telemetry.watch_queue(lambda: predictor.waiting, settings.queue_size)
    telemetry.watch_models(predictor.models)
    telemetry.watch_rollouts(predictor.rollouts, predictor.rollout_ends)
    warm = threading.Event()
    listening = listen(host, port)
    api = build_service(predictor, settings, telemetry, warm.is_set)
    server = _Server(server_config(api, stopping_s=_STOPPING_S))
    on_stop_signal(server.stop)

    address = f"http://{format_address(host, listening.getsockname()[1])}"

    def load() -> None:
        predictor.warm()
        warm.set()
        if not server.should_exit:
            say(f"TenSight answers on {address}")

    try:
        with ThreadPoolExecutor(1) as loader:
            # Until the models are loaded, /healthz responds and /readyz has status 503.
            loading = loader.submit(load)
            loading.add_done_callback(lambda done: _stop_if_failed(done, server))
            with (
                closing(Releases(settings)) as releases,
                closing(HubSync(settings, releases)),
                closing(Retention(settings, partial(find_store, settings))),
            ):
                server.run(sockets=[listening])
        loading.result()
    finally:
        predictor.close()
        listening.close()


class _Server(uvicorn.Server):
    """A server that `serve` stops, and whose process exits normally after a signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signal handling to `serve`."""
        yield

    def stop(self) -> None:
        """Accept no more requests and finish running ones; at the second call, abort them."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _stop_if_failed(loading: Future[None], server: _Server) -> None:
    if loading.exception() is not None:
        server.stop()
