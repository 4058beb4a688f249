"""Refusals of Telegram, sorted by what they say."""

from __future__ import annotations

import pytest
from telegram.error import BadRequest, Forbidden, NetworkError, TelegramError, TimedOut

from bot.refusals import is_closed, is_gone

CLOSED = [
    *("chat not found", "CHAT_ID_INVALID", "PEER_ID_INVALID", "CHANNEL_INVALID", "CHANNEL_PRIVATE"),
    *("CHANNEL_PUBLIC_GROUP_NA", "group chat was deactivated"),
    "group chat was upgraded to a supergroup chat",
    *("bot is not a member of the supergroup chat", "USER_NOT_PARTICIPANT"),
    *("bot was kicked from the group chat", "USER_BANNED_IN_CHANNEL"),
    *("TOPIC_CLOSED", "TOPIC_DELETED", "TOPIC_ID_INVALID", "message thread not found"),
    "not enough rights to send text messages to the chat",
    "not enough rights to send photos to the chat",
    *("have no rights to send a message", "have no write access to the chat"),
    *("need administrator rights in the channel chat", "CHAT_ADMIN_REQUIRED"),
    *("CHAT_RESTRICTED", "USER_RESTRICTED", "CHAT_FORBIDDEN", "CHAT_WRITE_FORBIDDEN"),
    *("CHAT_SEND_PHOTOS_FORBIDDEN", "CHAT_SEND_MEDIA_FORBIDDEN", "CHAT_SEND_PLAIN_FORBIDDEN"),
    *("CHAT_GUEST_SEND_FORBIDDEN", "VOICE_MESSAGES_FORBIDDEN"),
    *("user not found", "INPUT_USER_DEACTIVATED", "user is deactivated", "USER_DELETED"),
    *("USER_IS_BLOCKED", "BOT_BLOCKED_BY_USER", "bot was blocked by the user"),
    *("USER_PRIVACY_RESTRICTED", "PRIVACY_PREMIUM_REQUIRED", "ALLOW_PAYMENT_REQUIRED_50"),
]
GONE = [
    *("message to edit not found", "message can't be edited", "MESSAGE_ID_INVALID"),
    *("message to be replied not found", "reply message not found", "replied message not found"),
    *("message to delete not found", "message can't be deleted", "MESSAGE_DELETE_FORBIDDEN"),
    *("MESSAGE_EDIT_TIME_EXPIRED", "MESSAGE_AUTHOR_REQUIRED"),
]
NEITHER = [
    *("message text is empty", "message is too long", "BUTTON_DATA_INVALID", "MEDIA_EMPTY"),
    *("can't parse entities: unexpected end of name token", "IMAGE_PROCESS_FAILED"),
    *("wrong file identifier/HTTP URL specified", "PHOTO_INVALID_DIMENSIONS", "file is too big"),
    "query is too old and response timeout expired or query ID is invalid",
    "there is no text in the message to edit",
]


@pytest.mark.parametrize("reason", CLOSED)
def test_refused_chat_is_reported_as_closed(reason: str) -> None:
    # The library capitalises what follows "Bad Request: ".
    error = BadRequest(f"Bad Request: {reason}")
    assert (is_closed(error), is_gone(error)) == (True, False)


@pytest.mark.parametrize("reason", GONE)
def test_refused_message_is_reported_as_gone(reason: str) -> None:
    error = BadRequest(f"Bad Request: {reason}")
    assert (is_closed(error), is_gone(error)) == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        *(BadRequest(f"Bad Request: {reason}") for reason in NEITHER),
        *(NetworkError("chat not found"), TimedOut(), TelegramError("TOPIC_CLOSED")),
    ],
    ids=str,
)
def test_other_error_is_neither(error: TelegramError) -> None:
    assert (is_closed(error), is_gone(error)) == (False, False)


def test_every_forbidden_error_means_a_closed_chat() -> None:
    assert is_closed(Forbidden("Forbidden: bot can't initiate conversation with a user"))
