"""From a recipe to a model folder: data, fit, export, calibration, evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from core.bundle.config import MODEL, Config
from core.bundle.folder import Bundle, write_bundle
from core.bundle.leaderboard import save_unbundled
from core.bundle.metrics import EpochMetrics, ResizeMetrics
from core.inference.classifier import Classifier
from core.output import private_folder
from core.settings import Settings
from core.training.data.datasets import Dataset
from core.training.drafts import check_network, check_precision, draft_config
from core.training.evaluation.choices import calibrate, choose_verdict
from core.training.evaluation.measure import EvaluationData, History, measure
from core.training.evaluation.ood import accuracy_of, run_inference
from core.training.export.flatbuffer import (
    activation_model,
    occlusion_model,
    serving_model,
    to_flatbuffer,
)
from core.training.fit import Reporter
from core.training.learned import TrainedNetwork, learn
from core.training.recipes import Recipe

__all__ = ["train"]

_SERVED: Mapping[str, Callable[[keras.Model], keras.Model]] = {
    "gradient": serving_model,
    "occlusion": occlusion_model,
    "activation": activation_model,
}


def train(
    recipe: Recipe,
    dataset: Dataset,
    settings: Settings,
    *,
    seed: int,
    resume: bool,
    reporter: Reporter,
    command: str,
    rows: EvaluationData | None = None,
    extra: Path | None = None,
) -> Bundle | None:
    """Train a model and put its folder among the models.

    The run is kept in TENSIGHT_HOME/runs/NAME. The model in TENSIGHT_MODELS is replaced only once
    the new one is trained, exported, calibrated and evaluated.

    Args:
        recipe: What to do.
        dataset: A tenth of its train part is held out to choose the epoch, the calibration and
            the thresholds; the test part is only reported.
        settings: `data`, `home`, `models` and `threads` are used.
        seed: Of weights, order and augmentation.
        resume: Go on with the run that stopped.
        reporter: Hears of every batch and epoch.
        command: That trains this model, for the card.
        rows: What it is chosen and measured by; None: as `EvaluationData.of` cuts and reads them.
        extra: Folder of photos to learn from too, as `learn_from_photos` reads it; those of none of
            the classes only where the recipe learns from `outliers`.

    Returns:
        The model; None where Keras runs on another backend than TensorFlow, which alone can export:
        the run is kept, and the same call with `resume` on TensorFlow makes the model of it.

    Raises:
        DataError: Images or weights that the recipe asks for are missing.
        TrainingError: As in `fit`; or the exported network is not the one that the run trained; or
            the number format loses more than .002 of the accuracy on validation. The run is kept.
    """
    private_folder(settings.home)
    rows = _rows(recipe, dataset, settings) if rows is None else rows
    learned = learn(recipe, rows, settings, seed, resume, reporter, extra)
    if learned is None:
        return None
    exported = _export(recipe, learned, rows, settings, seed)
    kept = settings.models if recipe.bundled else settings.home / "unbundled"
    bundle = measure(
        kept / recipe.name,
        exported.config,
        exported.files,
        _history(recipe, learned, exported),
        rows,
        settings,
        command,
    )
    if not recipe.bundled:
        save_unbundled(settings.models, bundle)
    return bundle


@dataclass(frozen=True, eq=False)
class _Exported:
    """A network in the form that is served, with everything that it is completed with.

    Attributes:
        config: Its config.json.
        files: Weights, and arrays of the verdict where there are such.
        resize: What the resize rule was chosen by.
        float32: Accuracy on the test rows before the weights were rounded.
    """

    config: Config
    files: dict[str, bytes]
    resize: ResizeMetrics | None
    float32: float


def _export(
    recipe: Recipe, learned: TrainedNetwork, rows: EvaluationData, settings: Settings, seed: int
) -> _Exported:
    """Export, check and calibrate a network.

    Raises:
        TrainingError: The network is not the one that was trained, or rounding costs too much.
    """
    dataset = rows.dataset
    model = _SERVED[recipe.maps](learned.model)
    weights = to_flatbuffer(model, recipe.precision)
    with tempfile.TemporaryDirectory() as scratch:
        config = draft_config(recipe, dataset, learned, seed)
        draft = write_bundle(Path(scratch) / recipe.name, config, {MODEL: weights})
        exact = write_bundle(
            Path(scratch) / "float32" / recipe.name,
            config,
            {MODEL: to_flatbuffer(model, "float32")},
        )
        check_network(recipe, learned, exact, settings)
        known = run_inference(
            Classifier(draft, threads=settings.threads), rows.validation.images, "validation"
        )
        check_precision(recipe, known, exact, rows.validation, settings)
        config, resizing = calibrate(draft, known, rows, settings)
        # The draft's own config holds the digests.
        same = config.model_copy(update={"sha256": draft.config.sha256})
        calibrated = Classifier(replace(draft, config=same), threads=settings.threads)
        verdict, files = choose_verdict(calibrated, known, rows, learned.ood_params)
        float32 = Classifier(exact, threads=settings.threads)
        test = run_inference(float32, dataset.test.images, "test")
    return _Exported(
        config=config.model_copy(update={"verdict": verdict}),
        files={MODEL: weights} | files,
        resize=resizing,
        float32=accuracy_of(test, dataset.test),
    )


def _history(recipe: Recipe, learned: TrainedNetwork, exported: _Exported) -> History:
    """Return what is known of a run that cannot be measured again."""
    run = learned.run
    return History(
        curves=tuple(
            EpochMetrics(
                epoch=epoch.epoch,
                loss=epoch.loss,
                accuracy=epoch.accuracy,
                validation_loss=epoch.validation_loss,
                validation_accuracy=epoch.validation_accuracy,
            )
            for epoch in run.history
        ),
        best_epoch=run.best_epoch,
        parameters=learned.model.count_params(),
        training_seconds=sum(epoch.seconds for epoch in run.history),
        reported=recipe.reported,
        float32=exported.float32,
        resize=exported.resize,
        real_photos_frozen=learned.frozen.get("real_photos"),
        unseen_sources_frozen=learned.frozen.get("unseen_sources"),
    )


def _rows(recipe: Recipe, dataset: Dataset, settings: Settings) -> EvaluationData:
    """Read what a recipe is chosen and measured by."""
    if recipe.plan is None:
        return EvaluationData.of(dataset, settings)
    return EvaluationData.of_real_photos(dataset, settings, recipe.plan.left_out)
