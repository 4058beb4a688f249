"""A Hub of the tests' own on loopback: repositories of models, uploads, and what can fail."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.servers import LOOK_S

LARGE = 100_000
"""Bytes from which on a file lies in large file storage."""


@dataclass
class Repo:
    """Commits by SHA, each its files; and the names that lead to them."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Add a commit."""
        listing = {path: _sha1(content) for path, content in files.items()}
        sha = _sha1(json.dumps([len(self.commits), listing]).encode())
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha


@dataclass
class Faults:
    """What goes wrong.

    Attributes:
        status: Every request of this kind (`api`, `resolve`, `storage`) gets it; or whose path
            holds it.
        code: X-Error-Code beside it.
        answer: What every request of the API gets in place of its own answer.
        sent: Path -> bytes that are sent in place of its own.
        cut: Paths whose bodies end half-way; so often, or each time where it is negative.
        pause_s: Before each answer.
        held: Answers wait until it is set.
        drip_s: Between pieces of a file.
        tree: Entries that are added to every tree.
    """

    status: dict[str, int] = field(default_factory=dict)
    code: str = ""
    answer: bytes | None = None
    sent: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    pause_s: float = 0.0
    held: threading.Event | None = None
    drip_s: float = 0.0
    tree: list[dict[str, Any]] = field(default_factory=list)


class HubServer:
    """The server, and another one on the same machine that large files are redirected to.

    Attributes:
        repos: By `owner/name`.
        faults: What goes wrong from now on.
        token: What every request must carry; None: nothing.
        asked: Method and path of every request so far.
        ranges: Path and Range of every request that had one.
        created: What each repository was to be that somebody made.
        tokens: What the Hub was sent as Authorization.
        secrets: What large file storage was sent as Authorization, which it should not be.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.faults = Faults()
        self.token: str | None = None
        self.asked: list[str] = []
        self.ranges: list[tuple[str, str]] = []
        self.created: dict[str, dict[str, Any]] = {}
        self.tokens: list[str] = []
        self.secrets: list[str] = []
        self.uploaded: dict[str, bytes] = {}
        self.redirect = True
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, storage))
            for storage in (False, True)
        ]

    @property
    def url(self) -> str:
        """Address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage(self) -> str:
        """Address of large file storage."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        """Serve meanwhile."""
        threads = [
            threading.Thread(target=server.serve_forever, args=(LOOK_S,))
            for server in self._servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for server in self._servers:
                server.shutdown()
            for thread in threads:
                thread.join()
            for server in self._servers:
                server.server_close()


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def blob_id(content: bytes) -> str:
    """What git calls a file."""
    return _sha1(b"blob %d\0" % len(content) + content)


def _oid(content: bytes | None) -> str | None:
    """What the client compares its own file with."""
    if content is None:
        return None
    return hashlib.sha256(content).hexdigest() if len(content) >= LARGE else blob_id(content)


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content)}
    if len(content) < LARGE:
        return entry | {"oid": blob_id(content)}
    digest = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\n".encode()
    lfs = {"oid": digest, "size": len(content), "pointerSize": len(pointer)}
    return entry | {"oid": blob_id(pointer), "lfs": lfs}


def _handler(hub: HubServer, storage: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else a body waits forty milliseconds until the client has acknowledged the head.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._route()

        def do_HEAD(self) -> None:
            self._route()

        def do_POST(self) -> None:
            self._route()

        def do_PUT(self) -> None:
            self._route()

        def log_message(self, *_arguments: object) -> None:
            """Do not print requests."""

        def _route(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path)
            kind = "storage" if storage else "resolve" if "/resolve/" in path else "api"
            if (secret := self.headers.get("Authorization")) and not storage:
                hub.tokens.append(secret)
            time.sleep(hub.faults.pause_s)
            if hub.faults.held is not None:
                hub.faults.held.wait()
            failing = [at for at in hub.faults.status if at == kind or ("/" in at and at in path)]
            if failing:
                self._fail(hub.faults.status[failing[0]], hub.faults.code)
            elif storage:
                self._storage(path, body)
            elif hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._fail(401, "")
            elif kind == "resolve":
                self._resolve(path)
            elif hub.faults.answer is not None:
                self._send(hub.faults.answer)
            else:
                self._api(path, body)

        def _storage(self, path: str, body: bytes) -> None:
            if secret := self.headers.get("Authorization"):
                hub.secrets.append(secret)
            if self.command == "PUT":
                hub.uploaded[hashlib.sha256(body).hexdigest()] = body
                self._send(b"")
                return
            _, _, owner, name, sha, rest = path.split("/", 5)
            self._file(hub.repos[f"{owner}/{name}"].commits[sha][rest], rest, {})

        def _resolve(self, path: str) -> None:
            repo, _, rest = path.strip("/").partition("/resolve/")
            sha, _, name = rest.partition("/")
            found = hub.repos.get(repo)
            sha = found.refs.get(sha, sha) if found else sha
            if found is None:
                self._fail(404, "RepoNotFound")
            elif sha not in found.commits:
                self._fail(404, "RevisionNotFound")
            elif name not in found.commits[sha]:
                self._fail(404, "EntryNotFound")
            else:
                content = found.commits[sha][name]
                headers = {"X-Repo-Commit": sha}
                if len(content) < LARGE:
                    self._file(content, name, headers | {"ETag": f'"{blob_id(content)}"'})
                    return
                digest = hashlib.sha256(content).hexdigest()
                headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
                if hub.redirect:
                    where = f"{hub.storage}/lfs/{repo}/{sha}/{name}"
                    self._send(b"", 302, headers | {"Location": where})
                else:
                    self._file(content, name, headers | {"ETag": f'"{digest}"'})

        def _api(self, path: str, body: bytes) -> None:
            parts = path.strip("/").split("/")
            if path == "/api/repos/create":
                about = json.loads(body)
                owner = about.get("organization") or "owner"
                place = "spaces/" if about.get("type") == "space" else ""
                name = f"{place}{owner}/{about['name']}"
                known = name in hub.repos
                if not known:
                    hub.created[name] = about
                    hub.repos[name] = Repo()
                    hub.repos[name].commit({".gitattributes": b"*.tflite filter=lfs\n"})
                self._json({"url": f"{hub.url}/{name}", "id": name}, 409 if known else 200)
            elif path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif path == "/api/whoami-v2":
                self._json({"name": "owner", "type": "user", "orgs": []})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = [
                    each | {"actions": {"upload": {"href": f"{hub.storage}/put/{each['oid']}"}}}
                    for each in json.loads(body)["objects"]
                ]
                self._json({"transfer": "basic", "objects": objects})
            elif parts[:2] == ["api", "spaces"] and "/".join(parts[1:4]) in hub.repos:
                self._model("/".join(parts[1:4]), parts[4:], body)
            elif parts[:2] == ["api", "models"] and "/".join(parts[2:4]) in hub.repos:
                self._model("/".join(parts[2:4]), parts[4:], body)
            else:
                self._fail(404, "RepoNotFound")

        def _model(self, name: str, rest: list[str], body: bytes) -> None:
            repo = hub.repos[name]
            what = rest[0] if rest else "revision"
            ref = rest[1] if len(rest) > 1 else "main"
            sha = repo.refs.get(ref, ref)
            if what == "preupload":
                there = repo.commits.get(sha, {})
                files = [
                    {
                        "path": each["path"],
                        "uploadMode": "lfs" if each["size"] >= LARGE else "regular",
                        "shouldIgnore": False,
                        "oid": _oid(there.get(each["path"])),
                    }
                    for each in json.loads(body)["files"]
                ]
                self._json({"files": files})
            elif what == "commit":
                self._commit(repo, name, ref, body)
            elif what == "refs":
                tags = [
                    {"name": ref, "ref": f"refs/tags/{ref}", "targetCommit": found}
                    for ref, found in repo.refs.items()
                    if ref != "main"
                ]
                self._json({"branches": [], "converts": [], "tags": tags})
            elif what == "tag":
                tag = json.loads(body)["tag"]
                if tag in repo.refs:
                    self._fail(409, "")
                else:
                    repo.refs[tag] = sha
                    self._send(b"")
            elif sha not in repo.commits:
                self._fail(404, "RevisionNotFound")
            elif what == "tree":
                tree = [_entry(path, content) for path, content in repo.commits[sha].items()]
                self._json(tree + hub.faults.tree)
            else:
                siblings = [{"rfilename": path} for path in repo.commits[sha]]
                self._json({"id": name, "modelId": name, "sha": sha, "siblings": siblings})

        def _commit(self, repo: Repo, name: str, ref: str, body: bytes) -> None:
            files = dict(repo.commits.get(repo.refs.get(ref, ""), {}))
            for line in body.splitlines():
                about = json.loads(line)
                value = about["value"]
                if about["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif about["key"] == "deletedFile":
                    files.pop(value["path"], None)
                elif about["key"] == "lfsFile":
                    files[value["path"]] = hub.uploaded[value["oid"]]
            sha = repo.commit(files, ref)
            self._json(
                {"success": True, "commitOid": sha, "commitUrl": f"{hub.url}/{name}/commit/{sha}"}
            )

        def _file(self, content: bytes, path: str, headers: dict[str, str]) -> None:
            sent = hub.faults.sent.get(path, content)
            status = 200
            if asked := self.headers.get("Range"):
                hub.ranges.append((path, asked))
                first = int(asked.removeprefix("bytes=").split("-")[0])
                headers = headers | {"Content-Range": f"bytes {first}-{len(sent) - 1}/{len(sent)}"}
                sent, status = sent[first:], 206
            if self.command == "GET" and (left := hub.faults.cut.get(path, 0)):
                hub.faults.cut[path] = left - 1
                self._send(sent, status, headers, most=len(sent) // 2)
                self.close_connection = True
            else:
                self._send(sent, status, headers, drip_s=hub.faults.drip_s)

        def _json(self, value: object, status: int = 200) -> None:
            self._send(json.dumps(value).encode(), status)

        def _fail(self, status: int, code: str) -> None:
            self._send(b"{}", status, {"X-Error-Code": code} if code else {})

        def _send(
            self,
            content: bytes,
            status: int = 200,
            headers: dict[str, str] | None = None,
            most: int | None = None,
            drip_s: float = 0.0,
        ) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            content = content[:most]
            with suppress(ConnectionError):  # who asked has left, as after a deadline
                if not drip_s:
                    self.wfile.write(content)
                    return
                for start in range(0, len(content), 2_000):
                    self.wfile.write(content[start : start + 2_000])
                    self.wfile.flush()
                    time.sleep(hub.faults.drip_s)  # which a test may end

    return Handler
