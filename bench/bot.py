"""Latency of the bot under load, from the arrival of a photo to its reply."""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path

from bench.figures import Section
from bench.photos import Photos
from bot.rate_limiter import TelegramRateLimiter
from tests.support.running_bot import running_bot
from tests.support.telegram_server import TelegramServer

__all__ = ["bot"]

_CHATS, _PHOTOS, _PHOTOS_PER_SECOND = 200, 1_000, 20


def bot(photos: Photos, folder: Path) -> Section:
    """Measure the reply latency for 1,000 photos in 200 chats.

    Args:
        photos: Photos to send.
        folder: Folder for the bot's data.
    """
    section = Section(
        "Telegram bot",
        f"{_PHOTOS:,} photos of 200 kB in {_CHATS} chats, {_PHOTOS_PER_SECOND} per second, "
        "classified by the default model. A fake Bot API server on loopback sends them from the "
        "same Python process. The latency runs from the update being available to the reply being "
        "passed to the rate limiter: it includes polling, persisting the update, downloading the "
        "photo and inference, but not the wait for Telegram's rate limits.",
    )
    replied_at: dict[int, list[float]] = defaultdict(list)
    sent_at: dict[int, list[float]] = defaultdict(list)
    limiter = TelegramRateLimiter(
        on_handed=lambda chat: replied_at[chat].append(time.perf_counter())
    )
    telegram = TelegramServer()
    with (
        telegram.running(),
        running_bot(telegram, folder / "bot", rate_limiter=limiter, model="efficientnet"),
    ):
        file = telegram.add_file(photos.typical.read_bytes())
        size = {"file_id": file, "file_unique_id": file, "width": 1280, "height": 960}
        started = time.perf_counter()
        for i in range(_PHOTOS):
            time.sleep(max(0.0, started + i / _PHOTOS_PER_SECOND - time.perf_counter()))
            chat = 1 + i % _CHATS
            sent_at[chat].append(time.perf_counter())
            telegram.message(chat, photo=[size])
        telegram.wait_for(_PHOTOS, seconds=120)
    latencies = sorted(
        (at - since) * 1e3
        for chat, times in sent_at.items()
        for since, at in zip(times, replied_at[chat], strict=True)
    )
    section.add("replies", len(latencies), "", f"{_PHOTOS:,}")
    section.add("reply latency, median", latencies[len(latencies) // 2], "ms")
    section.add("reply latency, p95", latencies[int(0.95 * len(latencies))], "ms", "under 300")
    section.add("reply latency, maximum", latencies[-1], "ms")
    return section
