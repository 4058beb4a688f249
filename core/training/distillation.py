"""VGG16 learns to see from anything but CIFAR-10's labels.

It learns Tiny ImageNet's labels, and to answer as MobileNetV2 does on images of both data sets
(distillation, Hinton et al. 2015).
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from core.bundle.config import Made, Pretrained
from core.errors import TrainingError
from core.output import private_folder
from core.photos.preprocess import InputSpec, normalise, resize
from core.settings import Settings
from core.training.data.augment import random_crops, random_window
from core.training.data.batches import Ahead, FixedBatches, LabelledAccuracy
from core.training.data.datasets import (
    CIFAR10_HUB_REPO,
    TINY_HUB_REPO,
    Split,
    find_tiny_train,
    find_tiny_valid,
    load_tiny_lessons,
)
from core.training.fit import Reporter, fit, refuse_unfinished
from core.training.networks import cnn
from core.training.networks.imagenet import imagenet_digest, imagenet_logits
from core.training.networks.optimizers import AdamW
from core.training.networks.vgg16 import VGG16_INPUT, keep_vgg16
from core.training.task import dtype_policy

__all__ = [
    "TEACHER_OUTPUTS",
    "Lesson",
    "Pretraining",
    "pretrain",
    "require_lessons",
]

TEACHER_OUTPUTS = 1001
# Pixels a side that the teacher sees of CIFAR-10's images and of Tiny ImageNet's. Enlarged so far,
# it tells more of the former: by a linear model of its outputs, .854 of rows held out against .837
# at 128 (6,000 rows to learn from).
_TEACHER_SIDES = (192, 128)
_EPOCHS = 24
_BATCH_SIZE = 256
_TINY_AN_EPOCH = 20_000
_OPTIMIZER = AdamW(1e-3, weight_decay=0.05, warm_up=0.05)
_TEMPERATURE = 2.0
_SMOOTHING = 0.1
_PADDING = 4
# What bfloat16 may make of the accuracy on validation.
_SAME = 0.01


def pretrain(
    rows: Split, settings: Settings, *, seed: int, resume: bool, reporter: Reporter
) -> Pretrained:
    """Train VGG16 and keep its weights in TENSIGHT_HOME.

    Args:
        rows: CIFAR-10's rows to learn from; their labels are not looked at.
        settings: `data` and `home` are used.
        seed: Of weights, order and augmentation.
        resume: Go on with the run that stopped.
        reporter: Hears of every batch and epoch.

    Raises:
        DataError: Tiny ImageNet or MobileNetV2's weights are missing.
        TrainingError: As in `fit`; or the batch norms could not be folded. The run is kept.
    """
    private_folder(settings.home)
    folder = _run_folder(settings)
    if not resume:
        refuse_unfinished(folder)
    tiny, valid, classes = load_tiny_lessons(settings)
    task = Pretraining(
        Lesson(rows.images, _answers(rows.images, _TEACHER_SIDES[0], settings)),
        Lesson(tiny.images, _answers(tiny.images, _TEACHER_SIDES[1], settings), tiny.labels),
        valid,
        classes,
        seed,
    )
    run = fit(task, folder=folder, resume=resume, reporter=reporter)
    body = cnn.fold_vgg16(run.model)
    accuracy = _accuracy(run.model, body, valid, classes)
    trained = run.history[run.best_epoch - 1].validation_accuracy
    if abs(accuracy - trained) > _SAME:
        raise TrainingError(
            f"With its batch norms folded, VGG16 is right on {accuracy:.4f} of Tiny ImageNet's "
            f"valid images; as trained, on {trained:.4f}. Something went wrong in the folding."
        )
    about = Pretrained(
        network="VGG16",
        source=f"learned Tiny ImageNet's labels ({len(tiny):,} images of {classes} classes, "
        f"{_TINY_AN_EPOCH:,} of them an epoch; of the other classes it saw none), and what "
        f"MobileNetV2 with ImageNet weights answers to these and to {len(rows):,} images of "
        f"CIFAR-10's train part, enlarged to {_TEACHER_SIDES[0]} pixels, whose labels it did not "
        f"see; seed {seed}",
        datasets=(TINY_HUB_REPO, CIFAR10_HUB_REPO),
        license="mit",
        sha256="0" * 64,
        accuracy=accuracy,
        n=len(valid),
        made=Made(
            epochs=len(run.history),
            seconds=sum(epoch.seconds for epoch in run.history),
            hardware=", ".join(dict.fromkeys(session.hardware for session in run.sessions)),
            date=run.sessions[-1].date,
            commit=", ".join(dict.fromkeys(session.commit for session in run.sessions)),
        ),
    )
    return keep_vgg16(body, about, settings)


def require_lessons(settings: Settings, *, resume: bool) -> None:
    """Find out whether `pretrain` can begin.

    Raises:
        DataError: Images or weights are missing.
        TrainingError: `resume` is off, and there is an unfinished run.
    """
    if not resume:
        refuse_unfinished(_run_folder(settings))
    find_tiny_train(settings)
    find_tiny_valid(settings)
    imagenet_logits(np.zeros((1, 8, 8, 3), np.uint8), _teacher_input(_TEACHER_SIDES[0]), settings)


@dataclass(frozen=True)
class Lesson:
    """Images and what is to be learned of them.

    Attributes:
        images: Shape (n, h, w, 3), uint8.
        answers: Logits of the teacher, shape (n, 1001), float16.
        labels: Tiny ImageNet's labels, shape (n,), int64; None where there are none.
    """

    images: NDArray[np.uint8]
    answers: NDArray[np.float16]
    labels: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Pretraining:
    """A `fit.Task`.

    Attributes:
        rows: CIFAR-10's, without labels.
        tiny: Tiny ImageNet's.
        validation: Tiny ImageNet's valid images, with labels.
        classes: Number of those labels.
        seed: Of weights, order and augmentation.
    """

    rows: Lesson
    tiny: Lesson
    validation: Split
    classes: int
    seed: int

    @property
    def name(self) -> str:
        """As on the command line."""
        return "vgg16"

    @property
    def epochs(self) -> int:
        """Most epochs."""
        return _EPOCHS

    @property
    def patience(self) -> int:
        """It goes to the end."""
        return _EPOCHS

    @property
    def identity(self) -> dict[str, Any]:
        """All that the constants above say."""
        return {
            "pretraining": "vgg16",
            "rows": len(self.rows.images),
            "tiny": [len(self.tiny.images), _TINY_AN_EPOCH, self.classes],
            "answers": [_digest(self.rows.answers), _digest(self.tiny.answers)],
            "optimizer": asdict(_OPTIMIZER),
            "epochs": _EPOCHS,
            "batch_size": _BATCH_SIZE,
            "temperature": _TEMPERATURE,
            "smoothing": _SMOOTHING,
            "padding": _PADDING,
        }

    def network(self) -> keras.Model:
        """VGG16 with batch norms, computing in bfloat16."""
        with dtype_policy("mixed_bfloat16"):
            shape = (VGG16_INPUT.height, VGG16_INPUT.width, 3)
            return cnn.vgg16_normed(shape, self.classes + TEACHER_OUTPUTS)

    def start(self, model: keras.Model, steps: int) -> None:
        """Compile it."""
        model.compile(
            optimizer=_OPTIMIZER.build(steps),
            loss=TwoTeachers(self.classes),
            metrics=[TinyAccuracy(self.classes, name="accuracy")],
        )

    def batches(self, epoch: int) -> keras.utils.PyDataset:
        """All of CIFAR-10's rows and some of Tiny ImageNet's, mixed."""
        return _Batches(self, epoch)

    def held_out(self, epoch: int) -> FixedBatches:
        """Tiny ImageNet's valid images; the loss there is that of the labels alone."""
        del epoch
        return FixedBatches(self.validation, VGG16_INPUT, self.classes + TEACHER_OUTPUTS)

    def may_end_with(self, epoch: int) -> bool:
        """The last alone: were the best one taken, its accuracy would be too good to report."""
        return epoch == _EPOCHS


class _Batches(Ahead):
    def __init__(self, task: Pretraining, epoch: int) -> None:
        super().__init__()
        self._task = task
        self._key = (task.seed, epoch)
        rng = np.random.default_rng(self._key)
        some = rng.permutation(len(task.tiny.images))[:_TINY_AN_EPOCH]
        rows = np.arange(len(task.rows.images))
        # Tiny ImageNet's images count on after the rows.
        self._order = rng.permutation(np.concatenate([rows, len(rows) + some]))

    def __len__(self) -> int:
        return len(self._order) // _BATCH_SIZE

    def batch(self, i: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        chosen = self._order[i * _BATCH_SIZE : (i + 1) * _BATCH_SIZE]
        rng = np.random.default_rng((*self._key, 1 + i))
        rows, tiny = self._task.rows, self._task.tiny
        of_tiny = chosen >= len(rows.images)
        places = np.where(of_tiny, chosen - len(rows.images), chosen)
        side = VGG16_INPUT.height
        images = np.empty((len(chosen), side, side, 3), np.uint8)
        images[~of_tiny] = random_crops(rows.images[places[~of_tiny]], _PADDING, rng)
        images[of_tiny] = [
            resize(random_window(tiny.images[place], rng), VGG16_INPUT) for place in places[of_tiny]
        ]
        mirrored = rng.random(len(chosen)) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
        classes = self._task.classes
        targets = np.zeros((len(chosen), classes + TEACHER_OUTPUTS), np.float32)
        if tiny.labels is not None:
            targets[of_tiny, tiny.labels[places[of_tiny]]] = 1
        answers = np.empty((len(chosen), TEACHER_OUTPUTS), np.float32)
        answers[~of_tiny] = rows.answers[places[~of_tiny]]
        answers[of_tiny] = tiny.answers[places[of_tiny]]
        powers = np.exp((answers - answers.max(axis=1, keepdims=True)) / _TEMPERATURE)
        targets[:, classes:] = powers / powers.sum(axis=1, keepdims=True)
        return normalise(images, VGG16_INPUT), targets


@keras.saving.register_keras_serializable("tensight")
class TwoTeachers(keras.losses.Loss):  # type: ignore[misc]  # keras is not typed
    """Cross-entropy, in nats, with labels where there are some, plus that with soft targets.

    The latter is taken at a temperature of 2 and times its square, so that its gradients are as
    large as the former's (Hinton et al. 2015).

    Args:
        classes: Number of labels; the soft targets come after them.
    """

    def __init__(self, classes: int, name: str = "two_teachers", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self._classes = classes

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each row: (n, classes + 1001) twice to (n,)."""
        labels, soft = y_true[:, : self._classes], y_true[:, self._classes :]
        labelled = ops.sum(labels, axis=-1, keepdims=True)
        labels = (1 - _SMOOTHING) * labels + labelled * _SMOOTHING / self._classes
        of_labels = ops.log_softmax(y_pred[:, : self._classes], axis=-1)
        of_soft = ops.log_softmax(y_pred[:, self._classes :] / _TEMPERATURE, axis=-1)
        by_teacher = -ops.sum(soft * of_soft, axis=-1)
        return _TEMPERATURE**2 * by_teacher - ops.sum(labels * of_labels, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {"classes": self._classes}


@keras.saving.register_keras_serializable("tensight")
class TinyAccuracy(LabelledAccuracy):
    """Share of Tiny ImageNet's images that get their label.

    Args:
        classes: Number of labels.
    """

    def __init__(self, classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._classes = classes

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: object = None) -> None:
        """Count a batch: (n, classes + 1001) twice."""
        of_labels = (y_true[:, : self._classes], y_pred[:, : self._classes])
        super().update_state(*of_labels, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """What `__init__` takes."""
        config: dict[str, Any] = super().get_config()
        return config | {"classes": self._classes}


def _run_folder(settings: Settings) -> Path:
    return settings.home / "runs" / "vgg16"


def _teacher_input(side: int) -> InputSpec:
    return InputSpec(
        height=side,
        width=side,
        resize="squash",
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def _answers(images: NDArray[np.uint8], side: int, settings: Settings) -> NDArray[np.float16]:
    """The teacher's, kept in TENSIGHT_HOME: they take minutes, and differ from machine to machine.

    A run that is resumed must learn from those that it began with.
    """
    what = f"{side}-{imagenet_digest(settings)[:16]}-{_digest(images)}"
    file = settings.home / "cache" / f"mobilenet-answers-{what}.npy"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new.npy")
        np.save(new, imagenet_logits(images, _teacher_input(side), settings))
        new.replace(file)
    answers: NDArray[np.float16] = np.load(file, allow_pickle=False)
    return answers


def _digest(values: NDArray[np.generic]) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()[:16]


def _accuracy(normed: keras.Model, body: keras.Model, valid: Split, classes: int) -> float:
    """Of the folded body with the labels' part of the head, on Tiny ImageNet's valid images."""
    head = normed.get_layer("logits")
    kernel, bias = (np.asarray(w)[..., :classes] for w in (head.kernel, head.bias))
    features = body.predict(FixedBatches(valid, VGG16_INPUT, classes), verbose=0)
    logits = features.reshape(len(valid), -1) @ kernel + bias
    return float((logits.argmax(axis=1) == valid.labels).mean())
