"""The operators' command /evidence and its buttons."""

from __future__ import annotations

import pytest

from core.bundle.folder import Bundle
from core.charts.drawer import ChartDrawer
from core.store.chats import Chat
from core.store.end_reasons import BY_HAND
from core.store.feedback import Feedback
from core.store.rollout_evidence import AnswerSummary, Comparison, TrafficCounts, answer_digest
from core.store.rollouts import Rollout
from tests.support.rolling_bot import OPERATOR, USER, Rolling, begun
from tests.support.rollouts import MODEL
from tests.support.running_bot import press, texts

T = texts()
OVER = T["rollout_over"].format(model=MODEL)


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
