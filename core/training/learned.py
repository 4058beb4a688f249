"""The run of a recipe, and the network that it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from core.bundle.config import Pretrained
from core.bundle.metrics import RealPhotoFigures
from core.errors import DataError
from core.inference.known_score import Arrays
from core.settings import Settings
from core.training.blend import Held, choose_blend, refit_head
from core.training.data.datasets import Split
from core.training.data.photo_batches import PhotoMaterial
from core.training.evaluation.measure import Rows
from core.training.fit import Reporter, Run, fit
from core.training.frozen import frozen_figures
from core.training.material import describe_material, gather_material, name_datasets
from core.training.networks.vgg16 import describe_vgg16
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import PhotoTask
from core.training.recipes import Recipe
from core.training.task import Labelling

__all__ = ["Learned", "learn", "run_folder"]


@dataclass(frozen=True, eq=False)
class Learned:
    """What a run came to.

    Attributes:
        run: The run.
        model: Its network, of the size that is served and in float32.
        checked: Rows whose accuracy is known.
        accuracy: Of the network as trained on these, one view.
        data: What was learned from, for people.
        datasets: Names of it on the Hub.
        body: Weights that it began with, where `tensight train vgg16` left them.
        arrays: Of the verdict method `probe`, where the network has an output for none.
        frozen: As `frozen_figures` gives them, where the network learned from real photos.
    """

    run: Run
    model: keras.Model
    checked: Split
    accuracy: float
    data: str
    datasets: tuple[str, ...]
    body: Pretrained | None = None
    arrays: Arrays = field(default_factory=dict)
    frozen: Mapping[str, RealPhotoFigures | None] = field(default_factory=dict)


def run_folder(recipe: Recipe, settings: Settings) -> Path:
    """Return the folder in which the run of a recipe is kept."""
    return settings.home / "runs" / recipe.name


def learn(
    recipe: Recipe,
    rows: Rows,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
    extra: Path | None,
) -> Learned | None:
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
        return _learn_with_photos(recipe, recipe.plan, rows, settings, seed, resume, reporter)
    dataset = rows.dataset
    material = gather_material(recipe, rows.learn, settings, extra, dataset.labels)
    body = describe_vgg16(settings) if recipe.body is not None else None
    run = fit(
        Labelling(recipe, material, rows.validation, len(dataset.labels), seed, settings),
        folder=run_folder(recipe, settings),
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    # Anew, of one size and in float32, whatever it was trained in.
    model = recipe.build((recipe.input.height, recipe.input.width, 3), len(dataset.labels))
    model.set_weights(run.model.get_weights())
    return Learned(
        run=run,
        model=model,
        checked=rows.validation,
        accuracy=run.history[run.best_epoch - 1].validation_accuracy,
        data=describe_material(material, recipe, dataset),
        datasets=name_datasets(material, dataset, body),
        body=body,
    )


def _learn_with_photos(
    recipe: Recipe,
    plan: PhotoPlan,
    rows: Rows,
    settings: Settings,
    seed: int,
    resume: bool,
    reporter: Reporter,
) -> Learned | None:
    """As `learn`, for a recipe that has a plan."""
    dataset, real = rows.dataset, rows.real
    if real is None:
        raise DataError(f"{recipe.name} learns from real photos, and there are none.")
    material = PhotoMaterial(rows.learn, real.train)
    classes = len(dataset.labels)
    folder = run_folder(recipe, settings)
    run = fit(
        PhotoTask(recipe, plan, material, rows.validation, real.valid, classes, seed, settings),
        folder=folder,
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    spec = recipe.input
    some = rows.validation.take(np.arange(min(len(rows.validation), plan.blend_rows)))
    held = Held(some, real.valid, spec)
    blend = choose_blend(run.model, plan, held, folder)
    probed = material.probed(plan.probe_rows, seed)
    kept = refit_head(run.model, blend, probed, plan, held)
    model = recipe.build((spec.height, spec.width, 3), classes)
    *body, kernel, bias = run.model.get_weights()
    model.set_weights([*body, kernel[:, :classes], bias[:classes]])
    photos, known = len(real.train), int(real.train.known.sum())
    return Learned(
        run=run,
        model=model,
        checked=some,
        accuracy=kept.rows,
        data=f"{dataset.name}, {len(rows.learn):,} rows of train; {photos:,} real photos of "
        f"{len(np.unique(real.train.sources))} public repositories, {known:,} of the labels and "
        f"{photos - known:,} of other things; of the way from the start to the running average "
        f"of the weights, {kept.share:.2f}; head {'as trained' if kept is blend else 'refitted'}",
        datasets=(dataset.hub,) if dataset.hub else (),
        arrays={"kernel": kernel.astype(np.float16), "bias": bias.astype(np.float16)},
        frozen=frozen_figures(recipe, rows, settings),
    )
