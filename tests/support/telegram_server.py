"""A Bot API server on loopback with long polling, files, webhooks and faults."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import httpx
from telegram import Bot

from tests.support.servers import LOOK_S

TOKEN = "123456:" + "a" * 35
BOT_ID = 123456
BOT = {"id": BOT_ID, "is_bot": True, "first_name": "TenSight", "username": "tensight_bot"}
# Methods that set or get a text of the bot's profile, and the name of the text's field.
_TEXTS = {
    f"{act}My{what}": field
    for act in ("set", "get")
    for what, field in {
        "Commands": "commands",
        "Name": "name",
        "Description": "description",
        "ShortDescription": "short_description",
    }.items()
}
_NO_MESSAGE = {
    *("answerCallbackQuery", "deleteWebhook", "getFile", "getMe", "getUpdates", "setWebhook"),
    *("getWebhookInfo", "sendChatAction", "getChatAdministrators"),
    *_TEXTS,
}


@dataclass
class Call:
    """A request of the bot: method, parameters, files by field, and time of arrival."""

    method: str
    data: dict[str, Any]
    files: dict[str, bytes]
    at: float

    @property
    def chat(self) -> int:
        return int(self.data.get("chat_id", 0))

    @property
    def text(self) -> str:
        media = self.data.get("media")
        if media:
            return str(json.loads(media).get("caption", ""))
        return str(self.data.get("text", self.data.get("caption", "")))

    @property
    def reply_to(self) -> int | None:
        about = self.data.get("reply_parameters")
        return int(json.loads(about)["message_id"]) if about else None

    def buttons(self) -> dict[str, str]:
        """Return the callback data of each button by its text."""
        markup = json.loads(self.data.get("reply_markup", "{}"))
        rows = markup.get("inline_keyboard", [])
        return {button["text"]: button["callback_data"] for row in rows for button in row}


@dataclass
class Faults:
    """Faults of the server.

    Attributes:
        retry_after: Pauses in seconds that are demanded from a chat, once for each number.
        failing: Statuses that a method answers with, once for each.
        slow_s: Seconds that every answer takes, except to getUpdates.
        conflict: Whether another program polls.
        gone: Ids of files that were deleted.
        moved: New ids of groups that became supergroups.
        reasons: Reasons with which a method is refused, once for each.
        busy: Pauses in seconds that a method demands, once for each number.
        broken: Ids of files that the server fails to deliver.
        unknown: Methods that the server does not know.
        closed: Reasons why the bot may not write in a chat.
        revoked: Whether the token was revoked.
    """

    retry_after: dict[int, list[int]] = field(default_factory=dict)
    failing: dict[str, list[int]] = field(default_factory=dict)
    slow_s: float = 0.0
    conflict: bool = False
    gone: set[str] = field(default_factory=set)
    moved: dict[int, int] = field(default_factory=dict)
    reasons: dict[str, list[str]] = field(default_factory=dict)
    busy: dict[str, list[int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    closed: dict[int, str] = field(default_factory=dict)
    revoked: bool = False


class TelegramServer:
    """A server with one bot, whose token is `TOKEN`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.polls: list[float] = []
        self.faults = Faults()
        self.files: dict[str, bytes] = {}
        self.webhook: dict[str, Any] = {}
        # Users who are administrators of every group.
        self.administrators: set[int] = set()
        self.texts: dict[tuple[str, str | None], str] = {}
        # Addresses of several processes, to which a proxy passes the requests of the webhook.
        self.replicas: list[str] = []
        self.url = ""
        self.pending: list[dict[str, Any]] = []
        self._new = threading.Condition()
        self._numbers = itertools.count(1)
        self._messages = itertools.count(1000)
        self._polls = itertools.count(1)
        self._turns = itertools.count()
        self._last_poll = 0
        self._users: dict[int, dict[str, Any]] = {}

    @contextmanager
    def running(self) -> Iterator[TelegramServer]:
        server = _Server(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(LOOK_S,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def settings(self) -> dict[str, str]:
        """Return the settings of a bot that uses this server."""
        return {
            "telegram_token": TOKEN,
            "telegram_api_url": f"{self.url}/bot",
            "telegram_file_url": f"{self.url}/file/bot",
        }

    # Actions of users.

    def photo(self, chat: int, content: bytes, *, caption: str | None = None, **more: Any) -> int:
        """Send a photo; return the id of its message."""
        file = self.add_file(content)
        size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
        small = size | {"file_id": f"{file}-small", "width": 64, "height": 48}
        photo = {"photo": [small, size | {"file_size": len(content)}]}
        return self.message(chat, **photo, **({"caption": caption} if caption else {}), **more)

    def document(self, chat: int, content: bytes, kind: str = "image/png", **more: Any) -> int:
        """Send a file; return the id of its message."""
        file = self.add_file(content)
        about = {"file_id": file, "file_unique_id": file, "mime_type": kind}
        return self.message(chat, document=about | {"file_size": len(content)} | more)

    def text(self, chat: int, text: str, **more: Any) -> int:
        """Send a text, in which a command is marked as Telegram does; return its id."""
        if text.startswith("/"):
            length = len(text.split(maxsplit=1)[0])
            more["entities"] = [{"type": "bot_command", "offset": 0, "length": length}]
        return self.message(chat, text=text, **more)

    def press(
        self, chat: int, data: str, *, message: int, user: int | None = None, **options: Any
    ) -> None:
        """Press a button of a message of the bot."""
        about: dict[str, Any] = {
            "message_id": message,
            "date": int(time.time()) if options.get("accessible", True) else 0,
            "chat": _chat(chat),
        }
        if options.get("accessible", True):
            about |= {"from": BOT, "text": "an answer"}
            if options.get("photo"):
                size = {"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}
                about |= {"photo": [size]}
                del about["text"]
        self.update(
            callback_query={
                "id": str(next(self._numbers)),
                "from": self.user(user or chat),
                "chat_instance": "1",
                "data": data,
                "message": about,
            }
        )

    def message(self, chat: int, **content: Any) -> int:
        """Send a message with any content; return its id."""
        number = next(self._messages)
        user = content.pop("user", None)
        about = {
            "message_id": number,
            "date": int(time.time()),
            "chat": _chat(chat),
            "from": self.user(user or abs(chat)),
        }
        self.update(message=about | content)
        return number

    def user(self, number: int, language: str | None = None) -> dict[str, Any]:
        """Return a user, whose language is remembered."""
        known = self._users.setdefault(
            number, {"id": number, "is_bot": False, "first_name": f"P{number}"}
        )
        if language is not None:
            known["language_code"] = language
        return dict(known)

    def update(self, *, number: int | None = None, **content: Any) -> int:
        """Send an update with any content; return its id."""
        number = next(self._numbers) if number is None else number
        update = {"update_id": number, **content}
        if self.replicas:
            self.send_to_replicas(update)
        elif self.webhook.get("url"):
            self.send_to_webhook(update)
        else:
            with self._new:
                self.pending.append(update)
                self._new.notify_all()
        return number

    def send_to_replicas(self, update: dict[str, Any], *, seconds: float = 250) -> None:
        """Send an update to one replica after the other, until one accepts it."""
        until = time.monotonic() + seconds
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook.get("secret_token", "")}
        while time.monotonic() < until:
            address = self.replicas[next(self._turns) % len(self.replicas)]
            with suppress(httpx.HTTPError):
                if httpx.post(address, json=update, headers=headers).status_code == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("no replica accepts updates")

    def send_to_webhook(self, update: dict[str, Any]) -> int:
        """Send an update to the webhook once; return the status of the response."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.webhook.get("secret_token", "")}
        return httpx.post(self.webhook["local"], json=update, headers=headers).status_code

    def add_file(self, content: bytes) -> str:
        """Store a file; return its id."""
        name = f"file{len(self.files)}" + "x" * 60
        self.files[name] = content
        self.files[f"{name}-small"] = b"the small one"
        return name

    # Messages of the bot.

    def sent(self, chat: int | None = None, *methods: str) -> list[Call]:
        """Return the bot's messages, or its calls of some methods; to one chat, or to all."""
        return [
            call
            for call in list(self.calls)
            if (chat is None or call.chat == chat)
            and (call.method in methods if methods else call.method not in _NO_MESSAGE)
        ]

    def wait_for(
        self, n: int, chat: int | None = None, *methods: str, seconds: float = 120
    ) -> list[Call]:
        """Wait until there are n such calls, and return them."""
        until = time.monotonic() + seconds
        while len(found := self.sent(chat, *methods)) < n:
            assert time.monotonic() < until, f"{len(found)} of {n}: {[c.text for c in found]}"
            time.sleep(0.02)
        return found

    # Responses.

    def _refusal(self, method: str, data: dict[str, Any]) -> tuple[int, Any] | None:
        """Return the response to a call that is to be refused; None for others."""
        faults, chat = self.faults, int(data.get("chat_id", 0))
        if reasons := faults.reasons.get(method):
            return _refused(400, reasons.pop(0))
        if method not in _NO_MESSAGE:
            if waits := faults.retry_after.get(chat, []):
                return _wait(waits.pop(0))
            if (closed := faults.closed.get(chat)) is not None:
                return _refused(400, f"Bad Request: {closed}")
        if busy := faults.busy.get(method):
            return _wait(busy.pop(0))
        return None

    def handle(self, method: str, data: dict[str, Any], files: dict[str, bytes]) -> tuple[int, Any]:
        """Return status and body of the response to a request."""
        if self.faults.revoked:
            return _refused(401, "Unauthorized")
        # The library has a method of the exact name of each that Telegram documents.
        if method in self.faults.unknown or not hasattr(Bot, method):
            return _refused(404, "Not Found: method not found")
        if method == "getUpdates":
            self.polls.append(time.monotonic())
            return self._poll(data)
        if any(not _is_number(data.get(name, 0)) for name in ("chat_id", "message_id")):
            return _refused(400, "Bad Request: an id is no number")
        if method not in _NO_MESSAGE:
            data.setdefault("message_id", next(self._messages))
        call = Call(method, data, files, time.monotonic())
        statuses = self.faults.failing.get(method, [])
        # Decided before a test can see the call, and change the faults.
        refusal = None if statuses else self._refusal(method, data)
        if refusal is None:
            self.calls.append(call)
        time.sleep(self.faults.slow_s)
        if statuses:
            return _refused(statuses.pop(0), "made to fail")
        if refusal is not None:
            return refusal
        if method == "getMe":
            return 200, {"ok": True, "result": BOT}
        if method == "getFile":
            name = data["file_id"]
            if name in self.faults.broken:
                return _refused(500, "Internal Server Error")
            if name not in self.files or name in self.faults.gone:
                return _refused(400, "Bad Request: wrong file_id")
            about = {"file_id": name, "file_unique_id": name, "file_path": f"photos/{name}"}
            return 200, {"ok": True, "result": about | {"file_size": len(self.files[name])}}
        if method == "getChatAdministrators":
            members = [self._administrator(user) for user in sorted(self.administrators)]
            return 200, {"ok": True, "result": members}
        if method in ("setWebhook", "deleteWebhook"):
            local = self.webhook.get("local")
            self.webhook = data if method == "setWebhook" else {}
            if local:
                self.webhook["local"] = local
            return 200, {"ok": True, "result": True}
        if method == "getWebhookInfo":
            about = {"url": self.webhook.get("url", ""), "has_custom_certificate": False}
            return 200, {"ok": True, "result": about | {"pending_update_count": 0}}
        if method in _TEXTS:
            about = method[5:] + data.get("scope", "")  # what follows setMy or getMy
            key = (about, data.get("language_code"))
            if method.startswith("set"):
                self.texts[key] = data[_TEXTS[method]]
                return 200, {"ok": True, "result": True}
            told = self.texts.get(key, "")
            if method == "getMyCommands":
                return 200, {"ok": True, "result": json.loads(told or "[]")}
            return 200, {"ok": True, "result": {_TEXTS[method]: told}}
        if method in _NO_MESSAGE:
            return 200, {"ok": True, "result": True}
        moved = self.faults.moved.get(int(data.get("chat_id", 0)))
        if moved is not None:
            self.calls.remove(call)
            status, body = _refused(400, "Bad Request: group chat was upgraded")
            return status, body | {"parameters": {"migrate_to_chat_id": moved}}
        result = {
            "message_id": int(data["message_id"]),
            "date": int(time.time()),
            "chat": _chat(int(data.get("chat_id", 0))),
            "from": BOT,
            "text": data.get("text", ""),
        }
        return 200, {"ok": True, "result": result}

    def _administrator(self, user: int) -> dict[str, Any]:
        rights = (
            *("can_be_edited", "is_anonymous", "can_manage_chat", "can_delete_messages"),
            *("can_manage_video_chats", "can_restrict_members", "can_promote_members"),
            *("can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories"),
            "can_delete_stories",
        )
        member = {"user": self.user(user), "status": "administrator"}
        return member | dict.fromkeys(rights, True)

    def _poll(self, data: dict[str, Any]) -> tuple[int, Any]:
        if self.faults.conflict:
            return _refused(409, "Conflict: terminated by other getUpdates request")
        if self.webhook.get("url"):
            return _refused(409, "Conflict: can't use getUpdates method while webhook is active")
        if self.faults.busy.get("getUpdates"):
            return _wait(self.faults.busy["getUpdates"].pop(0))
        statuses = self.faults.failing.get("getUpdates", [])
        if statuses:
            status = statuses.pop(0)
            return _refused(status, "made to fail")
        offset = int(data.get("offset", 0))
        number = next(self._polls)
        until = time.monotonic() + min(2, int(data.get("timeout", 0)))
        with self._new:
            # Of two concurrent requests, the later one is served.
            self._last_poll = number
            self._new.notify_all()
            self.pending = [u for u in self.pending if u["update_id"] >= offset]
            while not self.pending and time.monotonic() < until:
                self._new.wait(max(0.0, until - time.monotonic()))
                if self._last_poll != number:
                    return _refused(409, "Conflict: terminated by other getUpdates request")
            return 200, {"ok": True, "result": self.pending[:100]}


def _is_number(value: Any) -> bool:
    return str(value).removeprefix("-").isdecimal()


def _refused(status: int, why: str) -> tuple[int, dict[str, Any]]:
    return status, {"ok": False, "error_code": status, "description": why}


def _wait(seconds: int) -> tuple[int, dict[str, Any]]:
    status, body = _refused(429, f"Too Many Requests: retry after {seconds}")
    return status, body | {"parameters": {"retry_after": seconds}}


def _chat(number: int) -> dict[str, Any]:
    if number < 0:
        return {"id": number, "type": "supergroup", "title": "A group"}
    return {"id": number, "type": "private", "first_name": f"P{number}"}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # Several processes connect at once.


def _handler(telegram: TelegramServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Otherwise a body waits 40 ms until the client has acknowledged the head.
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            content = telegram.files.get(name)
            if content is None or name in telegram.faults.gone:
                self._send(404, b"{}")
            else:
                self._send(200, content)

        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            if len(body) < length:
                return  # The client was killed while it sent the request.
            data, files = _fields(self.headers.get("Content-Type", ""), body)
            token, _, method = self.path.removeprefix("/bot").partition("/")
            if token != TOKEN:
                answer = {"ok": False, "error_code": 401, "description": "Unauthorized"}
                self._send(401, json.dumps(answer).encode())
                return
            status, answer = telegram.handle(method, data, files)
            self._send(status, json.dumps(answer).encode())

        def _send(self, status: int, content: bytes) -> None:
            with suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

    return Handler


def _fields(kind: str, body: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the parameters and files of a request."""
    if kind.startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(body.decode(), keep_blank_values=True)), {}
    if kind.startswith("multipart/form-data"):
        whole = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
        data: dict[str, Any] = {}
        files: dict[str, bytes] = {}
        for part in whole.iter_parts():
            name = str(part.get_param("name", header="content-disposition"))
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            if part.get_filename() is not None:
                files[name] = content
            else:
                data[name] = content.decode()
        return data, files
    return (json.loads(body) if body else {}), {}
