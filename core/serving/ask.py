"""Ask every model about one photo, and count what they answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from core.bundle.leaderboard import ModelInfo
from core.errors import TenSightError
from core.inference.prediction import Prediction
from core.photos.decode import Photo
from core.serving.predictor import Predictor

__all__ = ["ask_all", "votes"]


async def ask_all(
    predictor: Predictor, models: Sequence[ModelInfo], photo: Photo, *, client: str | None = None
) -> list[tuple[str, Prediction | TenSightError]]:
    """Classify a photo with several models, one after another.

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
