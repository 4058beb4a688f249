"""Frames of a camera, sent to the real server of the page."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from core import locale
from core.errors import BusyError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.settings import processors
from demo.context import ClientRateLimiter
from tests.demo.running import served
from tests.support import drawings
from tests.support.catalogs import SlowCatalog


def jpeg(width: int, height: int) -> bytes:
    """Encode a drawn ship."""
    buffer = io.BytesIO()
    drawings.ship(width, height).save(buffer, "JPEG")
    return buffer.getvalue()


FRAME = jpeg(384, 288)


def send(url: str, frame: bytes = FRAME, **options: Any) -> httpx.Response:
    return httpx.post(f"{url}/live", content=frame, timeout=120, **options)


def test_frame_is_answered_with_verdict_and_bars(url: str) -> None:
    answer = send(url, params={"model": "classic"}, headers={"Accept-Language": "nl-NL"}).json()
    assert answer["verdict"].startswith('<h2 class="')
    assert answer["scores"].count("<li") == 10


def test_bars_keep_their_places_between_frames(url: str, catalog: Catalog) -> None:
    answer = send(url, params={"model": "classic"}).json()
    names = sorted(map(locale.label_name, catalog.load("classic").labels))
    places = [answer["scores"].index(f"<span>{name}</span>") for name in names]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("frame", "model", "status", "code"),
    [
        (b"no frame", "classic", 400, "not_an_image"),
        (b"", "classic", 400, "not_an_image"),
        (FRAME, "nonsense", 404, "model_not_found"),
        (jpeg(1024, 768), "classic", 413, "too_many_pixels"),
        (bytes(2**17 + 1), "classic", 413, "too_large"),
    ],
    ids=["no photo", "empty", "no model", "many pixels", "many bytes"],
)
def test_unusable_frame_is_refused(
    url: str, frame: bytes, model: str, status: int, code: str
) -> None:
    answer = send(url, frame, params={"model": model})
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_frames_and_photos_have_separate_rate_limits(
    predictor: LocalPredictor, photo: Path
) -> None:
    with served(
        predictor,
        photo_limiter=ClientRateLimiter(1, window_s=3600),
        frames=ClientRateLimiter(2, window_s=3600),
    ) as url:
        assert [send(url).status_code for _ in range(3)] == [200, 200, 429]
        assert int(send(url).headers["Retry-After"]) > 3000
        event = httpx.post(f"{url}/gradio_api/upload", files={"files": photo.read_bytes()}).json()
        call = f"{url}/gradio_api/call/predict"
        asked = httpx.post(call, json={"data": [{"path": event[0]}, "classic", False]}).json()
        answer = httpx.get(f"{call}/{asked['event_id']}", timeout=120).text
        assert '"label"' in answer


def test_visitors_share_what_is_free(url: str) -> None:
    answered, other = [0, 0], set[int]()

    def visit(visitor: int) -> None:
        # The visitor who is ahead continues, which must not keep the other one out.
        while min(answered) < 3 and not other:
            status = send(url, params={"model": "classic"}).status_code
            answered[visitor] += status == 200
            other.update({status} - {200, 503})

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(visit, range(2)))
    assert other == set()


def test_frame_is_dropped_while_photos_occupy_the_workers(photo: Path) -> None:
    slow = SlowCatalog()
    predictor = LocalPredictor(slow, queue_size=8, deadline_s=60)
    with served(predictor) as url, ThreadPoolExecutor(processors()) as pool:
        frames = [pool.submit(send, url) for _ in range(processors())]
        slow.wait_until_asked(processors())
        dropped = send(url)
        assert dropped.status_code == 503
        assert dropped.json()["error"] == {
            "code": "busy",
            "message": locale.format_error(BusyError(int(dropped.headers["Retry-After"]))),
        }
        slow.go.set()
        assert [each.result().status_code for each in frames] == [200] * processors()
    predictor.close()
