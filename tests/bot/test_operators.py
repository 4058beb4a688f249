"""Operators' commands."""

from __future__ import annotations

import shutil
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core import locale
from core.bundle.folder import Bundle, write_bundle
from core.charts.drawer import ChartDrawer
from core.errors import PredictorError
from core.registry.catalog import Catalog
from core.registry.taught import new_id
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import Feedback
from tests.conftest import ROOT
from tests.support.hub_server import HubServer, Repo
from tests.support.operator_chat import OPERATOR, USER, command, confirm, last_text
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts
from tests.support.servers import free_port, wait_for
from tests.support.telegram_server import TelegramServer

T = texts()


def test_status_shows_models_queue_and_latency(operated: RunningBot, content: bytes) -> None:
    telegram = operated.telegram
    ask(telegram, USER, lambda: telegram.photo(USER, content))
    telegram.document(USER, b"no photo", "image/png")
    telegram.wait_for(2, USER)
    operated.wait_until_idle()
    text = command(telegram, "/status")
    revision = Bundle.open(ROOT / "models" / "classic").revision
    for part in (
        f"classic {revision}",
        T["status_queue"].format(n=0),
        "1 photo",
        "p50 ",
        "0 errors",
        "SQLite",
        T["status_answers"],
    ):
        assert part in text
    assert text.endswith(T["off"])


def test_models_lists_accuracy_and_latency(operated: RunningBot) -> None:
    revision = Bundle.open(ROOT / "models" / "classic").revision
    assert f"classic {revision}: 0.87" in command(operated.telegram, "/models")


@pytest.mark.parametrize("name", ["/status", "/models", "/pull", "/feedback", "/audit"])
def test_command_is_unknown_to_other_users_and_ignored_in_groups(
    operated: RunningBot, name: str
) -> None:
    telegram, group = operated.telegram, -900
    reply = ask(telegram, USER, lambda: telegram.text(USER, name))
    assert reply.text == T["unknown"]
    telegram.text(group, name, user=OPERATOR)
    ask(telegram, USER, lambda: telegram.text(USER, "/start"))
    operated.wait_until_idle()
    assert telegram.sent(group) == []


def test_maintenance_explains_its_arguments(operated: RunningBot) -> None:
    assert command(operated.telegram, "/maintenance") == T["maintenance_usage"]


def test_audit_lists_commands_and_outcomes_without_user_ids(operated: RunningBot) -> None:
    telegram = operated.telegram
    assert command(telegram, "/audit") == T["audit_none"]
    confirm(telegram, "/maintenance on")
    wait_for(lambda: last_text(telegram) == T["maintenance_on"])
    confirm(telegram, "/maintenance off", T["cancel"])
    wait_for(lambda: last_text(telegram) == T["cancelled"])
    entries = [(entry.act, entry.outcome) for entry in operated.store.audit.recent(9)]
    assert entries == [
        ("maintenance off", "cancelled"),
        ("maintenance on", T["maintenance_on"]),
        ("maintenance on", "begun"),
    ]
    text = command(telegram, "/audit")
    assert f"maintenance on: {T['maintenance_on']}" in text
    assert str(OPERATOR) not in text


def test_feedback_is_sent_as_text_and_csv_file(operated: RunningBot) -> None:
    telegram = operated.telegram
    assert command(telegram, "/feedback") == T["feedback_none"]
    private = new_id()
    for model in (private, "classic"):
        operated.store.feedback.add(
            Feedback("bot", model, "0" * 12, "cat", "known", {"cat": 1.0}, "cat")
        )
    reply = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/feedback"))
    assert reply.method == "sendDocument"
    assert reply.text.startswith("classic 000000000000: ")
    table = next(iter(reply.files.values()))
    assert b"model,revision,n,right" in table
    assert private not in reply.text + table.decode(), "whoever knows its id may use it"


# Models.


def copy_with_other_revision(folder: Path) -> Path:
    """Make a models folder that has `classic` with a revision of its own."""
    shutil.copytree(ROOT / "models" / "classic", folder / "classic")
    bundle = Bundle.open(folder / "classic")
    files = {name: (bundle.folder / name).read_bytes() for name in bundle.config.sha256}
    training = bundle.config.training.model_copy(update={"notes": "another one"})
    write_bundle(folder / "classic", bundle.config.model_copy(update={"training": training}), files)
    return folder


def test_model_is_pulled_promoted_and_rolled_back(
    telegram: TelegramServer, tmp_path: Path, content: bytes, hub: HubServer
) -> None:
    files = copy_with_other_revision(tmp_path / "new")
    new = Bundle.open(files / "classic").revision
    old = Bundle.open(ROOT / "models" / "classic").revision
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit(
        {
            path.relative_to(files).as_posix(): path.read_bytes()
            for path in files.rglob("*")
            if path.is_file()
        }
    )
    settings = Settings(models=ROOT / "models", model="classic", home=tmp_path / "home")
    predictor = LocalPredictor(Catalog(settings), queue_size=64, deadline_s=30)
    predictor.warm()
    options: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with running_bot(telegram, tmp_path / "home", predictor=predictor, **options) as bot:

        def answers_with(revision: str) -> bool:
            ask(telegram, USER, lambda: telegram.photo(USER, content))
            with bot.store.database.engine.connect() as connection:
                select = "SELECT revision FROM answers ORDER BY at DESC LIMIT 1"
                return connection.exec_driver_sql(select).scalar() == revision

        telegram.text(OPERATOR, "/pull")
        wait_for(lambda: last_text(telegram) == f"classic {new}")
        assert answers_with(old), "a pulled revision does not answer until it is promoted"
        assert f"classic {new}" in command(telegram, "/models").partition(T["models_here"])[2]

        question = confirm(telegram, f"/promote classic {new[:8]}")
        done = T["promote_done"].format(model="classic", revision=new)
        wait_for(lambda: last_text(telegram) == done)
        assert T["promote_asked"].format(model="classic", revision=new, live="bundled") in question
        wait_for(lambda: answers_with(new))

        question = confirm(telegram, "/rollback classic")
        done = T["rollback_done"].format(model="classic", revision="bundled", before=new)
        wait_for(lambda: last_text(telegram) == done)
        asked = T["rollback_asked"].format(model="classic", live=new, to="bundled")
        assert asked in question
        wait_for(lambda: answers_with(old))

        stale = ask(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/rollback classic"))
        bot.store.live.promote({"classic": new}, {"classic": "0"})
        press(telegram, OPERATOR, stale, T["yes"])
        wait_for(lambda: last_text(telegram).startswith("⚠ "))
        assert bot.store.live.all()["classic"].revision == new
        entries = [each.act for each in bot.store.audit.recent(9) if each.outcome != "begun"]
    predictor.close()
    assert entries == [
        "rollback classic",
        "rollback classic",
        f"promote classic {new}",
        "pull main",
    ]


def test_impossible_promotion_is_explained(operated: RunningBot) -> None:
    telegram = operated.telegram
    assert command(telegram, "/promote classic") == T["promote_usage"]
    assert command(telegram, "/promote classic 000000000000").startswith("⚠ ")
    assert command(telegram, "/rollback") == T["rollback_usage"]
    assert command(telegram, "/rollback baseline") == T["rollback_none"].format(model="baseline")


def test_pull_does_not_delay_other_commands(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"})
    hub.faults.held = threading.Event()
    options: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    try:
        with running_bot(telegram, tmp_path / "home", **options) as bot:
            bot.state.charts = ChartDrawer(is_installed=False)
            telegram.text(OPERATOR, "/pull v1")
            wait_for(lambda: bool(hub.asked))
            assert "SQLite" in command(telegram, "/status")
            hub.faults.held.set()
            wait_for(lambda: last_text(telegram).startswith("⚠ "))
            entries = [(each.act, each.outcome[:2]) for each in bot.store.audit.recent(9)]
    finally:
        hub.faults.held.set()
    assert entries == [("pull v1", "⚠ "), ("pull v1", "be")]


# Languages.


def test_operator_is_answered_in_the_selected_language(operated: RunningBot) -> None:
    telegram, dutch = operated.telegram, texts("nl")
    operated.store.chats.set(OPERATOR, Chat(language="nl"))
    assert command(telegram, "/status").endswith(dutch["off"])
    assert command(telegram, "/maintenance") == dutch["maintenance_usage"]
    confirm(telegram, "/maintenance on", dutch["yes"])
    wait_for(lambda: last_text(telegram) == dutch["maintenance_on"])
    entry = operated.store.audit.recent(1)[0]
    assert entry.outcome == T["maintenance_on"], "the audit log is in English"


def test_status_translates_the_error_of_an_unavailable_predictor(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    why = f"The predictor at {url} is not available"
    with (
        closing(RemotePredictor(url, timeout_s=0.2)) as predictor,
        running_bot(telegram, tmp_path, predictor=predictor, operators=(OPERATOR,)) as bot,
    ):
        bot.state.charts = ChartDrawer(is_installed=False)
        assert T["status_models"].format(error=why) in command(telegram, "/status")
        bot.store.chats.set(OPERATOR, Chat(language="nl"))
        text = command(telegram, "/status")
    dutch = locale.format_error(PredictorError(""), "nl")
    assert texts("nl")["status_models"].format(error=f"{dutch} ({why}") in text


def test_operator_who_asks_to_be_forgotten_is_told_what_stays(operated: RunningBot) -> None:
    assert command(operated.telegram, "/forget") == T["forgotten_operator"]
