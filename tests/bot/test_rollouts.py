"""Operators' commands that release revisions on evidence."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from core.store.chats import Chat
from core.store.end_reasons import BY_HAND
from tests.support.rolling_bot import OPERATOR, USER, Rolling, begun
from tests.support.rollouts import MODEL, install_candidate, rollout_predictor, settings_with_model
from tests.support.running_bot import ask, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import TelegramServer

T = texts()


@pytest.mark.parametrize(
    ("kind", "arguments", "share"),
    [("canary", " 2.5%", "2.5%"), ("canary", "", "10%"), ("shadow", "", "100%")],
)
def test_rollout_begins_and_ends_once_confirmed(
    rolling: Rolling, kind: str, arguments: str, share: str
) -> None:
    candidate, act = rolling.candidate, f"{kind} {MODEL} {rolling.candidate} {share}"
    question = rolling.ask(f"/{kind} {MODEL} {candidate[:6]}{arguments}")
    asked = T[f"{kind}_asked"].format(model=MODEL, candidate=candidate, share=share, live="bundled")
    assert question.text == T["confirm"].format(question=asked)
    assert rolling.active() == []
    done = T[f"{kind}_begun"].format(model=MODEL, candidate=candidate, share=share)
    assert rolling.press(question, T["yes"]) == done
    assert rolling.active() == [(kind, candidate, float(share[:-1]) / 100)]

    listed = rolling.ask(f"/{kind}").text
    assert f"{MODEL} {candidate}" in listed
    assert share in listed

    question = rolling.ask(f"/{kind} {MODEL} stop")
    (rollout,) = rolling.store.rollouts.active()
    values = {"model": MODEL, "candidate": candidate, "live": rollout.live}
    asked = T[f"{kind}_end_asked"].format(**values)
    assert question.text == T["confirm"].format(question=asked)
    assert rolling.press(question, T["yes"]) == T[f"{kind}_ended"].format(**values)
    assert rolling.active() == []
    acts = [each.act for each in rolling.store.audit.recent(9) if each.outcome != "begun"]
    assert acts == [f"{kind} {MODEL} stop", act]


@pytest.mark.parametrize("kind", ["shadow", "canary"])
@pytest.mark.parametrize(
    "arguments", [MODEL, f"{MODEL} bundled 0%", f"{MODEL} bundled ten", "a b c d"]
)
def test_rollout_command_explains_its_arguments(
    rolling: Rolling, kind: str, arguments: str
) -> None:
    assert rolling.ask(f"/{kind} {arguments}").text == T[f"{kind}_usage"]


def test_canary_of_all_clients_is_refused(rolling: Rolling) -> None:
    assert rolling.ask(f"/canary {MODEL} {rolling.candidate} 100%").text == T["canary_usage"]


def test_rollout_that_cannot_begin_is_explained(rolling: Rolling) -> None:
    missing = rolling.ask(f"/canary {MODEL} 0000000").text
    assert missing.startswith("⚠ ")
    assert missing.endswith("Install more with /pull.")
    question = rolling.ask(f"/canary {MODEL} bundled")
    assert "is live already" in rolling.press(question, T["yes"])
    begun(rolling)
    question = rolling.ask(f"/shadow {MODEL} {rolling.candidate}")
    refused = rolling.press(question, T["yes"])
    assert f"is active already. End it first: /canary {MODEL} stop." in refused
    assert rolling.active() == [("canary", rolling.candidate, 0.1)]


def test_rollout_that_is_not_active_cannot_be_ended(rolling: Rolling) -> None:
    none = T["canary_none"].format(model=MODEL)
    assert rolling.ask(f"/canary {MODEL} stop").text == none


def test_confirmation_ends_no_later_rollout(rolling: Rolling) -> None:
    first = begun(rolling)
    question = rolling.ask(f"/canary {MODEL} stop")
    rolling.store.rollouts.end(first.number, "rolled_back", BY_HAND)
    second = begun(rolling)
    values = {"model": MODEL, "candidate": rolling.candidate}
    assert rolling.press(question, T["yes"]) == T["canary_instead"].format(**values)
    assert [each.number for each in rolling.store.rollouts.active()] == [second.number]


@pytest.mark.parametrize("command", ["canary {} {} 10%", "promote {} {}"])
def test_confirmation_expires_once_another_revision_is_live(rolling: Rolling, command: str) -> None:
    other = install_candidate(rolling.bot.settings, "Other")
    question = rolling.ask("/" + command.format(MODEL, rolling.candidate))
    rolling.bot.state.releases.promote(MODEL, other)
    refused = T["live_changed"].format(model=MODEL, live=other)
    assert rolling.press(question, T["yes"]) == refused
    assert rolling.active() == []
    assert rolling.store.live.all()[MODEL].revision == other


@pytest.mark.parametrize("name", ["/shadow", "/canary"])
def test_rollout_command_is_unknown_to_other_users(rolling: Rolling, name: str) -> None:
    telegram = rolling.telegram
    assert ask(telegram, USER, lambda: telegram.text(USER, name)).text == T["unknown"]


def test_rollout_is_confirmed_in_the_selected_language(rolling: Rolling) -> None:
    german = texts("de")
    rolling.store.chats.set(OPERATOR, Chat(language="de"))
    question = rolling.ask(f"/canary {MODEL} {rolling.candidate} 10%")
    values = {"model": MODEL, "candidate": rolling.candidate, "share": "10%"}
    assert rolling.press(question, german["yes"]) == german["canary_begun"].format(**values)
    outcome = rolling.store.audit.recent(1)[0].outcome
    assert outcome == T["canary_begun"].format(**values), "the audit log is in English"


def test_canary_answers_its_chats_and_is_in_the_metrics(
    telegram: TelegramServer, tmp_path: Path, content: bytes
) -> None:
    settings = settings_with_model(tmp_path)
    candidate = install_candidate(settings)
    predictor = rollout_predictor(settings)
    options: dict[str, Any] = {"models": settings.models, "model": MODEL, "operators": (OPERATOR,)}
    with (
        closing(predictor),
        running_bot(telegram, settings.home, predictor=predictor, **options) as bot,
    ):
        rolling = Rolling(bot, candidate)
        predictor.warm()
        question = rolling.ask(f"/canary {MODEL} {candidate} 99.9%")
        rolling.press(question, T["yes"])
        wait_for(lambda: len(predictor.rollouts()) == 1)

        def answered_by_candidate() -> bool:
            ask(telegram, USER, lambda: telegram.photo(USER, content))
            with bot.store.database.engine.connect() as connection:
                select = "SELECT revision FROM answers ORDER BY at DESC LIMIT 1"
                return connection.exec_driver_sql(select).scalar() == candidate

        wait_for(answered_by_candidate)
        text = generate_latest(bot.state.metrics.registry).decode()
        assert f'candidate="{candidate}",kind="canary",model="{MODEL}"}} 0.999' in text
