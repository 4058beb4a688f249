"""Feedback of visitors on a prediction: the choices, and its storage."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.errors import ImageError, PhotoReadError
from core.inference.prediction import Prediction
from core.store.feedback import NONE, Feedback, StoreResult
from core.store.hash_key import keyed_hash
from core.store.rollouts import Rollout
from core.store.store import Store
from demo.context import PageContext

__all__ = ["ShownPrediction", "classes", "confirmed_class", "save"]


@dataclass
class ShownPrediction:
    """The prediction that a visitor sees.

    Attributes:
        photo: Path of the upload.
        prediction: The prediction, without the saliency map, which a second request computes.
        result: The model that gave it.
        judged: Whether feedback was given; it is accepted once for each prediction.
        explained: Whether its explanation is in the browser already.
    """

    photo: str
    prediction: Prediction
    result: ModelInfo
    judged: bool = False
    explained: bool = False


def classes(prediction: Prediction, language: locale.Language) -> list[tuple[str, str]]:
    """List the choices for the true class: translated name and label, and `none` at the end."""
    labels = sorted((locale.label_name(label, language), label) for label in prediction.scores)
    return [*labels, (locale.page_texts(language)["feedback_none"], NONE)]


def confirmed_class(prediction: Prediction) -> str:
    """Return the class that a visitor confirms by saying that the prediction is right."""
    return NONE if prediction.verdict == "none" else prediction.label


async def save(
    context: PageContext,
    store: Store,
    shown: ShownPrediction,
    truth: str,
    *,
    client: str,
    keep_photo: bool,
) -> StoreResult:
    """Store the true class of a photo, and the photo itself where the visitor agreed.

    The visitor is not stored, except while a canary of the model runs: as a hash that stands for
    this visitor in this canary only, so that nobody's judgements decide about it alone.

    Args:
        context: Context of the page.
        store: Where it is stored.
        shown: The prediction.
        truth: The true class, one of `classes`.
        client: Key of the visitor's client.
        keep_photo: Whether the visitor agreed to the photo being kept.

    Returns:
        What was stored; a photo whose upload has expired is not.

    Raises:
        PredictorError, StoreError: The photo cannot be encoded, or nothing can be stored now.
    """
    photo = None
    if keep_photo:
        with suppress(ImageError, PhotoReadError):
            photo = await context.predictor.archival_jpeg(shown.photo)
    prediction = shown.prediction
    feedback = Feedback(
        front="page",
        model=prediction.model,
        revision=prediction.revision,
        answer=prediction.label,
        verdict=prediction.verdict,
        scores=prediction.scores,
        truth=truth,
        photo=photo,
    )

    def add() -> StoreResult:
        canary = _canary_of(store, prediction.model)
        if canary is None:
            return store.feedback.add(feedback)
        person = keyed_hash(context.hash_key, f"canary {canary.number} {client}")
        return store.feedback.add(replace(feedback, person=person))

    return await asyncio.to_thread(add)


def _canary_of(store: Store, model: str) -> Rollout | None:
    """Return the active canary of a model; None where there is none."""
    active = store.rollouts.active()
    return next((each for each in active if (each.model, each.kind) == (model, "canary")), None)
