"""Downloads of photos from Telegram."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from telegram import Bot
from telegram.error import BadRequest, InvalidToken, NetworkError, TelegramError

from bot.photo_downloads import PhotoDownloads
from core.errors import ImageError, PhotoReadError
from core.photos.decode import MAX_BYTES


def bot_with(file: Any) -> Bot:
    """Return a bot that has one file, or raises an error in its place."""
    get_file = AsyncMock(side_effect=[file] * 9)
    return cast("Bot", SimpleNamespace(get_file=get_file))


def file_of(size: int | None, content: Any) -> Any:
    download = AsyncMock(side_effect=[content] * 9)
    return SimpleNamespace(file_size=size, download_as_bytearray=download)


def download(bot: Bot, size: int | None = None) -> bytes:
    async def run() -> bytes:
        async with PhotoDownloads(bot, 1).open("id", size) as photo:
            return photo

    return asyncio.run(run())


def test_photo_is_downloaded() -> None:
    assert download(bot_with(file_of(3, bytearray(b"jpg")))) == b"jpg"
    assert download(bot_with(file_of(None, bytearray(b"jpg")))) == b"jpg"


def test_large_file_is_refused_before_it_is_downloaded() -> None:
    file = file_of(MAX_BYTES + 1, bytearray())
    for size in (MAX_BYTES + 1, None):
        with pytest.raises(ImageError) as caught:
            download(bot_with(file), size)
        assert caught.value.code == "too_large"
    file.download_as_bytearray.assert_not_awaited()


@pytest.mark.parametrize(
    ("file", "raised"),
    [
        (BadRequest("file is temporarily unavailable"), PhotoReadError),
        (file_of(3, InvalidToken()), PhotoReadError),
        (NetworkError("no route"), NetworkError),
    ],
)
def test_missing_file_differs_from_a_failing_network(
    file: TelegramError, raised: type[Exception]
) -> None:
    with pytest.raises(raised):
        download(bot_with(file))


def test_photos_in_use_are_limited() -> None:
    async def run() -> None:
        downloads = PhotoDownloads(bot_with(file_of(3, bytearray(b"jpg"))), 1)

        async def use() -> bytes:
            async with downloads.open("id") as photo:
                return photo

        async with downloads.open("id"):
            waiting = asyncio.create_task(use())
            for _ in range(9):
                await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting == b"jpg"

    asyncio.run(run())
