"""A Hugging Face Hub on loopback: repositories, uploads, large file storage, and faults."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.support.servers import LOOK_S

LARGE = 100_000
"""Size in bytes from which a file is kept in large file storage."""

KINDS = frozenset({"api", "resolve", "storage"})
"""Kinds of requests: of the API, for a file, and of large file storage."""


@dataclass
class Repo:
    """A repository: files by commit SHA, and the refs (branches and tags) of its commits."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes], ref: str = "main") -> str:
        """Add a commit with these files, move the ref to it, and return its SHA."""
        listing = {path: _sha1(content) for path, content in files.items()}
        sha = _sha1(json.dumps([len(self.commits), listing]).encode())
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        return sha


@dataclass(slots=True)
class Faults:
    """Faults of the Hub. Setting one that does not exist raises an error.

    Attributes:
        status: HTTP status by kind of request (see KINDS) or by a part of the path, which must
            contain a slash.
        code: X-Error-Code of the answers that `status` causes.
        answer: Body of every answer of the API.
        sent: Content of files by path, in place of their own.
        cut: Paths of files whose bodies end half-way, and how often; always if negative.
        pause_s: Pause before each answer, in seconds.
        held: Answers wait until this event is set.
        drip_s: Pause between pieces of a file, in seconds.
        tree: Entries that are added to every tree.
    """

    status: Mapping[str, int] = field(default_factory=dict)
    code: str = ""
    answer: bytes | None = None
    sent: dict[str, bytes] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    pause_s: float = 0.0
    held: threading.Event | None = None
    drip_s: float = 0.0
    tree: list[dict[str, Any]] = field(default_factory=list)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "status" and isinstance(value, Mapping):
            unknown = sorted(kind for kind in value if "/" not in kind and kind not in KINDS)
            if unknown:
                raise ValueError(f"unknown kinds of requests {unknown}; known: {sorted(KINDS)}")
        object.__setattr__(self, name, value)

    def status_of(self, kind: str, path: str) -> int | None:
        """Return the status that a request must get, or None."""
        for where, status in self.status.items():
            if where == kind or ("/" in where and where in path):
                return status
        return None


class HubServer:
    """The Hub, and a second server for large file storage, to which it redirects.

    Attributes:
        repos: Repositories by `owner/name`.
        faults: Faults from now on.
        token: Token that every request must carry; None: any.
        asked: Method and path of every request so far.
        ranges: Path and Range of every request that had one.
        created: Requests to create a repository, by its name.
        tokens: Authorization headers that the Hub received.
        secrets: Authorization headers that large file storage received; it should get none.
        uploaded: Uploads to large file storage, by SHA-256.
        redirect: Whether large files are redirected to large file storage.
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
        self._servers = [_Server(self, _HubHandler), _Server(self, _StorageHandler)]

    @property
    def url(self) -> str:
        """Return the address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def storage(self) -> str:
        """Return the address of large file storage."""
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    @contextmanager
    def running(self) -> Iterator[HubServer]:
        """Run both servers within a block."""
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


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: HubServer, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    """Base of the handlers of the Hub and its file storage: faults, files and answers."""

    server: _Server
    protocol_version = "HTTP/1.1"
    # Without this, a body waits 40 ms until the client has acknowledged the head.
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.hub = self.server.hub

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def log_message(self, *_arguments: object) -> None:
        """Do not print requests."""

    def answer(self) -> None:
        """Record a request and answer it, with a fault if one affects it."""
        self.hub.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        path = unquote(urlsplit(self.path).path)
        self.record_authorization(self.headers.get("Authorization"))
        time.sleep(self.hub.faults.pause_s)
        if self.hub.faults.held is not None:
            self.hub.faults.held.wait()
        status = self.hub.faults.status_of(self.kind(path), path)
        if status is not None:
            self.fail(status, self.hub.faults.code)
        else:
            self.respond(path, body)

    def kind(self, path: str) -> str:
        """Return the kind of a request (see KINDS)."""
        raise NotImplementedError

    def record_authorization(self, header: str | None) -> None:
        """Note the Authorization header of a request."""
        raise NotImplementedError

    def respond(self, path: str, body: bytes) -> None:
        """Answer a request that no fault affects."""
        raise NotImplementedError

    def file(self, content: bytes, path: str, headers: dict[str, str]) -> None:
        """Answer with a file or the range of it that was asked for."""
        content = self.hub.faults.sent.get(path, content)
        status = 200
        if asked := self.headers.get("Range"):
            self.hub.ranges.append((path, asked))
            first, size = int(asked.removeprefix("bytes=").split("-")[0]), len(content)
            headers = headers | {"Content-Range": f"bytes {first}-{size - 1}/{size}"}
            content, status = content[first:], 206
        if self.command == "GET" and (left := self.hub.faults.cut.get(path, 0)):
            self.hub.faults.cut[path] = left - 1
            self.send(content, status, headers, most=len(content) // 2)
            self.close_connection = True
        else:
            self.send(content, status, headers, drip_s=self.hub.faults.drip_s)

    def json(self, value: object, status: int = 200) -> None:
        """Answer with JSON."""
        self.send(json.dumps(value).encode(), status)

    def fail(self, status: int, code: str = "") -> None:
        """Answer with an error."""
        self.send(b"{}", status, {"X-Error-Code": code} if code else {})

    def send(
        self,
        content: bytes,
        status: int = 200,
        headers: dict[str, str] | None = None,
        most: int | None = None,
        drip_s: float = 0.0,
    ) -> None:
        """Answer with bytes: at most so many, and in pieces with a pause after each."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        content = content[:most]
        with suppress(ConnectionError):  # the client has left, as after a timeout
            if not drip_s:
                self.wfile.write(content)
                return
            for start in range(0, len(content), 2_000):
                self.wfile.write(content[start : start + 2_000])
                self.wfile.flush()
                time.sleep(self.hub.faults.drip_s)  # a test may set it to 0 meanwhile


class _StorageHandler(_Handler):
    """Large file storage."""

    def kind(self, path: str) -> str:
        return "storage"

    def record_authorization(self, header: str | None) -> None:
        if header:
            self.hub.secrets.append(header)

    def respond(self, path: str, body: bytes) -> None:
        if self.command == "PUT":
            self.hub.uploaded[hashlib.sha256(body).hexdigest()] = body
            self.send(b"")
            return
        _, _, owner, name, sha, rest = path.split("/", 5)
        self.file(self.hub.repos[f"{owner}/{name}"].commits[sha][rest], rest, {})


class _HubHandler(_Handler):
    """The API of the Hub, and the files of its repositories."""

    def kind(self, path: str) -> str:
        return "resolve" if "/resolve/" in path else "api"

    def record_authorization(self, header: str | None) -> None:
        if header:
            self.hub.tokens.append(header)

    def respond(self, path: str, body: bytes) -> None:
        token = self.hub.token
        if token and self.headers.get("Authorization") != f"Bearer {token}":
            self.fail(401)
        elif self.kind(path) == "resolve":
            self._resolve(path)
        elif self.hub.faults.answer is not None:
            self.send(self.hub.faults.answer)
        else:
            self._api(path, body)

    def _resolve(self, path: str) -> None:
        name, _, rest = path.strip("/").partition("/resolve/")
        ref, _, file = rest.partition("/")
        repo = self.hub.repos.get(name)
        if repo is None:
            self.fail(404, "RepoNotFound")
            return
        sha = repo.refs.get(ref, ref)
        if sha not in repo.commits:
            self.fail(404, "RevisionNotFound")
        elif file not in repo.commits[sha]:
            self.fail(404, "EntryNotFound")
        else:
            self._resolved(name, sha, file, repo.commits[sha][file])

    def _resolved(self, repo: str, sha: str, file: str, content: bytes) -> None:
        headers = {"X-Repo-Commit": sha}
        if len(content) < LARGE:
            self.file(content, file, headers | {"ETag": f'"{blob_id(content)}"'})
            return
        digest = hashlib.sha256(content).hexdigest()
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if self.hub.redirect:
            location = f"{self.hub.storage}/lfs/{repo}/{sha}/{file}"
            self.send(b"", 302, headers | {"Location": location})
        else:
            self.file(content, file, headers | {"ETag": f'"{digest}"'})

    def _api(self, path: str, body: bytes) -> None:
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif path == "/api/validate-yaml":
            self.json({"errors": [], "warnings": []})
        elif path == "/api/whoami-v2":
            self.json({"name": "owner", "type": "user", "orgs": []})
        elif path.endswith("/info/lfs/objects/batch"):
            self._batch(json.loads(body))
        else:
            parts = path.strip("/").split("/")
            # The name of a Space begins with its prefix.
            name = "/".join(parts[1:4] if parts[:2] == ["api", "spaces"] else parts[2:4])
            if parts[:2] in (["api", "models"], ["api", "spaces"]) and name in self.hub.repos:
                self._repository(name, parts[4:], body)
            else:
                self.fail(404, "RepoNotFound")

    def _create(self, request: dict[str, Any]) -> None:
        owner = request.get("organization") or "owner"
        prefix = "spaces/" if request.get("type") == "space" else ""
        name = f"{prefix}{owner}/{request['name']}"
        known = name in self.hub.repos
        if not known:
            self.hub.created[name] = request
            self.hub.repos[name] = Repo()
            self.hub.repos[name].commit({".gitattributes": b"*.tflite filter=lfs\n"})
        self.json({"url": f"{self.hub.url}/{name}", "id": name}, 409 if known else 200)

    def _batch(self, request: dict[str, Any]) -> None:
        objects = [
            each | {"actions": {"upload": {"href": f"{self.hub.storage}/put/{each['oid']}"}}}
            for each in request["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def _repository(self, name: str, rest: list[str], body: bytes) -> None:
        repo = self.hub.repos[name]
        verb = rest[0] if rest else "revision"
        ref = rest[1] if len(rest) > 1 else "main"
        sha = repo.refs.get(ref, ref)
        if verb == "preupload":
            self._preupload(repo.commits.get(sha, {}), json.loads(body))
        elif verb == "commit":
            self._commit(repo, name, ref, body)
        elif verb == "refs":
            self._refs(repo)
        elif verb == "tag":
            self._tag(repo, sha, json.loads(body)["tag"])
        elif sha not in repo.commits:
            self.fail(404, "RevisionNotFound")
        elif verb == "tree":
            tree = [_entry(path, content) for path, content in repo.commits[sha].items()]
            self.json(tree + self.hub.faults.tree)
        else:
            siblings = [{"rfilename": path} for path in repo.commits[sha]]
            self.json({"id": name, "modelId": name, "sha": sha, "siblings": siblings})

    def _preupload(self, stored: dict[str, bytes], request: dict[str, Any]) -> None:
        files = [
            {
                "path": each["path"],
                "uploadMode": "lfs" if each["size"] >= LARGE else "regular",
                "shouldIgnore": False,
                "oid": _oid(stored.get(each["path"])),
            }
            for each in request["files"]
        ]
        self.json({"files": files})

    def _refs(self, repo: Repo) -> None:
        tags = [
            {"name": ref, "ref": f"refs/tags/{ref}", "targetCommit": sha}
            for ref, sha in repo.refs.items()
            if ref != "main"
        ]
        self.json({"branches": [], "converts": [], "tags": tags})

    def _tag(self, repo: Repo, sha: str, tag: str) -> None:
        if tag in repo.refs:
            self.fail(409)
        else:
            repo.refs[tag] = sha
            self.send(b"")

    def _commit(self, repo: Repo, name: str, ref: str, body: bytes) -> None:
        files = dict(repo.commits.get(repo.refs.get(ref, ""), {}))
        for line in body.splitlines():
            operation = json.loads(line)
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "deletedFile":
                files.pop(value["path"], None)
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.uploaded[value["oid"]]
        sha = repo.commit(files, ref)
        url = f"{self.hub.url}/{name}/commit/{sha}"
        self.json({"success": True, "commitOid": sha, "commitUrl": url})


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def blob_id(content: bytes) -> str:
    """Return the SHA-1 by which git names a file."""
    return _sha1(b"blob %d\0" % len(content) + content)


def _oid(content: bytes | None) -> str | None:
    """Return the digest that the client compares its own file with."""
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
