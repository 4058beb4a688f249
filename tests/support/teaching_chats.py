"""Chats that teach the bot shapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core.charts.drawer import ChartDrawer
from tests.support.drawings import shape_jpeg
from tests.support.running_bot import RunningBot, ask, running_bot
from tests.support.telegram_server import Call, TelegramServer

__all__ = ["bot_without_pictures", "learn", "photos_of", "send_class", "teach_shapes"]


def send_class(
    telegram: TelegramServer,
    chat: int,
    label: str,
    seeds: Sequence[int],
    user: int | None = None,
    **more: Any,
) -> None:
    """Send an album of a shape, with its name as the caption of the first photo."""
    album = f"{chat} {label} {seeds[0]}"
    for i, seed in enumerate(seeds):
        caption = label if i == 0 else None
        shape = shape_jpeg(label, seed)
        item = more | {"media_group_id": album, "user": user or abs(chat)}
        telegram.photo(chat, shape, caption=caption, **item)


@contextmanager
def bot_without_pictures(telegram: TelegramServer, home: Path, **more: Any) -> Iterator[RunningBot]:
    """Run a bot that sends no pictures of the confusion, which would come at any moment."""
    with running_bot(telegram, home, **more) as bot:
        bot.state.charts = ChartDrawer(is_installed=False)
        yield bot


def learn(telegram: TelegramServer, chat: int, command: str, **more: Any) -> Call:
    """End a lesson and return the result in words."""
    before = len(telegram.sent(chat, "sendMessage"))
    telegram.text(chat, command, **more)
    return telegram.wait_for(before + 2, chat, "sendMessage", seconds=300)[before + 1]


def teach_shapes(
    telegram: TelegramServer, chat: int, user: int | None = None, *, mention: str = ""
) -> Call:
    """Teach four circles and four squares, and return the result.

    Args:
        telegram: Server that the bot uses.
        chat: Id of the chat.
        user: Who teaches; None for the user of a private chat.
        mention: What names the bot in commands of a group.
    """
    teacher = user or abs(chat)
    ask(telegram, chat, lambda: telegram.text(chat, f"/teach{mention}", user=teacher))
    for label in ("circle", "square"):
        ask(telegram, chat, partial(send_class, telegram, chat, label, range(4), teacher))
    return learn(telegram, chat, f"/teach{mention} done Shapes", user=teacher)


def photos_of(telegram: TelegramServer, chat: int, command: str = "/teach list") -> int:
    """Return the number of photos of the one model of a chat."""
    listed = ask(telegram, chat, lambda: telegram.text(chat, command)).text
    return int(listed.partition("photos: ")[2].partition(";")[0])
