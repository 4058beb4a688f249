"""What it means that Telegram, or another Bot API server, refuses a request."""

from __future__ import annotations

from telegram import Bot
from telegram.error import BadRequest, EndPointNotFound, Forbidden, InvalidToken, TelegramError

__all__ = ["UNKNOWN_BOT", "UNKNOWN_METHOD", "is_closed", "knows_token"]

UNKNOWN_BOT = (
    "Telegram does not know the token in TENSIGHT_TELEGRAM_TOKEN. @BotFather tells the right one. "
    "Where TENSIGHT_TELEGRAM_API_URL is set, look at that too."
)
UNKNOWN_METHOD = (
    "The Bot API server at TENSIGHT_TELEGRAM_API_URL knows the token and not the method {method}. "
    "{advice}"
)

# Of the descriptions of "400 Bad Request" that say that a bot may not write somewhere.
_CLOSED = (
    *("topic_closed", "topic_deleted", "topic closed", "message thread not found"),
    *("not enough rights", "have no rights", "need administrator rights", "chat_admin_required"),
    *("chat_write_forbidden", "chat_restricted", "_forbidden", "chat not found"),
    *("channel_private", "peer_id_invalid", "user_is_blocked", "group chat was deactivated"),
    *("is not a member", "bot was kicked", "bot was blocked"),
)


def is_closed(error: TelegramError) -> bool:
    """Whether the bot may not write in a chat, which is the choice of whoever runs the chat."""
    if isinstance(error, Forbidden):
        return True
    message = error.message.lower()
    return isinstance(error, BadRequest) and any(each in message for each in _CLOSED)


async def knows_token(bot: Bot) -> bool:
    """Ask whether the token is still good, after a method was refused as if it were not.

    The client takes "404 Not Found" for a wrong token; of a Bot API server that does not know one
    method it is the answer to that method.

    Raises:
        NetworkError: It cannot be asked just now.
    """
    try:
        await bot.get_me()
    except (InvalidToken, EndPointNotFound):
        return False
    return True
