"""Malformed requests to a served page: each gets a response of its own, and no traceback."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from core.serving.local import LocalPredictor
from demo.context import ClientRateLimiter
from tests.demo.running import served

API = "/gradio_api"
JOIN: dict[str, Any] = {"data": [None, None, False], "session_hash": "s", "fn_index": 0}
DEEP = b'{"data": [' + b"[" * 300 + b"]" * 300 + b', null, false], "session_hash": "s"}'


@pytest.fixture(scope="module")
def url(predictor: LocalPredictor) -> Iterator[str]:
    with served(
        predictor, upload_limiter=ClientRateLimiter(1000), photo_limiter=ClientRateLimiter(1000)
    ) as address:
        yield address


@pytest.fixture(autouse=True)
def _no_traceback(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Let a test fail that leaves a traceback, or more than a line, in the log or on a stream."""
    yield
    logged = [each for each in caplog.get_records("call") if each.levelno > logging.DEBUG]
    assert len(logged) <= 1
    assert all(each.exc_info is None for each in logged)
    assert not any("Traceback" in stream for stream in capfd.readouterr())


def post(url: str, path: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"Content-Type": "application/json", **headers}
    return httpx.post(f"{url}{API}/{path}", content=content, headers=kind, timeout=60)


def is_refused(answer: httpx.Response) -> bool:
    return 400 <= answer.status_code < 500


def heard(url: str, session: str) -> list[dict[str, Any]]:
    """Return the messages of a session, until its stream closes."""
    messages = []
    stream = f"{url}{API}/queue/data?session_hash={session}"
    with httpx.stream("GET", stream, timeout=60) as answer:
        for line in filter(None, answer.iter_lines()):
            messages.append(json.loads(line.removeprefix("data:")))
            if messages[-1]["msg"] == "close_stream":
                break
    return messages


@pytest.mark.parametrize("index", [9_999, -1, 10**30, "9999"])
def test_event_of_an_unknown_function_is_refused(url: str, index: Any) -> None:
    answer = post(url, "queue/join", JOIN | {"fn_index": index})
    assert answer.status_code == 404
    assert "no such event" in answer.json()["detail"]


def test_event_of_a_function_without_a_handler_is_refused(url: str) -> None:
    functions = httpx.get(f"{url}/config").json()["dependencies"]
    scripts = [each["id"] for each in functions if not each["backend_fn"]]
    assert scripts
    for index in scripts:
        assert post(url, "queue/join", JOIN | {"fn_index": index}).status_code == 404


@pytest.mark.parametrize("path", ["call/nowhere", "call/v2/nowhere", "call/v2/show"])
def test_call_of_an_unknown_endpoint_is_refused(url: str, path: str) -> None:
    assert post(url, path, {"data": []}).status_code == 404


@pytest.mark.parametrize("path", ["run/predict", "run/nowhere", "api/predict", "stream/x"])
def test_event_outside_of_the_queue_is_refused(url: str, path: str) -> None:
    assert post(url, path, JOIN).status_code == 404


@pytest.mark.parametrize("data", [[], [None], [None] * 2])
@pytest.mark.parametrize("path", ["queue/join", "call/predict"])
def test_event_with_too_few_values_is_refused(url: str, path: str, data: list[None]) -> None:
    answer = post(url, path, JOIN | {"data": data})
    assert answer.status_code == 400
    assert f"has {len(data)} values" in answer.json()["detail"]


@pytest.mark.parametrize("data", ["x", None, {}, 5])
@pytest.mark.parametrize("path", ["queue/join", "call/predict"])
def test_event_whose_data_are_no_list_is_refused(url: str, path: str, data: Any) -> None:
    assert is_refused(post(url, path, JOIN | {"data": data}))
    assert is_refused(post(url, path, {k: v for k, v in JOIN.items() if k != "data"}))


@pytest.mark.parametrize("values", [{}, {"photo": None, "nothing": 1}, {"data": []}])
def test_call_with_wrong_names_is_refused(url: str, values: dict[str, Any]) -> None:
    assert post(url, "call/v2/predict", values).status_code == 400


@pytest.mark.parametrize(
    "body",
    [b'{"data": NaN}', b'{"data": [1e400]}', b'{"event_id": "\\ud800"}', DEEP],
    ids=["nan", "infinite", "surrogate", "deep"],
)
@pytest.mark.parametrize(
    "path", ["queue/join", "call/predict", "call/v2/predict", "cancel", "reset", "vibe-edit"]
)
def test_json_that_no_response_can_repeat_is_refused(url: str, path: str, body: bytes) -> None:
    assert is_refused(post(url, path, body))


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 3_000, b"null", b"[]", b"5"])
@pytest.mark.parametrize("path", ["queue/join", "call/predict", "call/v2/predict", "cancel"])
def test_body_that_is_no_event_is_refused(url: str, path: str, body: bytes) -> None:
    assert is_refused(post(url, path, body))


@pytest.mark.parametrize(
    ("field", "value"),
    [("trigger_id", 9_999), ("trigger_id", -1), ("event_id", "none"), ("event_data", 5)],
)
def test_event_with_an_unknown_origin_is_answered(url: str, field: str, value: Any) -> None:
    session = f"{field}{value}"
    assert post(url, "queue/join", JOIN | {"session_hash": session, field: value}).is_success
    (done,) = [each for each in heard(url, session) if each["msg"] == "process_completed"]
    assert done["output"]["data"][0]["error"]["code"]


@pytest.mark.parametrize("value", [None, "x", 5, {}, [["x"]], {"path": 5}, {"__type__": "update"}])
def test_values_of_a_wrong_type_fail_without_a_traceback(url: str, value: Any) -> None:
    functions = httpx.get(f"{url}/config").json()["dependencies"]
    for each in (each for each in functions if each["backend_fn"]):
        event = {"fn_index": each["id"], "data": [value] * len(each["inputs"])}
        assert post(url, "queue/join", JOIN | event | {"session_hash": "types"}).is_success
        assert heard(url, "types")[-1]["msg"] == "close_stream"


@pytest.mark.parametrize("session", ["nowhere", "", "%FF", "a&session_hash=b"])
def test_unknown_session_is_reported_as_by_gradio(url: str, session: str) -> None:
    (told,) = heard(url, session)
    assert told["msg"] == "unexpected_error"
    assert told["session_not_found"]


def test_second_listener_of_an_event_ends_with_the_first(url: str) -> None:
    event = post(url, "call/models", {"data": []}).json()["event_id"]
    result = f"{url}{API}/call/models/{event}"
    with httpx.stream("GET", result, timeout=60) as first, httpx.stream("GET", result) as second:
        texts = [b"".join(each.iter_raw()) for each in (first, second)]
    assert sum(b"complete" in text for text in texts) == 1


@pytest.mark.parametrize("path", ["assets", "static", "svelte"])
@pytest.mark.parametrize("rest", ["a" * 300, "a/" * 1_500], ids=["name", "path"])
def test_path_that_no_file_can_have_is_refused(url: str, path: str, rest: str) -> None:
    assert is_refused(httpx.get(f"{url}/{path}/{rest}"))


@pytest.mark.parametrize("name", ["X-Forwarded-Host", "X-Gradio-Server"])
@pytest.mark.parametrize("host", ["http://[::", "[::", "a:99999999", "a:b"])
def test_invalid_host_leaves_no_traceback(url: str, name: str, host: str) -> None:
    for path in ("/", "/config", f"{API}/info"):
        answer = httpx.get(url + path, headers={name: host})
        assert answer.is_success or is_refused(answer)
    joined = post(url, "queue/join", JOIN | {"session_hash": "host"}, **{name: host})
    if joined.is_success:
        heard(url, "host")
    else:
        assert is_refused(joined)
