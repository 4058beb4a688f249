"""The command `tensight bot`, and the bot beside the page."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.support.bot_process import start_process
from tests.support.command_line import run_tensight
from tests.support.servers import free_port
from tests.support.telegram_server import TOKEN, TelegramServer


@pytest.mark.parametrize(
    ("conflict", "token", "message"),
    [
        (False, "123456:" + "b" * 35, "Telegram does not know the token"),
        (False, "nonsense", "Telegram does not know the token"),
        (True, TOKEN, "Another program receives the updates of this bot"),
    ],
)
def test_bot_that_cannot_run_prints_one_line(
    telegram: TelegramServer, tmp_path: Path, conflict: bool, token: str, message: str
) -> None:
    telegram.faults.conflict = conflict
    bot = start_process(
        telegram, tmp_path, TENSIGHT_TELEGRAM_TOKEN=token, TENSIGHT_LOG_LEVEL="WARNING"
    )
    assert bot.wait(200) == 1
    log = (tmp_path / "bot.log").read_text()
    assert message in log
    assert "Traceback" not in log
    assert token not in log


def test_bot_without_a_token_names_the_setting(tmp_path: Path) -> None:
    run = run_tensight("bot", TENSIGHT_HOME=str(tmp_path))
    assert run.returncode == 1
    assert "TENSIGHT_TELEGRAM_TOKEN is not set. @BotFather" in run.stderr
    assert "Traceback" not in run.stderr


def test_bot_runs_beside_the_page(telegram: TelegramServer, tmp_path: Path, content: bytes) -> None:
    port, metrics_port = free_port(), free_port()
    ports = ("--port", str(port), "--metrics-port", str(metrics_port))
    server = start_process(telegram, tmp_path, *ports, front="web")
    try:
        telegram.photo(1, content)
        telegram.wait_for(1, 1, seconds=200)
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").json() == {"status": "ok"}
        metrics = httpx.get(f"http://127.0.0.1:{metrics_port}/metrics").text
        assert "tensight_bot_updates_total" in metrics
    finally:
        server.terminate()
        assert server.wait(120) == 0
    log = (tmp_path / "bot.log").read_text()
    assert "DEBUG" in log
    assert TOKEN not in log
    assert json.loads(telegram.sent(1)[0].data["reply_parameters"])["message_id"]
