"""The webhook server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from bot.timings import Backoff, Timings
from bot.webhook import WebhookAddress
from core.errors import BotError
from tests.support.bot_process import start_process
from tests.support.predictors import ControlledPredictor
from tests.support.running_bot import ask, running_bot, webhook_for
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import TelegramServer

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"


def update(number: int) -> dict[str, Any]:
    """Return an update with a text."""
    message = {"message_id": 1, "date": 1, "chat": {"id": 9, "type": "private"}, "text": "x"}
    return {"update_id": number, "message": message}


@pytest.mark.parametrize(
    ("url", "settings", "message"),
    [
        ("http://bot.example", {}, "needs an https address, and http://bot.example is not one"),
        ("https://bot.example", {"telegram_webhook_secret": "a b"}, "must be 1 to 256 characters"),
    ],
)
def test_invalid_webhook_address_is_explained(
    telegram: TelegramServer, tmp_path: Path, url: str, settings: dict[str, Any], message: str
) -> None:
    address = WebhookAddress(url, port=free_port())
    with (
        pytest.raises(BotError, match=message),
        running_bot(telegram, tmp_path, webhook=address, **settings),
    ):
        pass


def test_webhook_is_registered_and_answers_updates(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    with running_bot(telegram, tmp_path, webhook=webhook_for(telegram)):
        assert telegram.webhook["url"] == "https://bot.example/hook"
        assert len(telegram.webhook["secret_token"]) == 64
        telegram.photo(1, content)
        assert telegram.wait_for(1, 1)[0].text.startswith("A ship")


def test_webhook_accepts_each_update_once(telegram: TelegramServer, tmp_path: Path) -> None:
    with running_bot(telegram, tmp_path, webhook=webhook_for(telegram)) as bot:
        address = telegram.webhook["local"]
        headers = {SECRET_HEADER: telegram.webhook["secret_token"]}
        for _ in range(3):
            assert httpx.post(address, json=update(5000), headers=headers).status_code == 200
        telegram.wait_for(1, 9)
        bot.wait_until_idle()
        assert len(telegram.sent(9)) == 1


@pytest.mark.parametrize("upgrade", ["h2c", "H2C", "websocket"])
def test_webhook_reads_the_body_of_a_client_that_offers_an_upgrade(
    telegram: TelegramServer, tmp_path: Path, upgrade: str
) -> None:
    with running_bot(telegram, tmp_path, webhook=webhook_for(telegram)):
        headers = {
            SECRET_HEADER: telegram.webhook["secret_token"],
            "Upgrade": upgrade,
            "Connection": "Upgrade, HTTP2-Settings",
            "HTTP2-Settings": "AAMAAABkAAQAoAAAAAIAAAAA",
        }
        address = telegram.webhook["local"]
        answer = httpx.post(address, json=update(5000), headers=headers)
        assert answer.status_code == 200
        assert "upgrade" not in answer.headers
        telegram.wait_for(1, 9)


def test_webhook_refuses_requests_without_its_secret(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    with running_bot(telegram, tmp_path, webhook=webhook_for(telegram)):
        address = telegram.webhook["local"]
        for secret in ("wrong", "é"):
            sent = [(SECRET_HEADER.encode(), secret.encode())]
            assert httpx.post(address, json=update(1), headers=sent).status_code == 403
        assert httpx.post(address, json=update(1)).status_code == 403


def test_webhook_refuses_malformed_requests(telegram: TelegramServer, tmp_path: Path) -> None:
    with running_bot(telegram, tmp_path, webhook=webhook_for(telegram)):
        address = telegram.webhook["local"]
        headers = {SECRET_HEADER: telegram.webhook["secret_token"]}
        assert httpx.post(address, content=b"{", headers=headers).status_code == 400
        assert httpx.post(address, json=[], headers=headers).status_code == 400
        assert httpx.post(address, headers={"X": "x" * 2**16}).status_code == 431
        assert httpx.post(address, content=bytes(2**20 + 1), headers=headers).status_code == 413
        other = httpx.post(f"{address}/", json=update(1), headers=headers)
        assert other.status_code == 404


@pytest.mark.parametrize(
    ("path", "sent_path"),
    [
        ("/hook", "/hook"),
        ("/%7Ebot/hook", "/%7Ebot/hook"),
        ("/%7Ebot/hook", "/~bot/hook"),
        ("/a%20b", "/a%20b"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/café", "/caf%C3%A9"),
        ("/{token}/hook", "/%7Btoken%7D/hook"),
        ("/100%25", "/100%25"),
        ("/a%2Fb", "/a%2Fb"),
        ("", "/"),
    ],
)
def test_webhook_receives_updates_at_any_path(
    telegram: TelegramServer, tmp_path: Path, path: str, sent_path: str
) -> None:
    address = replace(webhook_for(telegram, sent_path), url=f"https://bot.example{path}")
    with running_bot(telegram, tmp_path, webhook=address):
        ask(telegram, 1, lambda: telegram.text(1, "/whoami"))
        headers = {SECRET_HEADER: telegram.webhook["secret_token"]}
        other = f"http://127.0.0.1:{address.port}/another"
        assert httpx.post(other, json={"update_id": 9000}, headers=headers).status_code == 404


def test_webhook_updates_survive_a_stop(
    telegram: TelegramServer, tmp_path: Path, content: bytes, offline: ControlledPredictor
) -> None:
    with running_bot(telegram, tmp_path, predictor=offline, webhook=webhook_for(telegram)):
        sent = [telegram.photo(1, content) for _ in range(3)]
        telegram.wait_for(1, 1)
    offline.error = None
    with running_bot(telegram, tmp_path, predictor=offline, webhook=webhook_for(telegram)):
        replies = telegram.wait_for(4, 1)[1:]
    assert [reply.reply_to for reply in replies] == sent


def test_webhook_updates_survive_a_kill(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    chats, port = range(1, 5), webhook_for(telegram).port
    options = ("--webhook", "https://bot.example/hook", "--port", str(port))
    bot = start_process(telegram, tmp_path, *options)
    try:
        wait_for(lambda: "url" in telegram.webhook, seconds=200)
        telegram.faults.slow_s = 0.5
        photos = {chat: [telegram.photo(chat, content) for _ in range(4)] for chat in chats}
        telegram.wait_for(2)
        bot.kill()
        bot.wait()
        telegram.faults.slow_s = 0.0
        assert len(telegram.sent()) < 16, "it is killed before it has answered all"
        bot = start_process(telegram, tmp_path, *options)
        wait_for(lambda: len({call.reply_to for call in telegram.sent()}) == 16, seconds=200)
    finally:
        bot.terminate()
        assert bot.wait(120) == 0
    for chat, sent in photos.items():
        assert {call.reply_to for call in telegram.sent(chat)} == set(sent)
    # A second reply is sent only where the kill fell between the reply and its mark.
    assert len(telegram.sent()) <= 16 + len(chats)


@pytest.mark.parametrize("url", ["", "https://other.example/hook"])
def test_webhook_taken_by_another_program_ends_the_bot(
    telegram: TelegramServer, tmp_path: Path, url: str
) -> None:
    timings = Timings(webhook_check_s=0.1, reconnect=Backoff(0.1, 0.1))

    def take() -> None:
        with running_bot(telegram, tmp_path, webhook=webhook_for(telegram), timings=timings) as bot:
            telegram.faults.failing["getWebhookInfo"] = [502]
            telegram.wait_for(3, None, "getWebhookInfo")
            telegram.webhook = {"url": url}
            assert bot.ended.wait(120)

    with pytest.raises(BotError, match="no longer sends the updates of this bot to https://bot"):
        take()


def test_server_without_set_webhook_is_explained(telegram: TelegramServer, tmp_path: Path) -> None:
    telegram.faults.unknown.add("setWebhook")
    with (
        pytest.raises(BotError, match="accepts the token but does not know the method setWebhook"),
        running_bot(telegram, tmp_path, webhook=webhook_for(telegram)),
    ):
        pass


def test_server_needs_no_get_webhook_info(telegram: TelegramServer, tmp_path: Path) -> None:
    telegram.faults.unknown.add("getWebhookInfo")
    timings, address = Timings(webhook_check_s=0.05), webhook_for(telegram)
    with running_bot(telegram, tmp_path, webhook=address, timings=timings) as bot:
        ask(telegram, 1, lambda: telegram.text(1, "/whoami"))
        assert not bot.ended.is_set()
