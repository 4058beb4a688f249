"""Redaction of secrets from the log."""

from __future__ import annotations

import logging

import pytest

from bot import log_redaction

SECRET = "123456:" + "a" * 35


def test_secret_is_redacted_from_messages_and_tracebacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = logging.getLogger()
    before = [list(handler.filters) for handler in root.handlers]
    log_redaction.redact(SECRET)
    try:
        with caplog.at_level("DEBUG"):
            logging.getLogger("x").info("requested %s", f"https://api/bot{SECRET}/getMe")
            try:
                raise ValueError(f"https://api/bot{SECRET}/getMe")
            except ValueError:
                logging.getLogger("y").exception("failed")
        assert SECRET not in caplog.text
        assert "[hidden]" in caplog.text
    finally:
        for handler, filters in zip(root.handlers, before, strict=True):
            handler.filters = filters
