"""Operators' commands that a stop or a crash interrupts."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from core.store.store import Store
from tests.support.bot_process import start_process
from tests.support.hub_server import HubServer, Repo
from tests.support.running_bot import ask, running_bot, settings_for, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import BOT_ID, TelegramServer

T = texts()
OPERATOR = 501
LOST = T["act_lost"].format(act="pull v1")


@pytest.fixture(autouse=True)
def _repository(hub: HubServer) -> None:
    """Give the Hub a repository without models."""
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"}, "v1")


def last_text(telegram: TelegramServer) -> str:
    """Return the text of the last message to the operator."""
    sent = telegram.sent(OPERATOR)
    return sent[-1].text if sent else ""


def entries_of(store: Store) -> list[tuple[str, str]]:
    """Return commands and outcomes of the audit log, newest first."""
    return [(entry.act, entry.outcome) for entry in store.audit.recent(9)]


def test_command_interrupted_by_a_stop_is_recorded_and_reported(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    hub.faults.held = threading.Event()
    interrupted = T["act_broken_off"].format(act="pull v1")
    try:
        with running_bot(telegram, tmp_path, operators=(OPERATOR,), hub_repo="owner/models") as bot:
            telegram.text(OPERATOR, "/pull v1")
            wait_for(lambda: bool(hub.asked))
        assert last_text(telegram) == interrupted
        with closing(Store.open(bot.settings)) as store:
            assert entries_of(store) == [("pull v1", interrupted), ("pull v1", "begun")]
    finally:
        hub.faults.held.set()


def test_command_interrupted_by_a_kill_is_reported_after_the_start(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    hub.faults.held = threading.Event()
    home = tmp_path / "home"
    options = {"TENSIGHT_OPERATORS": str(OPERATOR), "TENSIGHT_HUB_REPO": "owner/models"}
    options |= {"HF_HUB_OFFLINE": "0"}
    with closing(Store.open(Settings(home=home))) as store:
        bot = start_process(telegram, home, **options)
        try:
            telegram.text(OPERATOR, "/pull v1")
            wait_for(lambda: entries_of(store) == [("pull v1", "begun")], seconds=200)
            # The update is done once the pull has started, so it is not handled again.
            wait_for(lambda: store.inbox.waiting(BOT_ID) == [])
            bot.kill()
            bot.wait()
            assert entries_of(store) == [("pull v1", "begun")]
            sent = len(telegram.sent(OPERATOR))
            bot = start_process(telegram, home, **options)
            wait_for(lambda: last_text(telegram) == LOST, seconds=200)
            assert entries_of(store) == [("pull v1", LOST), ("pull v1", "begun")]
            hub.faults.held.set()
            reply = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/audit"))
            assert f"pull v1: {LOST}" in reply.text
            assert len(telegram.sent(OPERATOR)) == sent + 2
        finally:
            hub.faults.held.set()
            bot.terminate()
            assert bot.wait(120) == 0


def test_command_replayed_after_a_kill_is_recorded_twice(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    telegram.text(OPERATOR, "/pull v1")
    (update,) = telegram.pending
    options: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with closing(Store.open(settings_for(telegram, tmp_path / "home"))) as store:
        store.inbox.receive(BOT_ID, [(update["update_id"], OPERATOR, json.dumps(update))])
        store.audit.begin(999, "theirs", "somebody", "pull v1")  # Another bot, which is running.
        store.audit.begin(BOT_ID, "dead", "somebody", "pull v1")
        with running_bot(telegram, tmp_path / "home", **options):
            wait_for(lambda: last_text(telegram).startswith("⚠ owner/models contains no model"))
        refused, again, lost, *begun = [outcome for _, outcome in entries_of(store)]
    assert refused.startswith("⚠ owner/models contains no model")
    assert lost == LOST
    assert [again, *begun] == ["begun"] * 3
