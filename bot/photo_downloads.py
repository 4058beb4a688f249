"""Download photos from Telegram."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from telegram import Bot
from telegram.error import BadRequest, Forbidden, InvalidToken

from core.errors import ImageError, PhotoReadError
from core.photos.decode import MAX_BYTES

__all__ = ["PhotoDownloads"]


class PhotoDownloads:
    """Downloads of photos, a limited number at a time.

    Every photo is in memory while it is used, and more of them would fill the predictor's queue.

    Args:
        bot: Bot that the photos were sent to.
        max_concurrent: Maximum number of photos that are in use at a time.
    """

    def __init__(self, bot: Bot, max_concurrent: int) -> None:
        self._bot = bot
        self._places = asyncio.Semaphore(max_concurrent)

    @asynccontextmanager
    async def open(self, file_id: str, size: int | None = None) -> AsyncIterator[bytes]:
        """Download a photo and hold its place until it is no longer used.

        Args:
            file_id: Id of the file.
            size: Size in bytes, if Telegram reported it.

        Raises:
            ImageError: The file is too large.
            PhotoReadError: Telegram does not provide the file, or no longer.
            NetworkError: Telegram cannot be reached.
        """
        _check_size(size)
        async with self._places:
            yield await self._download(file_id)

    async def _download(self, file_id: str) -> bytes:
        try:
            file = await self._bot.get_file(file_id)
        except (BadRequest, Forbidden) as error:
            raise PhotoReadError(f"Telegram does not provide this file: {error}") from error
        _check_size(file.file_size)
        try:
            return bytes(await file.download_as_bytearray())
        except (BadRequest, Forbidden, InvalidToken) as error:
            # The library raises InvalidToken where a file is not found.
            raise PhotoReadError(f"Telegram does not provide this file: {error}") from error


def _check_size(size: int | None) -> None:
    if size is not None and size > MAX_BYTES:
        raise ImageError("too_large", f"The file has {size:,} bytes.")
