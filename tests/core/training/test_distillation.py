from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import DataError, TrainingError
from core.photos.preprocess import InputSpec
from core.settings import Settings
from core.training import distillation
from core.training.data.datasets import Split, load_tiny_lessons
from core.training.distillation import (
    TEACHER_OUTPUTS,
    Lesson,
    Pretraining,
    TinyAccuracy,
    TwoTeachers,
    pretrain,
    require_lessons,
)
from core.training.fit import fit
from core.training.networks import cnn
from core.training.networks.imagenet import imagenet_logits
from core.training.networks.vgg16 import VGG16_INPUT, describe_vgg16, load_vgg16
from tests import made

ROWS, TINY, CLASSES = 300, 260, 20


def coloured(n: int, side: int, offset: int) -> NDArray[np.uint8]:
    """Each image of one colour that says which it is; red tells rows from the others."""
    images = np.zeros((n, side, side, 3), np.uint8)
    images[..., 0] = offset
    images[..., 1] = (np.arange(n) % 256)[:, None, None]
    images[..., 2] = (np.arange(n) // 256)[:, None, None]
    return images


def answers(n: int, seed: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).normal(size=(n, TEACHER_OUTPUTS)).astype(np.float16)


class Short(Pretraining):
    """Of one epoch, or of as many as a test says."""

    last = 1

    @property
    def epochs(self) -> int:
        return self.last

    def may_end_with(self, epoch: int) -> bool:
        return epoch == self.last


@pytest.fixture(scope="module")
def task() -> Short:
    labels = np.arange(TINY, dtype=np.int64) % CLASSES
    rows = Lesson(coloured(ROWS, 32, 10), answers(ROWS, 1))
    tiny = Lesson(coloured(TINY, 64, 200), answers(TINY, 2), labels)
    valid = Split(coloured(40, 64, 200), labels[:40], np.arange(40))
    return Short(rows, tiny, valid, CLASSES, seed=7)


def test_each_image_has_its_own_answer_and_label(task: Short) -> None:
    batches = task.batches(1)
    assert len(batches) == 2, "560 images, 256 a batch; the rest is dropped"
    first, second = batches[0], batches[1]
    inputs, targets = (np.concatenate(part) for part in zip(first, second, strict=True))
    assert inputs.shape == (512, 32, 32, 3)
    blue_green_red = (inputs[:, 16, 16] * VGG16_INPUT.std + VGG16_INPUT.mean) * 255
    blue, green, red = np.rint(blue_green_red).astype(int).T
    places = green + 256 * blue
    assert len({*zip(red, places, strict=True)}) == 512, "none twice"
    labelled = targets[:, :CLASSES].sum(axis=1)
    assert set(labelled) == {0.0, 1.0}
    for i in range(512):
        lesson = task.rows if red[i] == 10 else task.tiny
        powers = np.exp(lesson.answers[places[i]].astype(np.float64) / 2)
        assert np.allclose(targets[i, CLASSES:], powers / powers.sum(), rtol=1e-3)
        if lesson.labels is None:
            assert labelled[i] == 0
        else:
            assert targets[i, lesson.labels[places[i]]] == 1
    assert not np.array_equal(first[0], task.batches(2)[0][0])
    assert np.array_equal(first[0], task.batches(1)[0][0]), "the same for the same epoch"


def test_the_loss_by_hand() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, CLASSES + TEACHER_OUTPUTS)).astype(np.float32)
    targets = np.zeros_like(logits)
    targets[0, 5] = 1  # the second has no label
    soft = rng.random((2, TEACHER_OUTPUTS))
    targets[:, CLASSES:] = soft / soft.sum(axis=1, keepdims=True)

    def log_softmax(x: NDArray[np.float32]) -> NDArray[np.float64]:
        logs: NDArray[np.float64] = x - np.log(np.exp(x.astype(np.float64)).sum())
        return logs

    smoothed = np.full(CLASSES, 0.1 / CLASSES)
    smoothed[5] += 0.9
    of_label = -(smoothed * log_softmax(logits[0, :CLASSES])).sum()
    of_teacher = [
        -4 * (targets[i, CLASSES:] * log_softmax(logits[i, CLASSES:] / np.float32(2))).sum()
        for i in (0, 1)
    ]
    loss = np.asarray(TwoTeachers(CLASSES, reduction=None)(targets, logits))
    assert loss == pytest.approx([of_label + of_teacher[0], of_teacher[1]], rel=1e-4)
    accuracy = TinyAccuracy(CLASSES)
    logits[0, 5] = 9
    accuracy.update_state(targets, logits)
    assert float(accuracy.result()) == 1, "what has no label does not count"


def test_folding_changes_nothing() -> None:
    keras.utils.set_random_seed(0)
    normed = cnn.vgg16_normed((32, 32, 3), 5)
    rng = np.random.default_rng(0)
    for layer in normed.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.beta.shape
            layer.gamma.assign(rng.uniform(0.5, 2, size))
            layer.beta.assign(rng.normal(size=size))
            layer.moving_mean.assign(rng.normal(size=size))
            layer.moving_variance.assign(rng.uniform(0.5, 2, size))
    inputs = rng.normal(size=(4, 32, 32, 3)).astype(np.float32)
    before = keras.Model(normed.input, normed.get_layer("block5_pool").output)
    expected = np.asarray(before(inputs))
    given = np.asarray(cnn.fold_vgg16(normed)(inputs))
    assert np.linalg.norm(given - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.long
def test_two_steps_and_a_resumed_run(task: Short, tmp_path: Path) -> None:
    class Two(Short):
        last = 2

    two = Two(task.rows, task.tiny, task.validation, CLASSES, seed=7)
    reporter = made.Recorder()
    whole = fit(two, folder=tmp_path / "whole", resume=False, reporter=reporter)
    assert reporter.batches[-1] == (2, 2, 2)
    with pytest.raises(KeyboardInterrupt):
        fit(two, folder=tmp_path / "stopped", resume=False, reporter=made.Recorder(stop_after=1))
    resumed = fit(two, folder=tmp_path / "stopped", resume=True, reporter=made.Recorder())
    assert resumed.best_epoch == whole.best_epoch == 2, "the last, whatever its accuracy"
    ours, theirs = resumed.history[-1], whole.history[-1]
    assert ours.loss == pytest.approx(theirs.loss, rel=0.01)
    for changed in (
        replace(two, seed=8),
        replace(two, tiny=replace(two.tiny, answers=answers(TINY, 3))),
    ):
        with pytest.raises(TrainingError, match="of another recipe, seed or data"):
            fit(changed, folder=tmp_path / "stopped", resume=True, reporter=made.Recorder())


@pytest.mark.long
def test_pretraining_from_images_to_weights_that_a_model_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def teacher(
        images: NDArray[np.uint8], spec: InputSpec, settings: Settings
    ) -> NDArray[np.float16]:
        asked.append((len(images), spec.height))
        return answers(len(images), spec.height)

    monkeypatch.setattr(distillation, "imagenet_logits", teacher)
    monkeypatch.setattr(distillation, "imagenet_digest", lambda settings: "0" * 64)
    monkeypatch.setattr(distillation, "_EPOCHS", 1)
    settings = Settings(data=made.tiny_imagenet(tmp_path), home=tmp_path / "home")
    rows = made.ten(train=40).train
    reporter = made.Recorder()
    kept = pretrain(rows, settings, seed=3, resume=False, reporter=reporter)
    assert asked == [(40, 192), (292, 128)], "two images of each of 146 classes"
    assert reporter.batches == [(1, 1, 1)]
    assert kept == describe_vgg16(settings)
    assert (kept.network, kept.n, kept.license) == ("VGG16", 146, "mit")
    assert kept.accuracy == pytest.approx(1 / 146), "all of them are the same image"
    assert kept.made is not None
    assert kept.made.epochs == 1
    assert "40 images of CIFAR-10's train part" in kept.source
    model = cnn.transfer((32, 32, 3), 10)
    before = model.get_layer("block5_conv3").get_weights()[0].copy()
    load_vgg16(model, settings)
    assert not np.array_equal(model.get_layer("block5_conv3").get_weights()[0], before)
    asked.clear()
    again = pretrain(rows, settings, seed=3, resume=True, reporter=made.Recorder())
    assert again.made == kept.made, "nothing was trained"
    assert asked == [], "the teacher's answers were kept"


def test_lessons_leave_out_what_is_reported_on(tmp_path: Path) -> None:
    settings = Settings(data=made.tiny_imagenet(tmp_path))
    train, valid, classes = load_tiny_lessons(settings)
    assert classes == 200 - 30 - 24
    assert (len(train), len(valid)) == (2 * classes, classes)
    assert set(train.labels) == set(valid.labels) == set(range(classes))


def test_what_is_missing_is_told_before_hours_pass(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, home=tmp_path / "home")
    with pytest.raises(DataError, match="Tiny ImageNet is not complete"):
        require_lessons(settings, resume=False)
    made.tiny_imagenet(tmp_path)
    with pytest.raises(DataError, match=r"int8\.tflite cannot be read"):
        require_lessons(settings, resume=False)


def test_the_teacher_answers_for_whole_batches_and_rests(data_folder: Path) -> None:
    settings = Settings(data=data_folder)
    spec = VGG16_INPUT.model_copy(update={"height": 64, "width": 64})
    images = np.random.default_rng(0).integers(0, 256, (251, 32, 32, 3), np.uint8)
    logits = imagenet_logits(images, spec, settings)
    assert logits.shape == (251, TEACHER_OUTPUTS)
    assert logits.dtype == np.float16
    assert np.allclose(logits[250:], imagenet_logits(images[250:], spec, settings), atol=0.05)
