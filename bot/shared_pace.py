"""Limits on messages, shared by all processes of the bot."""

from __future__ import annotations

import asyncio
import logging

from core.errors import StoreError
from core.store.hash_key import keyed_hash
from core.store.send_slots import Pace, SendSlotTable

__all__ = ["SharedPace"]

logger = logging.getLogger(__name__)


class SharedPace:
    """Waits until a message may be sent, whichever process sent the ones before.

    While the database is unavailable it lets all messages pass, and each process keeps to the
    limits alone.

    Args:
        slots: Table of the times at which messages may be sent.
        bot: Id of the bot, as in its token.
        hash_key: Key of the hashes that stand for chats.
    """

    def __init__(self, slots: SendSlotTable, bot: str, hash_key: bytes) -> None:
        self._slots = slots
        self._bot = bot
        self._hash_key = hash_key
        self._works = True

    async def wait(self, chat: int | str, pace: Pace, *, is_group: bool) -> None:
        """Wait until a message may be sent to a chat.

        Args:
            chat: Id of the chat.
            pace: The limits.
            is_group: Whether the chat is a group.
        """
        while True:
            try:
                slot = await asyncio.to_thread(
                    self._slots.reserve,
                    *(f"bot:{self._bot}", self._key(chat), pace),
                    is_group=is_group,
                )
            except StoreError as error:
                self._log(error)
                return
            self._works = True
            await asyncio.sleep(slot.wait_s)
            if slot.is_granted:
                return

    async def pause(self, chat: int | str, seconds: float) -> None:
        """Stop all processes from sending to a chat for some seconds."""
        try:
            await asyncio.to_thread(self._slots.pause, self._key(chat), seconds)
        except StoreError as error:
            self._log(error)

    def _key(self, chat: int | str) -> str:
        return keyed_hash(self._hash_key, f"slots:{self._bot}:{chat}")

    def _log(self, error: StoreError) -> None:
        if self._works:
            logger.warning(
                "Limits on messages apply to this process alone: the database is unavailable: %s",
                error,
            )
        self._works = False
