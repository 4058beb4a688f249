"""Limits on requests to the page, which is served by the real server."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.serving.http.body_limit import BodyLimits
from core.serving.local import LocalPredictor
from core.teaching.limits import MAX_TOTAL_PHOTOS
from demo.classify_many import MAX_PHOTOS
from demo.context import ClientRateLimiter
from demo.uploads import UploadFolder
from tests.demo.running import served
from tests.support.raw_http import connected, everything, exchange, status_of
from tests.support.servers import LOOK_S, wait_for

API = "/gradio_api"
EVENTS = ["queue/join", "call/predict", "call/v2/predict", "run/predict", "api/predict", "stream/x"]
OTHERS = ["cancel", "reset", "login", "nowhere", "component_server", "queue/status"]


@pytest.fixture(scope="module")
def url(predictor: LocalPredictor) -> Iterator[str]:
    with served(
        predictor, upload_limiter=ClientRateLimiter(1000), photo_limiter=ClientRateLimiter(1000)
    ) as address:
        yield address


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def post(url: str, path: str, body: Any, **options: Any) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    return httpx.post(f"{url}{API}/{path}", content=content, headers=headers, timeout=60, **options)


def upload(url: str, photo: Path) -> str:
    with photo.open("rb") as stream:
        sent = httpx.post(f"{url}{API}/upload", files={"files": stream}, timeout=60)
    return str(sent.json()[0])


def result_of(url: str, event_id: str) -> str:
    return httpx.get(f"{url}{API}/call/predict/{event_id}", timeout=60).text


@pytest.mark.parametrize("path", EVENTS)
def test_event_of_more_than_a_megabyte_is_refused(url: str, path: str) -> None:
    answer = post(url, path, {"data": ["x" * 2**20]})
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"
    assert "larger than 1 MB" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"data":[' + b"[]," * 340_000 + b"0]}",
        b'{"data":[' + b"{}," * 340_000 + b"0]}",
        b'{"data":[' + b"0," * 500_000 + b"0]}",
        b'{"data":[' + b"[" * 500_000 + b"]" * 500_000 + b"]}",
        b'{"data":{' + b",".join(b'"%d":1' % i for i in range(90_000)) + b"}}",
    ],
    ids=["lists", "objects", "numbers", "nested", "keys"],
)
@pytest.mark.parametrize("path", ["queue/join", "call/predict"])
def test_event_of_too_many_values_is_refused(url: str, path: str, content: bytes) -> None:
    answer = post(url, path, content)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert "more than 60,000 JSON values" in answer.json()["detail"]


@pytest.mark.parametrize(
    "content",
    [
        b'{"data":[' + b"[]," * 3_100 + b"0]}",
        b'{"data":[' + b'"",' * 3_100 + b"0]}",
        b'{"data":["\\\\","\\"",' + b"0," * 6_100 + b"0]}",
        b'"' * 1_000_000,
    ],
)
def test_event_of_many_values_outside_of_strings_is_refused(url: str, content: bytes) -> None:
    answer = post(url, "queue/join", content)
    assert answer.status_code == 400
    assert "more than 6,000 JSON values" in answer.json()["detail"]


def test_largest_events_of_the_page_are_accepted(url: str) -> None:
    photo = {"path": "/uploads/a/b.jpg", "url": "http://h/b.jpg", "orig_name": "b.jpg", "size": 1}
    photo |= {"mime_type": "image/jpeg", "is_stream": False, "meta": {"_type": "gradio.FileData"}}
    batch = [[photo] * MAX_PHOTOS, "classic"]
    named = {"label": "Rose, climbing, red", "name": "Doe, J., 2019, 1.jpg", "path": "/x"}
    taught = [json.dumps([named] * MAX_TOTAL_PHOTOS)]
    for data in (batch, taught):
        answer = post(url, "queue/join", {"data": data, "session_hash": "x", "fn_index": 0})
        assert "JSON values" not in answer.text


@pytest.mark.parametrize("path", OTHERS)
def test_other_body_of_more_than_64_kb_is_refused(url: str, path: str) -> None:
    assert post(url, path, {"x": "x" * 2**16}).status_code in (403, 413)


def test_deep_links_are_refused(url: str) -> None:
    assert httpx.get(f"{url}{API}/deep_link?session_hash=s").status_code == 403


@pytest.mark.parametrize("path", ["process_recording", "process_recording/"])
def test_videos_are_refused(url: str, photo: Path, path: str) -> None:
    with photo.open("rb") as stream:
        answer = httpx.post(f"{url}{API}/{path}", files={"video": stream})
    assert answer.status_code == 403
    assert "does not process videos" in answer.json()["detail"]


def test_body_outside_the_api_is_limited(url: str) -> None:
    for path in ("/", "/config", "/login", "/gradio_api"):
        assert httpx.post(f"{url}{path}", content=bytes(2**16 + 1)).status_code == 413


@pytest.mark.parametrize("path", [*EVENTS, "cancel"])
def test_chunked_body_is_limited(url: str, path: str) -> None:
    head = f"POST {API}/{path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"10000\r\n" + b"x" * 2**16 + b"\r\n"
    assert status_of(exchange(port_of(url), head.encode() + chunk * 40)) in (0, 413)


@pytest.fixture(scope="module")
def impatient_url(predictor: LocalPredictor) -> Iterator[str]:
    """Return the address of a page that waits 0.3 seconds for a body."""
    with served(predictor, bodies=BodyLimits(16, grace_s=0.3)) as address:
        yield address


@pytest.mark.parametrize("path", [*EVENTS, "cancel", "upload"])
def test_stalled_body_times_out(impatient_url: str, path: str) -> None:
    head = (
        f"POST {API}/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
    )
    with connected(port_of(impatient_url)) as connection:
        connection.sendall(head.encode() + b"--x\r\n")
        answer = everything(connection)
    assert status_of(answer) == 408
    assert b'"too_slow"' in answer


def test_bodies_are_limited_in_total(predictor: LocalPredictor) -> None:
    with served(predictor, bodies=BodyLimits(16, held_bytes=2**19)) as url:
        head = f"POST {API}/queue/join HTTP/1.1\r\nHost: a\r\nContent-Length: 900000\r\n\r\n"

        def second_is_refused() -> bool:
            # The one that comes last is refused, which may be the first.
            with connected(port_of(url)) as held:
                held.sendall(head.encode() + bytes(2**19 - 1000))
                return post(url, "queue/join", {"data": ["x" * 2000]}).status_code == 503

        wait_for(second_is_refused)
        wait_for(lambda: post(url, "queue/join", {"data": ["x" * 2000]}).status_code != 503)


class Elsewhere(BaseHTTPRequestHandler):
    """A server that counts its requests."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815  # so the library calls it

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """Run a server that the page must not call; yield its address and its requests."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Elsewhere,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "file={}/x.jpg",
        "file=HTTP{rest}/x.jpg",
        "file/{}/x.jpg",
        "file=%68ttp{rest}/x.jpg",
        "file=https{rest}/x.jpg",
        "file=ftp{rest}/x.jpg",
        "proxy={}/x.jpg",
        "proxy=https://a.hf.space/x.jpg",
        "proxy={}/x.jpg/",
        "%66ile={}/x.jpg",
    ],
)
def test_page_fetches_no_file_from_other_servers(
    url: str, elsewhere: tuple[str, list[str]], path: str, method: str
) -> None:
    address, asked = elsewhere
    target = path.format(address, rest=address.removeprefix("http"))
    request = f"{method} {API}/{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    assert status_of(exchange(port_of(url), request.encode())) == 403
    assert asked == []


def file_at(**fields: str) -> dict[str, Any]:
    return {"meta": {"_type": "gradio.FileData"}, "orig_name": "x.jpg", **fields}


@pytest.mark.parametrize("endpoint", ["call/predict", "call/v2/predict", "queue/join"])
@pytest.mark.parametrize("kind", ["path", "path-and-url", "url", "upper", "nested", "empty-path"])
def test_page_fetches_no_photo_from_other_servers(
    url: str, elsewhere: tuple[str, list[str]], kind: str, endpoint: str
) -> None:
    address, asked = elsewhere
    there = f"{address}/x.jpg"
    photo: Any = {
        "path": file_at(path=there),
        "path-and-url": file_at(path=there, url=there),
        "url": file_at(url=there),
        "upper": file_at(path=there.replace("http", "HTTP")),
        "nested": [{"image": file_at(path=there)}],
        "empty-path": file_at(path="", url=there),
    }[kind]
    body = {"photo": photo} if "v2" in endpoint else {"data": [photo, None, False]}
    if endpoint == "queue/join":
        body |= {"session_hash": "s", "fn_index": 0}
    answer = post(url, endpoint, body)
    assert answer.status_code == 400
    assert "does not fetch photos from URLs" in answer.json()["detail"]
    assert asked == []


def test_uploaded_photo_may_carry_its_display_url(url: str, photo: Path) -> None:
    path = upload(url, photo)
    shown = file_at(path=path, url=f"{url}{API}/file={path}")
    event = post(url, "call/predict", {"data": [shown, "classic", False]}).json()["event_id"]
    assert '"label"' in result_of(url, event)
    assert httpx.get(f"{url}{API}/file={path}").content == photo.read_bytes()


@pytest.mark.parametrize("path", ["/", "/healthz", "/config", "/gradio_api/info", "/nowhere"])
def test_page_sends_security_headers_that_let_a_space_embed_it(url: str, path: str) -> None:
    headers = httpx.get(f"{url}{path}").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert "https://huggingface.co" in headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in headers


@pytest.mark.parametrize("path", ["upload/", "call/predict//", "cancel/", "queue/join/"])
def test_page_redirects_no_body(url: str, path: str) -> None:
    answer = httpx.post(f"{url}{API}/{path}", content=b"{}", headers={"Content-Length": "2"})
    assert answer.status_code not in (301, 302, 307, 308)
    assert "location" not in answer.headers


def test_upload_of_a_client_that_offers_http2_is_kept(url: str, photo: Path) -> None:
    offer = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMA"}
    with photo.open("rb") as stream:
        sent = httpx.post(f"{url}{API}/upload", files={"files": stream}, headers=offer)
    assert Path(sent.json()[0]).read_bytes() == photo.read_bytes()


@pytest.mark.parametrize(
    ("disposition", "size", "told"),
    [
        ("name=files; filename*=UTF-8''x.jpg", 100, "by filename* alone"),
        ("name=files", 100, "has no file name"),
        ("name=files", 70_000, "has no file name"),
        ("name=files", 4 * 2**20, "has no file name"),
    ],
)
def test_upload_without_a_file_is_refused(url: str, disposition: str, size: int, told: str) -> None:
    head = f"--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
    body = head.encode() + bytes(size) + b"\r\n--B--\r\n"
    kind = {"Content-Type": "multipart/form-data; boundary=B"}
    answer = httpx.post(f"{url}{API}/upload", content=body, headers=kind)
    assert answer.status_code == 400
    assert told in answer.json()["detail"]


def test_upload_with_an_invalid_boundary_is_refused(url: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={'B' * 5_000}"}
    answer = httpx.post(f"{url}{API}/upload", content=b"--B\r\n", headers=kind)
    assert answer.status_code == 400
    assert "The form cannot be parsed" in answer.json()["detail"]


@pytest.mark.parametrize("space", [False, True], ids=["own-server", "space"])
def test_forwarded_address_is_ignored_without_a_declared_proxy(
    predictor: LocalPredictor, photo: Path, monkeypatch: pytest.MonkeyPatch, *, space: bool
) -> None:
    if space:
        monkeypatch.setenv("SPACE_ID", "owner/space")
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    with served(predictor, upload_limiter=ClientRateLimiter(1)) as url:
        statuses = []
        for who in ("1.1.1.1", "2.2.2.2"):
            with photo.open("rb") as stream:
                headers = {"X-Forwarded-For": who}
                sent = httpx.post(f"{url}{API}/upload", files={"files": stream}, headers=headers)
            statuses.append(sent.status_code)
    assert statuses == [200, 429]


def test_declared_proxy_distinguishes_visitors(predictor: LocalPredictor, photo: Path) -> None:
    with served(
        predictor,
        photo_limiter=ClientRateLimiter(1),
        upload_limiter=ClientRateLimiter(9),
        proxies=1,
    ) as url:
        path = upload(url, photo)

        def ask(*lines: str) -> str:
            headers = [("X-Forwarded-For", line) for line in lines]
            body = {"data": [{"path": path}, "classic", False]}
            asked = httpx.post(f"{url}{API}/call/predict", json=body, headers=headers)
            return result_of(url, asked.json()["event_id"])

        for lines, answered in (
            (["1.1.1.1"], True),
            (["9.9.9.9", "1.1.1.1"], False),
            (["9.9.9.9, 1.1.1.1"], False),
            (["2001:db8::1"], True),
            (["2001:db8::2"], False),
            (["2001:db8:0:1::1"], True),
        ):
            assert ("too_many_requests" not in ask(*lines)) == answered, lines


def test_aborted_upload_logs_no_error(
    predictor: LocalPredictor, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    folder = UploadFolder(tmp_path, max_age_s=300, max_bytes=2**20)
    with served(predictor, uploads=folder) as url:
        head = (
            f"POST {API}/upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
        )
        with connected(port_of(url)) as connection:
            connection.sendall(head.encode())
            connection.shutdown(socket.SHUT_WR)
            everything(connection)
        assert httpx.get(f"{url}/healthz").status_code == 200
    assert caplog.records == []


def test_first_uploads_are_kept_while_a_visitor_sends_the_last(
    predictor: LocalPredictor, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "uploads").mkdir()
    elsewhere = tmp_path / "elsewhere.jpg"
    folder = UploadFolder(tmp_path / "uploads", max_age_s=300, max_bytes=2**30)
    files = [folder.path / "first.jpg", folder.path / "last.jpg", elsewhere]
    with served(predictor, uploads=folder) as url:
        for file in files:
            file.write_bytes(b"x")
            os.utime(file, (time.time() - 299,) * 2)
        sent = [str(files[0]), str(elsewhere), str(folder.path / "../elsewhere.jpg"), "\0"]
        assert httpx.post(f"{url}/held", json=sent).status_code == 200
        for nonsense in (b"", b"[1]", b'{"a": 1}', json.dumps(["x"] * 2501).encode()):
            assert httpx.post(f"{url}/held", content=nonsense).status_code == 400
    ages = [time.time() - file.stat().st_mtime for file in files]
    assert [age < 250 for age in ages] == [True, False, False]


def test_uploads_are_limited_in_total(
    predictor: LocalPredictor, photo: Path, tmp_path: Path
) -> None:
    size = photo.stat().st_size
    (tmp_path / "uploads").mkdir()
    folder = UploadFolder(tmp_path / "uploads", max_age_s=300, max_bytes=2 * size)
    with served(predictor, uploads=folder) as url:
        statuses = []
        for _ in range(2):
            with photo.open("rb") as stream:
                sent = httpx.post(f"{url}{API}/upload", files={"files": stream})
            statuses.append(sent.status_code)
        assert statuses == [200, 503]
        assert sent.headers["Retry-After"] == "60"
        folder.sweep()  # nothing lies there
        upload(url, photo)
