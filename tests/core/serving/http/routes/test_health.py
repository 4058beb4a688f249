from __future__ import annotations

import threading

import httpx2

from core.registry.catalog import Catalog
from core.settings import Settings
from tests.support.http_service import MODELS, post, serving
from tests.support.servers import wait_for


def test_readiness_follows_the_default_model(catalog: Catalog) -> None:
    warm = threading.Event()
    with serving(Settings(models=MODELS), catalog, ready=warm.is_set) as url:
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        assert httpx2.get(f"{url}/readyz").status_code == 503
        warm.set()
        assert httpx2.get(f"{url}/readyz").json() == {"status": "ready"}


def test_metrics_count_predictions_errors_and_stages(catalog: Catalog, jpeg: bytes) -> None:
    with serving(Settings(models=MODELS), catalog) as url:
        for _ in range(2):
            verdict = post(url, content=jpeg, params={"model": "classic"}).json()["verdict"]
        post(url, content=b"no photo")
        counted = f'tensight_photos_total{{model="classic",verdict="{verdict}"}} 2.0'
        wait_for(lambda: counted in httpx2.get(f"{url}/metrics").text)
        text = httpx2.get(f"{url}/metrics").text
    assert 'tensight_errors_total{code="not_an_image"} 1.0' in text
    for stage in ("decode", "wait", "infer"):
        assert f'tensight_stage_seconds_count{{stage="{stage}"}} 2.0' in text
    assert "tensight_queue 0.0" in text
    assert "tensight_queue_size 16.0" in text
    revision = catalog.bundle("classic").revision
    assert f'tensight_live_revision{{model="classic",revision="{revision}"}} 1.0' in text
