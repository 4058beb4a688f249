"""Helpers for callers of a predictor: retries while it is busy, and several models in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from core.bundle.leaderboard import ModelInfo
from core.errors import BusyError, RateError, TenSightError
from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.serving.predictor import Predictor

__all__ = ["RetryPolicy", "ask_all", "retry_while_busy", "votes"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class RetryPolicy:
    """Number and length of retries while a predictor is busy.

    Attributes:
        retries: Maximum number of retries after the first attempt.
        max_pause_s: Maximum pause in seconds, whatever the predictor asks for.
    """

    retries: int = 20
    max_pause_s: float = 60.0


async def retry_while_busy(
    ask: Callable[[], Awaitable[_T]], policy: RetryPolicy | None = None
) -> _T:
    """Call a predictor, and retry after the time that it names while it is busy.

    Args:
        ask: Makes one attempt.
        policy: Limits on the retries; None for the defaults.

    Raises:
        BusyError, RateError: The predictor was still busy at the last attempt.
        TenSightError: Any other error of `ask`, which is not retried.
    """
    policy = policy or RetryPolicy()
    for _ in range(policy.retries):
        try:
            return await ask()
        except (BusyError, RateError) as error:
            await asyncio.sleep(min(error.retry_after, policy.max_pause_s))
    return await ask()


async def ask_all(
    predictor: Predictor, models: Sequence[ModelInfo], photo: Photo, *, client: str | None = None
) -> list[tuple[str, Prediction | TenSightError]]:
    """Classify a photo with several models, one after another.

    Args:
        predictor: The predictor.
        models: The models, in the order in which they are asked.
        photo: The photo.
        client: Key of the client that sent it, as in `Predictor.predict`.

    Returns:
        Title of each model, and its prediction or error.

    Raises:
        TenSightError: Every model failed; this is the first error.
    """
    answers: list[tuple[str, Prediction | TenSightError]] = []
    for model in models:
        try:
            given: Prediction | TenSightError = await predictor.predict(
                photo, model=model.config.name, client=client
            )
        except TenSightError as error:
            given = error
        answers.append((model.config.title, given))
    errors = [each for _, each in answers if isinstance(each, TenSightError)]
    if errors and len(errors) == len(answers):
        raise errors[0]
    return answers


def votes(answers: Mapping[str, Prediction | Exception]) -> tuple[str, int, int]:
    """Count the votes of the models for a label or `none`; ties go to the first model.

    Args:
        answers: Prediction or error of each model, by name; at least one prediction.

    Returns:
        The answer with most votes, its number of votes, and the number of models that answered.
    """
    given = [
        "none" if answer.verdict == "none" else answer.label
        for answer in answers.values()
        if isinstance(answer, Prediction)
    ]
    label, n = Counter(given).most_common(1)[0]
    return label, n, len(given)
