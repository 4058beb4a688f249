"""Redaction of secrets from the log."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from core.logs import _RedactionFilter, configure_logging
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.servers import free_port

SECRET = "123456:" + "a" * 35


@pytest.fixture(autouse=True)
def _filters_are_restored() -> Iterator[None]:
    root = logging.getLogger()
    before = [list(handler.filters) for handler in root.handlers]
    yield
    for handler, filters in zip(root.handlers, before, strict=True):
        handler.filters = filters


def test_secret_is_redacted_from_messages_and_tracebacks(
    caplog: pytest.LogCaptureFixture,
) -> None:
    configure_logging(Settings(telegram_webhook_secret=SecretStr("plain words")))
    with caplog.at_level("DEBUG"):
        logging.getLogger("x").info("requested %s", f"https://api/bot{SECRET}/getMe")
        logging.getLogger("x").info("posted to http://user:s3cret@host", stack_info=True)
        try:
            raise ValueError("of plain words and http://user:s3cret@host")
        except ValueError:
            logging.getLogger("y").exception("failed")
    assert SECRET not in caplog.text
    assert "s3cret" not in caplog.text
    assert "plain words" not in caplog.text
    assert "of **********" in caplog.text


def test_later_secrets_replace_earlier_ones(caplog: pytest.LogCaptureFixture) -> None:
    for secret in ("first words", "other words"):
        configure_logging(Settings(telegram_webhook_secret=SecretStr(secret)))
    assert len(caplog.handler.filters) == 1
    logging.getLogger("x").warning("first words, other words")
    assert caplog.messages == ["first words, **********"]


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
@pytest.mark.parametrize("command", ["predict", "explain"])
def test_password_of_a_predictor_is_not_logged(level: str, command: str, tmp_path: Path) -> None:
    photo = ROOT / "demo" / "photos" / "cat.jpg"
    options = ["--out", str(tmp_path / "out.png")] if command == "explain" else []
    variables = {"TENSIGHT_LOG_LEVEL": level, "PYTHONPATH": str(ROOT)}
    # Something that answers is needed, as a request is logged with its response.
    variables["TENSIGHT_PREDICTOR_URL"] = f"http://user:sekret@127.0.0.1:{free_port()}"
    server = (
        "import http.server, sys, threading, runpy\n"
        "class Refuses(http.server.BaseHTTPRequestHandler):\n"
        "    def answer(self): self.send_error(404)\n"
        "    do_GET = do_POST = answer\n"
        "port = int(sys.argv.pop(1))\n"
        "server = http.server.HTTPServer(('127.0.0.1', port), Refuses)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "sys.argv[0] = 'tensight'\n"
        "runpy.run_module('core.cli', run_name='__main__')\n"
    )
    port = variables["TENSIGHT_PREDICTOR_URL"].rpartition(":")[2]
    run = subprocess.run(
        [sys.executable, "-c", server, port, command, str(photo), *options],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "404" in run.stderr
    assert "sekret" not in run.stdout + run.stderr


class _Unprintable:
    def __repr__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        (("%d items", "three"), "%d items ('three',)"),
        (("%s of %s", "s3cretpassword"), "**********"),
        (("%s", _Unprintable()), "cannot be formatted"),
        ((_Unprintable(),), "cannot be formatted"),
    ],
)
def test_record_that_cannot_be_formatted_does_not_raise(
    args: tuple[Any, ...], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    handler.addFilter(_RedactionFilter(["s3cretpassword"]))
    unformatted = logging.getLogger("unformatted")
    unformatted.addHandler(handler)
    try:
        unformatted.warning(*args)
    finally:
        unformatted.removeHandler(handler)
    told = capsys.readouterr().err
    assert shown in told
    assert "s3cretpassword" not in told
