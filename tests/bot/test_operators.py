"""Operators run the system from chat."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from core import locale
from core.bundle.folder import Bundle, write_bundle
from core.errors import BundleError, PredictorError, StoreError
from core.registry.catalog import Catalog
from core.serving.local import LocalPredictor
from core.serving.remote import RemotePredictor
from core.settings import Settings
from core.store.chats import Chat
from core.store.feedback import Feedback
from core.store.inbox import InboxTable
from core.store.store import Store
from tests.bot.running import Running, running, settings_for, with_inbox
from tests.bot.test_bot import asked, pressed, words
from tests.bot.test_nothing_is_lost import process
from tests.conftest import ROOT
from tests.hub_server import HubServer, Repo
from tests.ports import free_port, wait_for
from tests.telegram_server import TelegramServer

OPERATOR, OTHER, ANYBODY = 501, 502, 503


@pytest.fixture
def telegram() -> Iterator[TelegramServer]:
    with TelegramServer().running() as server:
        yield server


@pytest.fixture
def bot(telegram: TelegramServer, tmp_path: Path) -> Iterator[Running]:
    with running(telegram, tmp_path / "home", operators=(OPERATOR, OTHER)) as bot:
        yield bot


def said(bot: Running, text: str) -> str:
    return asked(bot.telegram, OPERATOR, lambda: bot.telegram.text(OPERATOR, text)).text


def last(telegram: TelegramServer) -> str:
    """What the operator was told last."""
    sent = telegram.sent(OPERATOR)
    return sent[-1].text if sent else ""


def test_status(bot: Running, photo: Path) -> None:
    telegram = bot.telegram
    asked(telegram, ANYBODY, lambda: telegram.photo(ANYBODY, photo.read_bytes()))
    telegram.document(ANYBODY, b"no photo", "image/png")
    telegram.wait_for(2, ANYBODY)
    text = said(bot, "/status")
    revision = Bundle.open(ROOT / "models" / "classic").revision
    for part in (
        "up since ",
        f"classic {revision}",
        "queue: 0 photos",
        "last hour: 1 photos, p50 ",
        ", 0 errors",
        "memory: ",
        "database: SQLite, answers",
        "maintenance: off",
    ):
        assert part in text
    assert "classic " in said(bot, "/models")


@pytest.mark.parametrize("command", ["/status", "/models", "/pull", "/feedback", "/audit"])
def test_others_learn_nothing(bot: Running, command: str) -> None:
    telegram = bot.telegram
    reply = asked(telegram, ANYBODY, lambda: telegram.text(ANYBODY, command))
    assert reply.text == words()["unknown"]
    group = -900
    telegram.text(group, command, user=OPERATOR)
    asked(telegram, ANYBODY, lambda: telegram.text(ANYBODY, "/start"))
    assert telegram.sent(group) == [], "nor do groups"


def test_maintenance_is_confirmed_by_who_asked_for_it(bot: Running, photo: Path) -> None:
    telegram, content = bot.telegram, photo.read_bytes()
    assert said(bot, "/maintenance") == "/maintenance on, or /maintenance off"
    offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance on"))
    assert offer.text == "Really maintenance on? Only you can press this."
    assert not bot.store.flags.get("maintenance")
    _, told = pressed(telegram, OPERATOR, offer, "Yes", user=OTHER)
    assert told.text == "Only who gave the command can press this."
    assert not bot.store.flags.get("maintenance")
    pressed(telegram, OPERATOR, offer, "Yes")
    wait_for(lambda: last(telegram) == "maintenance is on")
    assert bot.store.flags.get("maintenance")
    refused = asked(telegram, ANYBODY, lambda: telegram.photo(ANYBODY, content))
    assert refused.text == words()["maintenance"]
    answered = asked(telegram, OPERATOR, lambda: telegram.photo(OPERATOR, content))
    assert answered.text.startswith("A ship"), "operators can try"
    offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance off"))
    pressed(telegram, OPERATOR, offer, "Cancel")
    wait_for(lambda: last(telegram) == "Nothing was changed.")
    assert bot.store.flags.get("maintenance")
    telegram.press(OPERATOR, offer.buttons()["Yes"], message=1)
    wait_for(lambda: last(telegram) == words()["expired"])
    acts = [(act.act, act.outcome) for act in bot.store.audit.recent(9)]
    assert acts == [
        ("maintenance off", "cancelled"),
        ("maintenance on", "maintenance is on"),
        ("maintenance on", "begun"),
    ]
    assert "maintenance on: maintenance is on" in said(bot, "/audit")
    assert str(OPERATOR) not in said(bot, "/audit")


def test_feedback_as_a_table(bot: Running) -> None:
    assert said(bot, "/feedback") == "Nobody has judged an answer yet."
    bot.store.feedback.add(
        Feedback("bot", "classic", "0" * 12, "cat", "known", {"cat": 1.0}, "cat")
    )
    reply = asked(bot.telegram, OPERATOR, lambda: bot.telegram.text(OPERATOR, "/feedback"))
    assert reply.method == "sendDocument"
    assert "classic 000000000000: 1 of 1 right" in reply.text
    assert b"model,revision,n,right" in next(iter(reply.files.values()))


def other_revision(folder: Path) -> Path:
    """A folder as models/ with one model, of another revision than that of the repository."""
    shutil.copytree(ROOT / "models" / "classic", folder / "classic")
    bundle = Bundle.open(folder / "classic")
    files = {name: (bundle.folder / name).read_bytes() for name in bundle.config.sha256}
    training = bundle.config.training.model_copy(update={"notes": "another one"})
    write_bundle(folder / "classic", bundle.config.model_copy(update={"training": training}), files)
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A Hub that the client of this process asks; it reads where that is once, when imported."""
    with HubServer().running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        constants = "huggingface_hub.constants"
        monkeypatch.setattr(f"{constants}.HF_HUB_OFFLINE", False)
        monkeypatch.setattr(f"{constants}.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(f"{constants}.HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub


def test_a_model_is_released_and_rolled_back(
    telegram: TelegramServer, tmp_path: Path, photo: Path, hub: HubServer
) -> None:
    files = other_revision(tmp_path / "new")
    new = Bundle.open(files / "classic").revision
    old = Bundle.open(ROOT / "models" / "classic").revision
    hub.repos["owner/models"] = Repo()
    content = {
        path.relative_to(files).as_posix(): path.read_bytes()
        for path in files.rglob("*")
        if path.is_file()
    }
    hub.repos["owner/models"].commit(content)
    settings = Settings(models=ROOT / "models", model="classic", home=tmp_path / "home")
    predictor = LocalPredictor(Catalog(settings), queue_size=64, deadline_s=30)
    predictor.warm()
    how: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with running(telegram, tmp_path / "home", predictor=predictor, **how) as bot:

        def confirmed(command: str, outcome: str) -> str:
            offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, command))
            pressed(telegram, OPERATOR, offer, "Yes")
            wait_for(lambda: last(telegram).startswith(outcome))
            return offer.text

        def answers(revision: str) -> bool:
            asked(telegram, ANYBODY, lambda: telegram.photo(ANYBODY, photo.read_bytes()))
            rows = bot.store.database.engine.connect()
            with rows:
                last = rows.exec_driver_sql(
                    "SELECT revision FROM answers ORDER BY at DESC LIMIT 1"
                ).scalar()
            return last == revision

        telegram.text(OPERATOR, "/pull")
        wait_for(lambda: last(telegram) == f"classic {new}")
        assert answers(old), "nothing answers with what was pulled"
        assert f"classic {new}, since" in said(bot, "/models")
        asks = confirmed(f"/promote classic {new[:8]}", f"classic {new} is live")
        assert words()["live_elsewhere"] not in last(telegram)
        assert f"promote classic {new} (live now: bundled)" in asks
        wait_for(lambda: answers(new), seconds=10)
        asks = confirmed("/rollback classic", "classic bundled is live, no longer")
        assert f"rollback classic, from {new} to bundled" in asks
        wait_for(lambda: answers(old), seconds=10)
        stale = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/rollback classic"))
        bot.store.live.promote({"classic": new}, {"classic"})
        pressed(telegram, OPERATOR, stale, "Yes")
        wait_for(lambda: last(telegram).startswith("⚠ The rollback of classic "))
        assert bot.store.live.all()["classic"].revision == new
        assert said(bot, "/promote classic 000000000000").startswith(
            "⚠ Revision 000000000000 of classic is"
        )
        assert said(bot, "/rollback baseline").startswith("There is nothing to roll baseline back")
        assert said(bot, "/promote classic") == (
            "/promote MODEL REVISION; /models shows which there are."
        )
        acts = [act.act for act in bot.store.audit.recent(9) if act.outcome != "begun"]
    predictor.close()
    assert acts == [
        "rollback classic",
        "rollback classic",
        f"promote classic {new}",
        "pull main",
    ]


def test_what_is_made_live_for_a_service_elsewhere(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    predictor = RemotePredictor(url, patience_s=0.2)

    def confirmed(command: str, button: str) -> str:
        offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, command))
        pressed(telegram, OPERATOR, offer, button)
        wait_for(lambda: last(telegram).startswith("classic bundled is live"))
        return last(telegram)

    with running(telegram, tmp_path, predictor=predictor, operators=(OPERATOR,)) as bot:
        text = confirmed("/promote classic bundled", "Yes")
        assert text == f"classic bundled is live\n{words()['live_elsewhere']}"
        assert "the service at TENSIGHT_PREDICTOR_URL" in text
        bot.store.chats.set(OPERATOR, Chat(language="nl"))
        text = confirmed("/rollback classic", "Ja")
        assert ", niet meer " in text
        assert text.endswith(f"\n{words('nl')['live_elsewhere']}")
    predictor.close()


class Broken(LocalPredictor):
    """One that fails, as it should not."""

    error: Exception = ZeroDivisionError("what somebody wrote")

    async def predict(self, *_: object, **__: object) -> Any:
        raise self.error

    async def predict_with_preview(self, *_: object, **__: object) -> Any:
        raise self.error


@pytest.fixture
def broken(telegram: TelegramServer, tmp_path: Path) -> Iterator[tuple[Running, Broken]]:
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Broken(Catalog(settings), queue_size=64, deadline_s=30)
    how: dict[str, Any] = {"operators": (OPERATOR, OTHER), "predictor": predictor}
    with running(telegram, tmp_path / "home", **how) as bot:
        yield bot, predictor
    predictor.close()


def test_operators_hear_of_errors_once(broken: tuple[Running, Broken], photo: Path) -> None:
    telegram = broken[0].telegram
    people = range(ANYBODY, ANYBODY + 20)
    for chat in people:
        telegram.photo(chat, photo.read_bytes())
    for chat in people:
        (reply,) = telegram.wait_for(1, chat)
        assert reply.text == "Something went wrong on our side. Try again later."
    telegram.text(ANYBODY, "/whoami")
    telegram.wait_for(2, ANYBODY)
    for operator in (OPERATOR, OTHER):
        (told,) = telegram.wait_for(1, operator)
        assert told.text.startswith("⚠ ZeroDivisionError at test_operators.py:")
        assert "reference " in told.text
        assert "somebody" not in told.text
        assert told.files == {}


def test_who_cannot_be_told_sorry_just_now_is_told_later(
    telegram: TelegramServer, tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.inbox._PAUSES_S", (0.2, 0.2))
    settings = Settings(models=ROOT / "models", model="classic")
    predictor = Broken(Catalog(settings), queue_size=64, deadline_s=30)
    # Of the sorry and of the alarm, each the first time; both are recorded.
    telegram.faults.failing["sendMessage"] = [502, 502]
    how: dict[str, Any] = {"operators": (OPERATOR,), "predictor": predictor}
    with running(telegram, tmp_path, **how) as bot:
        telegram.photo(ANYBODY, photo.read_bytes())
        telegram.wait_for(2, ANYBODY)
        telegram.wait_for(2, OPERATOR)
        wait_for(lambda: bot.store.inbox.waiting(123456) == [])
        asked(telegram, OTHER, lambda: telegram.photo(OTHER, photo.read_bytes()))
        said = [call.text for call in telegram.sent(ANYBODY)]
        assert said == ["Something went wrong on our side. Try again later."] * 2
        assert len(telegram.sent(OPERATOR)) == 2, "they hear once"
    predictor.close()


def test_errors_behind_buttons_are_counted(
    broken: tuple[Running, Broken], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telegram = broken[0].telegram
    with monkeypatch.context() as patched:
        patched.setattr(Broken, "predict", LocalPredictor.predict)
        reply = asked(telegram, ANYBODY, lambda: telegram.photo(ANYBODY, photo.read_bytes()))
    telegram.press(ANYBODY, reply.buttons()["Why?"], message=int(reply.data["message_id"]))
    telegram.wait_for(1, OTHER)
    assert ", 1 errors" in asked(telegram, OTHER, lambda: telegram.text(OTHER, "/status")).text


def test_operators_hear_again_after_an_hour(
    broken: tuple[Running, Broken], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    telegram, content = broken[0].telegram, photo.read_bytes()
    for minutes, heard in ((0, 1), (59, 1), (61, 2)):
        monkeypatch.setattr("bot.alarms.monotonic", lambda m=minutes: time.monotonic() + 60 * m)
        asked(telegram, ANYBODY, lambda: telegram.photo(ANYBODY, content))
        telegram.wait_for(heard, OPERATOR)
        telegram.wait_for(heard, OTHER)
        asked(telegram, ANYBODY, lambda: telegram.text(ANYBODY, "/whoami"))
        assert len(telegram.sent(OPERATOR)) == heard


@pytest.mark.parametrize(("later_s", "changes"), [(290, True), (310, False)])
def test_a_confirming_button_works_for_five_minutes(
    bot: Running, monkeypatch: pytest.MonkeyPatch, later_s: float, changes: bool
) -> None:
    telegram = bot.telegram
    offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance on"))
    monkeypatch.setattr("bot.operators.monotonic", lambda: time.monotonic() + later_s)
    pressed(telegram, OPERATOR, offer, "Yes")
    wait_for(lambda: last(telegram) == ("maintenance is on" if changes else words()["expired"]))
    assert bot.store.flags.get("maintenance") == changes


def test_operators_hear_of_a_damaged_model(broken: tuple[Running, Broken], photo: Path) -> None:
    bot, predictor = broken
    predictor.error = BundleError("config.json is damaged")
    reply = asked(bot.telegram, ANYBODY, lambda: bot.telegram.photo(ANYBODY, photo.read_bytes()))
    assert reply.text == locale.format_error(predictor.error, "en")
    (told,) = bot.telegram.wait_for(1, OPERATOR)
    assert told.text.startswith("⚠ BundleError at ")


def test_operators_hear_what_the_catalog_warns_of(
    bot: Running, caplog: pytest.LogCaptureFixture
) -> None:
    bot.store.chats.set(OTHER, Chat(language="nl"))
    logging.getLogger("core.registry.catalog").error("classic cannot be loaded")
    for operator, name in ((OPERATOR, "reference"), (OTHER, "kenmerk")):
        (told,) = bot.telegram.wait_for(1, operator)
        text, _, reference = told.text.partition(f", {name} ")
        assert text == "⚠ classic cannot be loaded"
        assert f"{reference}: operators are told" in caplog.text


class Broke(InboxTable):
    """A database that breaks once it is in use."""

    broken = False

    def receive(self, *updates: Any) -> set[int]:
        if self.broken:
            raise StoreError("the disk is full")
        return super().receive(*updates)


def test_operators_hear_of_a_database_that_fails_for_long(
    telegram: TelegramServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.tasks.PAUSES_S", (0.1, 0.1))
    monkeypatch.setattr("bot.alarms._LONG_S", 1.0)
    with running(telegram, tmp_path, parts=with_inbox(Broke), operators=(OPERATOR,)) as bot:
        assert isinstance(bot.store.inbox, Broke)
        bot.store.inbox.broken = True
        telegram.text(ANYBODY, "/whoami")
        (told,) = telegram.wait_for(1, OPERATOR)
        # Longer than one second on a busy machine.
        assert re.match(r"⚠ The database has not been usable for [1-9]\d* s;", told.text)
        bot.store.inbox.broken = False
        telegram.wait_for(1, ANYBODY)
        assert len(telegram.sent(OPERATOR)) == 1


def test_operators_have_commands_in_both_languages(bot: Running) -> None:
    wait_for(lambda: len(bot.telegram.sent(None, "setMyCommands")) >= 6)
    theirs = [c.data for c in bot.telegram.sent(None, "setMyCommands") if "scope" in c.data]
    assert {(json.loads(d["scope"])["chat_id"], d.get("language_code")) for d in theirs} == {
        (operator, language) for operator in (OPERATOR, OTHER) for language in (None, "nl")
    }
    for data in theirs:
        described = {c["command"]: c["description"] for c in json.loads(data["commands"])}
        texts = words("nl" if data.get("language_code") == "nl" else "en")
        assert described["pull"] == texts["command_pull"]
        assert described["start"] == texts["command_start"]


def test_operators_are_answered_in_their_language(bot: Running) -> None:
    telegram = bot.telegram
    bot.store.chats.set(OPERATOR, Chat(language="nl"))
    assert "\nonderhoud: uit" in said(bot, "/status")
    assert said(bot, "/maintenance") == "/maintenance on, of /maintenance off"
    offer = asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/maintenance on"))
    pressed(telegram, OPERATOR, offer, "Ja")
    wait_for(lambda: last(telegram) == "onderhoud is aan")
    assert "maintenance on: maintenance is on" in said(bot, "/audit"), "the audit is in English"


def test_a_predictor_that_is_away_is_told_in_their_language(
    telegram: TelegramServer, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    predictor = RemotePredictor(url, patience_s=0.2)
    with running(telegram, tmp_path, predictor=predictor, operators=(OPERATOR,)) as bot:
        why = f"The predictor at {url} is not available"
        assert f"\nmodels: {why}" in said(bot, "/status")
        bot.store.chats.set(OPERATOR, Chat(language="nl"))
        text = said(bot, "/status")
    predictor.close()
    dutch = locale.format_error(PredictorError(""), "nl")
    assert f"\nmodellen: {dutch} ({why}" in text, "and what is wrong with it"


def test_a_stop_breaks_a_pull_off(telegram: TelegramServer, tmp_path: Path, hub: HubServer) -> None:
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"})
    hub.faults.pause_s = 5.0
    how: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with running(telegram, tmp_path / "home", **how) as bot:
        telegram.text(OPERATOR, "/pull v1")
        telegram.wait_for(1, OPERATOR)
        wait_for(lambda: len(bot.store.audit.recent(9)) == 1)
    assert last(telegram).startswith("⚠ pull v1 was broken off")
    acts = [(act.act, act.outcome.split()[0]) for act in bot.store.audit.recent(9)]
    assert acts == [("pull v1", "⚠"), ("pull v1", "begun")]


def test_an_operator_is_told_what_stays_in_the_audit(bot: Running) -> None:
    assert said(bot, "/forget") == words()["forgotten_operator"]


def test_a_pull_holds_nothing_up(telegram: TelegramServer, tmp_path: Path, hub: HubServer) -> None:
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"})
    hub.faults.pause_s = 2.0
    how: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with running(telegram, tmp_path / "home", **how) as bot:
        telegram.text(OPERATOR, "/pull v1")
        telegram.wait_for(1, OPERATOR)
        assert "up since" in said(bot, "/status")
        wait_for(lambda: last(telegram).startswith("⚠ "))
        acts = [(act.act, act.outcome[:2]) for act in bot.store.audit.recent(9)]
    assert acts == [("pull v1", "⚠ "), ("pull v1", "be")]


def test_a_pull_is_broken_off_when_the_bot_stops(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b""})
    hub.faults.held = threading.Event()
    try:
        with running(telegram, tmp_path, operators=(OPERATOR,), hub_repo="owner/models") as bot:
            telegram.text(OPERATOR, "/pull")
            wait_for(lambda: bool(hub.asked))
        assert last(telegram).startswith("⚠ pull main was broken off when the bot was stopped")
        with closing(Store.open(bot.settings)) as store:
            assert ["was broken off" in act.outcome for act in store.audit.recent(2)] == [
                True,
                False,
            ]
    finally:
        hub.faults.held.set()


LOST = "⚠ The bot stopped before it could write down how pull v1 ended; /status and /models show"


def test_after_a_kill_the_audit_says_that_nobody_saw_the_end(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"})
    hub.faults.held = threading.Event()
    home = tmp_path / "home"
    how = {"TENSIGHT_OPERATORS": str(OPERATOR), "TENSIGHT_HUB_REPO": "owner/models"}
    how |= {"HF_HUB_OFFLINE": "0"}

    def acts(store: Store) -> list[tuple[str, str]]:
        return [(act.act, act.outcome[: len(LOST)]) for act in store.audit.recent(9)]

    with closing(Store.open(Settings(home=home))) as store:
        bot = process(telegram, home, **how)
        try:
            telegram.text(OPERATOR, "/pull v1")
            wait_for(lambda: acts(store) == [("pull v1", "begun")], seconds=60)
            # It is not handled again: that the pull began is all that its update asks for.
            wait_for(lambda: store.inbox.waiting(123456) == [])
            bot.kill()
            bot.wait()
            assert acts(store) == [("pull v1", "begun")]
            said = len(telegram.sent(OPERATOR))
            bot = process(telegram, home, **how)
            wait_for(lambda: last(telegram).startswith(LOST), seconds=60)
            assert acts(store) == [("pull v1", LOST), ("pull v1", "begun")]
            hub.faults.held.set()
            assert (
                f"pull v1: {LOST}"
                in asked(telegram, OPERATOR, lambda: telegram.text(OPERATOR, "/audit")).text
            )
            assert len(telegram.sent(OPERATOR)) == said + 2
        finally:
            hub.faults.held.set()
            bot.terminate()
            assert bot.wait(30) == 0


def test_a_command_that_is_handled_again_is_in_the_audit_twice(
    telegram: TelegramServer, tmp_path: Path, hub: HubServer
) -> None:
    """Killed before its update was marked, /pull runs once more; nobody saw how it ended before."""
    hub.repos["owner/models"] = Repo()
    hub.repos["owner/models"].commit({"README.md": b"nothing else"}, "v1")
    telegram.text(OPERATOR, "/pull v1")
    (update,) = telegram._updates
    how: dict[str, Any] = {"operators": (OPERATOR,), "hub_repo": "owner/models"}
    with closing(Store.open(settings_for(telegram, tmp_path / "home"))) as store:
        store.inbox.receive(123456, [(update["update_id"], OPERATOR, json.dumps(update))])
        store.audit.begin(999, "somebody", "pull v1")  # of another bot, which runs
        store.audit.begin(123456, "somebody", "pull v1")
        with running(telegram, tmp_path / "home", **how):
            wait_for(lambda: last(telegram).startswith("⚠ owner/models contains no model"))
        acts = [act.outcome for act in store.audit.recent(9)]
    refused, again, lost, *begun = acts
    assert refused.startswith("⚠ owner/models contains no model")
    assert lost.startswith(LOST)
    assert [again, *begun] == ["begun"] * 3
