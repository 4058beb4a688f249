"""Training on the user's own photos beside a data set."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from pathlib import Path

import pytest
from PIL import Image

from core.bundle.folder import Bundle
from core.errors import DataError, TrainingError
from core.settings import Settings
from core.store.feedback import Feedback
from core.store.feedback_export import export_photos
from core.store.store import Store
from core.training.data.datasets import Dataset
from core.training.data.labelled_photos import load_own_splits
from core.training.evaluation.photos import evaluate_photos
from core.training.recipe import Recipe
from core.training.run import RunOptions
from core.training.train import train
from core.training.train_all import train_all
from tests.support import made


def left_by_visitors(folder: Path, labels: tuple[str, ...], settings: Settings) -> Path:
    """Export three photos with feedback by `tensight feedback export`."""
    store = Store.open(settings)
    for truth, colour in (
        (labels[0], (200, 20, 20)),
        (labels[1], (20, 200, 20)),
        ("none", (9, 9, 9)),
    ):
        buffer = folder / "photo.jpg"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (300, 200), colour).save(buffer)
        store.feedback.add(
            Feedback(
                front="page",
                model="shapes",
                revision="0" * 12,
                answer=labels[0],
                verdict="known",
                scores=dict.fromkeys(labels, 1 / len(labels)),
                truth=truth,
                photo=buffer.read_bytes(),
            )
        )
    store.close()
    assert export_photos(settings, folder / "wild", labels) == (3, 0)
    return folder / "wild"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(models=tmp_path / "models", home=tmp_path / "home")


def learned(recipe: Recipe, dataset: Dataset, settings: Settings, extra: Path) -> Bundle:
    bundle = train(
        recipe,
        dataset,
        settings,
        RunOptions(0, False, made.Recorder(), extra),
        command="tests",
    )
    assert bundle is not None
    return bundle


def test_exported_feedback_is_trained_and_evaluated_on(settings: Settings, tmp_path: Path) -> None:
    from core.inference.classifier import Classifier

    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)
    known, none = load_own_splits(wild, made.LABELS)
    assert (known.images.shape, none.images.shape) == ((2, 64, 64, 3), (1, 64, 64, 3))
    assert known.labels.tolist() == [0, 1]
    bundle = learned(made.recipe(epochs=1), made.dataset(), settings, wild)
    description = bundle.config.training.data
    assert "542 train rows; including 2 photos of the user's own" in description
    assert description.endswith("; without 1 of none of the classes, which this recipe cannot use")
    assert evaluate_photos(Classifier(bundle, threads=1), wild).n == 3


@pytest.mark.long
def test_photos_of_none_are_outliers_of_recipes_with_outliers(tmp_path: Path) -> None:
    settings = Settings(
        data=made.tiny_imagenet(tmp_path), models=tmp_path / "models", home=tmp_path / "home"
    )
    wild = left_by_visitors(tmp_path / "left", made.ten().labels, settings)
    recipe = made.recipe(tiny_imagenet=True, outliers_per_epoch=30, precision="float32")
    bundle = learned(recipe, made.ten(), settings, wild)
    description = bundle.config.training.data
    assert (
        "360 train rows; Tiny ImageNet, 46 train images of the same classes; 231 of" in description
    )
    assert "including 3 photos of the user's own" in description
    assert "without" not in description


def test_reporter_names_unused_photos(settings: Settings, tmp_path: Path) -> None:
    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)
    names: list[str] = []

    def reporter(name: str) -> nullcontext[made.Recorder]:
        names.append(name)
        return nullcontext(made.Recorder())

    outcomes = train_all(
        ["baseline"],
        made.dataset(),
        settings,
        seed=0,
        resume=False,
        reporter=reporter,
        # Reported before training, which fails at once: there is less than one batch.
        recipes={"baseline": made.recipe(batch_size=1000)},
        extra=wild,
    )
    assert [outcome.name for outcome in outcomes] == ["baseline"]
    assert names == ["baseline (without 1 photo of none, which this recipe cannot use)"]


def test_run_resumes_only_with_the_same_photos(settings: Settings, tmp_path: Path) -> None:
    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)

    def run(*, resume: bool, extra: Path | None, stop: bool = False) -> None:
        train(
            made.recipe(epochs=2),
            made.dataset(),
            settings,
            RunOptions(0, resume, made.Recorder(stop_after=1 if stop else None), extra),
            command="tests",
        )

    with pytest.raises(KeyboardInterrupt):
        run(resume=False, extra=wild, stop=True)
    with pytest.raises(TrainingError):
        run(resume=True, extra=None)
    run(resume=True, extra=wild)


def test_wrong_label_is_reported_before_training(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("file", "label"), ("a.jpg", "unicorn")])
    outcomes = train_all(
        ["baseline"],
        made.dataset(),
        settings,
        seed=0,
        resume=False,
        reporter=lambda _: nullcontext(made.Recorder()),
        recipes={"baseline": made.recipe()},
        extra=folder,
    )
    with pytest.raises(DataError, match="no label 'unicorn'"):
        next(outcomes)
    assert not (settings.home / "runs").exists()
