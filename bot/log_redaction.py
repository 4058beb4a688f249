"""Keep secrets such as the token, which is part of Telegram's URLs, out of the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

__all__ = ["redact"]

_PLACEHOLDER = "[hidden]"


class _RedactionFilter(logging.Filter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        message, text = record.getMessage(), record.exc_text or ""
        for secret in self._secrets:
            message = message.replace(secret, _PLACEHOLDER)
            text = text.replace(secret, _PLACEHOLDER)
        record.msg, record.args, record.exc_text = message, (), text or None
        return True


def redact(*secrets: str) -> None:
    """Remove secrets from everything that is logged from now on, including tracebacks.

    It applies to the handlers of the root logger, which get the records of all loggers below it.
    """
    for handler in logging.getLogger().handlers:
        handler.addFilter(_RedactionFilter(secrets))
    # At lower levels the HTTP client logs every URL, and the library the content of every update.
    for name in ("httpx", "httpcore", "telegram"):
        logging.getLogger(name).setLevel(logging.WARNING)
