"""Taught classifiers of chats, their owners, and access to the teaching service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from dataclasses import dataclass

from bot.replies import model_code
from core.bundle.folder import find_bundles
from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import TaughtMetrics
from core.errors import BundleError, ModelNotFoundError, TeachingError
from core.registry.taught import TaughtRecord, is_private
from core.serving.predictor import Predictor
from core.serving.teaching import ConnectedTeaching, connect_teaching
from core.settings import Settings
from core.teaching.owned import OwnedModels
from core.teaching.service import Teaching

__all__ = ["HeldModel", "TaughtModels", "owner_of"]

# Each takes a processor or two while it learns.
_LESSONS_AT_ONCE = 2


def owner_of(chat: int) -> str:
    """Return the name of a chat as the owner of taught models."""
    return f"chat:{chat}"


@dataclass(frozen=True)
class HeldModel:
    """A private taught model as operators see it.

    Attributes:
        record: Its record.
        labels: Names of its classes.
        metrics: Its training photos and accuracy; None if they are not recorded.
        bytes: Size of its head and of what it was taught with.
    """

    record: TaughtRecord
    labels: tuple[str, ...]
    metrics: TaughtMetrics | None
    bytes: int

    @property
    def code(self) -> str:
        """Return a name for operators; unlike the id, it does not grant use of the model."""
        return model_code(self.record.id)

    @property
    def photos(self) -> int:
        """Number of photos that it was taught with."""
        return 0 if self.metrics is None else sum(self.metrics.photos)


class TaughtModels:
    """The taught models of chats.

    Args:
        settings: Settings.
        predictor: Answers with the models, and computes the embeddings for teaching.
        hash_key: Key of the hashes that stand for chats and users.

    Attributes:
        owned: The models, without the base that is needed to teach.
        places: Limit on the chats whose models are taught at the same time.
    """

    def __init__(self, settings: Settings, predictor: Predictor, hash_key: bytes) -> None:
        self._settings = settings
        self._predictor = predictor
        self.owned = OwnedModels(settings.home, hash_key)
        self._connected: ConnectedTeaching | None = None
        self._lock = threading.Lock()
        self.places = asyncio.Semaphore(_LESSONS_AT_ONCE)

    def teaching(self) -> Teaching:
        """Return the interface that teaches; it blocks, so call it and its methods in a thread.

        Raises:
            TeachingError: The model to teach on is not installed.
            BundleError: It is damaged.
        """
        with self._lock:
            if self._connected is None:
                self._connected = connect_teaching(
                    self._settings,
                    self._predictor,
                    command="the Telegram bot",
                    max_models=self._settings.chat_models,
                )
            return self._connected.teaching

    def forget_sender(self, person: str) -> list[TaughtRecord]:
        """Remove a person's photos from all taught models; it blocks, as `teaching` does.

        Without their base, models cannot be taught again, so those with the person's photos are
        deleted.

        Args:
            person: As in `LabelledPhoto.sender`.

        Returns:
            Records of the deleted models.

        Raises:
            BundleError: The base cannot be read, but may be readable again; the person's photos
                may remain in models.
        """
        try:
            teaching = self.teaching()
        except TeachingError as error:
            # An empty folder is more likely a volume that is not mounted than a base removed.
            if not find_bundles(self._settings.models):
                raise BundleError(f"There are no models in {self._settings.models}.") from error
            return self.owned.delete_taught_by(person)
        return [each.record for each in teaching.forget_sender(person) if each.model is None]

    def close(self) -> None:
        """End the worker processes."""
        with self._lock:
            if self._connected is not None:
                self._connected.close()
                self._connected = None

    async def may_use(self, chat: int, model: str) -> bool:
        """Return whether a model is a taught one that a chat owns or has added."""
        if not is_private(model):
            return False
        return await asyncio.to_thread(self.owned.may_use, owner_of(chat), model)

    async def owns(self, chat: int, model: str) -> bool:
        """Return whether a model is a taught one of a chat's own."""
        if not is_private(model):
            return False
        return await asyncio.to_thread(self.owned.owns, owner_of(chat), model)

    async def of_chat(self, chat: int) -> list[TaughtRecord]:
        """List the taught models of a chat, its own before those that others share."""
        records = await asyncio.to_thread(self.owned.models, owner_of(chat))
        return sorted(records, key=lambda record: not self.is_own(chat, record))

    async def exist(self) -> bool:
        """Return whether there are any private taught models."""
        return await asyncio.to_thread(self.owned.count) > 0

    def is_own(self, chat: int, record: TaughtRecord) -> bool:
        """Return whether a taught model is a chat's own, not one that others share."""
        return record.owner == self.owned.hash_owner(owner_of(chat))

    def is_among(self, chat: int, users: Collection[str]) -> bool:
        """Return whether a chat is among the users of a record."""
        return self.owned.hash_owner(owner_of(chat)) in users

    async def move(self, chat: int, new_chat: int) -> None:
        """Pass the taught models of a group to the supergroup that it became."""
        await asyncio.to_thread(self.owned.move, owner_of(chat), owner_of(new_chat))

    async def may_create(self, chat: int) -> bool:
        """Return whether a chat may teach another model."""
        own = [each for each in await self.of_chat(chat) if self.is_own(chat, each)]
        return len(own) < self._settings.chat_models

    async def describe_all(self) -> list[HeldModel]:
        """Describe the private taught models of all chats and visitors, the newest first."""
        return await asyncio.to_thread(self.describe_now)

    async def infos(self, chat: int) -> list[ModelInfo]:
        """Describe the taught models of a chat; those whose files are gone are left out."""
        records = await self.of_chat(chat)
        return [info for each in records if (info := await asyncio.to_thread(self._info, each.id))]

    def describe_now(self) -> list[HeldModel]:
        """Describe the models as `describe_all` does; it blocks, so call it in a thread."""
        found = []
        for record in reversed(self.owned.all()):
            try:
                bundle = self.owned.bundle(record.id)
                labels, metrics = bundle.config.labels, bundle.metrics()
            except (BundleError, ModelNotFoundError):
                continue  # It has been deleted, or its files are missing.
            size = metrics.bytes + self.owned.examples_bytes(record.id)
            found.append(HeldModel(record, labels, metrics.taught, size))
        return found

    def _info(self, model: str) -> ModelInfo | None:
        try:
            return self._predictor.model(model)
        except (ModelNotFoundError, BundleError):
            return None
