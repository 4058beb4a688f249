"""Photos of one's own, to learn from beside a data set: what visitors left, to begin with."""

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
from core.training.data.photos import evaluate_photos, learn_from_photos
from core.training.plan import train_all
from core.training.recipes import Recipe
from core.training.train import train
from tests import made


def left_by_visitors(folder: Path, labels: tuple[str, ...], settings: Settings) -> Path:
    """What `tensight feedback export` writes of photos that visitors judged."""
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
        seed=0,
        resume=False,
        reporter=made.Recorder(),
        command="tests",
        extra=extra,
    )
    assert bundle is not None
    return bundle


def test_what_visitors_left_is_learned_from_and_measured_on(
    settings: Settings, tmp_path: Path
) -> None:
    from core.inference.classifier import Classifier

    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)
    known, none = learn_from_photos(wild, made.LABELS)
    assert (known.images.shape, none.images.shape) == ((2, 64, 64, 3), (1, 64, 64, 3))
    assert known.labels.tolist() == [0, 1]
    bundle = learned(made.recipe(), made.dataset(), settings, wild)
    told = bundle.config.training.data
    assert "542 rows of train; among them 2 photos of a folder" in told
    assert told.endswith("; 1 of none of the classes left out, which this recipe cannot learn from")
    assert evaluate_photos(Classifier(bundle, threads=1), wild).n == 3


def test_photos_of_none_are_learned_from_where_the_recipe_learns_from_such(tmp_path: Path) -> None:
    settings = Settings(
        data=made.tiny_imagenet(tmp_path), models=tmp_path / "models", home=tmp_path / "home"
    )
    wild = left_by_visitors(tmp_path / "left", made.ten().labels, settings)
    recipe = made.recipe(photos=True, outliers=30, precision="float32")
    bundle = learned(recipe, made.ten(), settings, wild)
    told = bundle.config.training.data
    assert "360 rows of train; Tiny ImageNet, 46 train images of the same classes; 241 of" in told
    assert "among them 3 photos of a folder" in told
    assert "left out" not in told


def test_who_trains_reads_what_is_left_out(settings: Settings, tmp_path: Path) -> None:
    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)
    told: list[str] = []

    def reporter(what: str) -> nullcontext[made.Recorder]:
        told.append(what)
        return nullcontext(made.Recorder())

    outcomes = train_all(
        ["baseline"],
        made.dataset(),
        settings,
        seed=0,
        resume=False,
        reporter=reporter,
        # Told before anything else, so nothing need be trained: there is not one batch.
        recipes={"baseline": made.recipe(batch_size=1000)},
        extra=wild,
    )
    assert [outcome.name for outcome in outcomes] == ["baseline"]
    assert told == ["baseline (left out: 1 photo of none, which this recipe cannot learn from)"]


def test_a_run_goes_on_with_the_same_photos_alone(settings: Settings, tmp_path: Path) -> None:
    wild = left_by_visitors(tmp_path / "left", made.LABELS, settings)

    def run(*, resume: bool, extra: Path | None, stop: bool = False) -> None:
        train(
            made.recipe(),
            made.dataset(),
            settings,
            seed=0,
            resume=resume,
            reporter=made.Recorder(stop_after=1 if stop else None),
            command="tests",
            extra=extra,
        )

    with pytest.raises(KeyboardInterrupt):
        run(resume=False, extra=wild, stop=True)
    with pytest.raises(TrainingError):
        run(resume=True, extra=None)
    run(resume=True, extra=wild)


def test_a_wrong_label_is_told_before_anything_is_trained(
    settings: Settings, tmp_path: Path
) -> None:
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
