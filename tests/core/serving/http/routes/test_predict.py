from __future__ import annotations

import base64
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from pydantic import SecretStr

from core.errors import BusyError, DeadlineError
from core.registry.catalog import Catalog
from core.settings import Settings, processors
from tests.support import drawings
from tests.support.catalogs import SlowCatalog
from tests.support.http_service import MODELS, PATIENCE_S, post, predict_remotely, serving


def test_body_with_a_photo_is_classified(url: str, jpeg: bytes, catalog: Catalog) -> None:
    answer = post(url, content=jpeg, params={"model": "classic"})
    assert answer.status_code == 200
    expected = catalog.load("classic").predict(jpeg)
    given = answer.json()
    assert given["scores"] == expected.scores, "number for number"
    assert list(given["scores"]) == list(expected.scores), "the largest first"
    assert {key: given[key] for key in ("model", "revision", "verdict", "label", "photo")} == {
        "model": "classic",
        "revision": expected.revision,
        "verdict": expected.verdict,
        "label": expected.label,
        "photo": None,
    }
    assert given["saliency"] is None
    top = post(url, content=jpeg, params={"model": "classic", "top": 2}).json()
    assert list(top["scores"]) == list(expected.scores)[:2]
    assert post(url, content=jpeg).json()["model"] == catalog.default()


def test_saliency_is_returned_on_request(url: str, jpeg: bytes, catalog: Catalog) -> None:
    given = post(url, content=jpeg, params={"model": "classic", "saliency": "true"}).json()
    packed = given["saliency"]
    values = np.frombuffer(base64.b64decode(packed["data"]), packed["dtype"])
    expected = catalog.load("classic").predict(jpeg, saliency=True).saliency
    assert expected is not None
    assert np.array_equal(values.reshape(packed["shape"]), expected)


def test_form_returns_one_result_for_each_photo(url: str, jpeg: bytes, catalog: Catalog) -> None:
    png = BytesIO()
    drawings.gradient(60, 60).save(png, "PNG")
    files = [
        ("photo", ("a.jpg", jpeg)),
        ("photo", ("b.txt", b"no photo")),
        ("other", ("c.png", png.getvalue())),
    ]
    answers = post(url, files=files, data={"note": "x"}, params={"model": "classic"}).json()
    first, second, third = answers["predictions"]
    classifier = catalog.load("classic")
    assert first["photo"] == "a.jpg"
    assert first["scores"] == pytest.approx(classifier.predict(jpeg).scores, abs=1e-5)
    assert second["photo"] == "b.txt"
    assert second["error"]["code"] == "not_an_image"
    assert third["scores"] == pytest.approx(classifier.predict(png.getvalue()).scores, abs=1e-5)


WITHOUT_FILES = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--x--\r\n'


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"content": b"no photo"}, 400, "not_an_image"),
        ({"content": b""}, 400, "not_an_image"),
        ({"content": b"II*\x00 a TIFF"}, 415, "unsupported"),
        ({"content": b"\xff\xd8\xff cut off"}, 400, "truncated"),
        ({"files": [("photo", ("a.jpg", b"x"))] * 33}, 400, "bad_request"),
        (
            {"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data"}},
            400,
            "bad_request",
        ),
        (
            {
                "content": WITHOUT_FILES,
                "headers": {"content-type": "multipart/form-data; boundary=x"},
            },
            400,
            "bad_request",
        ),
    ],
)
def test_invalid_body_is_rejected_with_its_code(
    url: str, options: dict[str, Any], status: int, code: str
) -> None:
    answer = post(url, **options)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(answer.json()["error"]["message"]) > 20


def test_invalid_parameter_is_named(url: str, jpeg: bytes) -> None:
    answer = post(url, content=jpeg, params={"model": "nope"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    answer = post(url, content=jpeg, params={"top": "0"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "top" in answer.json()["error"]["message"]
    nowhere = httpx2.get(f"{url}/v2")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")


def test_full_queue_returns_503_with_retry_after(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=1) as url:
        first = threading.Thread(target=post, args=(url,), kwargs={"content": jpeg})
        first.start()
        slow.wait_until_asked(1)
        busy = post(url, content=jpeg)
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")
        assert int(busy.headers["Retry-After"]) >= 1
        with pytest.raises(BusyError):
            predict_remotely(url, jpeg)
        slow.go.set()
        first.join()


def test_passed_deadline_returns_504(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, deadline_s=0.5) as url:
        late = post(url, content=jpeg)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
        with pytest.raises(DeadlineError):
            predict_remotely(url, jpeg)
        slow.go.set()


def test_photos_of_a_form_run_together_and_fail_alone(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=2) as url:
        files = [("photo", (f"{i}.jpg", jpeg)) for i in range(4)]
        answers: list[httpx2.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(url, files=files)))
        asking.start()
        slow.wait_until_asked(min(2, processors()))
        slow.go.set()
        asking.join(PATIENCE_S)
        (answer,) = answers
        assert answer.status_code == 200
        codes = [each.get("error", {}).get("code") for each in answer.json()["predictions"]]
        assert codes == [None, None, "busy", "busy"]
        text = httpx2.get(f"{url}/metrics").text
    assert 'tensight_errors_total{code="busy"} 2.0' in text


def test_large_form_is_classified_whole_while_others_wait(catalog: Catalog, jpeg: bytes) -> None:
    key = "front-0123456789"
    settings = Settings(models=MODELS, queue_size=8, trusted_keys=(SecretStr(key),))
    files = [("photo", (f"{i}.jpg", jpeg)) for i in range(12)]

    def send(url: str, client: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {key}", "X-TenSight-Client": client * 64}
        return post(url, files=files, headers=headers)

    with (
        serving(settings, catalog, queue_size=8) as url,
        ThreadPoolExecutor(3) as threads,
    ):
        forms = [threads.submit(send, url, client) for client in "abc"]
        answers = [form.result(120) for form in forms]
    for answer in answers:
        predictions = answer.json()["predictions"]
        assert [each.get("photo") for each in predictions] == [f"{i}.jpg" for i in range(12)]
        assert [each.get("error") for each in predictions] == [None] * 12


def test_prediction_survives_a_json_round_trip(catalog: Catalog, ship: Image.Image) -> None:
    prediction = catalog.load("classic").predict(ship, saliency=True)
    text = json.dumps(prediction.to_dict(saliency=True))
    again = type(prediction).from_dict(json.loads(text))
    assert again == prediction
    assert again.saliency is not None
    assert prediction.saliency is not None
    assert np.array_equal(again.saliency, prediction.saliency)
    assert "saliency" not in prediction.to_dict()
