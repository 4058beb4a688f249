"""A network as exported, before anything is calibrated, and whether it is what was trained."""

from __future__ import annotations

from dataclasses import replace

from core.bundle.config import FORMAT_SINCE, MODEL, Config, Training, VerdictConfig
from core.bundle.folder import Bundle
from core.errors import TrainingError
from core.inference.classifier import Classifier
from core.settings import Settings
from core.training.data.datasets import Dataset, Split
from core.training.evaluation.ood import ModelOutputs, accuracy_of, run_inference
from core.training.learned import TrainedNetwork
from core.training.recipes import Recipe

__all__ = ["check_network", "check_precision", "draft_config"]

# What rounding the weights may cost, on validation.
_MAX_LOSS = 0.002
# What the number format of the training may make of the accuracy on validation.
_SAME = 0.01


def draft_config(recipe: Recipe, dataset: Dataset, learned: TrainedNetwork, seed: int) -> Config:
    """Return config.json before anything is calibrated."""
    run, body = learned.run, learned.body
    return Config(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        family=recipe.family,
        labels=dataset.labels,
        input=recipe.input,
        views=recipe.views,
        precision=recipe.precision,
        temperature=1.0,
        offered=recipe.offered,
        verdict=VerdictConfig(method="max_softmax", none_below=0.0, unsure_below=0.0),
        sha256={MODEL: "0" * 64},
        training=Training(
            recipe=recipe.name,
            data=learned.data,
            datasets=learned.datasets,
            license=recipe.license if body is None else body.license,
            pretrained=body,
            notes=recipe.notes,
            seed=seed,
            epochs=len(run.history),
            hardware=", ".join(dict.fromkeys(session.hardware for session in run.sessions)),
            date=run.sessions[-1].date,
            commit=", ".join(dict.fromkeys(session.commit for session in run.sessions)),
        ),
        minimum_version=FORMAT_SINCE,
    )


def check_network(
    recipe: Recipe, learned: TrainedNetwork, exact: Bundle, settings: Settings
) -> None:
    """See that weights were not put into another network than the one that was trained.

    Args:
        recipe: Of the run.
        learned: What it came to.
        exact: The network as exported, in float32.
        settings: `threads` is used.

    Raises:
        TrainingError: As exported, it is right on another share of the same rows.
    """
    one_view = exact.config.model_copy(update={"views": ("identity",)})
    classifier = Classifier(replace(exact, config=one_view), threads=settings.threads)
    checked = learned.checked
    exported = accuracy_of(run_inference(classifier, checked.images, "validation"), checked)
    if abs(exported - learned.accuracy) > _SAME:
        raise TrainingError(
            f"As exported, {recipe.name} is right on {exported:.4f} of the validation rows; as "
            f"trained, on {learned.accuracy:.4f}. Its network has changed since; train it anew."
        )


def check_precision(
    recipe: Recipe, known: ModelOutputs, exact: Bundle, validation: Split, settings: Settings
) -> None:
    """See that rounding the weights costs little.

    Args:
        recipe: Its precision was used.
        known: What the rounded network gives on the validation rows.
        exact: The network in float32.
        validation: These rows.
        settings: `threads` is used.

    Raises:
        TrainingError: It costs more than .002 of the accuracy on these rows.
    """
    float32 = Classifier(exact, threads=settings.threads)
    before = accuracy_of(run_inference(float32, validation.images, "validation"), validation)
    lost = before - accuracy_of(known, validation)
    if lost > _MAX_LOSS:
        raise TrainingError(
            f"In {recipe.precision}, {recipe.name} is right on {lost:.4f} less of the validation "
            f"rows than in float32; at most {_MAX_LOSS} may be lost. Change the precision of its "
            "recipe, and export the run with --resume."
        )
