"""Our HTTP service without worker processes: `python -m bench.threaded_service PORT`."""

from __future__ import annotations

import sys
from contextlib import closing

import uvicorn

from core.registry.catalog import Catalog
from core.serving.http.app import build_service
from core.serving.http.connections import server_config
from core.serving.local import LocalPredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings

__all__ = ["main"]


def main() -> None:
    """Serve at the port that the command line names, with photos decoded in threads."""
    settings, telemetry = Settings.read(), Telemetry()
    predictor = LocalPredictor(
        Catalog(settings),
        queue_size=settings.queue_size,
        deadline_s=settings.deadline_s,
        observer=telemetry,
        client_share=settings.client_share,
    )
    with closing(predictor):
        predictor.warm()
        service = build_service(predictor, settings, telemetry, lambda: True)
        port = int(sys.argv[1])
        config = server_config(service, stopping_s=1, host="127.0.0.1", port=port)
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
