"""Reword messages that name commands of the command line, for operators who read them in chat."""

from __future__ import annotations

import re

__all__ = ["reword_for_chat"]

# Commands of the command line, and those of the chat that do the same; the first match counts.
_COMMANDS = (
    (re.compile(r"`tensight models list`"), "/models"),
    (re.compile(r"`tensight models pull( --revision)?`"), "/pull"),
    (re.compile(r"`tensight models (promote|rollback)( [^`]*)?`"), r"/\1\2"),
    (re.compile(r"`tensight (shadow|canary) ([^`]*) --stop`"), r"/\1 \2 stop"),
    (re.compile(r"`tensight (shadow|canary|evidence)( [^`]*)?`"), r"/\1\2"),
    (re.compile(r"`tensight feedback`"), "/feedback"),
    # What chats have no command for.
    (re.compile(r"`(tensight [^`]*)`"), r"“\1” on the server"),
)
_WORDS_OF_THE_SHELL = re.compile(r"\bRun (?=/)")


def reword_for_chat(message: object) -> str:
    """Replace the commands that a message names by those of the chat.

    Args:
        message: The message, or an error that has one.
    """
    text = str(message)
    for pattern, command in _COMMANDS:
        text = pattern.sub(command, text)
    return _WORDS_OF_THE_SHELL.sub("Send ", text)
