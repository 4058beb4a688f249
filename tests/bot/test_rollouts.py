"""Operators' commands that release revisions on evidence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from core.bundle.folder import Bundle
from core.charts.drawer import ChartDrawer
from core.settings import Settings
from core.store.chats import Chat
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.rollout_evidence import AnswerSummary, Comparison, TrafficCounts, answer_digest
from core.store.rollouts import Rollout
from core.store.store import Store
from tests.support.rollouts import MODEL, install_candidate, rollout_predictor, settings_with_model
from tests.support.running_bot import RunningBot, ask, press, running_bot, texts
from tests.support.servers import wait_for
from tests.support.telegram_server import Call, TelegramServer

T = texts()
OPERATOR, USER = 501, 503
OVER = T["rollout_over"].format(model=MODEL)


@dataclass
class Rolling:
    """A bot with one operator, and an installed candidate of its model."""

    bot: RunningBot
    candidate: str

    @property
    def telegram(self) -> TelegramServer:
        return self.bot.telegram

    @property
    def store(self) -> Store:
        return self.bot.store

    def ask(self, text: str) -> Call:
        """Send a command of the operator and return the reply."""
        return ask(self.telegram, OPERATOR, lambda: self.telegram.text(OPERATOR, text))

    def press(self, message: Call, button: str) -> str:
        """Press a button and return the text of the message that follows."""
        before = len(self.telegram.sent(OPERATOR))
        press(self.telegram, OPERATOR, message, button)
        return self.telegram.wait_for(before + 1, OPERATOR)[-1].text

    def active(self) -> list[tuple[str, str, float]]:
        """Return kind, candidate and share of the active rollouts."""
        return [(each.kind, each.candidate, each.share) for each in self.store.rollouts.active()]


@pytest.fixture
def rolling(telegram: TelegramServer, tmp_path: Path) -> Iterator[Rolling]:
    settings: Settings = settings_with_model(tmp_path)
    candidate = install_candidate(settings)
    options: dict[str, Any] = {
        "models": settings.models,
        "model": MODEL,
        "threads": 1,
        "operators": (OPERATOR,),
    }
    with running_bot(telegram, settings.home, **options) as bot:
        # Replies without pictures, except in tests of pictures.
        bot.state.charts = ChartDrawer(is_installed=False)
        yield Rolling(bot, candidate)


def begun(rolling: Rolling, kind: str = "canary") -> Rollout:
    """Begin a rollout of the candidate without the bot."""
    return rolling.store.rollouts.begin(
        MODEL,
        "shadow" if kind == "shadow" else "canary",
        candidate=rolling.candidate,
        live=rolling.bot.state.releases.resolve_revision(MODEL, "bundled"),
        share=1.0 if kind == "shadow" else 0.1,
        slow_ms=50.0,
    )


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


# Evidence.


def judge(rolling: Rolling, revision: str, answer: str, n: int) -> None:
    """Store feedback of n people on answers to photos of a cat."""
    for i in range(n):
        scores = {answer: 1.0}
        said = Feedback("bot", MODEL, revision, answer, "known", scores, "cat", f"person {i}")
        rolling.store.feedback.add(said)


def compare(rolling: Rolling, rollout: Rollout) -> None:
    """Store comparisons of a shadow: nine same answers, and a changed one that was judged."""
    live = AnswerSummary("cat", "known", 0.9, 1.0, 3.0)
    other = AnswerSummary("dog", "known", 0.8, 1.0, 5.0)
    scores = {"cat": 1.0}
    answer = answer_digest(MODEL, rollout.live, scores)
    same = [Comparison(str(i), live, live) for i in range(9)]
    rolling.store.rollout_evidence.add_comparisons(
        rollout.number, [*same, Comparison(answer, live, other)]
    )
    rolling.store.feedback.add(Feedback("bot", MODEL, rollout.live, "cat", "known", scores, "cat"))


def test_evidence_explains_usage_and_unknown_models(rolling: Rolling) -> None:
    assert rolling.ask("/evidence").text == T["evidence_usage"]
    missing = T["evidence_missing"].format(model="nothing")
    assert rolling.ask("/evidence nothing").text == missing


def test_evidence_shows_tests_and_classes_of_a_canary(rolling: Rolling) -> None:
    rollout = begun(rolling)
    judge(rolling, rollout.candidate, "dog", 3)
    judge(rolling, rollout.live, "cat", 20)
    rolling.store.rollout_evidence.add_traffic(rollout.number, TrafficCounts(10, 1, 2, 90, 3, 4))
    text = rolling.ask(f"/evidence {MODEL}").text
    for part in (
        f"Canary of {MODEL}: {rollout.candidate} answers 10% of the chats",
        "Judged wrong: candidate 3 of 3, live 0 of 20; evidence",
        f"{T['evidence_errors']}: candidate 1 of 10, live 3 of 90",
        f"{T['evidence_slow']}: candidate 2 of 10, live 4 of 90",
        "cat: candidate 3 of 3, live 0 of 20",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("language", "parts"),
    [
        ("en", ("10 photos compared", "Same answer: 90% (95% CI 59.6% to 98.2%)", "cat → dog: 1")),
        ("nl", ("10 foto's vergeleken", "90% (95%-BI 59,6% tot 98,2%)", "kat → hond: 1")),
        ("de", ("10 Fotos verglichen", "90% (95%-KI 59,6% bis 98,2%)", "Katze → Hund: 1")),
    ],
)
def test_evidence_shows_agreement_of_a_shadow(
    rolling: Rolling, language: str, parts: tuple[str, ...]
) -> None:
    rolling.store.chats.set(OPERATOR, Chat(language=language))
    compare(rolling, begun(rolling, "shadow"))
    message = rolling.ask(f"/evidence {MODEL}")
    for part in parts:
        assert part in message.text
    assert texts(language)["end_shadow"] in message.buttons()


@pytest.mark.parametrize("kind", ["shadow", "canary"])
def test_evidence_is_followed_by_a_picture(rolling: Rolling, kind: str) -> None:
    rolling.bot.state.charts = ChartDrawer()
    rollout = begun(rolling, kind)
    if kind == "shadow":
        compare(rolling, rollout)
    judge(rolling, rollout.candidate, "dog", 3)
    rolling.telegram.text(OPERATOR, f"/evidence {MODEL}")
    words, picture = rolling.telegram.wait_for(2, OPERATOR)
    assert f"{kind.title()} of {MODEL}" in words.text
    assert picture.method == "sendPhoto"
    assert next(iter(picture.files.values())).startswith(b"\x89PNG")


def test_candidate_is_promoted_by_button_with_the_evidence_shown(rolling: Rolling) -> None:
    rollout, store = begun(rolling), rolling.store
    message = rolling.ask(f"/evidence {MODEL}")
    judge(rolling, rollout.candidate, "cat", 7)
    promote = T["promote_button"].format(revision=rollout.candidate)
    press(rolling.telegram, OPERATOR, message, promote)
    question = rolling.telegram.wait_for(2, OPERATOR)[-1]
    assert "Judged wrong: candidate 0 of 7" in question.text, "the evidence of now"
    values = {"model": MODEL, "revision": rollout.candidate, "live": rollout.live}
    assert T["promote_asked"].format(**values) in question.text
    assert MODEL not in store.live.all(), "it is not confirmed yet"
    done = T["promote_done"].format(model=MODEL, revision=rollout.candidate)
    assert rolling.press(question, T["yes"]) == done
    assert store.live.all()[MODEL].revision == rollout.candidate
    ended = store.rollouts.latest(MODEL)
    assert ended is not None
    assert ended.outcome == "promoted"
    assert store.audit.recent(1)[0].act == f"promote {MODEL} {rollout.candidate}"
    message = rolling.ask(f"/evidence {MODEL}")
    assert T["outcome_promoted"] in message.text
    assert message.buttons() == {}


def test_bundled_candidate_is_promoted_by_button(rolling: Rolling) -> None:
    store, releases = rolling.store, rolling.bot.state.releases
    releases.promote(MODEL, rolling.candidate)
    bundled = Bundle.open(rolling.bot.settings.models / MODEL).revision
    begin = store.rollouts.begin
    begin(MODEL, "canary", candidate=bundled, live=rolling.candidate, share=0.1, slow_ms=9.0)
    message = rolling.ask(f"/evidence {MODEL}")
    press(rolling.telegram, OPERATOR, message, T["promote_button"].format(revision=bundled))
    rolling.press(rolling.telegram.wait_for(2, OPERATOR)[-1], T["yes"])
    assert store.live.all()[MODEL].revision == "bundled"
    ended = store.rollouts.latest(MODEL)
    assert ended is not None
    assert ended.outcome == "promoted"


def test_canary_is_rolled_back_by_button(rolling: Rolling) -> None:
    begun(rolling)
    message = rolling.ask(f"/evidence {MODEL}")
    press(rolling.telegram, OPERATOR, message, T["end_canary"])
    question = rolling.telegram.wait_for(2, OPERATOR)[-1]
    rolling.press(question, T["yes"])
    ended = rolling.store.rollouts.latest(MODEL)
    assert ended is not None
    assert (ended.outcome, ended.reason) == ("rolled_back", "by hand")


def test_rolled_back_candidate_is_not_promoted(rolling: Rolling) -> None:
    rollout, store = begun(rolling), rolling.store
    message = rolling.ask(f"/evidence {MODEL}")
    promote = T["promote_button"].format(revision=rollout.candidate)
    press(rolling.telegram, OPERATOR, message, promote)
    question = rolling.telegram.wait_for(2, OPERATOR)[-1]
    store.rollouts.end(rollout.number, "rolled_back", BY_HAND)
    assert rolling.press(question, T["yes"]) == OVER
    assert MODEL not in store.live.all()
    _, notice = press(rolling.telegram, OPERATOR, message, promote)
    assert notice.text == OVER


def test_button_of_a_rollout_does_nothing_for_other_users(rolling: Rolling) -> None:
    begun(rolling)
    telegram, message = rolling.telegram, rolling.ask(f"/evidence {MODEL}")
    press(telegram, OPERATOR, message, T["end_canary"], user=USER)
    rolling.bot.wait_until_idle()
    assert len(telegram.sent(OPERATOR)) == 1


# Traffic.


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
