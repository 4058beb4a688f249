"""Interpret refused requests to Telegram or to another Bot API server."""

from __future__ import annotations

from collections.abc import Iterable

from telegram import Bot
from telegram.error import BadRequest, EndPointNotFound, Forbidden, InvalidToken, TelegramError

__all__ = ["UNKNOWN_BOT", "UNKNOWN_METHOD", "is_closed", "is_gone", "knows_token"]

UNKNOWN_BOT = (
    "Telegram does not know the token in TENSIGHT_TELEGRAM_TOKEN. Ask @BotFather for the token; if "
    "TENSIGHT_TELEGRAM_API_URL is set, check that too."
)
UNKNOWN_METHOD = (
    "The Bot API server at TENSIGHT_TELEGRAM_API_URL accepts the token but does not know the "
    "method {method}. {advice}"
)

# Parts of the descriptions of "400 Bad Request", in lower case, by what they say. The Bot API
# server has sentences of its own and passes on the names of Telegram's errors.
_CLOSED = (
    # The chat, or a topic of it, does not exist, or the bot is not in it.
    *("chat not found", "chat_id_invalid", "peer_id_invalid", "channel_invalid", "channel_private"),
    *("channel_public_group_na", "group chat was deactivated", "group chat was upgraded"),
    *("is not a member", "user_not_participant", "bot was kicked", "user_banned_in_channel"),
    *("topic_closed", "topic closed", "topic_deleted", "topic_id_invalid"),
    "message thread not found",
    # It has no right to write there, or none to send photos, as in chat_send_photos_forbidden.
    *("not enough rights", "have no rights", "have no write access", "need administrator rights"),
    *("chat_admin_required", "chat_restricted", "user_restricted", "_forbidden"),
    # The person has left Telegram or does not want to hear from the bot, or only for money.
    *("user not found", "user is deactivated", "input_user_deactivated", "user_deleted"),
    *("bot was blocked", "bot_blocked", "user_is_blocked", "user_privacy_restricted"),
    *("privacy_premium_required", "allow_payment_required"),
)
_GONE = (
    *("message to edit not found", "message can't be edited", "message to delete not found"),
    *("message can't be deleted", "message_delete_forbidden", "message_id_invalid"),
    *("message to be replied not found", "reply message not found", "replied message not found"),
    *("message_edit_time_expired", "message_author_required"),
)


def is_closed(error: TelegramError) -> bool:
    """Return whether the bot may not write in a chat, which its members decide."""
    if isinstance(error, Forbidden):
        return True
    return not is_gone(error) and _says(error, _CLOSED)


def is_gone(error: TelegramError) -> bool:
    """Return whether a message that was to be edited or answered is gone or cannot be changed."""
    return _says(error, _GONE)


def _says(error: TelegramError, parts: Iterable[str]) -> bool:
    message = error.message.lower()
    return isinstance(error, BadRequest) and any(part in message for part in parts)


async def knows_token(bot: Bot) -> bool:
    """Return whether the token is still valid, after a request failed as with an invalid one.

    The library takes "404 Not Found" for an invalid token; a Bot API server answers the same for a
    method that it does not know.

    Raises:
        NetworkError: The server cannot be reached now.
    """
    try:
        await bot.get_me()
    except (InvalidToken, EndPointNotFound):
        return False
    return True
