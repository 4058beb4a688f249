"""What the bot does with what people send: thin; what it says is in `bot.replies`."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, cast

from telegram import (
    CallbackQuery,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    Message,
    MessageEntity,
    Update,
)
from telegram.constants import ChatType, MessageLimit
from telegram.error import BadRequest, TelegramError
from telegram.ext import CallbackQueryHandler, CommandHandler, MessageHandler, filters

from bot import replies
from bot.desk import App, Context, Desk, is_away, photo_of
from bot.inbox import Inbox, Later
from core import locale
from core.errors import (
    BusyError,
    ImageError,
    ModelNotFoundError,
    PhotoReadError,
    PredictorError,
    RateError,
    StoreError,
    TenSightError,
)
from core.inference.prediction import Prediction
from core.photos.decode import decode, to_archival_jpeg
from core.photos.saliency import overlay
from core.serving.ask import ask_all
from core.store.feedback import NONE, Answered, Feedback

__all__ = ["add_handlers", "album", "desk_of"]

# Pixels of the longer side of a picture that shows what spoke for an answer.
_PICTURE = 800

# Presses that a model has to work for.
_ASKING = ("why", "compare", "model")

# What is no fault of ours; of others operators hear.
_THEIRS = (BusyError, ImageError, ModelNotFoundError, RateError)

logger = logging.getLogger(__name__)

Handler = Callable[[Update, Context], Coroutine[Any, Any, None]]


class _Photo(filters.MessageFilter):
    """Messages with a photo, or an image that was sent as a file."""

    def filter(self, message: Message) -> bool:
        return photo_of(message) is not None


def desk_of(context: Context) -> Desk:
    """The application's desk."""
    return cast(Desk, context.bot_data["desk"])


def _inbox_of(context: Context) -> Inbox:
    return cast(Inbox, context.bot_data["inbox"])


def add_handlers(application: App) -> None:
    """Everything that anybody may send; what only operators may stands in `bot.operator`."""
    commands: dict[str, Handler] = {
        "start": _tell("start"),
        "help": _help,
        "model": _model,
        "compare": _compare,
        "explain": _explain,
        "what": _what,
        "stats": _stats,
        "language": _language,
        "privacy": _privacy,
        "forget": _forget,
        "whoami": _whoami,
    }
    application.add_handler(MessageHandler(filters.StatusUpdate.MIGRATE, _moved))
    new = filters.UpdateType.MESSAGE
    for name, handler in commands.items():
        application.add_handler(CommandHandler(name, _if_meant(handler), filters=new))
    application.add_handler(MessageHandler(new & _Photo(), _photo))
    application.add_handler(CallbackQueryHandler(_button))
    alone = new & filters.ChatType.PRIVATE
    application.add_handler(MessageHandler(alone & filters.COMMAND, _tell("unknown")))
    application.add_handler(MessageHandler(alone & ~filters.StatusUpdate.ALL, _tell("other")))


def _if_meant(handler: Handler) -> Handler:
    """In a group, commands that do not name the bot may be meant for another one."""

    async def handle(update: Update, context: Context) -> None:
        message = update.message
        if message is None:
            return
        command = (message.text or "").split(maxsplit=1)[0].lower()
        named = command.endswith(f"@{context.bot.username}".lower())
        about_a_photo = command == "/what" and photo_of(message.reply_to_message) is not None
        private = message.chat.type == ChatType.PRIVATE
        if not (private or named or about_a_photo):
            return
        with suppress(RateError):  # in a group it would only be more noise
            if not private:
                desk_of(context).admit(update, 1)
            await _with_words(update, context, lambda: handler(update, context))

    return handle


def _tell(key: str) -> Handler:
    async def tell(update: Update, context: Context) -> None:
        language = await desk_of(context).language(update)
        await _reply(update.effective_message, locale.bot_words(language)[key])

    return tell


async def _help(update: Update, context: Context) -> None:
    desk = desk_of(context)
    language, model = await desk.language(update), await desk.model(update)
    labels = (await desk.result(model)).config.labels
    await _reply(update.effective_message, replies.greeting("help", labels, language))


async def _model(update: Update, context: Context) -> None:
    desk = desk_of(context)
    language = await desk.language(update)
    text = locale.bot_words(language)["choose_model"]
    chosen = await desk.model(update)
    buttons = replies.model_buttons(await desk.offered(chosen), language, chosen)
    await _reply(update.effective_message, text, buttons)


async def _language(update: Update, context: Context) -> None:
    language = await desk_of(context).language(update)
    buttons = [
        InlineKeyboardButton(
            locale.bot_words(each)["language_name"], callback_data=f"language::{each}"
        )
        for each in locale.LANGUAGES
    ]
    text = locale.bot_words(language)["choose_language"]
    await _reply(update.effective_message, text, InlineKeyboardMarkup([buttons]))


async def _stats(update: Update, context: Context) -> None:
    desk = desk_of(context)
    words = locale.bot_words(await desk.language(update))
    user = update.effective_user
    person = desk.person(user.id if user is not None else None) or ""
    n, judged, right = await asyncio.to_thread(desk.store.chats.user_stats, person)
    lines = [
        words["stats"].format(days=desk.settings.retention_days, n=n, judged=judged, right=right)
    ]
    wild = await asyncio.to_thread(desk.store.feedback.stats)
    titles = {result.config.name: result.config.title for result in await desk.results()}
    if wild:
        lines += ["", words["stats_models"]]
        lines += [
            words["stats_model"].format(
                model=f"{titles.get(row.model, row.model)} ({row.revision})",
                right=row.right,
                n=row.n,
            )
            for row in wild
        ]
    await _reply(update.effective_message, "\n".join(lines))


async def _privacy(update: Update, context: Context) -> None:
    desk = desk_of(context)
    text, buttons = _privacy_text(desk, await desk.language(update), await _keeps(desk, update))
    chat = update.effective_chat
    private = chat is not None and chat.type == ChatType.PRIVATE
    await _reply(update.effective_message, text, buttons if private else None)


def _privacy_text(
    desk: Desk, language: locale.Language, keeps: bool
) -> tuple[str, InlineKeyboardMarkup]:
    words = locale.bot_words(language)
    kept = words["kept" if keeps else "not_kept"]
    text = words["privacy"].format(days=desk.settings.retention_days, kept=kept)
    shown, change = (words["keep_on"], "0") if keeps else (words["keep_off"], "1")
    button = InlineKeyboardButton(shown, callback_data=f"keep::{change}")
    return text, InlineKeyboardMarkup([[button]])


async def _keeps(desk: Desk, update: Update) -> bool:
    """Whether who writes agreed that photos are kept; that is said in their private chat."""
    if update.effective_user is None:
        return False
    return (await asyncio.to_thread(desk.store.chats.get, update.effective_user.id)).keep_photos


async def _forget(update: Update, context: Context) -> None:
    desk, user = desk_of(context), update.effective_user
    words = locale.bot_words(await desk.language(update))
    is_operator = user is not None and user.id in desk.settings.operators
    if user is not None:
        await _inbox_of(context).drop(user.id, lambda: desk.forget(user.id))
    said = words["forgotten_operator" if is_operator else "forgotten"]
    await _reply(update.effective_message, said)


async def _whoami(update: Update, context: Context) -> None:
    words = locale.bot_words(await desk_of(context).language(update))
    user = update.effective_user
    await _reply(update.effective_message, words["whoami"].format(id=user.id if user else "?"))


async def _moved(update: Update, context: Context) -> None:
    """A group that grew has another id from then on; what it chose goes with it."""
    message, desk = update.message, desk_of(context)
    if message is not None and message.migrate_to_chat_id is not None:
        chosen = await desk.chat(update)
        await asyncio.to_thread(desk.store.chats.set, message.migrate_to_chat_id, chosen)


async def _photo(update: Update, context: Context) -> None:
    message = update.message
    if message is not None and _is_meant(message, context):
        await _answer(update, context, message)


async def _what(update: Update, context: Context) -> None:
    asked = update.message.reply_to_message if update.message is not None else None
    if asked is None or photo_of(asked) is None:
        await _tell("reply_to_photo")(update, context)
    else:
        await _answer(update, context, asked)


async def _compare(update: Update, context: Context) -> None:
    await _about_a_photo(update, context, _compared)


async def _explain(update: Update, context: Context) -> None:
    await _about_a_photo(update, context, _explained)


async def _about_a_photo(
    update: Update,
    context: Context,
    act: Callable[[Update, Context, bytes], Coroutine[Any, Any, tuple[bytes | None, str]]],
) -> None:
    """Tell of the photo that a command was sent in reply to, in a picture or in words."""
    asked = update.message.reply_to_message if update.message is not None else None
    found = photo_of(asked)
    if found is None:
        await _tell("reply_to_photo")(update, context)
        return

    async def do() -> None:
        async with desk_of(context).photo(context.bot, *found) as photo:
            picture, text = await act(update, context, photo)
        # Not before: who has to wait for Telegram holds no place that others wait for.
        message = update.effective_message
        if message is None or picture is None:
            await _reply(message, text)
            return
        await message.reply_photo(
            picture,
            caption=text[: MessageLimit.CAPTION_LENGTH],
            do_quote=True,
            allow_sending_without_reply=True,
        )

    if await _may_send(update, context, 1):
        await _with_words(update, context, do)


async def _compared(update: Update, context: Context, photo: bytes) -> tuple[bytes | None, str]:
    desk = desk_of(context)
    language = await desk.language(update)
    return None, replies.comparison(
        await ask_all(desk.predictor, await desk.results(), photo), language
    )


async def _explained(update: Update, context: Context, photo: bytes) -> tuple[bytes | None, str]:
    desk = desk_of(context)
    language, model = await desk.language(update), await desk.model(update)
    picture, text, _ = await _picture(desk, photo, model, language)
    return picture, text


async def _picture(
    desk: Desk, photo: bytes, model: str, language: locale.Language
) -> tuple[bytes | None, str, Prediction]:
    """A photo under colours where something spoke for the answer, the words to it, the answer."""
    words, result = locale.bot_words(language), await desk.result(model)
    prediction = await desk.predict(photo, model, saliency=True)
    said = replies.answer(prediction, result.config.title, language)
    saliency = prediction.saliency
    if saliency is None:
        text = f"{said}\n\n{words['why_not'].format(model=result.config.title)}"
        return None, text, prediction

    def draw() -> bytes:
        rgb = decode(photo, min_side=_PICTURE)
        buffer = io.BytesIO()
        drawn = overlay(rgb, saliency, result.config.input)
        drawn.thumbnail((_PICTURE, _PICTURE))
        drawn.save(buffer, "JPEG", quality=88)
        return buffer.getvalue()

    label = locale.label_name(prediction.label, language)
    text = f"{said}\n\n{words['why_text'].format(label=label)}"
    return await asyncio.to_thread(draw), text, prediction


async def _answer(update: Update, context: Context, asked: Message) -> None:
    """Answer one photo with a reply to the message that it came with."""
    desk, found = desk_of(context), photo_of(asked)
    if found is None:
        return

    async def do() -> None:
        language, model = await desk.language(update), await desk.model(update)
        async with desk.photo(context.bot, *found) as photo:
            prediction = await desk.predict(photo, model)
        user = asked.from_user
        person = desk.person(user.id if user is not None else None)
        key = ""
        async with _inbox_of(context).keeping(update) as may:
            if may:
                key = await desk.keep_answer(update, person, found[0], prediction)
        title = (await desk.result(model)).config.title
        text = replies.answer(prediction, title, language)
        await _reply(asked, text, replies.answer_buttons(key, language))
        desk.hour.answered(_waited(update, context))

    if await _may_send(update, context, 1):
        await _with_words(update, context, do)


async def album(updates: Sequence[Update], context: Context) -> None:
    """Answer the items of an album with one reply, a numbered table."""
    items = [update.message for update in updates if update.message is not None]
    if not items or not any(_is_meant(item, context) for item in items):
        return
    desk, first = desk_of(context), updates[0]
    if not any(photo_of(item) for item in items):
        if items[0].chat.type == ChatType.PRIVATE:
            await _tell("other")(first, context)
        return

    async def do() -> None:
        language, model = await desk.language(first), await desk.model(first)

        async def one(item: Message) -> Prediction | TenSightError | None:
            found = photo_of(item)
            if found is None:
                return None
            try:
                async with desk.photo(context.bot, *found) as photo:
                    return await desk.predict(photo, model)
            except TenSightError as error:
                if is_away(error) or isinstance(error, StoreError):
                    raise
                return error

        said = await asyncio.gather(*map(one, items))
        title = (await desk.result(model)).config.title
        await _reply(items[0], replies.album(said, title, language))
        for each in said:
            if isinstance(each, TenSightError):
                desk.hour.failed(each)
            elif each is not None:
                desk.hour.answered(_waited(first, context))

    if await _may_send(first, context, sum(photo_of(item) is not None for item in items)):
        await _with_words(first, context, do)


async def _may_send(update: Update, context: Context, photos: int) -> bool:
    """Whether photos are looked at; if not, the chat was told why."""
    desk, chat = desk_of(context), update.effective_chat
    user = update.effective_user
    operator = user is not None and user.id in desk.settings.operators
    words = locale.bot_words(await desk.language(update))
    try:
        desk.admit(update, photos)
    except RateError as error:
        group = chat is not None and chat.type != ChatType.PRIVATE
        if group or not desk.complains(update):
            return False
        await _reply(update.effective_message, words["too_many"].format(seconds=error.retry_after))
        desk.complained(update)
        return False
    if await desk.maintenance() and not operator:
        await _reply(update.effective_message, words["maintenance"])
        return False
    return True


def _waited(update: Update, context: Context) -> float:
    """Seconds since an update was taken."""
    return _inbox_of(context).age(update)


async def _with_words(
    update: Update, context: Context, do: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Do what somebody asked for; where it cannot be done, say why.

    Raises:
        Later: The predictor is away: who waits was told so.
    """
    desk = desk_of(context)
    language = await desk.language(update)
    words = locale.bot_words(language)
    try:
        await do()
    except PhotoReadError:
        await _reply(update.effective_message, words["unreadable"])
    except _THEIRS as error:
        desk.hour.failed(error)
        await _reply(update.effective_message, locale.error_words(error, language))
    except PredictorError as error:
        if not is_away(error):
            raise
        told = context.bot_data.setdefault("told_away", set())
        if update.update_id not in told:
            await _reply(update.effective_message, words["away"])
            told.add(update.update_id)
        raise Later(str(error)) from error
    context.bot_data.get("told_away", set()).discard(update.update_id)


async def _button(update: Update, context: Context) -> None:
    query = update.callback_query
    if query is None or query.data is None:
        return
    act, _, rest = query.data.partition(":")
    key, _, value = rest.partition(":")
    handlers: dict[str, Callable[[_Press], Coroutine[Any, Any, str | None]]] = {
        "why": _press_why,
        "compare": _press_compare,
        "right": _press_right,
        "wrong": _press_wrong,
        "truth": _press_truth,
        "models": _press_models,
        "model": _press_model,
        "back": _press_back,
        "language": _press_language,
        "keep": _press_keep,
    }
    desk = desk_of(context)
    language = await desk.language(update)
    words, said = locale.bot_words(language), None
    alert = True
    ours: Exception | None = None
    try:
        if act in handlers:
            if not isinstance(query.message, Message) or not query.message.is_accessible:
                said = words["too_old"]
            else:
                press = _Press(update, context, query, query.message, key, value, language)
                if act in _ASKING:
                    if (
                        await desk.maintenance()
                        and query.from_user.id not in desk.settings.operators
                    ):
                        said = words["maintenance"]
                    else:
                        desk.admit(update, 1)
                said = said or await handlers[act](press)
                alert = said not in (words["thanks"], words["which"], words["said_before"])
    except PhotoReadError:
        said = words["gone"]
    except StoreError:
        raise
    except TenSightError as error:
        said = locale.error_words(error, language)
        ours = None if is_away(error) or isinstance(error, _THEIRS) else error
    except BadRequest as error:
        if "not modified" not in error.message.lower():
            said, ours = locale.error_words(TenSightError(), language), error
    with suppress(TelegramError):  # a press that is long ago cannot be answered
        await query.answer(said, show_alert=alert and said is not None)
    if ours is not None:
        raise ours


class _Press:
    """A button that was pressed, and what it is about."""

    def __init__(
        self,
        update: Update,
        context: Context,
        query: CallbackQuery,
        message: Message,
        key: str,
        value: str,
        language: locale.Language,
    ) -> None:
        self.update = update
        self.context = context
        self.query = query
        self.message = message
        self.key = key
        self.value = value
        self.language = language
        self.desk = desk_of(context)
        self.words = locale.bot_words(language)

    def keeping(self) -> AbstractAsyncContextManager[bool]:
        """Whether something may be kept of who pressed, as `Inbox.keeping` tells."""
        return _inbox_of(self.context).keeping(self.update)

    async def change_chat(self, **changes: Any) -> None:
        """Keep what the chat chooses."""
        async with self.keeping() as may:
            if may:
                await self.desk.change_chat(self.update, **changes)

    async def answered(self) -> Answered | None:
        """The answer that it is about; None where it is kept no more."""
        return await asyncio.to_thread(self.desk.store.feedback.answer, self.key)

    def photo(self, answered: Answered) -> AbstractAsyncContextManager[bytes]:
        """The photo, fetched again."""
        return self.desk.photo(self.context.bot, answered.file)

    async def show(
        self, text: str, buttons: InlineKeyboardMarkup | None, picture: bytes | None = None
    ) -> None:
        """Put something else into the message."""
        caption = text[: MessageLimit.CAPTION_LENGTH]
        if picture is not None:
            media = InputMediaPhoto(picture, caption=caption)
            await self.message.edit_media(media, reply_markup=buttons)
            return
        if not self.message.photo:
            try:
                await self.message.edit_text(text, reply_markup=buttons)
                return
            except BadRequest as error:
                # A press of just before may have put a picture there.
                if "no text in the message" not in error.message.lower():
                    raise
        await self.message.edit_caption(caption, reply_markup=buttons)

    async def buttons(self, buttons: InlineKeyboardMarkup | None) -> None:
        """Put other buttons under the message."""
        await self.message.edit_reply_markup(buttons)


async def _press_why(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        picture, text, prediction = await _picture(
            press.desk, photo, answered.model, press.language
        )
    key, judged = press.key, answered.judged
    if prediction.revision != answered.revision:
        # What is shown from now on is what the model of today says.
        key, judged = await _kept(press, answered, prediction), False
    await press.show(text, replies.answer_buttons(key, press.language, judged=judged), picture)
    return None


async def _kept(press: _Press, answered: Answered, prediction: Prediction) -> str:
    """Keep another answer on the same photo; its key."""
    async with press.keeping() as may:
        # Whoever sent the photo may have asked to be forgotten, too.
        if not may or await press.answered() is None:
            return press.key
        # Whose photo it is, not who pressed: consent is the sender's.
        file, person = answered.file, answered.person
        return await press.desk.keep_answer(press.update, person, file, prediction)


async def _press_compare(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        answers = await ask_all(press.desk.predictor, await press.desk.results(), photo)
    # Of several answers, none is the one that a judgement would be about.
    buttons = replies.answer_buttons(press.key, press.language, judged=True)
    await press.show(replies.comparison(answers, press.language), buttons)
    return None


async def _press_right(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    if answered.verdict == "unsure":
        return await _press_wrong(press)  # it named two: which of them?
    return await _judge(press, answered, NONE if answered.verdict == "none" else answered.answer)


async def _press_wrong(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    if answered.judged:
        return press.words["said_before"]
    buttons = replies.class_buttons(press.key, list(answered.scores), press.language)
    await press.buttons(buttons)
    return press.words["which"]


async def _press_truth(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    labels = sorted(answered.scores)
    if press.value != NONE and not (press.value.isdecimal() and int(press.value) < len(labels)):
        return press.words["gone"]
    truth = NONE if press.value == NONE else labels[int(press.value)]
    return await _judge(press, answered, truth)


async def _judge(press: _Press, answered: Answered, truth: str) -> str:
    desk, presser = press.desk, press.query.from_user
    photo = None
    # Only who sent a photo can agree that it is kept.
    mine = desk.person(presser.id) == answered.person
    if mine and (await asyncio.to_thread(desk.store.chats.get, presser.id)).keep_photos:
        # What is said counts also where the photo is gone.
        with suppress(TelegramError, TenSightError):
            async with press.photo(answered) as content:
                photo = await asyncio.to_thread(to_archival_jpeg, content)
    feedback = Feedback(
        front="bot",
        model=answered.model,
        revision=answered.revision,
        answer=answered.answer,
        verdict=answered.verdict,
        scores=answered.scores,
        truth=truth,
        person=desk.person(presser.id),
        photo=photo,
    )
    async with press.keeping() as may:
        if not may:
            return press.words["gone"]
        first = await asyncio.to_thread(desk.store.feedback.judge, press.key, feedback)
    await press.buttons(replies.answer_buttons(press.key, press.language, judged=True))
    return press.words["thanks" if first else "said_before"]


async def _press_models(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    results = await press.desk.offered(answered.model)
    buttons = replies.model_buttons(
        results, press.language, answered.model, press.key, back=press.value
    )
    await press.buttons(buttons)
    return None


async def _press_model(press: _Press) -> str | None:
    """Who is to answer in the chat; under an answer, on this photo alone."""
    chosen = [
        result
        for result in await press.desk.results()
        if replies.model_code(result.config.name) == press.value
    ]
    if not chosen:
        return press.words["no_model"]
    (result,) = chosen
    name, title = result.config.name, result.config.title
    if not press.key:
        await press.change_chat(model=name)
        await press.show(press.words["chosen_model"].format(model=title), None)
        return None
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    async with press.photo(answered) as photo:
        prediction = await press.desk.predict(photo, name)
    buttons = replies.answer_buttons(await _kept(press, answered, prediction), press.language)
    await press.show(replies.answer(prediction, title, press.language), buttons)
    return None


async def _press_back(press: _Press) -> str | None:
    answered = await press.answered()
    if answered is None:
        return press.words["gone"]
    judged = answered.judged or press.value == replies.JUDGED
    await press.buttons(replies.answer_buttons(press.key, press.language, judged=judged))
    return None


async def _press_language(press: _Press) -> str | None:
    if press.value in locale.LANGUAGES:
        await press.change_chat(language=press.value)
        words = locale.bot_words(await press.desk.language(press.update))
        await press.show(words["chosen_language"], None)
    return None


async def _press_keep(press: _Press) -> str | None:
    keeps = press.value == "1"
    await press.change_chat(keep_photos=keeps)
    await press.show(*_privacy_text(press.desk, press.language, keeps))
    return None


def _is_meant(message: Message, context: Context) -> bool:
    """Whether a photo was sent to the bot: all are in a private chat, in a group few."""
    if message.chat.type == ChatType.PRIVATE:
        return True
    to = message.reply_to_message
    if to is not None and to.from_user is not None and to.from_user.id == context.bot.id:
        return True
    kinds: list[str | None] = [MessageEntity.MENTION, MessageEntity.TEXT_MENTION]
    name = f"@{context.bot.username}".lower()
    return any(
        text.lower() == name or (entity.user is not None and entity.user.id == context.bot.id)
        for entity, text in message.parse_caption_entities(kinds).items()
    )


async def _reply(
    message: Message | None, text: str, buttons: InlineKeyboardMarkup | None = None
) -> None:
    if message is not None:
        await message.reply_text(
            text[: MessageLimit.MAX_TEXT_LENGTH],
            reply_markup=buttons,
            do_quote=True,
            allow_sending_without_reply=True,
        )
