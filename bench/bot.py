"""The bot under load: from a photo's arrival to the reply that is handed to the rate limiter."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

from bench.figures import Section
from bench.photos import Photos
from bot.rate_limiter import Limits
from tests.bot.running import running
from tests.telegram_server import TelegramServer

__all__ = ["bot"]

_CHATS, _PHOTOS, _A_SECOND = 200, 1_000, 20


def bot(photos: Photos, folder: Path) -> Section:
    """How long 1,000 photos in 200 chats wait for their replies."""
    section = Section(
        "The bot",
        f"{_PHOTOS:,} photos of 200 kB in {_CHATS} chats, {_A_SECOND} a second, from a Bot API "
        "server on loopback in the same process, which shares its interpreter with the bot, by "
        "the default model. From the moment that a photo is there for the bot to fetch to that at "
        "which its reply is handed to the rate limiter (so fetching the update, writing it down, "
        "fetching the photo and answering it are in; waiting for Telegram's limits is not).",
    )
    handed: dict[int, list[float]] = defaultdict(list)
    sent: dict[int, list[float]] = defaultdict(list)
    limits = Limits(on_handed=lambda chat: handed[chat].append(time.perf_counter()))
    telegram = TelegramServer()
    with (
        telegram.running(),
        running(telegram, folder / "bot", limits=limits, model="mobilenet"),
    ):
        file = telegram.add_file(photos.usual.read_bytes())
        size = {"file_id": file, "file_unique_id": file, "width": 1280, "height": 960}
        began = time.perf_counter()
        for i in range(_PHOTOS):
            time.sleep(max(0.0, began + i / _A_SECOND - time.perf_counter()))
            chat = 1 + i % _CHATS
            sent[chat].append(time.perf_counter())
            telegram.message(chat, photo=[size])
        telegram.wait_for(_PHOTOS, seconds=120)
    waits = sorted(
        (at - since) * 1e3
        for chat, times in sent.items()
        for since, at in zip(times, handed[chat], strict=True)
    )
    section.add("replies", len(waits), "", f"{_PHOTOS:,}")
    section.add("half of them within", waits[len(waits) // 2], "ms")
    section.add("95% of them within", waits[int(0.95 * len(waits))], "ms", "under 300")
    section.add("all of them within", waits[-1], "ms")
    return section
