"""The command /teach: train a classifier of a chat's own classes on its photos."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from functools import partial

from telegram import Message, Update
from telegram.constants import ChatType

from bot import replies
from bot.failures import report_deferred_forget
from bot.learning import finish_lesson
from bot.lessons import may_teach
from bot.publishing import announce
from bot.retry import RetryLater, Service
from bot.sending import reply
from bot.state import BotContext, BotState
from bot.tasks import run_in_daemon_thread
from bot.taught_models import owner_of
from bot.taught_notices import chats_among, tell_chats
from bot.teaching_texts import list_line, quoted, refusal
from core.errors import BundleError, MissingExtraError, TeachingError
from core.locale import Language
from core.registry.taught import TaughtRecord
from core.store.lessons import Lesson
from core.teaching.learning import check_installed
from core.teaching.limits import MIN_CLASSES, MIN_PHOTOS, comparison_key
from core.teaching.owned import OwnedModels

__all__ = ["forget_sender", "start", "teach"]

# Parameter of a link to the bot with the key of a shared model.
_LINK = "teach-"
_KEY = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class _Command:
    """A command about teaching.

    Attributes:
        context: Context of the update.
        message: The command.
        name: Rest of the command, such as the name of a model; may be empty.
        texts: The bot's texts.
        language: Language of the chat.
    """

    context: BotContext
    message: Message
    name: str
    texts: dict[str, str]
    language: Language

    @property
    def state(self) -> BotState:
        """State of the bot."""
        return self.context.bot_data

    @property
    def chat(self) -> int:
        """Id of the chat."""
        return self.message.chat.id

    @property
    def owner(self) -> str:
        """Name of the chat as the owner of models."""
        return owner_of(self.chat)

    @property
    def owned(self) -> OwnedModels:
        """Models of all chats; unlike `TaughtModels.teaching` it needs no model to teach on."""
        return self.state.taught.owned

    async def send_text(self, key: str, /, **values: object) -> None:
        """Reply with a text."""
        await reply(self.message, self.texts[key].format(**values))

    async def find(self, *, own: bool) -> TaughtRecord | None:
        """Return the model that the command names; None, after telling the chat, if there is none.

        Without a name it is the only model of the chat.

        Args:
            own: Whether models that others share are left out.
        """
        records = await self.state.taught.of_chat(self.chat)
        if own:
            records = [each for each in records if self.state.taught.is_own(self.chat, each)]
        wanted = comparison_key(self.name)
        named = [each for each in records if comparison_key(each.title) == wanted or not wanted]
        if not records:
            await self.send_text("teach_list_none")
        elif not named or (not wanted and len(named) > 1):
            titles = quoted(each.title for each in records)
            await self.send_text("teach_which", titles=titles)
        else:
            return named[0]
        return None


async def teach(update: Update, context: BotContext) -> None:
    """Answer /teach and its subcommands."""
    words = context.args or []
    await _run(update, context, words[0].lower() if words else "", " ".join(words[1:]))


async def start(update: Update, context: BotContext) -> None:
    """Answer /start: explain the bot, or add the shared model of the link that was followed."""
    words = context.args or []
    if len(words) == 1 and words[0].startswith(_LINK):
        await _run(update, context, "add", words[0].removeprefix(_LINK))
    else:
        await reply(update.effective_message, (await context.texts())["start"])


async def forget_sender(context: BotContext, person: str) -> None:
    """Remove a person's photos from all taught models; notify chats whose model is deleted.

    Raises:
        RetryLater: The model that they were taught on cannot be read.
    """
    state = context.bot_data
    if not await state.taught.exist():
        return
    try:
        deleted = await run_in_daemon_thread(partial(state.taught.forget_sender, person))
    except BundleError as error:
        report_deferred_forget(context, error)
        raise RetryLater(Service.TEACHING, error) from error
    for record in deleted:
        await _tell_ended(context, record, (record.owner, *record.users))


async def _run(update: Update, context: BotContext, action: str, name: str) -> None:
    """Run a subcommand."""
    message, language = update.message, await context.language()
    if message is None:
        return
    command = _Command(context, message, name, await context.texts(), language)
    if action != "list" and not await may_teach(context, message):
        await command.send_text("teach_admins")
        return
    try:
        await _ACTIONS.get(action, _explain)(command)
    except TeachingError as error:
        # Too much is refused while photos are sent; here, others have taught the model meanwhile.
        await reply(message, refusal(error, language, if_too_many="teach_leave_out"))
    except MissingExtraError:
        await command.send_text("teach_missing")


async def _explain(command: _Command) -> None:
    """List the subcommands."""
    await command.send_text("teach_usage")


async def _begin(command: _Command) -> None:
    """Begin a lesson for a new model."""
    lessons = command.state.store.lessons
    if await asyncio.to_thread(lessons.find, command.chat) is not None:
        photos = await asyncio.to_thread(lessons.photos, command.chat)
        labels = quoted(dict.fromkeys(photo.label for photo in photos))
        await command.send_text("teach_open", classes=labels or "–")
        return
    if not await command.state.taught.may_create(command.chat):
        raise TeachingError("many_models", "The chat has too many classifiers.")
    if await _begin_lesson(command, None):
        text = command.texts["teach_begin"].format(classes=MIN_CLASSES, photos=MIN_PHOTOS)
        await reply(command.message, text + _group_hint(command))


async def _more(command: _Command) -> None:
    """Begin a lesson that extends a model."""
    if await asyncio.to_thread(command.state.store.lessons.find, command.chat) is not None:
        await _begin(command)  # Its text says that a lesson has started.
        return
    record = await command.find(own=True)
    if record is None:
        return
    model = await command.state.models.get(record.id)
    if await _begin_lesson(command, record.id):
        labels = quoted(model.config.labels)
        text = command.texts["teach_more"].format(title=record.title, classes=labels)
        await reply(command.message, text + _group_hint(command))


async def _begin_lesson(command: _Command, model: str | None) -> bool:
    """Store a new lesson; return False if the sender has asked to be forgotten.

    Raises:
        TeachingError, MissingExtraError, BundleError: Nothing could be learned.
    """
    check_installed()
    # It reads the model to teach on.
    await run_in_daemon_thread(command.state.taught.teaching)
    lesson = Lesson(command.context.person, model)
    await _remember_chat(command.context)
    async with command.context.keeping() as may_keep:
        if may_keep:
            await asyncio.to_thread(command.state.store.lessons.begin, command.chat, lesson)
        return may_keep


async def _remember_chat(context: BotContext) -> None:
    """Store the chat's settings, so that it can be notified when a model of it is deleted."""
    await context.change_chat_settings()


def _group_hint(command: _Command) -> str:
    if command.message.chat.type == ChatType.PRIVATE:
        return ""
    name = command.context.bot.username
    return "\n\n" + command.texts["teach_group"].format(bot=name)


async def _done(command: _Command) -> None:
    """Learn from the photos of the lesson."""
    await finish_lesson(command.context, command.message, command.name)


async def _cancel(command: _Command) -> None:
    """End the lesson without learning."""
    lessons = command.state.store.lessons
    if await asyncio.to_thread(lessons.find, command.chat) is None:
        await command.send_text("teach_nothing")
        return
    await asyncio.to_thread(lessons.end, command.chat)
    await command.send_text("teach_cancelled")


async def _list(command: _Command) -> None:
    """List the taught models of the chat."""
    taught = command.state.taught
    own = {e.id for e in await taught.of_chat(command.chat) if taught.is_own(command.chat, e)}
    lines = [
        list_line(info, is_own=info.config.name in own, language=command.language)
        for info in await taught.infos(command.chat)
    ]
    await reply(command.message, "\n".join(lines) or command.texts["teach_list_none"])


async def _forget(command: _Command) -> None:
    """Delete a model, or remove one that others share from this chat."""
    record = await command.find(own=False)
    if record is None:
        return
    if not command.state.taught.is_own(command.chat, record):
        await asyncio.to_thread(command.owned.leave, command.owner, record.id)
        await command.send_text("teach_left", title=record.title)
        return
    users = await asyncio.to_thread(command.owned.forget, command.owner, record.id)
    if (await command.context.chat_settings()).model == record.id:
        await command.context.change_chat_settings(model=None)
    await command.send_text("teach_forgotten", title=record.title)
    await _tell_ended(command.context, record, users)


async def _share(command: _Command) -> None:
    """Create a key with which other chats can use a model."""
    record = await command.find(own=True)
    if record is not None:
        key = await asyncio.to_thread(command.owned.share, command.owner, record.id)
        link = f"https://t.me/{command.context.bot.username}?start={_LINK}{key}"
        await command.send_text("teach_shared", title=record.title, key=key, link=link)


async def _unshare(command: _Command) -> None:
    """End sharing a model."""
    record = await command.find(own=True)
    if record is not None:
        users = await asyncio.to_thread(command.owned.unshare, command.owner, record.id)
        await command.send_text("teach_unshared", title=record.title)
        await _tell_ended(command.context, record, users)


async def _offer(command: _Command) -> None:
    """Offer a model to the operators, who may publish it for everybody."""
    record = await command.find(own=True)
    if record is None:
        return
    if not command.state.settings.operators:
        await command.send_text("teach_no_operator")
        return
    await asyncio.to_thread(command.owned.offer, command.owner, record.id)
    await command.send_text("teach_offered", title=record.title)
    if not record.offered:
        await announce(command.context.bot, command.state, record.id)


async def _withdraw(command: _Command) -> None:
    """Withdraw the offer of a model."""
    record = await command.find(own=True)
    if record is None:
        return
    if not record.offered:
        await command.send_text("teach_not_offered", title=record.title)
        return
    await asyncio.to_thread(command.owned.withdraw, command.owner, record.id)
    await command.send_text("teach_withdrawn", title=record.title)


async def _add(command: _Command) -> None:
    """Add a model that another chat shares."""
    key = command.name.strip().lower()
    if _KEY.fullmatch(key) is None:
        await command.send_text("teach_no_key")
        return
    record = await asyncio.to_thread(command.owned.add_shared, command.owner, key)
    await _remember_chat(command.context)
    text = command.texts["teach_added"].format(title=record.title)
    await reply(command.message, text, replies.use_button(record.id, command.language))


async def _tell_ended(context: BotContext, record: TaughtRecord, users: Collection[str]) -> None:
    """Notify the chats that used a deleted model; they use the default model from now on."""
    state = context.bot_data
    chats = await chats_among(state, users)
    for chat, settings in chats.items():
        if settings.model == record.id:
            await asyncio.to_thread(state.store.chats.set, chat, replace(settings, model=None))
    await tell_chats(context.bot, chats, "teach_ended", title=record.title)


_ACTIONS: dict[str, Callable[[_Command], Awaitable[None]]] = {
    "": _begin,
    "done": _done,
    "cancel": _cancel,
    "list": _list,
    "more": _more,
    "forget": _forget,
    "share": _share,
    "unshare": _unshare,
    "offer": _offer,
    "withdraw": _withdraw,
    "add": _add,
}
