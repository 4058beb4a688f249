"""Reasons for which rollouts end: a code and its values, which each reader words for itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["BY_HAND", "REASON_CODES", "EndReason"]


def _worse(test: str, what: str) -> str:
    return (
        f"worse than the live revision: {test}: {{candidate_failed}} of {{candidate}} {what} of "
        "the candidate failed, {live_failed} of {live} of the live revision; evidence "
        "{evidence:.3g} of {alarm_at:.3g}"
    )


# English sentences for the log and the command line; chats have texts `reason_CODE` of their own.
_SENTENCES = {
    "by_hand": "by hand",
    "made_live": "{revision} was made live",
    "other_live": "{live} is live instead of {compared}, with which it was compared",
    "not_loadable": "the candidate cannot be loaded: {error}",
    "stopped": "the candidate stopped: {error}",
    "worse_accuracy": _worse("accuracy", "judged photos"),
    "worse_errors": _worse("errors", "runs"),
    "worse_slow": _worse("slow", "runs"),
}

REASON_CODES = tuple(_SENTENCES)
"""Codes of all reasons. A new one needs a sentence here, and a text in each language."""


@dataclass(frozen=True)
class EndReason:
    """A reason for which a rollout ended.

    Attributes:
        code: One of `REASON_CODES`, or of a newer version that shares the database.
        values: Values of the sentence, which JSON can represent.
    """

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the reason as an English sentence, without a full stop.

        Of a newer version's reason, only the code is known.
        """
        sentence = _SENTENCES.get(self.code)
        return self.code if sentence is None else sentence.format(**self.values)


BY_HAND = EndReason("by_hand")
"""The reason of a rollout that an operator ended."""
