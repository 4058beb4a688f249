"""What the bot's handlers work with: who answers, what is kept, who is asking."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import mimetypes
import os
import secrets
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from telegram import Bot, Message, Update
from telegram.constants import ChatType
from telegram.error import BadRequest, Forbidden, InvalidToken
from telegram.ext import Application, CallbackContext, ExtBot

from core import locale
from core.bundle.leaderboard import ModelInfo, selectable
from core.errors import (
    BotError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    PredictorError,
    RateError,
    TenSightError,
)
from core.inference.prediction import Prediction
from core.locale import Language
from core.output import PRIVATE_FILE, private_folder
from core.photos.decode import MAX_BYTES
from core.registry.releases import Releases
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import StoredAnswer
from core.store.store import Store

__all__ = ["BotContext", "BotState", "HourlyStats", "client_of", "is_away", "key_of", "photo_of"]

BotContext = CallbackContext[ExtBot[None], dict[Any, Any], dict[Any, Any], dict[Any, Any]]
BotApplication = Application[Any, BotContext, dict[Any, Any], dict[Any, Any], dict[Any, Any], Any]

_MAINTENANCE = "maintenance"
_BYTES = "application/octet-stream"
_HOUR_S = 3600.0
_MINUTE_S = 60.0
_GROUP_PHOTOS = 10
_REMEMBERED = 10_000
_KEY_LENGTH = 16
# Seconds that the models are not asked for again: each answer names one, and they may be elsewhere.
_KNOWN_S = 0.5

logger = logging.getLogger(__name__)


class HourlyStats:
    """What happened in the last hour."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=100_000)
        self._errors: deque[float] = deque(maxlen=100_000)

    def answered(self, seconds: float) -> None:
        """Count a photo that was answered, and how long its sender waited."""
        self._answers.append((time.monotonic(), seconds))

    def failed(self, error: BaseException) -> None:
        """Count an error, unless it is one of the photo itself, or of who sends too many."""
        if not isinstance(error, (ImageError, PhotoReadError, RateError)):
            self._errors.append(time.monotonic())

    def figures(self) -> tuple[int, float, float, int]:
        """Photos, median and 95% quantile of their seconds, and errors."""
        since = time.monotonic() - _HOUR_S
        seconds = sorted(s for at, s in self._answers if at > since)
        errors = sum(at > since for at in self._errors)
        if not seconds:
            return 0, 0.0, 0.0, errors
        p95 = seconds[min(len(seconds) - 1, math.ceil(0.95 * len(seconds)) - 1)]
        return len(seconds), seconds[len(seconds) // 2], p95, errors


@dataclass
class BotState:
    """Everything that outlives an update.

    Attributes:
        settings, predictor, store: As the application was built with.
        key: Of the hashes that stand for persons.
        hour: Figures of the last hour.
        since: Moment of the start, `time.time`.
    """

    settings: Settings
    predictor: Predictor
    store: Store
    key: bytes = field(repr=False)
    hour: HourlyStats = field(default_factory=HourlyStats)
    since: float = field(default_factory=time.time)

    def __post_init__(self) -> None:
        self.releases = Releases(self.settings, self.store)
        self._admitted: dict[int, None] = {}
        self._sent: dict[int, deque[float]] = {}
        # More at once would fill the predictor's queue, and be told that it is busy; and each photo
        # is in memory.
        self._places = asyncio.Semaphore(max(1, self.settings.queue_size // 2))
        self._told: dict[int, float] = {}
        self._asking = asyncio.Lock()
        self._known: tuple[float, list[ModelInfo], str, PredictorError | None] = (
            *(-math.inf, [], ""),
            None,
        )

    def person(self, user: int | None) -> str | None:
        """Keyed hash that stands for a person: who does not know the key learns nothing by it."""
        if user is None:
            return None
        return hmac.new(self.key, str(user).encode(), hashlib.sha256).hexdigest()

    async def chat(self, update: Update) -> Chat:
        """What the chat of an update chose."""
        if update.effective_chat is None:
            return Chat()
        return await asyncio.to_thread(self.store.chats.get, update.effective_chat.id)

    async def language(self, update: Update) -> Language:
        """What the chat chose, else the language of who writes, else English."""
        chosen = (await self.chat(update)).language
        user = update.effective_user
        for tag in (chosen, user.language_code if user is not None else None):
            for language in locale.LANGUAGES:
                # The library takes anything as a language.
                if isinstance(tag, str) and tag.split("-")[0].lower() == language:
                    return language
        return "en"

    async def change_chat(self, update: Update, **changes: Any) -> None:
        """Keep what a chat chooses."""
        if update.effective_chat is not None:
            chat = replace(await self.chat(update), **changes)
            await asyncio.to_thread(self.store.chats.set, update.effective_chat.id, chat)

    async def model(self, update: Update) -> str:
        """The model that answers in the chat of an update: the default one where it is gone."""
        chosen = (await self.chat(update)).model
        results, default = await self._models()
        there = [result.config.name for result in results]
        return chosen if chosen in there else default

    async def results(self) -> list[ModelInfo]:
        """The models that are there.

        Raises:
            ModelNotFoundError: There is none.
            PredictorError: They cannot be asked for now.
        """
        results, _ = await self._models()
        return results

    async def selectable(self, chosen: str) -> list[ModelInfo]:
        """Those that people choose from, and the one that they chose.

        Raises:
            ModelNotFoundError, PredictorError: As in `results`.
        """
        results, default = await self._models()
        return selectable(results, default, chosen)

    async def _models(self) -> tuple[list[ModelInfo], str]:
        """The models, and which of them answers by default.

        All who wait for it wait for one call: where the predictor is away, it takes seconds.
        """
        async with self._asking:
            if time.monotonic() > self._known[0] + _KNOWN_S:
                try:
                    results, default = await asyncio.to_thread(
                        lambda: (self.predictor.models(), self.predictor.default_model())
                    )
                    self._known = (time.monotonic(), results, default, None)
                except PredictorError as error:
                    self._known = (time.monotonic(), [], "", error)
            _, results, default, away = self._known
        if away is not None:
            raise PredictorError(str(away)) from away
        return results, default

    async def result(self, name: str) -> ModelInfo:
        """One of them.

        Raises:
            ModelNotFoundError: It is not there.
        """
        for result in await self.results():
            if result.config.name == name:
                return result
        raise ModelNotFoundError(f"There is no model called {name!r}.")

    def check_rate(self, update: Update, photos: int) -> None:
        """Count photos of a chat, once of each update: one that was put off is not counted again.

        They count by when they were sent: those that waited while nobody answered came no faster.

        Raises:
            RateError: They are too many for a minute.
        """
        if update.update_id in self._admitted:
            return
        chat = update.effective_chat
        who = chat.id if chat is not None else 0
        most = self.settings.chat_photos_per_minute
        if chat is not None and chat.type != ChatType.PRIVATE:
            most = min(most, _GROUP_PHOTOS)  # what is said in a group is read by all of it
        sent_at = update.message.date.timestamp() if update.message is not None else time.time()
        before = self._sent.pop(who, deque[float]())
        recent = [at for at in before if abs(at - sent_at) < _MINUTE_S]
        photos = min(photos, most)
        fits = len(recent) + photos <= most
        self._sent[who] = deque([*before, *[sent_at] * (photos if fits else 0)], maxlen=most)
        if not fits:
            free_at = sorted(recent)[len(recent) + photos - most - 1] + _MINUTE_S
            raise RateError(max(1, math.ceil(free_at - time.time())))
        self._admitted[update.update_id] = None
        _shorten(self._admitted)
        _shorten(self._sent)

    def should_warn(self, update: Update) -> bool:
        """Whether a chat is to be told that it sends too much: once a minute."""
        chat = update.effective_chat
        before = time.monotonic() - _MINUTE_S
        return chat is not None and self._told.get(chat.id, -math.inf) <= before

    def mark_warned(self, update: Update) -> None:
        """Remember that it was told."""
        if (chat := update.effective_chat) is not None:
            self._told.pop(chat.id, None)
            self._told[chat.id] = time.monotonic()
            _shorten(self._told)

    async def maintenance(self) -> bool:
        """Whether photos are not looked at just now."""
        return await asyncio.to_thread(self.store.flags.get, _MAINTENANCE)

    async def predict(self, update: Update, photo: bytes, model: str | None) -> Prediction:
        """Classify a photo that a chat sent.

        Raises:
            TenSightError: As in `Predictor.predict`.
        """
        return await self.predictor.predict(photo, model=model, client=client_of(update))

    @asynccontextmanager
    async def photo(self, bot: Bot, file: str, size: int | None = None) -> AsyncIterator[bytes]:
        """Bytes of a file that was sent, for as long as they are needed; not of all at once.

        Args:
            bot: Whom it was sent to.
            file: Its file_id.
            size: Its size in bytes, as far as Telegram told.

        Raises:
            ImageError: It is larger than what is taken.
            PhotoReadError: Telegram does not give it, or no longer.
            NetworkError: Telegram cannot be reached.
        """
        _check_size(size)
        async with self._places:
            yield await self._fetch(bot, file)

    async def _fetch(self, bot: Bot, file: str) -> bytes:
        try:
            handle = await bot.get_file(file)
        except (BadRequest, Forbidden) as error:
            raise PhotoReadError(f"Telegram does not give this file: {error}") from error
        _check_size(handle.file_size)
        try:
            return bytes(await handle.download_as_bytearray())
        except (BadRequest, Forbidden, InvalidToken) as error:
            # The last is what the library makes of a download that is not found.
            raise PhotoReadError(f"Telegram does not give this file: {error}") from error

    async def keep_answer(
        self, update: Update, person: str | None, file: str, prediction: Prediction
    ) -> str:
        """Keep an answer for its buttons; its key, the same where an update is handled again.

        Args:
            update: What asked for it.
            person: Hash of who sent the photo.
            file: file_id of the photo.
            prediction: The answer.
        """
        about = f"{update.get_bot().id}:{update.update_id}:{prediction.revision}"
        key = hmac.new(self.key, about.encode(), hashlib.sha256).hexdigest()[:_KEY_LENGTH]
        answer = StoredAnswer(
            person=person,
            file=file,
            model=prediction.model,
            revision=prediction.revision,
            answer=prediction.label,
            verdict=prediction.verdict,
            scores=prediction.scores,
        )
        await asyncio.to_thread(self.store.feedback.add_answer, key, answer)
        return key

    async def forget(self, user: int) -> None:
        """Delete all that is kept of a person, and what they chose in their private chat.

        What a group chose is not one person's.
        """
        # A private chat has the id of whom it is with.
        await asyncio.to_thread(self.store.chats.forget, self.person(user) or "", {user})


def client_of(update: Update) -> str:
    """Return who a chat is to the predictor, which shares its places out among clients."""
    chat = update.effective_chat
    return f"chat:{chat.id if chat is not None else 0}"


def key_of(settings: Settings) -> bytes:
    """Key of the hashes: TENSIGHT_SECRET, else one that is made once.

    Raises:
        BotError: It is empty, or cannot be read or made.
    """
    if settings.secret is not None:
        return settings.secret.get_secret_value().encode()
    file = settings.home / "secret"
    try:
        if not file.exists():
            _make_secret(file)
        key = file.read_bytes()
    except OSError as error:
        raise BotError(
            f"The key of the hashes that stand for persons is kept in {file}, which cannot be used "
            f"({error.strerror or error}). See that this user may read and write there."
        ) from error
    if not key.strip():
        raise BotError(
            f"{file}, the key of the hashes that stand for persons, is empty. Put it back from a "
            "backup; or delete it, and a new one is made: then what is stored of people so far is "
            "found by nobody, and /forget does not delete it."
        )
    return key


def _make_secret(file: Path) -> None:
    """Make a key; of two processes that do, the first one's counts."""
    private_folder(file.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=file.parent) as scratch:
        new = Path(scratch) / file.name
        new.touch(mode=PRIVATE_FILE)
        with new.open("w", encoding="ascii") as stream:
            stream.write(secrets.token_hex(32))
            # On the disk before it has its name: a power cut must not leave an empty key.
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):
            os.link(new, file)


def photo_of(message: Message | None) -> tuple[str, int | None] | None:
    """file_id and size of the photo, or image sent as a file, of a message; None without one."""
    if message is None:
        return None
    if message.photo:
        largest = max(message.photo, key=lambda size: size.width * size.height)
        return largest.file_id, largest.file_size
    document = message.document
    if document is None:
        return None
    kind = document.mime_type
    if kind in (None, _BYTES):  # some programs know no better
        kind, _ = mimetypes.guess_type(document.file_name or "")
    if (kind or "").startswith("image/"):
        return document.file_id, document.file_size
    return None


def _shorten(remembered: dict[int, Any]) -> None:
    """Forget the first that were remembered, so that it does not grow for ever."""
    while len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _check_size(size: int | None) -> None:
    if size is not None and size > MAX_BYTES:
        raise ImageError("too_large", f"The file has {size:,} bytes.")


def is_away(error: TenSightError) -> bool:
    """Whether the photo may be fine, and the predictor cannot be reached."""
    return type(error) is PredictorError
