"""State of the bot, and the context that every handler gets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from telegram import Update
from telegram.ext import Application, CallbackContext, ExtBot

from bot.alarms import Alarms
from bot.hourly_stats import HourlyStats
from bot.inbox import Inbox
from bot.metrics import BotMetrics
from bot.model_list import ModelList
from bot.photo_downloads import PhotoDownloads
from bot.photo_rate import PhotoRateLimiter
from bot.sending import reply
from bot.tasks import BackgroundTasks
from bot.taught_models import TaughtModels
from bot.timings import Timings
from bot.updates import client_of, user_id_of
from core import locale
from core.bundle.leaderboard import ModelInfo
from core.charts.drawer import ChartDrawer
from core.inference.prediction import Prediction
from core.locale import Language
from core.registry.releases import Releases
from core.registry.taught import is_private
from core.rollout.drift_process import DriftProcess
from core.serving.predictor import Predictor
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import StoredAnswer
from core.store.hash_key import keyed_hash
from core.store.rollout_evidence import answer_digest
from core.store.store import Store

__all__ = ["BotApplication", "BotContext", "BotState"]

_MAINTENANCE = "maintenance"
# Callback data is limited to 64 bytes.
_ANSWER_KEY_LENGTH = 16


@dataclass
class BotState:
    """Everything that outlives an update, as the application's `bot_data`.

    Attributes:
        settings: Settings.
        predictor: Predictor that classifies the photos.
        store: Database.
        releases: Pulls, promotes and rolls back models.
        hash_key: Key of the hashes that stand for users.
        timings: Intervals and timeouts.
        models: Models of the predictor.
        taught: Models that chats taught.
        photos: Downloads of photos.
        photo_rate: Rate limit on photos.
        inbox: Queue of updates.
        alarms: Notifications to operators.
        tasks: Background tasks.
        metrics: Prometheus metrics.
        charts: Draws charts.
        drift: Compares the photos of days.
        hour: Statistics of the last hour.
        started_at: Time of the start, in seconds since the epoch.
        token_revoked: Set when Telegram no longer accepts the token.
        unavailable_notices: Ids of updates whose senders were notified that the predictor is away.
        learning_notices: Ids of updates whose senders were told that learning begins.
    """

    settings: Settings
    predictor: Predictor
    store: Store
    releases: Releases
    hash_key: bytes = field(repr=False)
    timings: Timings
    models: ModelList
    taught: TaughtModels
    photos: PhotoDownloads
    photo_rate: PhotoRateLimiter
    inbox: Inbox
    alarms: Alarms
    tasks: BackgroundTasks
    metrics: BotMetrics
    charts: ChartDrawer = field(default_factory=ChartDrawer)
    drift: DriftProcess = field(default_factory=DriftProcess)
    hour: HourlyStats = field(default_factory=HourlyStats)
    started_at: float = field(default_factory=time.time)
    token_revoked: asyncio.Event = field(default_factory=asyncio.Event)
    unavailable_notices: set[int] = field(default_factory=set)
    learning_notices: set[int] = field(default_factory=set)

    def person(self, user: int | None) -> str | None:
        """Return the keyed hash that identifies a user in the database; None without a user."""
        return None if user is None else keyed_hash(self.hash_key, str(user))

    def is_operator(self, user: int | None) -> bool:
        """Return whether a user may run operators' commands."""
        return user in self.settings.operators

    async def maintenance(self) -> bool:
        """Return whether maintenance mode is on, in which only operators' photos are answered."""
        return await asyncio.to_thread(self.store.flags.get, _MAINTENANCE)

    def set_maintenance(self, *, on: bool) -> None:
        """Turn maintenance mode on or off."""
        self.store.flags.set(_MAINTENANCE, on=on)

    async def forget(self, user: int) -> None:
        """Delete a user's answers, feedback, private chat settings and lessons.

        What was learned is not changed. The settings of a group belong to all of its members and
        stay.

        Args:
            user: As returned by `user_id_of`; that of a group stands for its anonymous
                administrators.
        """
        # The id of a private chat is the id of its user; those of all other chats are negative.
        private_chats = {user} if user > 0 else set[int]()
        await asyncio.to_thread(self.store.chats.forget, self.person(user) or "", private_chats)


class BotContext(CallbackContext[ExtBot[None], dict[Any, Any], dict[Any, Any], BotState]):
    """Context of one update; the chat's settings are loaded once, when they are first needed.

    Attributes:
        current_update: The update.
    """

    current_update: Update
    _chat_settings: Chat | None = None

    @classmethod
    def of(cls, update: Update, application: BotApplication) -> BotContext:
        """Create the context of an update."""
        context = cls.from_update(update, application)
        context.current_update = update
        return context

    @property
    def user_id(self) -> int | None:
        """Id of the user who sent the update, or of the chat in whose name they sent it."""
        return user_id_of(self.current_update)

    @property
    def person(self) -> str | None:
        """Keyed hash of the user who sent the update."""
        return self.bot_data.person(self.user_id)

    @property
    def is_operator(self) -> bool:
        """Return whether an operator sent the update."""
        return self.bot_data.is_operator(self.user_id)

    async def chat_settings(self) -> Chat:
        """Return the settings of the chat; the defaults where it has none."""
        if self._chat_settings is None:
            chat = self.current_update.effective_chat
            self._chat_settings = (
                Chat()
                if chat is None
                else await asyncio.to_thread(self.bot_data.store.chats.get, chat.id)
            )
        return self._chat_settings

    async def change_chat_settings(self, **changes: Any) -> None:
        """Store changed settings of the chat, unless its user asked to be forgotten."""
        chat = self.current_update.effective_chat
        async with self.keeping() as may_keep:
            if chat is not None and may_keep:
                changed = replace(await self.chat_settings(), **changes)
                await asyncio.to_thread(self.bot_data.store.chats.set, chat.id, changed)
                self._chat_settings = changed

    async def language(self) -> Language:
        """Return the chat's language, otherwise the sender's if supported, otherwise English."""
        selected = (await self.chat_settings()).language
        user = self.current_update.effective_user
        for tag in (selected, user.language_code if user is not None else None):
            language = locale.language_of_tag(tag)
            if language is not None:
                return language
        return "en"

    async def texts(self) -> dict[str, str]:
        """Return the bot's texts in the language of the chat, by key."""
        return locale.bot_texts(await self.language())

    async def model(self) -> str:
        """Return the name of the chat's model.

        A taught model answers in the chats that own or have added it. If the model is no longer
        available, the chat is told so, and uses the default model from then on.

        Raises:
            ModelNotFoundError, UnavailableError: As in `ModelList.all`.
        """
        selected = (await self.chat_settings()).model
        if selected is not None and await self._may_use(selected):
            return selected
        name = await self.bot_data.models.name_or_default(selected)
        if selected is not None and name != selected:
            model = await self.bot_data.models.get(name)
            # Anyone who knows the id of a taught model may use it.
            text = (await self.texts())["taught_gone" if is_private(selected) else "model_gone"]
            message = self.current_update.effective_message
            await reply(message, text.format(old=selected, new=model.config.title))
            await self.change_chat_settings(model=None)
        return name

    async def models(self) -> list[ModelInfo]:
        """Return all models that may answer in the chat.

        Raises:
            ModelNotFoundError, UnavailableError: As in `ModelList.all`.
        """
        return [*await self.bot_data.models.all(), *await self._taught()]

    async def selectable(self, chosen: str) -> list[ModelInfo]:
        """Return the models that the chat may select, as `ModelList.selectable`."""
        return [*await self.bot_data.models.selectable(chosen), *await self._taught()]

    async def taught_titles(self) -> list[str]:
        """Return the names of the chat's own taught models."""
        chat, taught = self.current_update.effective_chat, self.bot_data.taught
        if chat is None:
            return []
        return [e.title for e in await taught.of_chat(chat.id) if taught.is_own(chat.id, e)]

    async def _taught(self) -> list[ModelInfo]:
        chat = self.current_update.effective_chat
        return [] if chat is None else await self.bot_data.taught.infos(chat.id)

    async def _may_use(self, model: str) -> bool:
        """Return whether a model is a taught one that may answer in the chat."""
        chat = self.current_update.effective_chat
        return chat is not None and await self.bot_data.taught.may_use(chat.id, model)

    async def keeps_photos(self) -> bool:
        """Return whether the sender agreed, in the private chat, to the storage of photos."""
        return (await self._private_settings()).keep_photos

    async def lets_label(self) -> bool:
        """Return whether the sender agreed, in the private chat, that operators label photos."""
        return (await self._private_settings()).may_label

    async def _private_settings(self) -> Chat:
        """Return the settings of the sender's private chat."""
        user, chat = self.user_id, self.current_update.effective_chat
        if user is None or user < 0:  # A chat has no private chat.
            return Chat()
        if chat is not None and chat.id == user:
            return await self.chat_settings()
        return await asyncio.to_thread(self.bot_data.store.chats.get, user)

    def keeping(self) -> AbstractAsyncContextManager[bool]:
        """Enter a section that stores data of the update, as `Inbox.keeping`."""
        return self.bot_data.inbox.keeping(self.current_update)

    @property
    def waited_s(self) -> float:
        """Seconds since the update was received."""
        return self.bot_data.inbox.age(self.current_update)

    async def predict(self, photo: bytes, model: str) -> Prediction:
        """Classify a photo; errors as in `Predictor.predict`."""
        return await self.bot_data.predictor.predict(
            photo, model=model, client=client_of(self.current_update)
        )

    async def record_sender(
        self, person: str | None, answers: Sequence[Prediction], *, of_answer: str | None = None
    ) -> None:
        """Record who sent a photo, if a shadow may compare answers to it.

        Call it with every answer of a model, whether or not the answer is stored, so that /forget
        deletes its comparison.

        Args:
            person: Keyed hash of the user who sent the photo; None if there is none.
            answers: The answers.
            of_answer: Key of an earlier answer to the photo, where the update is not the photo's.
        """
        senders = self.bot_data.store.shadow_senders
        models = {answer.model for answer in answers}
        if person is None or not await asyncio.to_thread(senders.are_compared, models):
            return
        digests = [answer_digest(each.model, each.revision, each.scores) for each in answers]
        async with self.keeping() as may_keep:
            owner = person if may_keep else None
            await asyncio.to_thread(senders.add, owner, digests, of_answer=of_answer)

    async def store_answer(
        self,
        person: str | None,
        file_id: str,
        prediction: Prediction,
        *,
        update: Update | None = None,
    ) -> str:
        """Store an answer for the buttons under it, and for the operators' label queue.

        Args:
            person: Keyed hash of the user who sent the photo.
            file_id: Id of the photo on Telegram's servers.
            prediction: The answer.
            update: Update of the photo; None for that of the context.

        Returns:
            Key of the answer, the same if the update is handled again.
        """
        number = (update or self.current_update).update_id
        about = f"{self.bot.id}:{number}:{prediction.revision}"
        key = keyed_hash(self.bot_data.hash_key, about)[:_ANSWER_KEY_LENGTH]
        # Users consent for themselves only, and taught models belong to their chats.
        may_label = person is not None and person == self.person
        may_label = may_label and not is_private(prediction.model) and await self.lets_label()
        answer = StoredAnswer(
            person=person,
            file=file_id,
            model=prediction.model,
            revision=prediction.revision,
            answer=prediction.label,
            verdict=prediction.verdict,
            scores=prediction.scores,
            may_label=may_label,
        )
        await asyncio.to_thread(self.bot_data.store.feedback.add_answer, key, answer)
        return key


BotApplication = Application[
    ExtBot[None], BotContext, dict[Any, Any], dict[Any, Any], BotState, Any
]
