from __future__ import annotations

import httpx2
import pytest

from core.settings import Settings, processors
from tests.support.catalogs import SlowCatalog
from tests.support.http_service import MODELS, serving
from tests.support.servers import wait_for


def test_disconnect_cancels_the_prediction(jpeg: bytes) -> None:
    slow = SlowCatalog()
    settings = Settings(models=MODELS)
    photos = processors() + 3  # more than are decoded side by side
    with serving(settings, slow, queue_size=photos) as url:
        for _ in range(photos):
            with pytest.raises(httpx2.TimeoutException):
                httpx2.post(f"{url}/v1/predict", content=jpeg, timeout=0.3)
        # All that left are known to have left: what remains is being decoded.
        running = f"tensight_queue {processors()}.0"
        wait_for(lambda: running in httpx2.get(f"{url}/metrics").text)
        slow.go.set()
        wait_for(lambda: "tensight_queue 0.0" in httpx2.get(f"{url}/metrics").text)
        assert slow.asked == processors(), "those that waited were dropped"
        assert "tensight_photos_total{" not in httpx2.get(f"{url}/metrics").text
