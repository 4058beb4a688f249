"""Parse Telegram updates, and read chat, sender, album and photo from them."""

from __future__ import annotations

import logging
import mimetypes
from typing import Any, NamedTuple

from telegram import Bot, Document, Message, PhotoSize, Update

__all__ = [
    "PhotoFile",
    "album_of",
    "chat_id_of",
    "client_of",
    "content_id_of",
    "has_file",
    "is_forget_command",
    "is_reply_to",
    "is_sent_by",
    "ordering_chat_of",
    "parse_update",
    "photo_of",
    "sender_id_of",
    "user_id_of",
]

_UNKNOWN_TYPE = "application/octet-stream"
# Ids are stored as 64-bit integers.
_IDS = range(-(2**63), 2**63)

logger = logging.getLogger(__name__)


class PhotoFile(NamedTuple):
    """A photo on Telegram's servers.

    Attributes:
        file_id: Id to download it with.
        size: Size in bytes, if Telegram reported it.
    """

    file_id: str
    size: int | None


def parse_update(content: dict[str, Any], bot: Bot) -> Update | None:
    """Parse an update as Telegram sends it; None where the content is not valid."""
    try:
        update = Update.de_json(content, bot)
        if update.effective_message is not None and update.effective_chat is None:
            raise TypeError("the message has no chat")
        senders = (update.effective_chat, update.effective_user, update.effective_sender)
        ids = [update.update_id, *(each.id for each in senders if each is not None)]
        # The library does not validate ids.
        if any(type(number) is not int or number not in _IDS for number in ids):
            raise TypeError("an id is not a 64-bit integer")
    except Exception as error:  # noqa: BLE001  # parsing unvalidated input raises any error
        # The content may hold personal data, so it is not logged.
        number, kind = content.get("update_id"), type(error).__name__
        logger.warning("Update %s cannot be parsed (%s) and is ignored", number, kind)
        return None
    return update


def album_of(update: Update) -> str | None:
    """Return the id that the items of an album share; None for any other update."""
    message = update.message
    return message.media_group_id if message is not None else None


def has_file(update: Update) -> bool:
    """Return whether an update has a photo or a file."""
    message = update.message
    return message is not None and (bool(message.photo) or message.document is not None)


def is_forget_command(update: Update) -> bool:
    """Return whether an update is the command /forget."""
    message = update.message
    text = message.text if message is not None else None
    # The library does not validate the type of a text.
    return isinstance(text, str) and text.split("@")[0].strip().lower() == "/forget"


def is_sent_by(update: Update, user: int) -> bool:
    """Return whether a user, see `user_id_of`, sent an update other than the command /forget."""
    return user_id_of(update) == user and not is_forget_command(update)


def is_reply_to(update: Update, user: int) -> bool:
    """Return whether an update is a reply to a message of a user, see `user_id_of`."""
    to = update.message.reply_to_message if update.message is not None else None
    return to is not None and sender_id_of(to) == user


def chat_id_of(update: Update) -> int | None:
    """Return the id of an update's chat, else of its sender; None where it has neither."""
    if update.effective_chat is not None:
        return update.effective_chat.id
    return user_id_of(update)


def ordering_chat_of(update: Update) -> int | None:
    """Return the chat in whose order an update is handled; None for one that is handled alone."""
    # A request to be forgotten does not wait for answers.
    return None if is_forget_command(update) else chat_id_of(update)


def user_id_of(update: Update) -> int | None:
    """Return the id of an update's sender, as `sender_id_of` does; None where it has none."""
    return update.effective_sender.id if update.effective_sender is not None else None


def sender_id_of(message: Message) -> int | None:
    """Return the id of a message's sender; None where it has none.

    It is that of the chat in whose name the message was sent, if any: Telegram gives the messages
    of all anonymous administrators of all groups the same user.
    """
    sender = message.sender_chat or message.from_user
    return None if sender is None else sender.id


def client_of(update: Update) -> str:
    """Return the client name of a chat, by which the predictor shares its capacity fairly."""
    chat = update.effective_chat
    return f"chat:{chat.id if chat is not None else 0}"


def photo_of(message: Message | None) -> PhotoFile | None:
    """Return the photo of a message, or the image sent as a file; None where it has neither."""
    found = _photo_or_image(message)
    return None if found is None else PhotoFile(found.file_id, found.file_size)


def content_id_of(message: Message | None) -> str | None:
    """Return Telegram's id of what a message's photo shows; None where it has none.

    It is the same whoever sends the photo again; it cannot be downloaded with it.
    """
    found = _photo_or_image(message)
    return None if found is None else found.file_unique_id


def _photo_or_image(message: Message | None) -> PhotoSize | Document | None:
    if message is None:
        return None
    if message.photo:
        return max(message.photo, key=lambda size: size.width * size.height)
    document = message.document
    if document is None:
        return None
    kind = document.mime_type
    if kind in (None, _UNKNOWN_TYPE):
        # Some clients send no type; the file's name may tell it.
        kind, _ = mimetypes.guess_type(document.file_name or "")
    return document if (kind or "").startswith("image/") else None
