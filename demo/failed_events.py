"""Log events that fail in one line each, since any program can send events that fail."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import gradio as gr

from core import locale
from core.errors import TenSightError
from demo.context import language_of

__all__ = ["log_failed_events"]

_MAX_CHARACTERS = 200

logger = logging.getLogger(__name__)


def log_failed_events(page: gr.Blocks) -> None:
    """Let a page log an event that fails in one line, where Gradio prints a traceback.

    The traceback is logged at level DEBUG. Values that a component does not accept are the
    client's error, which is reported to it alone.

    Args:
        page: The page.
    """
    handlers: Any = page
    preprocess, process = handlers.preprocess_data, handlers.process_api

    async def preprocess_data(*args: Any, **options: Any) -> Any:
        try:
            return await preprocess(*args, **options)
        except gr.Error as error:
            error.print_exception = False
            raise
        except Exception as error:
            logger.debug("An event has invalid data", exc_info=error)
            raise gr.Error(
                "The event has invalid data. Reload the page; programs: see /gradio_api/info.",
                print_exception=False,
            ) from error

    async def process_api(*args: Any, **options: Any) -> Any:
        try:
            return await process(*args, **options)
        except gr.Error:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:_MAX_CHARACTERS]
            place = traceback.extract_tb(error.__traceback__)[-1]
            logger.error("An event failed in %s:%s: %s", place.filename, place.lineno, reason)
            logger.debug("An event failed", exc_info=error)
            raise gr.Error(
                _internal_error(options.get("request")), print_exception=False
            ) from error

    handlers.preprocess_data, handlers.process_api = preprocess_data, process_api


def _internal_error(request: Any) -> str:
    """Return the text of an internal error in the language of a request, if it is one."""
    language = language_of(request) if isinstance(request, gr.Request) else "en"
    return locale.format_error(TenSightError(), language)
