"""Import a Keras model that was trained elsewhere as a model folder."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from pydantic import ValidationError

from core.bundle.config import MODEL, Config, Family, Precision, Training
from core.bundle.folder import Bundle, write_bundle
from core.errors import DataError, TrainingError
from core.inference.classifier import Classifier
from core.photos.decode import decode
from core.photos.preprocess import InputSpec, normalise, resize
from core.settings import Settings
from core.training.data.datasets import Dataset, Split
from core.training.data.labelled_photos import read_labels, translate_photo_errors
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.measure import History, measure
from core.training.evaluation.model_outputs import run_inference
from core.training.evaluation.provenance import commit, hardware, today
from core.training.evaluation.selection import complete_config
from core.training.export.draft import draft_config
from core.training.export.flatbuffer import to_flatbuffer
from core.training.export.keras_reader import add_outputs, read_keras_model

__all__ = ["Pixels", "import_keras"]

Pixels = Literal["0..1", "0..255", "-1..1"]

# Mean and standard deviation of normalisation for each range of pixel values.
_SCALES: dict[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "0..255": (0.0, 1 / 255),
    "-1..1": (0.5, 0.5),
}
_MIN_PHOTOS = 20
# Minimum fraction of validation photos on which flatbuffer and Keras model must agree.
_MIN_AGREEMENT = 0.98


def import_keras(
    file: Path,
    folder: Path,
    *,
    labels: tuple[str, ...],
    validation: Path,
    test: Path,
    pixels: Pixels,
    family: Family,
    precision: Precision,
    title: str | None,
    settings: Settings,
    command: str,
) -> Bundle:
    """Export a Keras model, calibrate and measure it, and write its folder.

    Args:
        file: A `.keras` file, as for `keras_reader.read_keras_model`.
        folder: Model folder to write; its name becomes the model's.
        labels: Name of each output.
        validation: Folder of photos with labels.csv, for calibration and thresholds.
        test: Folder of other photos with labels.csv, for the metrics.
        pixels: Range of the pixel values that the model takes.
        family: Training family.
        precision: Number format of the stored weights.
        title: Display name; None for the name of the folder.
        settings: `threads` is used; and `data`, for `photos/`.
        command: The command line, for the card.

    Raises:
        TrainingError: The name, the labels or the file are invalid, or LiteRT does not support a
            layer, or the flatbuffer disagrees with the model.
        DataError: The photos are missing or invalid.
    """
    _check_names(folder.name, labels)
    original, model = read_keras_model(file, labels)
    spec = _input_spec(model, pixels)
    data = _load_data(folder.name, labels, spec, validation=validation, test=test)
    weights = to_flatbuffer(add_outputs(model), precision)
    draft = draft_config(
        name=folder.name,
        title=title or folder.name,
        description=f"A model of {len(labels)} labels that was trained elsewhere.",
        family=family,
        labels=labels,
        spec=spec,
        views=("identity",),
        precision=precision,
        training=Training(
            recipe="elsewhere",
            data=file.name,
            license="other",
            hardware=hardware(),
            date=today(),
            commit=commit(),
        ),
    )
    with tempfile.TemporaryDirectory() as scratch:
        bundle = write_bundle(Path(scratch) / folder.name, draft, {MODEL: weights})
        _check_agreement(original, bundle, data.validation, settings)
        config, files, _ = complete_config(bundle, data, settings)
    history = History(
        curves=(),
        best_epoch=None,
        parameters=model.count_params(),
        training_seconds=0.0,
        reported=None,
    )
    return measure(folder, config, {MODEL: weights} | files, history, data, settings, command)


def _check_names(name: str, labels: tuple[str, ...]) -> None:
    """Check the name and the labels before anything is computed.

    Raises:
        TrainingError: config.json cannot hold them.
    """
    fields = {"name": name, "labels": labels}
    try:
        Config.model_validate(fields)
    except ValidationError as error:
        wrong = [e for e in error.errors() if e["loc"][0] in fields and e["type"] != "missing"]
        if wrong:
            raise TrainingError(
                f"{wrong[0]['loc'][0]} {wrong[0]['input']!r}: {wrong[0]['msg']}. A name consists "
                "of lower-case letters, digits, - and _; labels must differ from each other, and "
                "there are 2 to 1,000."
            ) from error


def _input_spec(model: keras.Model, pixels: Pixels) -> InputSpec:
    height, width = model.input_shape[1:3]
    mean, std = _SCALES[pixels]
    return InputSpec(
        height=height,
        width=width,
        resize="squash",
        interpolation="bicubic",
        mean=(mean, mean, mean),
        std=(std, std, std),
    )


def _load_data(
    name: str, labels: tuple[str, ...], spec: InputSpec, *, validation: Path, test: Path
) -> EvaluationData:
    """Read both folders of photos at the model's input size.

    Raises:
        DataError: As for `_load_photos`.
    """
    rows, test_rows = (_load_photos(folder, labels, spec) for folder in (validation, test))
    return EvaluationData(
        Dataset(name, labels, None, train=rows, test=test_rows),
        # What the model was trained on is unknown.
        learn=rows,
        validation=rows,
        tiny=None,
        names=(f"photos of the folder {test.name}", f"photos of the folder {validation.name}"),
    )


def _load_photos(folder: Path, labels: tuple[str, ...], spec: InputSpec) -> Split:
    """Read photos at the model's input size, and leave out those of none of the labels.

    Raises:
        DataError: labels.csv is invalid, there are too few photos, or one cannot be read.
    """
    truth = {file: label for file, label in read_labels(folder, labels).items() if label in labels}
    missing = sorted(set(labels) - set(truth.values()))
    if missing or len(truth) < _MIN_PHOTOS:
        raise DataError(
            f"{folder} contains {len(truth)} photos of the labels"
            f"{', none of ' + ', '.join(missing) if missing else ''}; at least {_MIN_PHOTOS} are "
            "needed, with some of each label."
        )
    images = []
    for file in truth:
        with translate_photo_errors(folder / file):
            pixels = decode(folder / file, min_side=2 * max(spec.height, spec.width))
        images.append(resize(pixels, spec))
    indices = np.asarray([labels.index(label) for label in truth.values()], np.int64)
    return Split(np.stack(images), indices, np.arange(len(indices)))


def _check_agreement(
    original: keras.Model, bundle: Bundle, rows: Split, settings: Settings
) -> None:
    """Check that the flatbuffer predicts the same labels as the Keras model.

    Raises:
        TrainingError: They agree on less than 98% of the rows.
    """
    classifier = Classifier(bundle, threads=settings.threads)
    exported = run_inference(classifier, rows.images, "validation").outputs.logits
    inputs = normalise(rows.images, bundle.config.input)
    expected = np.asarray(original.predict(inputs, verbose=0))
    agreement = float((exported.argmax(axis=1) == expected.argmax(axis=1)).mean())
    if agreement < _MIN_AGREEMENT:
        raise TrainingError(
            f"The exported flatbuffer agrees with the model on {agreement:.3f} of the validation "
            f"photos; at least {_MIN_AGREEMENT} are required. Try --precision float32."
        )
