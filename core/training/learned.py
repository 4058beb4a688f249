"""The run of a recipe, and the network that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from core.bundle.config import Pretrained
from core.bundle.metrics import RealPhotoMetrics
from core.errors import DataError
from core.inference.known_score import OodParams
from core.settings import Settings
from core.training.blend import HeldOutData, choose_blend, measure_blend, refit_head
from core.training.data.datasets import Split
from core.training.data.photo_batches import PhotoTrainingData
from core.training.data.real_photos import RealPhotos
from core.training.evaluation.measure import EvaluationData
from core.training.fit import FitResult, Reporter, fit
from core.training.frozen import measure_frozen
from core.training.head_task import HeadTask, with_head
from core.training.material import (
    describe_training_data,
    load_photo_training_data,
    load_training_data,
    name_datasets,
)
from core.training.networks.vgg16 import describe_vgg16
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import PhotoTask
from core.training.recipes import Recipe
from core.training.task import ClassificationTask

__all__ = ["TrainedNetwork", "learn", "run_folder"]


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """What a run came to.

    Attributes:
        run: The run.
        model: Its network, of the size that is served and in float32.
        checked: Rows whose accuracy is known.
        accuracy: Of the network as trained on these, one view.
        data: What was learned from, for people.
        datasets: Names of it on the Hub.
        body: Weights of VGG16 that it began with, if any.
        ood_params: Of the verdict method `probe`, where the network has an output for none.
        frozen: As `measure_frozen` gives them, where the network learned from real photos.
    """

    run: FitResult
    model: keras.Model
    checked: Split
    accuracy: float
    data: str
    datasets: tuple[str, ...]
    body: Pretrained | None = None
    ood_params: OodParams = field(default_factory=dict)
    frozen: Mapping[str, RealPhotoMetrics | None] = field(default_factory=dict)


def run_folder(recipe: Recipe, settings: Settings) -> Path:
    """Return the folder in which the run of a recipe is kept."""
    return settings.home / "runs" / recipe.name


def learn(
    recipe: Recipe,
    rows: EvaluationData,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
    extra: Path | None,
) -> TrainedNetwork | None:
    """Go through the epochs of a recipe, and choose the weights that it ends with.

    Args:
        recipe: What to do.
        rows: What to learn from and to validate on.
        settings: `data` and `home` are used.
        seed: Of weights, order and augmentation.
        resume: Go on with the run that stopped.
        reporter: Hears of every batch and epoch.
        extra: Folder of photos to learn from too, as `learn_from_photos` reads it.

    Returns:
        None where Keras runs on another backend than TensorFlow, which alone can go on.

    Raises:
        DataError: Images or weights that the recipe asks for are missing.
        TrainingError: As in `fit`.
    """
    if recipe.plan is not None:
        return _learn_with_photos(
            recipe, recipe.plan, rows, settings, seed, resume, reporter, extra
        )
    dataset = rows.dataset
    material = load_training_data(recipe, rows.learn, settings, extra, dataset.labels)
    body = describe_vgg16(settings) if recipe.body is not None else None
    run = fit(
        ClassificationTask(recipe, material, rows.validation, len(dataset.labels), seed, settings),
        folder=run_folder(recipe, settings),
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    # Anew, of one size and in float32, whatever it was trained in.
    model = recipe.build((recipe.input.height, recipe.input.width, 3), len(dataset.labels))
    model.set_weights(run.model.get_weights())
    return TrainedNetwork(
        run=run,
        model=model,
        checked=rows.validation,
        accuracy=run.history[run.best_epoch - 1].validation_accuracy,
        data=describe_training_data(material, recipe, dataset),
        datasets=name_datasets(material, dataset, body),
        body=body,
    )


def _learn_with_photos(
    recipe: Recipe,
    plan: PhotoPlan,
    rows: EvaluationData,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
    extra: Path | None,
) -> TrainedNetwork | None:
    """As `learn`, for a recipe that has a plan."""
    dataset, real = rows.dataset, rows.real
    if real is None:
        raise DataError(f"{recipe.name} learns from real photos, and there are none.")
    material = load_photo_training_data(rows.learn, real.train, extra, dataset.labels)
    spec, classes, folder = recipe.input, len(dataset.labels), run_folder(recipe, settings)
    some = rows.validation.take(np.arange(min(len(rows.validation), plan.blend_rows)))
    held = HeldOutData(some, real.valid, spec)
    body = describe_vgg16(settings) if recipe.body is not None else None
    probed = material.probed(plan.probe_rows, seed)
    if recipe.head is not None:
        head = HeadTask.of(
            recipe, plan, recipe.head, material, held, classes=classes, seed=seed, settings=settings
        )
        run = fit(head, folder=folder, resume=resume, reporter=reporter)
        if keras.backend.backend() != "tensorflow":
            return None
        network = with_head(head, run.model, settings)
        blend = measure_blend(network, held, 1.0)
    else:
        task = PhotoTask(
            recipe, plan, material, rows.validation, real.valid, classes, seed, settings
        )
        run = fit(task, folder=folder, resume=resume, reporter=reporter)
        if keras.backend.backend() != "tensorflow":
            return None
        network = run.model
        blend = choose_blend(network, plan, held, folder)
    kept = refit_head(network, blend, probed, plan, held)
    model = recipe.build((spec.height, spec.width, 3), classes)
    *below, kernel, bias = network.get_weights()
    model.set_weights([*below, kernel[:, :classes], bias[:classes]])
    names = (dataset.hub, *(body.datasets if body else ()))
    return TrainedNetwork(
        run=run,
        model=model,
        checked=some,
        accuracy=kept.rows,
        data=_described(material, real.train, dataset.name)
        + f"; of the way from the start to the running average of the weights, {kept.share:.2f}; "
        f"head {'as trained' if kept is blend else 'refitted'}",
        datasets=tuple(dict.fromkeys(filter(None, names))),
        body=body,
        ood_params={"kernel": kernel.astype(np.float16), "bias": bias.astype(np.float16)},
        frozen=measure_frozen(recipe, rows, settings),
    )


def _described(material: PhotoTrainingData, real: RealPhotos, dataset: str) -> str:
    """Return what is learned from, for people."""
    count, known = len(material.photos), int(material.photos.known.sum())
    parts = [
        f"{dataset}, {len(material.rows):,} rows of train",
        f"{count:,} real photos of {len(np.unique(real.sources))} public repositories, "
        f"{known:,} of the labels and {count - known:,} of other things",
    ]
    if material.extra:
        parts.append(f"among them {material.extra}")
    return "; ".join(parts)
