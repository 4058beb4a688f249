"""Rows of the tables of stored answers and feedback."""

from __future__ import annotations

from core.store.feedback import Feedback, StoredAnswer

__all__ = ["feedback", "page_feedback", "stored_answer"]


def stored_answer(person: str | None = None, **scores: float) -> StoredAnswer:
    """Build a stored answer of the bot.

    Args:
        person: Hash of the sender's id.
        **scores: Scores by label; none for a cat with 0.9.
    """
    scores = scores or {"cat": 0.9, "dog": 0.1}
    best = max(scores, key=lambda label: scores[label])
    return StoredAnswer(person, "file", "a", "1", best, "known", scores)


def feedback(truth: str, person: str | None = None, photo: bytes | None = None) -> Feedback:
    """Build feedback from the bot on the answer "cat"."""
    return Feedback(
        front="bot",
        model="a",
        revision="1",
        answer="cat",
        verdict="known",
        scores={"cat": 0.9, "dog": 0.1},
        truth=truth,
        person=person,
        photo=photo,
    )


def page_feedback(
    truth: str, *, answer: str = "cat", verdict: str = "known", photo: bytes | None = None
) -> Feedback:
    """Build feedback of an anonymous visitor of the page on an answer of `classic`."""
    return Feedback("page", "classic", "0" * 12, answer, verdict, {answer: 0.9}, truth, None, photo)
