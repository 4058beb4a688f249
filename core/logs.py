"""Log of a process: level, format, and redaction of secrets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from core.redaction import without_secrets
from core.settings import Settings

__all__ = ["configure_logging"]

# At lower levels, HTTP clients log headers and every URL, and the Telegram library the content of
# every update.
_VERBOSE = ("httpx", "httpx2", "httpcore", "httpcore2", "telegram")


class _RedactionFilter(logging.Filter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = [secret for secret in secrets if secret]

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.msg, record.args = without_secrets(_message(record), self._secrets), ()
        if record.exc_text:
            record.exc_text = without_secrets(record.exc_text, self._secrets)
        if record.stack_info:
            record.stack_info = without_secrets(record.stack_info, self._secrets)
        return True


def _message(record: logging.LogRecord) -> str:
    """Return the text of a record, even if its arguments do not fit its format.

    `logging` reports such a record and goes on. An error raised in a filter would reach the caller.
    """
    with suppress(Exception):
        return record.getMessage()
    with suppress(Exception):
        return f"{record.msg} {record.args}"
    return "This message cannot be formatted."


def configure_logging(settings: Settings) -> None:
    """Log to stderr at the level of the settings, with secrets removed, also from tracebacks.

    The secrets of the settings are removed, and whatever looks like credentials. This applies to
    the handlers of the root logger, which get the records of all loggers below it.
    """
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s")
    redaction = _RedactionFilter(settings.secrets())
    for handler in logging.getLogger().handlers:
        for each in list(handler.filters):
            if isinstance(each, _RedactionFilter):
                handler.removeFilter(each)
        handler.addFilter(redaction)
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(logging.WARNING)
