"""The HTTP service, and the predictor that asks it; over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import uvicorn
from PIL import Image
from pydantic import SecretStr

from core.cli.predict import _predicted
from core.errors import (
    BusyError,
    DeadlineError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    PredictorError,
    RateError,
    UnavailableError,
)
from core.inference.prediction import Prediction
from core.photos.decode import MAX_BYTES
from core.registry.catalog import Catalog
from core.serving.connect import connect
from core.serving.http.app import build_service
from core.serving.http.auth import Guard
from core.serving.http.body_limit import BodyLimits
from core.serving.http.connections import server_config
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.serving.telemetry import Telemetry
from core.settings import Settings, processors
from core.sockets import listen
from tests import drawings
from tests.conftest import ROOT
from tests.held import Hold
from tests.ports import LOOK_S, free_port, wait_for
from tests.slow import SlowCatalog

MODELS = ROOT / "models"


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
    """The service in a thread; its address."""
    telemetry = Telemetry()
    predictor = LocalPredictor(
        catalog, queue_size=queue_size, deadline_s=deadline_s, observer=telemetry
    )
    telemetry.watch_queue(lambda: predictor.waiting, queue_size)
    telemetry.watch_models(predictor.models)
    socket = listen("127.0.0.1", port)
    api = build_service(predictor, settings, telemetry, ready, guard=guard, bodies=bodies)
    server = uvicorn.Server(server_config(api, stopping_s=30))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        predictor.close()
        socket.close()


@pytest.fixture(scope="module")
def url(catalog: Catalog) -> Iterator[str]:
    with serving(Settings(models=MODELS), catalog) as address:
        yield address


@contextmanager
def asking(url: str, **how: Any) -> Iterator[RemotePredictor]:
    remote = RemotePredictor(url, **how)
    try:
        yield remote
    finally:
        remote.close()


def remotely(url: str, photo: Any, **how: Any) -> Prediction:
    """The answer to one photo."""
    with asking(url, **how) as remote:
        return asyncio.run(remote.predict(photo))


@pytest.fixture
def jpeg(photo: Path) -> bytes:
    return photo.read_bytes()


def post(url: str, **how: Any) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/predict", timeout=30, **how)


def test_one_photo_as_the_body(url: str, jpeg: bytes, catalog: Catalog) -> None:
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


def test_saliency_on_request(url: str, jpeg: bytes, catalog: Catalog) -> None:
    given = post(url, content=jpeg, params={"model": "classic", "saliency": "true"}).json()
    packed = given["saliency"]
    values = np.frombuffer(base64.b64decode(packed["data"]), packed["dtype"])
    expected = catalog.load("classic").predict(jpeg, saliency=True).saliency
    assert expected is not None
    assert np.array_equal(values.reshape(packed["shape"]), expected)


def test_several_photos_in_a_form(url: str, jpeg: bytes, catalog: Catalog) -> None:
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
    ("how", "status", "code"),
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
def test_what_cannot_be_answered(url: str, how: dict[str, Any], status: int, code: str) -> None:
    answer = post(url, **how)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert len(answer.json()["error"]["message"]) > 20


def test_wrong_parameters(url: str, jpeg: bytes) -> None:
    answer = post(url, content=jpeg, params={"model": "nope"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    answer = post(url, content=jpeg, params={"top": "0"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "top" in answer.json()["error"]["message"]
    nowhere = httpx2.get(f"{url}/v2")
    assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")


def test_a_body_is_not_read_beyond_its_limit(url: str) -> None:
    """Of a sender that does not say how much will come, and would never stop."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 4 * MAX_BYTES:
            sent += 2**20
            yield b"\xff" * 2**20

    try:
        answer = post(url, content=endless())
    except httpx2.TransportError:
        pass  # it was told while still sending
    else:
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert sent < 2 * MAX_BYTES
    answer = post(url, content=b"\xff" * (MAX_BYTES + 1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


def test_models(url: str, catalog: Catalog) -> None:
    listed = httpx2.get(f"{url}/v1/models").json()
    assert listed["default"] == catalog.default()
    assert [row["name"] for row in listed["models"]] == [e.name for e in catalog.entries()]
    whole = httpx2.get(f"{url}/v1/models/classic").json()
    assert whole["config"]["labels"] == list(catalog.load("classic").labels)
    assert httpx2.get(f"{url}/v1/models/nope").status_code == 404


def test_health_and_readiness(catalog: Catalog) -> None:
    warm = threading.Event()
    with serving(Settings(models=MODELS), catalog, ready=warm.is_set) as url:
        assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        assert httpx2.get(f"{url}/readyz").status_code == 503
        warm.set()
        assert httpx2.get(f"{url}/readyz").json() == {"status": "ready"}


def test_metrics(catalog: Catalog, jpeg: bytes) -> None:
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


def test_the_description_has_examples(url: str) -> None:
    description = httpx2.get(f"{url}/openapi.json").json()
    example = description["components"]["schemas"]["PredictionOut"]["examples"][0]
    assert example["verdict"] == "known"
    assert set(description["paths"]) == {
        *("/v1/predict", "/v1/models", "/v1/models/{name}"),
        *("/healthz", "/readyz", "/metrics"),
    }
    operations = [each for path in description["paths"].values() for each in path.values()]
    assert not any("422" in operation["responses"] for operation in operations)
    assert description["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    schemas = description["components"]["schemas"]
    parts = {"ErrorOut", "SaliencyOut", "TimingOut"}
    assert len(schemas) > len(parts)
    for name, schema in schemas.items():
        assert name in parts or schema["examples"], name
    assert "image/jpeg" in description["paths"]["/v1/predict"]["post"]["requestBody"]["content"]


KEYS = ("first-key-of-some", "second-key-of-some")


def test_keys(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, api_keys=tuple(map(SecretStr, KEYS)))
    with serving(settings, catalog) as url:
        basic = {"Authorization": f"Basic {KEYS[0]}"}
        for header in ({}, {"Authorization": "Bearer third"}, basic):
            answer = post(url, content=jpeg, headers=header)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "no_access")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for key in KEYS:
            given = post(url, content=jpeg, headers={"Authorization": f"Bearer {key}"})
            assert given.status_code == 200
        assert httpx2.get(f"{url}/v1/models").status_code == 401
        assert httpx2.get(f"{url}/healthz").status_code == 200
        with asking(url, key=KEYS[1]) as remote:
            assert remote.default_model() == catalog.default()
        with pytest.raises(PredictorError, match="TENSIGHT_PREDICTOR_KEY are right"):
            remotely(url, jpeg, key="third")


def test_a_rate_limit_says_when_to_come_back(catalog: Catalog, jpeg: bytes) -> None:
    with serving(Settings(models=MODELS, rate_per_minute=3), catalog) as url:
        statuses = [post(url, content=jpeg).status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = post(url, content=jpeg)
        assert answer.json()["error"]["code"] == "too_many_requests"
        assert 1 <= int(answer.headers["Retry-After"]) <= 60


def test_busy(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=1) as url:
        first = threading.Thread(target=post, args=(url,), kwargs={"content": jpeg})
        first.start()
        slow.wait_until_asked(1)
        busy = post(url, content=jpeg)
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "busy")
        assert int(busy.headers["Retry-After"]) >= 1
        with pytest.raises(BusyError):
            remotely(url, jpeg)
        slow.go.set()
        first.join()


def test_too_late(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, deadline_s=0.5) as url:
        late = post(url, content=jpeg)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "deadline")
        with pytest.raises(DeadlineError):
            remotely(url, jpeg)
        slow.go.set()


def test_a_remote_predictor_gives_the_same_numbers(
    url: str, photo: Path, catalog: Catalog, ship: Image.Image
) -> None:
    remote = RemotePredictor(url)
    local = LocalPredictor(catalog, queue_size=4, deadline_s=30)

    async def both(what: Any) -> None:
        ours = await remote.predict(what, model="classic", saliency=True)
        theirs = await local.predict(what, model="classic", saliency=True)
        assert ours.scores == theirs.scores
        assert (ours.photo, ours.label, ours.verdict) == (
            theirs.photo,
            theirs.label,
            theirs.verdict,
        )
        assert ours.saliency is not None
        assert theirs.saliency is not None
        assert np.array_equal(ours.saliency, theirs.saliency)

    for what in (photo, str(photo), photo.read_bytes(), ship):
        asyncio.run(both(what))
    assert remote.default_model() == local.default_model()
    assert remote.models() == local.models()
    local.close()
    remote.close()


def test_errors_come_through_a_remote_predictor(url: str, tmp_path: Path, jpeg: bytes) -> None:
    remote = RemotePredictor(url)
    with pytest.raises(ImageError, match="This is not a photo") as caught:
        asyncio.run(remote.predict(b"no photo"))
    assert caught.value.code == "not_an_image"
    with pytest.raises(ModelNotFoundError, match="no model 'x'"):
        asyncio.run(remote.predict(jpeg, model="x"))
    with pytest.raises(PhotoReadError, match="There is no file"):
        asyncio.run(remote.predict(tmp_path / "missing.jpg"))
    with pytest.raises(ImageError, match="larger than 20 MB"):
        asyncio.run(remote.predict(b"x" * (MAX_BYTES + 1)))
    remote.close()
    with pytest.raises(UnavailableError, match="closed"):
        asyncio.run(remote.predict(jpeg))


def test_a_service_that_is_away_is_told(jpeg: bytes) -> None:
    remote = RemotePredictor(f"http://127.0.0.1:{free_port()}", patience_s=1)
    for ask in (lambda: asyncio.run(remote.predict(jpeg)), remote.models):
        with pytest.raises(UnavailableError, match=r"gives no answer: .*connect.*within 1 s\. See"):
            ask()
    remote.close()


def test_a_service_that_never_comes_to_an_end_is_left(jpeg: bytes) -> None:
    """It trickles: no single read takes long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gone = threading.Event()

        def trickle() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while not gone.is_set():
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return
                    gone.wait(0.05)

        server = threading.Thread(target=trickle)
        server.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with (
            asking(url, patience_s=0.5) as remote,
            pytest.raises(UnavailableError, match="in time"),
        ):
            asyncio.run(remote.predict(jpeg))
        server.join(30)  # the connection was closed on it
        assert not server.is_alive()
        gone.set()


def test_what_is_no_service_is_told(jpeg: bytes) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer()

        def _answer(self) -> None:
            body = b'{"models": [{"name": "x"}], "default": "x"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    with asking(f"http://127.0.0.1:{server.server_port}") as remote:
        for ask in (lambda: asyncio.run(remote.predict(jpeg)), remote.models):
            with pytest.raises(PredictorError, match="not as a TenSight of this version does"):
                ask()
    server.shutdown()
    thread.join()
    server.server_close()


def test_who_waits_on_a_remote_predictor_is_told_that_it_closed(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow) as url:
        remote = RemotePredictor(url)
        told: list[Exception] = []

        def ask() -> None:
            try:
                asyncio.run(remote.predict(jpeg))
            except PredictorError as error:
                told.append(error)

        thread = threading.Thread(target=ask)
        thread.start()
        slow.wait_until_asked(1)
        remote.close()
        thread.join(30)
        slow.go.set()
    assert [str(error) for error in told] == ["The predictor is closed."]


def test_a_client_that_leaves_is_not_worked_for(jpeg: bytes) -> None:
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


def test_photos_of_a_form_are_answered_together_and_fail_alone(jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=2) as url:
        files = [("photo", (f"{i}.jpg", jpeg)) for i in range(4)]
        answers: list[httpx2.Response] = []
        asking = threading.Thread(target=lambda: answers.append(post(url, files=files)))
        asking.start()
        slow.wait_until_asked(min(2, processors()))
        slow.go.set()
        asking.join(30)
        (answer,) = answers
        assert answer.status_code == 200
        codes = [each.get("error", {}).get("code") for each in answer.json()["predictions"]]
        assert codes == [None, None, "busy", "busy"]
        text = httpx2.get(f"{url}/metrics").text
    assert 'tensight_errors_total{code="busy"} 2.0' in text


def test_a_stop_lets_what_runs_come_to_its_end(jpeg: bytes) -> None:
    slow = SlowCatalog()
    answers: list[httpx2.Response] = []
    with serving(Settings(models=MODELS), slow) as url:
        running = threading.Thread(target=lambda: answers.append(post(url, content=jpeg)))
        running.start()
        slow.wait_until_asked(1)
        threading.Timer(0.3, slow.go.set).start()
    running.join(30)
    assert [answer.status_code for answer in answers] == [200]


def raw(url: str, *pieces: bytes) -> bytes:
    """What a server says on one connection until it ends it, or has no more to say."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        for piece in pieces:
            connection.sendall(piece)
        said = b""
        while more := connection.recv(65536):
            said += more
    return said


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/predict?top=0"])
def test_a_body_that_nobody_reads_ends_the_connection(url: str, path: str) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = raw(url, head.encode(), b"5\r\nhello\r\n")  # and never an end
    assert b"connection: close" in said.lower()


def test_photo_of_a_client_that_offers_http2_is_answered(url: str, jpeg: bytes) -> None:
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings, close\r\n"
        "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nUpgrade: h2c\r\n"
        f"Content-Length: {len(jpeg)}\r\n\r\n"
    )
    assert raw(url, head.encode(), jpeg).startswith(b"HTTP/1.1 200")


def form(disposition: str, content: bytes) -> dict[str, Any]:
    """A form of one part, as it is posted."""
    head = f"--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    return {"content": head.encode() + content + b"\r\n--B--\r\n", "headers": kind}


@pytest.mark.parametrize("size", [100, 100_000])
@pytest.mark.parametrize(
    "disposition",
    [
        "name=\"photo\"; filename*=UTF-8''sch%C3%B6n.jpg",
        "name=photo; FILENAME*=utf-8'de'sch%C3%B6n.jpg",
        "filename*=UTF-8''x.jpg; name=photo",
    ],
)
def test_part_that_names_its_file_by_filename_star_alone_is_told_so(
    url: str, disposition: str, size: int
) -> None:
    answer = post(url, **form(disposition, bytes(size)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")
    assert "'photo' of the form names its file by filename* alone" in answer.text


def test_part_with_both_kinds_of_file_name_is_answered(url: str, jpeg: bytes) -> None:
    disposition = "name=photo; filename=\"x.jpg\"; filename*=UTF-8''sch%C3%B6n.jpg"
    answer = post(url, **form(disposition, jpeg), params={"model": "classic"})
    assert "label" in answer.json()["predictions"][0]


def test_large_part_without_a_file_name_is_told_so(url: str) -> None:
    answer = post(url, **form("name=photo", bytes(100_000)))
    assert answer.status_code == 400
    assert "'photo' of the form has no file name" in answer.json()["error"]["message"]


def test_service_redirects_no_photo(url: str, jpeg: bytes) -> None:
    for path in ("/v1/predict/", "/v1/models/", "/healthz/"):
        answer = httpx2.post(f"{url}{path}", content=jpeg, follow_redirects=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        assert "location" not in answer.headers


def test_service_sends_security_headers(url: str) -> None:
    for path in ("/healthz", "/nowhere"):
        headers = httpx2.get(f"{url}{path}").headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"


def test_service_refuses_a_head_that_is_too_large(url: str) -> None:
    assert raw(url, b"GET / HTTP/1.1\r\nX: " + b"x" * 16_384).startswith(b"HTTP/1.1 431")


def test_a_connection_lives_on_after_an_error(url: str, jpeg: bytes) -> None:
    with httpx2.Client(base_url=url) as client:
        for _ in range(3):
            assert client.post("/v1/predict", content=b"no photo").status_code == 400
        assert client.post("/v1/predict", content=jpeg).status_code == 200
        assert client.head("/healthz").status_code == client.head("/readyz").status_code == 200
        wrong = client.get("/v1/predict")
        assert (wrong.status_code, wrong.headers["Allow"]) == (405, "POST")
        kind = {"Content-Type": "Multipart/Form-Data; boundary=x"}
        assert client.post("/v1/predict", content=b"--x--", headers=kind).json()["error"][
            "code"
        ] == ("bad_request")


@pytest.fixture(scope="module")
def hasty(catalog: Catalog) -> Iterator[str]:
    """A service that gives a body half a second."""
    with serving(Settings(models=MODELS), catalog, bodies=BodyLimits(16, grace_s=0.5)) as address:
        yield address


def test_a_body_that_does_not_come_is_given_up(hasty: str) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    said = raw(hasty, head, b"some of it")
    assert said.startswith(b"HTTP/1.1 408")
    assert b'"too_slow"' in said


def test_a_body_that_trickles_is_given_up(hasty: str) -> None:
    host, port = hasty.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sender:
        sender.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
        for _ in range(60):
            with suppress(OSError):
                sender.sendall(b"x")
            if select.select([sender], [], [], 0.1)[0]:
                break
        assert sender.recv(100).startswith(b"HTTP/1.1 408"), "never a pause as long as that"


def test_so_many_bytes_are_held_and_no_more(catalog: Catalog, jpeg: bytes) -> None:
    bodies = BodyLimits(16, held_bytes=2 * len(jpeg))
    with serving(Settings(models=MODELS), catalog, bodies=bodies) as url:
        host, port = url.removeprefix("http://").split(":")
        length = 3 * len(jpeg)
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        with socket.create_connection((host, int(port))) as held:
            held.sendall(head.encode() + jpeg + jpeg[:100])
            wait_for(lambda: post(url, content=jpeg).status_code == 503)
        wait_for(lambda: post(url, content=jpeg).status_code == 200)


def test_so_many_bodies_are_held_at_once_and_no_more(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, queue_size=2)
    with serving(settings, catalog) as url:
        host, port = url.removeprefix("http://").split(":")
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx"
        held = [socket.create_connection((host, int(port))) for _ in range(2)]
        for connection in held:
            connection.sendall(head)
        wait_for(lambda: post(url, content=jpeg).status_code == 503)
        assert httpx2.get(f"{url}/healthz").status_code == 200
        for connection in held:
            connection.close()
        wait_for(lambda: post(url, content=jpeg).status_code == 200)


def test_who_guesses_keys_is_stopped(catalog: Catalog, jpeg: bytes) -> None:
    settings = Settings(models=MODELS, api_keys=(SecretStr(KEYS[0]),))
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        statuses = [
            client.get("/v1/models", headers={"Authorization": f"Bearer {i}"}).status_code
            for i in range(22)
        ]
        assert statuses == [401] * 20 + [429] * 2
        right = {"Authorization": f"Bearer {KEYS[0]}"}
        assert client.get("/v1/models", headers=right).status_code == 200


def test_each_key_has_a_limit_of_its_own(catalog: Catalog) -> None:
    a, b = KEYS
    settings = Settings(models=MODELS, api_keys=tuple(map(SecretStr, KEYS)), rate_per_minute=1)
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        # Whoever says that he is another is not believed.
        for i, (key, status) in enumerate([(a, 200), (a, 429), (b, 200), (b, 429)]):
            headers = {"Authorization": f"Bearer {key}", "X-Forwarded-For": f"10.0.0.{i}"}
            assert client.get("/v1/models", headers=headers).status_code == status


def test_address_is_taken_from_as_many_proxies_as_are_declared(catalog: Catalog) -> None:
    settings = Settings(models=MODELS, rate_per_minute=1, proxies=1)
    with serving(settings, catalog) as url, httpx2.Client(base_url=url) as client:
        statuses = [
            client.get("/v1/models", headers=[("X-Forwarded-For", line) for line in lines])
            for lines in (
                ["1.1.1.1"],
                ["9.9.9.9, 1.1.1.1"],
                ["9.9.9.8", "1.1.1.1"],
                ["2001:db8::1"],
                ["[2001:db8::2]:1234"],
                ["2001:db8:0:1::1"],
            )
        ]
        assert [each.status_code for each in statuses] == [200, 429, 429, 200, 429, 200]


def test_a_service_that_comes_back_is_found(catalog: Catalog, jpeg: bytes) -> None:
    port = free_port()
    remote = RemotePredictor(f"http://127.0.0.1:{port}", patience_s=20)
    answers: list[str] = []

    async def ask() -> None:
        answers.append((await remote.predict(jpeg, model="classic")).model)

    asking = threading.Thread(target=lambda: asyncio.run(ask()))
    asking.start()
    time.sleep(0.3)
    with serving(Settings(models=MODELS), catalog, port=port):
        asking.join(30)
    remote.close()
    assert answers == ["classic"]


def command_line(url: str, *arguments: str | Path, **settings: str) -> subprocess.Popen[str]:
    """`tensight` that asks a service; no model lies where it runs: the setting alone must do."""
    here = {"PYTHONPATH": str(ROOT), "TENSIGHT_MODELS": "none", "TENSIGHT_PREDICTOR_URL": url}
    return subprocess.Popen(
        [sys.executable, "-m", "core.cli", *map(str, arguments)],
        env=os.environ | here | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_line_comes_back_to_a_busy_service(photo: Path, jpeg: bytes) -> None:
    slow = SlowCatalog()
    with serving(Settings(models=MODELS), slow, queue_size=1) as url:
        first = threading.Thread(target=post, args=(url,), kwargs={"content": jpeg})
        first.start()
        slow.wait_until_asked(1)
        run = command_line(url, "predict", photo)
        refused = 'tensight_errors_total{code="busy"}'
        wait_for(lambda: refused in httpx2.get(f"{url}/metrics").text, seconds=60)
        slow.go.set()
        out, error = run.communicate(timeout=60)
        first.join()
    assert (run.returncode, error) == (0, "")
    assert out.startswith(f"{photo}: ")


def test_the_command_line_keeps_to_a_rate_limit(catalog: Catalog, photo: Path) -> None:
    settings = Settings(models=MODELS, rate_per_minute=1)
    with serving(settings, catalog, guard=Guard(settings, window_s=1)) as url:
        run = command_line(url, "predict", photo, photo, photo)
        out, error = run.communicate(timeout=60)
    assert (run.returncode, error) == (0, "")
    assert out.count(f"{photo}: ") == 3


def test_the_command_line_does_not_come_back_for_ever(photo: Path) -> None:
    class Full(LocalPredictor):
        asked = 0

        async def predict(self, *_: object, **__: object) -> Any:
            self.asked += 1
            raise BusyError(0)

    predictor = Full(Catalog(Settings(models=MODELS)), queue_size=1, deadline_s=1)
    with pytest.raises(BusyError):
        asyncio.run(_predicted(predictor, str(photo), None))
    predictor.close()
    assert 10 < predictor.asked < 100


def test_the_command_line_asks_the_service_that_the_settings_name(
    url: str, photo: Path, catalog: Catalog, tmp_path: Path
) -> None:
    # It is patient for seconds, in which the others run.
    away = command_line(f"http://127.0.0.1:{free_port()}", "predict", photo)
    run = command_line(url, "predict", photo, "--model", "classic", "--json")
    told, error = run.communicate(timeout=60)
    expected = catalog.load("classic").predict(photo)
    assert json.loads(told)["scores"] == expected.scores, error
    assert json.loads(told)["photo"] == str(photo)
    unknown = command_line(url, "predict", photo, "--model", "nope")
    _, error = unknown.communicate(timeout=60)
    assert (unknown.returncode, "There is no model 'nope'" in error) == (2, True)
    out = tmp_path / "why.png"
    explained = command_line(url, "explain", photo, "-m", "classic", "-o", out)
    _, error = explained.communicate(timeout=60)
    assert explained.returncode == 0, error
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    _, error = away.communicate(timeout=60)
    assert away.returncode == 1
    assert "TENSIGHT_PREDICTOR_URL" in error


def test_the_settings_say_who_answers() -> None:
    local = connect(Settings(models=MODELS))
    assert isinstance(local, LocalPredictor)
    local.close()
    settings = Settings(predictor_url="http://127.0.0.1:1", predictor_key=SecretStr(KEYS[0]))
    remote = connect(settings)
    assert isinstance(remote, RemotePredictor)
    with pytest.raises(PredictorError, match="within 5 s"):
        remote.models()
    remote.close()


def tensight_serve(
    *arguments: str, program: Sequence[str] = ("core.cli",), **environment: str
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *program, "serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_tensight_serve(stop: signal.Signals, jpeg: bytes) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with tensight_serve("--port", str(port)) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        assert any(re.fullmatch(rf"TenSight answers on {url}\n", line) for line in lines)
        assert httpx2.get(f"{url}/readyz").status_code == 200
        assert post(url, content=jpeg).status_code == 200
        process.send_signal(stop)
        assert process.wait(30) == 0


@contextmanager
def held_up(at: str, folder: Path) -> Iterator[tuple[str, subprocess.Popen[str], Hold]]:
    """A `tensight serve` that stops at a method until it is let go: its address, it, what holds."""
    models = folder / "models"
    shutil.copytree(MODELS / "classic", models / "classic")
    hold, port = Hold(folder), free_port()
    program = ("tests.held", at, str(hold.path))
    with tensight_serve(
        "--port", str(port), program=program, TENSIGHT_MODELS=str(models)
    ) as process:
        try:
            yield f"http://127.0.0.1:{port}", process, hold
        finally:
            hold.go()
            process.kill()


def test_a_process_is_ready_once_its_default_model_is_loaded(tmp_path: Path, jpeg: bytes) -> None:
    with held_up("core.inference.engine:Engine.__init__", tmp_path) as (url, process, hold):
        hold.wait()
        for _ in range(2):
            early = httpx2.get(f"{url}/readyz", timeout=30)
            told = {"status": "loading the default model"}
            assert (early.status_code, early.json()) == (503, told)
            assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
        hold.go()
        wait_for(lambda: httpx2.get(f"{url}/readyz").status_code == 200)
        assert httpx2.get(f"{url}/readyz").json() == {"status": "ready"}
        assert post(url, content=jpeg).status_code == 200
        process.terminate()
        assert process.wait(30) == 0


def test_a_process_that_is_told_to_stop_gives_the_answer_that_it_owes(
    tmp_path: Path, jpeg: bytes, catalog: Catalog
) -> None:
    def is_refused(port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        except ConnectionRefusedError:
            return True
        return False

    answers: list[httpx2.Response] = []
    with held_up("core.photos.pool:PhotoPool.prepare", tmp_path) as (url, process, hold):
        port = int(url.rpartition(":")[2])
        wait_for(lambda: process.poll() is not None or not is_refused(port))
        asking = threading.Thread(target=lambda: answers.append(post(url, content=jpeg)))
        asking.start()
        hold.wait()
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: is_refused(port))
        assert answers == []
        assert process.poll() is None, "it waits for who waits for it"
        hold.go()
        asking.join(30)
        assert process.wait(30) == 0
    (answer,) = answers
    assert answer.status_code == 200
    assert answer.json()["scores"] == catalog.load("classic").predict(jpeg).scores


def test_a_taken_port_is_told() -> None:
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with tensight_serve("--port", str(port)) as process:
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"Nothing can listen on 127.0.0.1, port {port}" in said


def test_without_a_model_it_says_so(tmp_path: Path) -> None:
    with tensight_serve("--port", str(free_port()), TENSIGHT_MODELS=str(tmp_path)) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "There is no usable model in" in said


def test_json_of_a_prediction_comes_back_whole(catalog: Catalog, ship: Image.Image) -> None:
    prediction = catalog.load("classic").predict(ship, saliency=True)
    text = json.dumps(prediction.to_dict(saliency=True))
    again = type(prediction).from_dict(json.loads(text))
    assert again == prediction
    assert again.saliency is not None
    assert prediction.saliency is not None
    assert np.array_equal(again.saliency, prediction.saliency)
    assert "saliency" not in prediction.to_dict()


def test_remote_predictor_sends_a_hash_of_its_client(
    catalog: Catalog, jpeg: bytes, photo: Path
) -> None:
    key = "front-0123456789"
    settings = Settings(models=MODELS, trusted_keys=(SecretStr(key),), rate_per_minute=1)
    with serving(settings, catalog) as url:
        remote = RemotePredictor(url, key=key)
        for client in ("visitor:192.0.2.1", "visitor:192.0.2.2"):
            asyncio.run(remote.predict(jpeg, client=client))
        with pytest.raises(RateError):
            asyncio.run(remote.predict(jpeg, client="visitor:192.0.2.1"))
        remote.close()


def test_form_of_many_photos_is_answered_whole_while_others_wait(
    catalog: Catalog, jpeg: bytes
) -> None:
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


def test_previews_of_a_remote_predictor_are_those_of_a_local_one(
    catalog: Catalog, photo: Path, url: str
) -> None:
    remote = RemotePredictor(url)
    local = LocalPredictor(catalog, queue_size=4, deadline_s=30)
    there, here = (
        asyncio.run(
            each.predict_with_preview(photo, side=200, model="classic", saliency=True, client="a")
        )
        for each in (remote, local)
    )
    assert there.prediction.scores == pytest.approx(here.prediction.scores, abs=1e-5)
    assert there.prediction.saliency is not None
    assert np.array_equal(there.preview, here.preview)
    assert np.array_equal(there.model_input, here.model_input)
    assert asyncio.run(remote.archival_jpeg(photo)) == asyncio.run(local.archival_jpeg(photo))
    remote.close()
    local.close()
    with pytest.raises(PredictorError, match="closed"):
        asyncio.run(remote.archival_jpeg(photo))
