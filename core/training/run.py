"""Run a recipe: train its network and select its final weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from core.bundle.config import PhotoSource, Pretrained
from core.bundle.metrics import RealPhotoMetrics
from core.errors import DataError
from core.inference.known_score import OodParams
from core.settings import Settings
from core.training.classification_task import ClassificationTask
from core.training.data.datasets import Split
from core.training.data.photo_batches import PhotoTrainingData
from core.training.data.photo_sources import count_sources
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.export.equalisation import equalise_features
from core.training.fit import FitResult, Reporter, fit
from core.training.frozen_baseline import measure_frozen_baseline
from core.training.head_task import HeadTask, attach_head
from core.training.interpolation import (
    InterpolatedWeights,
    SelectionData,
    measure_weights,
    refit_head,
    select_interpolation,
)
from core.training.networks.vgg16 import describe_vgg16
from core.training.photo_plan import PhotoPlan
from core.training.photo_task import PhotoTask
from core.training.recipe import Recipe
from core.training.training_data import (
    describe_photo_training_data,
    describe_training_data,
    hub_names,
    load_photo_training_data,
    load_training_data,
)

__all__ = ["RunOptions", "TrainedNetwork", "run_folder", "run_recipe"]


@dataclass(frozen=True)
class RunOptions:
    """Options of a training run.

    Attributes:
        seed: Seed of weights, dropout, order and augmentation.
        resume: Whether to continue a run that stopped.
        reporter: Receives the progress.
        extra: Folder of the user's own photos with labels.csv to train on too, if any.
    """

    seed: int
    resume: bool
    reporter: Reporter
    extra: Path | None = None


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network before its export.

    Attributes:
        run: The training run.
        model: The network for the served image size, in float32, without an output for none.
        validation: Rows whose accuracy is known.
        accuracy: Accuracy of the network on these rows with one view, 0 to 1.
        data: Training data in words.
        datasets: Hub names of the training data.
        photos: Sources of the real photos in the training data.
        pretrained: Pretrained weights of VGG16 that it started from, if any.
        ood_params: Parameters of the verdict method `probe`; empty for a network that was not
            trained with an output for none.
        baseline: Metrics of `measure_frozen_baseline`; empty for a recipe without real photos.
    """

    run: FitResult
    model: keras.Model
    validation: Split
    accuracy: float
    data: str
    datasets: tuple[str, ...]
    photos: tuple[PhotoSource, ...] = ()
    pretrained: Pretrained | None = None
    ood_params: OodParams = field(default_factory=dict)
    baseline: Mapping[str, RealPhotoMetrics | None] = field(default_factory=dict)


def run_folder(recipe: Recipe, settings: Settings) -> Path:
    """Return the folder of a recipe's run in TENSIGHT_HOME."""
    return settings.home / "runs" / recipe.name


def run_recipe(
    recipe: Recipe, data: EvaluationData, settings: Settings, options: RunOptions
) -> TrainedNetwork | None:
    """Train the network of a recipe and select its final weights.

    Args:
        recipe: The recipe.
        data: Training and validation data.
        settings: `data` and `home` are used.
        options: Seed, progress and additional photos.

    Returns:
        The network; None where Keras runs on another backend than TensorFlow, which alone can
        export: the run is stored, and can be resumed with TensorFlow.

    Raises:
        DataError: Images or pretrained weights are missing.
        TrainingError: As in `fit`.
    """
    if recipe.plan is not None:
        return _run_with_photos(recipe, recipe.plan, data, settings, options)
    dataset = data.dataset
    training = load_training_data(recipe, data.learn, settings, options.extra, dataset.labels)
    pretrained = describe_vgg16(settings) if recipe.pretrained_body is not None else None
    run = fit(
        ClassificationTask(
            recipe=recipe,
            classes=len(dataset.labels),
            seed=options.seed,
            settings=settings,
            data=training,
            validation=data.validation,
        ),
        folder=run_folder(recipe, settings),
        resume=options.resume,
        reporter=options.reporter,
    )
    if not _can_export():
        return None
    # Rebuilt for one image size and in float32, whatever the run used.
    model = recipe.build((recipe.input.height, recipe.input.width, 3), len(dataset.labels))
    model.set_weights(run.model.get_weights())
    return TrainedNetwork(
        run=run,
        model=model,
        validation=data.validation,
        accuracy=run.history[run.best_epoch - 1].validation_accuracy,
        data=describe_training_data(training, recipe, dataset),
        datasets=hub_names(training, dataset, pretrained),
        pretrained=pretrained,
    )


def _run_with_photos(
    recipe: Recipe, plan: PhotoPlan, data: EvaluationData, settings: Settings, options: RunOptions
) -> TrainedNetwork | None:
    """Run a recipe with a plan, see `run_recipe`."""
    dataset, real = data.dataset, data.real
    if real is None:
        raise DataError(f"{recipe.name} is trained on real photos, and there are none.")
    training = load_photo_training_data(data.learn, real.train, options.extra, dataset.labels)
    rows = min(len(data.validation), plan.interpolation_rows)
    selection = SelectionData(data.validation.take(np.arange(rows)), real.valid, recipe.input)
    pretrained = describe_vgg16(settings) if recipe.pretrained_body is not None else None
    if recipe.build_head is None:
        trained = _fine_tune(recipe, plan, training, data, selection, settings, options)
    else:
        trained = _train_head(recipe, plan, training, data, selection, settings, options)
    if trained is None:
        return None
    run, network, weights = trained
    images = training.probe_images(plan.probe_rows, options.seed)
    final = refit_head(network, weights, images, plan, selection)
    model, kernel, bias = _served_network(recipe, network, len(dataset.labels))
    names = (dataset.hub, *(pretrained.datasets if pretrained else ()))
    return TrainedNetwork(
        run=run,
        model=model,
        validation=selection.rows,
        accuracy=final.row_accuracy,
        data=f"{describe_photo_training_data(training, real.train, dataset.name)}; weights "
        f"interpolated from the start to the moving average with the coefficient "
        f"{final.coefficient:.2f}; head {'as trained' if final is weights else 'refitted'}",
        datasets=tuple(dict.fromkeys(filter(None, names))),
        photos=count_sources(real.train),
        pretrained=pretrained,
        ood_params={"kernel": kernel.astype(np.float16), "bias": bias.astype(np.float16)},
        baseline=measure_frozen_baseline(recipe, data, settings),
    )


_Trained = tuple[FitResult, keras.Model, InterpolatedWeights]


def _fine_tune(
    recipe: Recipe,
    plan: PhotoPlan,
    training: PhotoTrainingData,
    data: EvaluationData,
    selection: SelectionData,
    settings: Settings,
    options: RunOptions,
) -> _Trained | None:
    """Train the network itself, and interpolate its weights."""
    folder = run_folder(recipe, settings)
    task = PhotoTask(
        recipe=recipe,
        classes=len(data.dataset.labels),
        seed=options.seed,
        settings=settings,
        plan=plan,
        data=training,
        validation=data.validation,
        photos=selection.photos,
    )
    run = fit(task, folder=folder, resume=options.resume, reporter=options.reporter)
    if not _can_export():
        return None
    return run, run.model, select_interpolation(run.model, plan, selection, folder)


def _train_head(
    recipe: Recipe,
    plan: PhotoPlan,
    training: PhotoTrainingData,
    data: EvaluationData,
    selection: SelectionData,
    settings: Settings,
    options: RunOptions,
) -> _Trained | None:
    """Train a head on frozen features; its weights are the moving average."""
    if recipe.build_head is None:
        raise DataError(f"{recipe.name} has no head to train on frozen features.")
    task = HeadTask.prepare(
        recipe,
        plan,
        recipe.build_head,
        training,
        selection,
        classes=len(data.dataset.labels),
        seed=options.seed,
        settings=settings,
    )
    run = fit(
        task,
        folder=run_folder(recipe, settings),
        resume=options.resume,
        reporter=options.reporter,
    )
    if not _can_export():
        return None
    network = attach_head(task, run.model, settings)
    return run, network, measure_weights(network, selection, 1.0)


def _served_network(
    recipe: Recipe, network: keras.Model, classes: int
) -> tuple[keras.Model, NDArray[np.float32], NDArray[np.float32]]:
    """Separate the outputs of the labels from the head with an output for none of them.

    Returns:
        A network in float32, for the served image size, whose logits are those of the labels; and
        the weights of the whole head on its embedding, shapes (d, k + 1) and (k + 1,).
    """
    whole = recipe.build((recipe.input.height, recipe.input.width, 3), classes + 1)
    whole.set_weights(network.get_weights())
    whole = equalise_features(whole)
    head = whole.get_layer("logits")
    kernel, bias = head.get_weights()
    logits = layers.Dense(classes, dtype="float32", name="logits")
    model = keras.Model(whole.input, logits(head.input), name=whole.name)
    logits.set_weights([kernel[:, :classes], bias[:classes]])
    return model, kernel, bias


def _can_export() -> bool:
    return bool(keras.backend.backend() == "tensorflow")
