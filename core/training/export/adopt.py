"""A Keras model that was trained elsewhere becomes a model folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray
from pydantic import ValidationError

from core.bundle.config import (
    FORMAT_SINCE,
    MODEL,
    Config,
    Family,
    Precision,
    Training,
    VerdictConfig,
)
from core.bundle.folder import Bundle, write_bundle
from core.errors import DataError, ImageError, PhotoReadError, TrainingError
from core.inference.calibration import confidences, probabilities
from core.inference.classifier import Classifier
from core.photos.decode import decode
from core.photos.preprocess import InputSpec, normalise, resize
from core.settings import Settings
from core.training.data.datasets import Dataset, Split
from core.training.data.photos import read_labels
from core.training.evaluation.calibrate import find_beta, find_calibration, find_unsure_below
from core.training.evaluation.measure import EvaluationData, History, measure
from core.training.evaluation.ood import run_inference, scores_of, threshold
from core.training.evaluation.provenance import commit, hardware, today
from core.training.export.flatbuffer import occlusion_model, serving_model, to_flatbuffer

__all__ = ["Pixels", "import_keras"]

Pixels = Literal["0..1", "0..255", "-1..1"]

_SCALES: dict[str, tuple[float, float]] = {
    "0..1": (0.0, 1.0),
    "0..255": (0.0, 1 / 255),
    "-1..1": (0.5, 0.5),
}
_MIN_CELLS = 7
_FEWEST = 20
# Layers that do nothing once a model is trained, and their kin of every version of Keras.
_ONLY_WHILE_TRAINING = {
    *("ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "GaussianDropout"),
    *("GaussianNoise", "MixUp", "RandAugment", "SpatialDropout1D", "SpatialDropout2D"),
}
_RANDOM = "Random"
# It cuts the middle out of an image also when it answers.
_NOT_ONLY_WHILE_TRAINING = {"RandomCrop"}
# Share of the validation photos on which the flatbuffer must answer as the Keras model does.
_SAME = 0.98


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
    """Export a model, calibrate it, measure it, and write its folder.

    Args:
        file: A Keras model, `.keras`: from images (n, h, w, 3) of a fixed size to logits or
            probabilities (n, k).
        folder: Where to; its name becomes the model's.
        labels: Name of each output.
        validation: Folder of photos with a labels.csv (`photos.read_labels`): calibration and
            thresholds come from them.
        test: The same, of other photos: the figures come from them.
        pixels: What numbers the model takes for a pixel.
        family: How it was trained.
        precision: Number format of the stored weights.
        title: For people; None: its name.
        settings: `threads` is used.
        command: That makes this folder, for the card.

    Raises:
        TrainingError: The file is no such model, or the flatbuffer answers otherwise than it.
        DataError: The photos are missing or wrong.
    """
    _check(folder.name, labels)
    given, model = _read(file, labels)
    height, width = model.input_shape[1:3]
    mean, std = _SCALES[pixels]
    spec = InputSpec(
        height=height,
        width=width,
        resize="squash",
        interpolation="bicubic",
        mean=(mean, mean, mean),
        std=(std, std, std),
    )
    dataset = Dataset(
        folder.name, labels, None, _split(validation, labels, spec), _split(test, labels, spec)
    )
    served = _served(model)
    weights = to_flatbuffer(served, precision)
    config = Config(
        name=folder.name,
        title=title or folder.name,
        description=f"A model of {len(labels)} labels that was trained elsewhere.",
        family=family,
        labels=labels,
        input=spec,
        views=("identity",),
        precision=precision,
        temperature=1.0,
        verdict=VerdictConfig(method="max_softmax", none_below=0.0, unsure_below=0.0),
        sha256={MODEL: "0" * 64},
        training=Training(
            recipe="elsewhere",
            data=file.name,
            license="other",
            hardware=hardware(),
            date=today(),
            commit=commit(),
        ),
        minimum_version=FORMAT_SINCE,
    )
    with tempfile.TemporaryDirectory() as scratch:
        draft = write_bundle(Path(scratch) / folder.name, config, {MODEL: weights})
        group = run_inference(
            Classifier(draft, threads=settings.threads), dataset.train.images, "validation"
        )
    logits, truth = group.outputs.logits, dataset.train.labels
    _refuse_others(given, dataset.train, spec, logits)
    temperature, exponent = find_calibration(logits, truth)
    beta = find_beta(probabilities(logits, temperature, exponent), truth)
    calibration = {"temperature": temperature, "exponent": exponent, "beta": beta}
    config = config.model_copy(update=calibration)
    verdict = VerdictConfig(
        method="max_softmax",
        none_below=threshold([scores_of("max_softmax", group.outputs, config, {})]),
        unsure_below=find_unsure_below(
            confidences(logits, config), logits.argmax(axis=1) == truth, np.ones(len(truth))
        ),
    )
    return measure(
        folder,
        config.model_copy(update={"verdict": verdict}),
        {MODEL: weights},
        History(
            curves=(),
            best_epoch=None,
            parameters=model.count_params(),
            training_seconds=0.0,
            reported=None,
        ),
        EvaluationData(
            dataset,
            dataset.train,
            dataset.train,
            None,
            (f"photos of the folder {test.name}", f"photos of the folder {validation.name}"),
        ),
        settings,
        command,
    )


def _check(name: str, labels: tuple[str, ...]) -> None:
    """Refuse what config.json could not hold, before anything is computed."""
    fields = {"name": name, "labels": labels}
    try:
        Config.model_validate(fields)
    except ValidationError as error:
        wrong = [e for e in error.errors() if e["loc"][0] in fields and e["type"] != "missing"]
        if wrong:
            raise TrainingError(
                f"{wrong[0]['loc'][0]} {wrong[0]['input']!r}: {wrong[0]['msg']}. A name is of "
                "small letters, digits, - and _; labels differ, and there are 2 to 1,000."
            ) from error


def _read(file: Path, labels: tuple[str, ...]) -> tuple[keras.Model, keras.Model]:
    """The model as it is; and from images to logits, with a layer `embedding`."""
    if file.suffix != ".keras":
        raise TrainingError(
            f"{file} is no .keras file. Save the model with model.save('NAME.keras'); files of "
            "older formats may run any code when they are read."
        )
    try:
        model: Any = keras.saving.load_model(file, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{file} cannot be read as a Keras model: {error}") from error
    taken, given = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    good = isinstance(taken, tuple) and len(taken) == 4 and None not in taken[1:] and taken[3] == 3
    if not good or given != (None, len(labels)):
        raise TrainingError(
            f"{file} takes {taken} and gives {given}; expected images (None, height, width, 3) and "
            f"(None, {len(labels)}), a number for each of the labels {', '.join(labels)}."
        )
    served = _without_augmentation(model) if any(map(_augments, _all_layers(model))) else model
    last = _last(served)
    activations = (keras.activations.softmax, keras.activations.linear)
    if not isinstance(last, layers.Dense) or last.activation not in activations:
        raise TrainingError(
            f"{file} ends in {last.name}, a {type(last).__name__}; it must end in a Dense layer, "
            "with a softmax or without: as its activation, as Activation('softmax') or as a "
            "Softmax layer."
        )
    # A layer of this name tells the exporter what is known of a photo before the labels are.
    before = layers.Activation("linear", name="embedding")(last.input)
    head = layers.Dense(len(labels), use_bias=last.use_bias, name="logits")
    rebuilt = keras.Model(served.inputs, head(before))
    head.set_weights(last.get_weights())
    return model, rebuilt


def _last(model: keras.Model) -> Any:
    """The operation that gives the logits, or a softmax of them: what follows is a softmax."""
    last = model.outputs[0]._keras_history.operation
    while _is_softmax(last) or isinstance(last, layers.Identity | layers.Dropout):
        last = last.input._keras_history.operation
    return last


def _is_softmax(operation: Any) -> bool:
    """Whether it is one whatever form it has; a linear activation, which changes nothing, too."""
    if isinstance(operation, layers.Activation):
        return operation.activation in (keras.activations.softmax, keras.activations.linear)
    # A layer, or what `keras.ops.softmax` leaves in a model.
    return type(operation).__name__ == "Softmax"


def _all_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """Every layer, those of models within the model too."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _augments(layer: keras.Layer) -> bool:
    """Whether a layer changes images while a model is trained, and does nothing afterwards."""
    name = type(layer).__name__
    is_keras = type(layer).__module__.partition(".")[0] == "keras"
    return is_keras and (
        name in _ONLY_WHILE_TRAINING
        or (name.startswith(_RANDOM) and name not in _NOT_ONLY_WHILE_TRAINING)
    )


def _without_augmentation(model: keras.Model) -> keras.Model:
    """A copy without the layers that only augment: their random numbers cannot be converted."""

    def copy(layer: Any) -> Any:
        if _augments(layer):
            return layers.Identity(name=layer.name)
        if isinstance(layer, keras.Model):
            return _without_augmentation(layer)
        return type(layer).from_config(layer.get_config())

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    return copied


def _served(model: keras.Model) -> keras.Model:
    """With the evidence for each class at each place, as fine as this network allows."""
    for make in (serving_model, occlusion_model):
        try:
            return make(model)
        except TrainingError:
            continue
    # Too coarse to show anything, which `Classifier` says where it is asked.
    logits = model.outputs[0]
    return keras.Model(
        model.input,
        {
            "logits": logits,
            "embedding": model.get_layer("embedding").output,
            "maps": ops.reshape(logits, (-1, 1, 1, logits.shape[-1])),
        },
    )


def _split(folder: Path, labels: tuple[str, ...], spec: InputSpec) -> Split:
    """Photos of a folder as the model will see them; those of none of the labels are left out."""
    truth = {file: label for file, label in read_labels(folder, labels).items() if label in labels}
    missing = sorted(set(labels) - set(truth.values()))
    if missing or len(truth) < _FEWEST:
        raise DataError(
            f"{folder} holds {len(truth)} photos of the labels"
            f"{', none of ' + ', '.join(missing) if missing else ''}; at least {_FEWEST} are "
            "needed, and some of each label."
        )
    seen = []
    for file in truth:
        try:
            pixels = decode(folder / file, min_side=2 * max(spec.height, spec.width))
        except (ImageError, PhotoReadError) as error:
            raise DataError(f"{folder / file}: {error}") from error
        seen.append(resize(pixels, spec))
    index = {label: i for i, label in enumerate(labels)}
    numbers = np.asarray([index[label] for label in truth.values()], np.int64)
    return Split(np.stack(seen), numbers, np.arange(len(numbers)))


def _refuse_others(
    given: keras.Model, split: Split, spec: InputSpec, logits: NDArray[np.float32]
) -> None:
    """See that the flatbuffer answers as the model that was given."""
    theirs = np.asarray(given.predict(normalise(split.images, spec), verbose=0))
    same = float((theirs.argmax(axis=1) == logits.argmax(axis=1)).mean())
    if same < _SAME:
        raise TrainingError(
            f"As a flatbuffer the model answers like itself on {same:.3f} of the validation "
            f"photos; at least {_SAME} are asked. Try --precision float32."
        )
