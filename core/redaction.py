"""Masking of secrets in text that is shown or logged."""

from __future__ import annotations

import re

__all__ = ["without_credentials"]

# Replacement of a secret in a message.
_MASK = "**********"
# Tokens of Telegram and of the Hub, which users paste into the wrong settings.
_TOKENS = re.compile(r"\d{5,}:[\w-]{20,}|hf_\w{8,}")


def without_credentials(text: str) -> str:
    """Mask user names, passwords and query strings of URLs in a text, and tokens."""
    text = re.sub(r"//[^\s]*@", f"//{_MASK}@", text)
    text = re.sub(r"(://\S*\?)\S+", rf"\1{_MASK}", text)
    return _TOKENS.sub(_MASK, text)
