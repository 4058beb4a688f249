"""What must not stand in a log: the token, which Telegram's addresses carry."""

from __future__ import annotations

import logging
from collections.abc import Sequence

__all__ = ["hide"]

_SHOWN = "[hidden]"


class _Hiding(logging.Filter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        message, text = record.getMessage(), record.exc_text or ""
        for secret in self._secrets:
            message, text = message.replace(secret, _SHOWN), text.replace(secret, _SHOWN)
        record.msg, record.args, record.exc_text = message, (), text or None
        return True


def hide(*secrets: str) -> None:
    """Keep secrets out of everything that is logged from now on, tracebacks too.

    The handlers of the root logger are meant: what is logged below it comes there.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Hiding(secrets))
    # Each request is a line of theirs, with its whole address; and of the library's, with all that
    # somebody wrote.
    for name in ("httpx", "httpcore", "telegram"):
        logging.getLogger(name).setLevel(logging.WARNING)
