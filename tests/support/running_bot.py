"""A bot that runs in this process against the Bot API server of the tests."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bot.app import build_application
from bot.rate_limiter import TelegramRateLimiter
from bot.runner import run
from bot.state import BotState
from bot.timings import Timings
from bot.webhook import WebhookAddress
from core import locale
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.conftest import ROOT
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import BOT_ID, Call, TelegramServer

__all__ = [
    "GROUP",
    "MENTION",
    "RunningBot",
    "anonymous",
    "ask",
    "photo_message",
    "press",
    "running_bot",
    "settings_for",
    "texts",
    "webhook_for",
    "with_data",
    "with_inbox",
]

GROUP = -100
"""Id of a group."""

MENTION: dict[str, Any] = {
    "caption": "@tensight_bot",
    "caption_entities": [{"type": "mention", "offset": 0, "length": 13}],
    "user": 1,
}
"""Fields of a photo in a group that mentions the bot."""


# The user that Telegram names as the sender of everything that anonymous administrators write.
_ANONYMOUS_BOT = 1087968824


def anonymous(group: int) -> dict[str, Any]:
    """Return fields of a message that an administrator sends in the name of a group."""
    return {
        "user": _ANONYMOUS_BOT,
        "sender_chat": {"id": group, "type": "supergroup", "title": "A group"},
    }


@dataclass
class RunningBot:
    """A running bot, its collaborators, and an event that is set when it ends by itself."""

    telegram: TelegramServer
    settings: Settings
    store: Store
    state: BotState
    ended: threading.Event

    def wait_until_idle(self) -> None:
        """Wait until every update that was received has been answered."""
        wait_for(lambda: self.unanswered() == 0)

    def unanswered(self) -> int:
        """Return the number of stored updates that have not been answered."""
        return len(self.store.inbox.waiting(BOT_ID))

    def answers_of(self, user: int) -> int:
        """Return the number of answers that are stored for a user."""
        return self.store.chats.user_stats(self.state.person(user) or "").answers


def settings_for(telegram: TelegramServer, home: Path, **more: Any) -> Settings:
    """Return settings of a bot with the models of the repository."""
    known: dict[str, Any] = {"models": ROOT / "models", "model": "classic", "home": home}
    return Settings(**(known | telegram.settings() | more))


def with_inbox(kind: type[InboxTable]) -> Callable[[Store], Store]:
    """Return a function that gives a store an inbox table of another class."""
    return lambda store: replace(store, inbox=kind(store.database))


def webhook_for(telegram: TelegramServer, path: str = "/hook") -> WebhookAddress:
    """Return a webhook address on a free port, to which the Bot API server sends updates."""
    port = free_port()
    telegram.webhook["local"] = f"http://127.0.0.1:{port}{path}"
    return WebhookAddress("https://bot.example/hook", port=port)


@contextmanager
def running_bot(
    telegram: TelegramServer,
    home: Path,
    *,
    predictor: Predictor | None = None,
    rate_limiter: TelegramRateLimiter | None = None,
    timings: Timings | None = None,
    webhook: WebhookAddress | None = None,
    parts: Callable[[Store], Store] = lambda store: store,
    **more: Any,
) -> Iterator[RunningBot]:
    """Run a bot in this context; its messages are not rate-limited unless a limiter is given.

    Args:
        telegram: Server that it uses.
        home: Its data folder.
        predictor: Predictor; None for a local one with the models of the repository.
        rate_limiter: Limits on messages.
        timings: Intervals and timeouts.
        webhook: Where updates are received; None to poll.
        parts: Replaces parts of the store.
        more: Further settings.
    """
    settings = settings_for(telegram, home, **more)
    used = predictor or LocalPredictor(Catalog(settings), queue_size=64, deadline_s=30)
    limiter = rate_limiter or TelegramRateLimiter(overall=1000, private_s=0, group=1000)
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    lines: list[str] = []
    errors: list[BaseException] = []
    ended = threading.Event()
    with closing(parts(Store.open(settings))) as store:
        application = build_application(
            settings, used, store, rate_limiter=limiter, timings=timings
        )

        def work() -> None:
            try:
                loop.run_until_complete(
                    run(application, stop, webhook=webhook, report=lines.append)
                )
            except BaseException as error:  # noqa: BLE001  # raised in the test
                errors.append(error)
            finally:
                ended.set()
                loop.run_until_complete(loop.shutdown_default_executor())
                loop.close()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            wait_for(lambda: bool(lines or errors))
            yield RunningBot(telegram, settings, store, application.bot_data, ended)
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop.set)
            thread.join(60)
            if predictor is None:
                used.close()
    if errors:
        raise errors[0]


def texts(language: locale.Language = "en") -> dict[str, str]:
    """Return the bot's texts."""
    return locale.bot_texts(language)


def ask(telegram: TelegramServer, chat: int, send: Callable[[], object], *methods: str) -> Call:
    """Send something and return the one message that the bot answers with."""
    before = len(telegram.sent(chat, *methods))
    send()
    return telegram.wait_for(before + 1, chat, *methods)[-1]


def press(
    telegram: TelegramServer, chat: int, reply: Call, button: str, **options: Any
) -> tuple[Call, Call]:
    """Press a button; return what its message becomes, and the answer to the press."""
    answers = len(telegram.sent(None, "answerCallbackQuery"))
    before = len(telegram.sent(chat))
    data = reply.buttons()[button]
    telegram.press(chat, data, message=int(reply.data["message_id"]), **options)
    notice = telegram.wait_for(answers + 1, None, "answerCallbackQuery")[-1]
    sent = telegram.sent(chat)
    return (sent[-1] if len(sent) > before else reply), notice


def photo_message(
    telegram: TelegramServer, content: bytes, chat: int, sender: int | None = None
) -> dict[str, Any]:
    """Return a message with a photo, to be replied to."""
    file = telegram.add_file(content)
    size = {"file_id": file, "file_unique_id": file, "width": 640, "height": 480}
    kind = "supergroup" if chat < 0 else "private"
    message = {"message_id": 4, "date": 1, "chat": {"id": chat, "type": kind}, "photo": [size]}
    return message if sender is None else message | {"from": telegram.user(sender)}


def with_data(reply: Call, data: str) -> Call:
    """Return a message with one button, x, with this callback data."""
    markup = {"inline_keyboard": [[{"text": "x", "callback_data": data}]]}
    return Call("", reply.data | {"reply_markup": json.dumps(markup)}, {}, 0)
