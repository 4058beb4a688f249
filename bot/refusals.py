"""Interpret refused requests to Telegram or to another Bot API server."""

from __future__ import annotations

from telegram import Bot
from telegram.error import BadRequest, EndPointNotFound, Forbidden, InvalidToken, TelegramError

__all__ = ["UNKNOWN_BOT", "UNKNOWN_METHOD", "is_closed", "knows_token"]

UNKNOWN_BOT = (
    "Telegram does not know the token in TENSIGHT_TELEGRAM_TOKEN. Ask @BotFather for the token; if "
    "TENSIGHT_TELEGRAM_API_URL is set, check that too."
)
UNKNOWN_METHOD = (
    "The Bot API server at TENSIGHT_TELEGRAM_API_URL accepts the token but does not know the "
    "method {method}. {advice}"
)

# Parts of the descriptions of "400 Bad Request" for a chat where the bot may not write.
_CLOSED = (
    *("topic_closed", "topic_deleted", "topic closed", "message thread not found"),
    *("not enough rights", "have no rights", "need administrator rights", "chat_admin_required"),
    *("chat_write_forbidden", "chat_restricted", "_forbidden", "chat not found"),
    *("channel_private", "peer_id_invalid", "user_is_blocked", "group chat was deactivated"),
    *("is not a member", "bot was kicked", "bot was blocked"),
)


def is_closed(error: TelegramError) -> bool:
    """Return whether the bot may not write in a chat, which its members decide."""
    if isinstance(error, Forbidden):
        return True
    message = error.message.lower()
    return isinstance(error, BadRequest) and any(each in message for each in _CLOSED)


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
