"""Environment variables that libraries read when they are imported or start.

Gradio and the Hub's client convert some of them to numbers without a check, and end the program
with a stack trace that does not name the variable.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import SettingsError
from core.redaction import masked_value

__all__ = ["HUB_NUMBERS", "PAGE_NUMBERS", "drop_invalid_variables", "invalid_hub_variable"]

HUB_NUMBERS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
"""Whole numbers that the Hub's client reads."""

PAGE_NUMBERS = (
    *("GRADIO_ANALYTICS_CACHE_FREQUENCY", "GRADIO_ANALYTICS_MAX_EVENTS", "GRADIO_DEBUG"),
    *("GRADIO_DEFAULT_CONCURRENCY_LIMIT", "GRADIO_NODE_NUM_PORTS", "GRADIO_NODE_SERVER_PORT"),
    *("GRADIO_NUM_PORTS", "GRADIO_NUM_WORKERS", "GRADIO_SERVER_PORT"),
)
"""Whole numbers that Gradio reads."""

_ENDPOINT = "HF_ENDPOINT"
_FOLDER = "GRADIO_TEMP_DIR"
_NO_LIMIT = "GRADIO_DEFAULT_CONCURRENCY_LIMIT"


def invalid_hub_variable() -> str | None:
    """Return a sentence about an invalid variable of the Hub's client; None if all are valid."""
    for name in HUB_NUMBERS:
        why = _no_number_because(name)
        if why is not None:
            return _sentence(name, f"is invalid: {why}. Correct or unset it.")
    value = os.environ.get(_ENDPOINT)
    return None if value is None or _is_address(value) else _invalid_endpoint()


def drop_invalid_variables() -> list[str]:
    """Remove invalid numbers and an unusable folder for Gradio and the Hub's client.

    Otherwise a page could not start, even where it does not use them. HF_ENDPOINT stays, since
    requests with a token must not go to another server. Call it before Gradio is imported.

    Returns:
        A sentence about each variable that was removed, unless it was empty.

    Raises:
        SettingsError: HF_ENDPOINT cannot be parsed, with which Gradio cannot be imported.
    """
    try:
        _ = urlsplit(os.environ.get(_ENDPOINT, "")).port
    except ValueError:
        # Without the cause, which may contain a part of a password.
        raise SettingsError(_invalid_endpoint()) from None
    dropped = []
    for name in (*PAGE_NUMBERS, *HUB_NUMBERS):
        why = _no_number_because(name)
        if why is None:
            continue
        if os.environ[name].strip():
            dropped.append(_sentence(name, f"is ignored: {why}."))
        del os.environ[name]
    folder = os.environ.get(_FOLDER)
    if folder and not _is_usable(Path(folder)):
        dropped.append(_sentence(_FOLDER, "is ignored: no files can be created there."))
        del os.environ[_FOLDER]
    return dropped


def _invalid_endpoint() -> str:
    why = "it must be a URL such as https://huggingface.co"
    return _sentence(_ENDPOINT, f"is invalid: {why}. Correct or unset it.")


def _sentence(name: str, what: str) -> str:
    return f"The environment variable {name}={masked_value(os.environ[name])} {what}"


def _no_number_because(name: str) -> str | None:
    """Return why a variable is not a whole number; None if it is one, or is not set."""
    value = os.environ.get(name)
    if value is None or (name == _NO_LIMIT and value.lower() == "none"):
        return None
    try:
        int(value)
    except ValueError:
        return "it must be a whole number"
    return None


def _is_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except (OSError, ValueError):
        return False
