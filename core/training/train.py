"""From a recipe to a model folder: data, fit, export, calibration, evaluation."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from core.bundle import (
    CARD,
    FORMAT_SINCE,
    MODEL,
    Bundle,
    Config,
    Curve,
    Metrics,
    PhotoFigures,
    Reported,
    ResizeFigures,
    Training,
    Verdict,
    find_bundles,
    write_bundle,
)
from core.classifier import Classifier, softmax
from core.errors import DataError, TrainingError
from core.images import resize
from core.settings import Settings
from core.training import report
from core.training.batches import Material
from core.training.calibrate import find_temperature, find_unsure_below
from core.training.data import (
    CIFAR10_LABELS,
    TINY_HUB_REPO,
    Dataset,
    Split,
    find_tiny_train,
    hold_out,
    load_tiny_imagenet,
    load_tiny_validation,
)
from core.training.evaluate import (
    choose_resizing,
    compare_resizing,
    evaluate_split,
    milliseconds,
)
from core.training.export import serving_model, to_flatbuffer
from core.training.fit import Reporter, Run, fit, refuse_unfinished
from core.training.origin import origin
from core.training.photos import LABELS, evaluate_photos, read_labels
from core.training.recipes import Recipe

__all__ = ["evaluate", "require", "train", "write_index"]

_NONE_QUANTILE = 0.05
_ROWS = 500
# What rounding the weights may cost, on validation.
_MOST_LOST = 0.002
# What the number format of the training may make of the accuracy on validation.
_SAME = 0.01
_PHOTOS = "Tiny ImageNet valid, classes that show one of the ten"


@dataclass(frozen=True)
class _History:
    """What metrics.json keeps under these names, since no evaluation can measure it again."""

    curves: tuple[Curve, ...]
    best_epoch: int
    parameters: int
    training_seconds: float
    reported: Reported | None
    float32: float | None
    resize: ResizeFigures | None
    photos: PhotoFigures | None


def require(
    recipes: Iterable[Recipe], dataset: Dataset, settings: Settings, *, resume: bool
) -> None:
    """Find out whether recipes can be trained, before the first of them takes hours.

    Raises:
        DataError: Images or weights are missing, or the labels of photos are wrong.
        TrainingError: `resume` is off, and there is an unfinished run.
    """
    if dataset.labels == CIFAR10_LABELS:
        load_tiny_validation(settings)
        if (folder := _photos_folder(settings, dataset.labels)) is not None:
            read_labels(folder, dataset.labels)
    for recipe in recipes:
        if not resume:
            refuse_unfinished(_run_folder(recipe, settings))
        if recipe.photos or recipe.outliers:
            find_tiny_train(settings)
        if recipe.prepare is not None:
            network = recipe.build(recipe.shape, len(dataset.labels))
            recipe.prepare(network, dataset.train, recipe.input, settings)


def train(
    recipe: Recipe,
    dataset: Dataset,
    settings: Settings,
    *,
    seed: int,
    resume: bool,
    reporter: Reporter,
    command: str,
) -> Bundle | None:
    """Train a model and put its folder among the models.

    The run is kept in TENSIGHT_HOME/runs/NAME. The model in TENSIGHT_MODELS is replaced only once
    the new one is trained, exported, calibrated and evaluated.

    Args:
        recipe: What to do.
        dataset: A tenth of its train part is held out to choose the epoch, the temperature and the
            thresholds; the test part is only reported.
        settings: `data`, `home`, `models` and `threads` are used.
        seed: Of weights, order and augmentation.
        resume: Go on with the run that stopped.
        reporter: Hears of every batch and epoch.
        command: That trains this model, for the card.

    Returns:
        The model; None where Keras runs on another backend than TensorFlow, which alone can export:
        the run is kept, and the same call with `resume` on TensorFlow makes the model of it.

    Raises:
        DataError: Images or weights that the recipe asks for are missing.
        TrainingError: As in `fit`; or the exported network is not the one that the run trained; or
            the number format loses more than .002 of the accuracy on validation. The run is kept.
    """
    learn, validation = hold_out(dataset.train)
    material = _material(recipe, learn, settings)
    photos = load_tiny_validation(settings) if dataset.labels == CIFAR10_LABELS else None
    run = fit(
        recipe,
        material,
        validation,
        classes=len(dataset.labels),
        seed=seed,
        settings=settings,
        folder=_run_folder(recipe, settings),
        resume=resume,
        reporter=reporter,
    )
    if keras.backend.backend() != "tensorflow":
        return None
    config = Config(
        name=recipe.name,
        title=recipe.title,
        description=recipe.description,
        family=recipe.family,
        labels=dataset.labels,
        input=recipe.input,
        views=recipe.views,
        precision=recipe.precision,
        temperature=1.0,
        verdict=Verdict(method="max_softmax", none_below=0.0, unsure_below=0.0),
        sha256={MODEL: "0" * 64},
        training=Training(
            recipe=recipe.name,
            data=_described(material, recipe, dataset),
            datasets=_datasets(material, dataset),
            license=recipe.license,
            notes=recipe.notes,
            seed=seed,
            epochs=len(run.history),
            hardware=", ".join(dict.fromkeys(session.hardware for session in run.sessions)),
            date=run.sessions[-1].date,
            commit=", ".join(dict.fromkeys(session.commit for session in run.sessions)),
        ),
        minimum_version=FORMAT_SINCE,
    )
    # Anew, of one size and in float32, whatever it was trained in.
    model = recipe.build((recipe.input.height, recipe.input.width, 3), len(dataset.labels))
    model.set_weights(run.model.get_weights())
    model = serving_model(model)
    weights = to_flatbuffer(model, recipe.precision)
    resizing = None
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / recipe.name, config, {MODEL: weights})
        exact = write_bundle(
            Path(scratch) / "float32" / recipe.name,
            config,
            {MODEL: to_flatbuffer(model, "float32")},
        )
        _check_network(recipe, run, exact, validation, settings)
        logits = _logits(Classifier(draft, threads=settings.threads), validation)
        float32 = Classifier(exact, threads=settings.threads)
        lost = _right(_logits(float32, validation), validation) - _right(logits, validation)
        if lost > _MOST_LOST:
            raise TrainingError(
                f"In {recipe.precision}, {recipe.name} is right on {lost:.4f} less of the "
                f"validation rows than in float32; at most {_MOST_LOST} may be lost. Change the "
                "precision of its recipe, and export the run with --resume."
            )
        config = _calibrated(config, logits, validation)
        if photos is not None:
            resizing = compare_resizing(draft, photos, _PHOTOS, threads=settings.threads)
            spec = config.input.model_copy(update={"resize": choose_resizing(resizing)})
            config = config.model_copy(update={"input": spec})
        float32_accuracy = _right(_logits(float32, dataset.test), dataset.test)
    history = _History(
        curves=tuple(
            Curve(
                epoch=epoch.epoch,
                loss=epoch.loss,
                accuracy=epoch.accuracy,
                validation_loss=epoch.validation_loss,
                validation_accuracy=epoch.validation_accuracy,
            )
            for epoch in run.history
        ),
        best_epoch=run.best_epoch,
        parameters=run.model.count_params(),
        training_seconds=sum(epoch.seconds for epoch in run.history),
        reported=recipe.reported,
        float32=float32_accuracy,
        resize=resizing,
        photos=None,
    )
    return _measured(
        settings.models / recipe.name,
        config,
        weights,
        history,
        dataset,
        validation,
        settings,
        command,
    )


def evaluate(bundle: Bundle, dataset: Dataset, settings: Settings, *, command: str) -> Bundle:
    """Measure a model anew, and write its metrics, plots and card.

    Weights, temperature and thresholds stay as they are.

    Args:
        bundle: The model; its labels must be those of the data set.
        dataset: What to measure on.
        settings: `threads` is used; and `data`, for photos.
        command: What was typed, for the card.

    Raises:
        BundleError: The folder is damaged.
        DataError: The data set has other labels, or Tiny ImageNet's valid images are missing.
    """
    if bundle.config.labels != dataset.labels:
        raise DataError(
            f"The model knows {', '.join(bundle.config.labels)}; {dataset.name} has "
            f"{', '.join(dataset.labels)}. Evaluate it on data with its own labels."
        )
    old = bundle.metrics()
    history = _History(**{field.name: getattr(old, field.name) for field in fields(_History)})
    if dataset.labels == CIFAR10_LABELS:
        photos = load_tiny_validation(settings)
        resizing = compare_resizing(bundle, photos, _PHOTOS, threads=settings.threads)
        history = replace(history, resize=resizing)
    _, validation = hold_out(dataset.train)
    return _measured(
        bundle.folder,
        bundle.config,
        bundle.read(MODEL),
        history,
        dataset,
        validation,
        settings,
        command,
    )


def write_index(models: Path) -> None:
    """Write README.md of a folder of models anew: the table of all of them."""
    bundles = [Bundle.open(folder) for folder in find_bundles(models)]
    (models / CARD).write_text(report.index(bundles), "utf-8")


def _material(recipe: Recipe, learn: Split, settings: Settings) -> Material:
    if not recipe.photos and not recipe.outliers:
        return Material(learn)
    tiny = load_tiny_imagenet(settings)
    return Material(
        learn,
        tiny.train if recipe.photos else None,
        tiny.outliers_learned if recipe.outliers else None,
    )


def _described(material: Material, recipe: Recipe, dataset: Dataset) -> str:
    parts = [f"{dataset.name}, {len(material.rows):,} rows of train"]
    if material.photos is not None:
        parts.append(f"Tiny ImageNet, {len(material.photos):,} train images of the same classes")
    if material.outliers is not None:
        parts.append(f"{len(material.outliers):,} of other classes ({recipe.outliers:,} an epoch)")
    return "; ".join(parts)


def _datasets(material: Material, dataset: Dataset) -> tuple[str, ...]:
    tiny = material.photos is not None or material.outliers is not None
    return tuple(name for name in (dataset.hub, TINY_HUB_REPO if tiny else None) if name)


def _run_folder(recipe: Recipe, settings: Settings) -> Path:
    return settings.home / "runs" / recipe.name


def _check_network(
    recipe: Recipe, run: Run, exact: Bundle, validation: Split, settings: Settings
) -> None:
    """See that weights were not put into another network than the one that was trained."""
    one_view = exact.config.model_copy(update={"views": ("identity",)})
    classifier = Classifier(replace(exact, config=one_view), threads=settings.threads)
    exported = _right(_logits(classifier, validation), validation)
    trained = run.history[run.best_epoch - 1].validation_accuracy
    if abs(exported - trained) > _SAME:
        raise TrainingError(
            f"As exported, {recipe.name} is right on {exported:.4f} of the validation rows; as "
            f"trained, on {trained:.4f}. Its network has changed since; train it anew."
        )


def _logits(classifier: Classifier, split: Split) -> NDArray[np.float32]:
    """Of all rows, all views averaged: shape (n, k)."""
    spec = classifier.config.input
    parts = [
        classifier.outputs(
            np.stack([resize(image, spec) for image in split.images[start : start + _ROWS]])
        ).logits
        for start in range(0, len(split), _ROWS)
    ]
    return np.concatenate(parts)


def _right(logits: NDArray[np.float32], split: Split) -> float:
    return float((logits.argmax(axis=1) == split.labels).mean())


def _calibrated(config: Config, logits: NDArray[np.float32], validation: Split) -> Config:
    """A config with temperature and thresholds from the logits of the validation rows."""
    temperature = find_temperature(logits, validation.labels)
    confidences = softmax(logits, temperature).max(axis=1)
    right = logits.argmax(axis=1) == validation.labels
    verdict = Verdict(
        method="max_softmax",
        none_below=float(np.quantile(confidences, _NONE_QUANTILE)),
        unsure_below=find_unsure_below(confidences, right),
    )
    return config.model_copy(update={"temperature": temperature, "verdict": verdict})


def _measured(
    folder: Path,
    config: Config,
    weights: bytes,
    history: _History,
    dataset: Dataset,
    validation: Split,
    settings: Settings,
    command: str,
) -> Bundle:
    """Write the folder with everything that is measured on these weights."""
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / config.name, config, {MODEL: weights})
        classifier = Classifier(draft, threads=settings.threads)
        one_view = draft.config.model_copy(update={"views": ("identity",)})
        alone = Classifier(replace(draft, config=one_view), threads=settings.threads)
        metrics = Metrics(
            test=evaluate_split(classifier, dataset.test, f"{dataset.name} test", dataset.hub),
            single_view=_right(_logits(alone, dataset.test), dataset.test),
            float32=history.float32,
            resize=history.resize,
            photos=_on_photos(classifier, settings) or history.photos,
            validation=evaluate_split(
                classifier, validation, f"{dataset.name} train, rows held out", dataset.hub
            ),
            curves=history.curves,
            best_epoch=history.best_epoch,
            parameters=history.parameters,
            bytes=len(weights),
            milliseconds=milliseconds(classifier),
            training_seconds=history.training_seconds,
            reported=history.reported,
            origin=origin(command),
        )
    return write_bundle(folder, config, {MODEL: weights} | report.files(config, metrics))


def _on_photos(classifier: Classifier, settings: Settings) -> PhotoFigures | None:
    folder = _photos_folder(settings, classifier.labels)
    return None if folder is None else evaluate_photos(classifier, folder)


def _photos_folder(settings: Settings, labels: tuple[str, ...]) -> Path | None:
    """The photos of the data folder, if it holds such; they show CIFAR-10's classes."""
    if settings.data is None or labels != CIFAR10_LABELS:
        return None
    folder = settings.data / "photos"
    return folder if (folder / LABELS).is_file() else None
