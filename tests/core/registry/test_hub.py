"""The Hub client, against a Hub on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest

from core.errors import DataError, HubUnavailableError
from core.registry import hub
from tests.support import hub_server
from tests.support.servers import LOOK_S

FILES = {
    "plain_text/train.parquet": b"train" * 1000,
    "plain_text/test.parquet": b"test",
    "x.md": b"?",
}
SHA = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Serve the data set `owner/set` as the Hub does."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        path = self.path.split("?")[0]
        if path == "/api/datasets/owner/set/revision/main":
            info = {"id": "owner/set", "sha": SHA, "siblings": [{"rfilename": n} for n in FILES]}
            self._send(json.dumps(info).encode(), body=body)
        elif path.startswith(f"/api/datasets/owner/set/tree/{SHA}"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in FILES.items()
            ]
            self._send(json.dumps(tree).encode(), body=body)
        elif (name := path.removeprefix(f"/datasets/owner/set/resolve/{SHA}/")) in FILES:
            content = FILES[name]
            etag = hashlib.sha256(content).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": SHA}
            self._send(content, body=body, headers=headers)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, content: bytes, *, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_arguments: object) -> None:
        """Do not print requests."""


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_dataset_download_fetches_matching_files(endpoint: str, tmp_path: Path) -> None:
    folder = hub.fetch_dataset(
        "owner/set", "plain_text/*.parquet", cache=tmp_path, endpoint=endpoint
    )
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == {name: FILES[name] for name in FILES if name != "x.md"}


def test_missing_dataset_or_file_is_reported(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"owner/other cannot be downloaded.*TENSIGHT_DATA"):
        hub.fetch_dataset("owner/other", "*", cache=tmp_path, endpoint=endpoint)
    with pytest.raises(DataError, match="no file that matches plain_text/\\*\\.csv"):
        hub.fetch_dataset("owner/set", "plain_text/*.csv", cache=tmp_path, endpoint=endpoint)


def test_dataset_download_without_network_is_reported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="cannot be downloaded from the Hub"):
        hub.fetch_dataset("owner/set", "*", cache=tmp_path)


@pytest.mark.parametrize("error", [KeyError("x"), TypeError("x"), AttributeError("x")])
def test_programming_error_is_not_reported_as_network_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def stumble(*_: object) -> None:
        raise error

    file = hub.RemoteFile("a", 1, hub_server.blob_id(b"x"), None)
    (tmp_path / "there").write_bytes(b"x")
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *_, **__: str(tmp_path / "there")
    )
    with pytest.raises(type(error)) as caught:
        hub.fetch(
            hub.Commit("owner/models", SHA, (file,)),
            [file],
            into=tmp_path / "into",
            cache=tmp_path / "cache",
            token=None,
            progress=stumble,
        )
    assert caught.value is error


def test_error_of_the_hub_client_is_logged_with_traceback(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with hub_server.HubServer().running() as server:
        server.repos["owner/models"] = hub_server.Repo()
        server.repos["owner/models"].commit({"x.md": b"?"})
        server.faults.answer = b"[]"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        with (
            caplog.at_level("DEBUG", "core.registry.hub"),
            pytest.raises(HubUnavailableError) as caught,
        ):
            hub.resolve_commit("owner/models", "main", token=None)
    assert "redirects to a login page" in str(caught.value)
    (record,) = [each for each in caplog.records if each.name == "core.registry.hub"]
    assert record.exc_info is not None
    assert record.exc_info[1] is caught.value.__cause__ is not None
