"""Run the HTTP service until it is told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import uvicorn

from core.registry.releases import Releases
from core.registry.sync import HubSync
from core.serving.connect import local_predictor
from core.serving.http.app import build_service
from core.serving.http.connections import server_config
from core.serving.telemetry import Telemetry
from core.settings import Settings
from core.sockets import listen

__all__ = ["serve"]

_STOPPING_S = 20


def serve(settings: Settings, *, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until the process is told to stop; what runs then is finished, for at most 20 s.

    Args:
        settings: Where the models are, how much is answered at once, and who may ask.
        host: Address to listen on.
        port: Port to listen on.
        say: Gets one line, once the service answers.

    Raises:
        ModelNotFoundError: There is no model.
        BundleError: The default model is damaged.
        ListenError: The address cannot be listened on.
    """
    telemetry = Telemetry()
    predictor = local_predictor(settings, telemetry)
    telemetry.watch_queue(lambda: predictor.waiting, settings.queue_size)
    telemetry.watch_models(predictor.models)
    warm = threading.Event()
    listening = listen(host, port)
    api = build_service(predictor, settings, telemetry, warm.is_set)
    server = _Server(server_config(api, stopping_s=_STOPPING_S))
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), lambda *_: server.stop())

    shown = f"[{host.strip('[]')}]" if ":" in host else host
    address = f"http://{shown}:{listening.getsockname()[1]}"

    def load() -> None:
        predictor.warm()
        warm.set()
        if not server.should_exit:
            say(f"TenSight answers on {address}")

    try:
        with ThreadPoolExecutor(1) as loader:
            # Meanwhile /healthz answers already, and /readyz says that it is not ready.
            loading = loader.submit(load)
            loading.add_done_callback(lambda done: _stop_if_failed(done, server))
            with closing(Releases(settings)) as releases, closing(HubSync(settings, releases)):
                server.run(sockets=[listening])
        loading.result()
    finally:
        predictor.close()
        listening.close()


class _Server(uvicorn.Server):
    """Stops when it is told to, and lets its process end well, not by the signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `serve`."""
        yield

    def stop(self) -> None:
        """Take no more, and finish what runs; told again, do not even that."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _stop_if_failed(loading: Future[None], server: _Server) -> None:
    if loading.exception() is not None:
        server.stop()
