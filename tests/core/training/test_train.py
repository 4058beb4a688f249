"""The whole pipeline, on data made by the tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from core.bundle import Bundle, ResizeFigures, find_bundles
from core.catalog import Catalog
from core.classifier import Classifier
from core.errors import DataError
from core.settings import Settings
from core.training import report
from core.training.data import hold_out
from core.training.evaluate import choose_resizing, compare_resizing, evaluate_split
from core.training.explore import explore
from core.training.train import evaluate, train, write_index
from tests import made
from tests.conftest import ROOT


def test_the_model_that_comes_out(made_models: Path) -> None:
    (folder,) = find_bundles(made_models)
    bundle = Bundle.open(folder)
    bundle.verify()
    metrics = bundle.metrics()
    assert bundle.config.labels == made.LABELS
    assert metrics.test.n == 150
    assert metrics.validation.n == 60
    assert metrics.test.accuracy > 0.9, "the shapes are easy"
    assert [c.epoch for c in metrics.curves] == [1, 2, 3]
    assert sum(map(sum, metrics.test.confusion)) == sum(metrics.test.verdicts.values()) == 150
    assert metrics.parameters > 500_000
    found = {file.name for file in folder.iterdir()}
    assert found == {
        *("README.md", "config.json", "confusion.png", "curves.png"),
        *("metrics.json", "model.tflite", "reliability.png"),
    }
    for plot in folder.glob("*.png"):
        with Image.open(plot) as image:
            image.verify()


def test_thresholds_come_from_the_validation_rows(made_models: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    _, validation = hold_out(made.dataset().train)
    predictions = classifier.predict_many([Image.fromarray(i) for i in validation.images])
    scores = [prediction.known_score for prediction in predictions]
    assert classifier.config.verdict.none_below == pytest.approx(np.quantile(scores, 0.05))


def test_evaluating_again_gives_the_same_figures(made_models: Path, tmp_path: Path) -> None:
    (folder,) = find_bundles(made_models)
    before = Bundle.open(folder)
    figures = before.metrics()
    after = evaluate(before, made.dataset(), Settings(models=made_models), command="again")
    ours, theirs = before.config, after.config
    assert ours.model_copy(update={"sha256": {}}) == theirs.model_copy(update={"sha256": {}})
    metrics, old = after.metrics(), figures
    assert metrics.origin.command == "again"
    assert (metrics.test, metrics.validation) == (old.test, old.validation)
    assert (metrics.curves, metrics.parameters) == (old.curves, old.parameters)
    other = replace(made.dataset(), name="CIFAR-10", labels=("cat", "dog", "sky"))
    with pytest.raises(DataError, match="The model knows red square, green bar, blue sky; CIFAR"):
        evaluate(after, other, Settings(models=made_models), command="again")


def test_figures_by_hand(made_models: Path) -> None:
    classifier = Catalog(Settings(models=made_models)).load("shapes")
    split = made.dataset().test
    figures = evaluate_split(classifier, split, "Shapes test")
    answers = [
        made.LABELS.index(classifier.predict(Image.fromarray(image)).label)
        for image in split.images
    ]
    right = np.asarray(answers) == split.labels
    assert figures.accuracy == pytest.approx(right.mean())
    for i, each in enumerate(figures.classes):
        assert each.support == 50
        assert each.recall == pytest.approx(right[split.labels == i].mean())
        assert figures.confusion[i][i] == right[split.labels == i].sum()


def test_the_figures_beside_the_main_ones(made_models: Path) -> None:
    (folder,) = find_bundles(made_models)
    metrics = Bundle.open(folder).metrics()
    assert metrics.float32 == pytest.approx(metrics.test.accuracy, abs=0.01)
    assert metrics.single_view == pytest.approx(metrics.test.accuracy, abs=0.1)
    assert metrics.resize is None, "these are not CIFAR-10's labels"


def test_resize_rules_are_compared(made_models: Path) -> None:
    """Shapes that fill the image from side to side are known by whatever part is seen."""
    bundle = Catalog(Settings(models=made_models)).bundle("shapes")
    figures = compare_resizing(bundle, made.dataset().test, "shapes", threads=1)
    assert set(figures.accuracy) == {"squash", "center_crop", "three_crops"}
    assert figures.n == 150
    assert min(figures.accuracy.values()) > 0.6


@pytest.mark.parametrize(
    ("accuracy", "chosen"),
    [
        ((0.7, 0.6, 0.705), "squash"),
        ((0.7, 0.71, 0.715), "center_crop"),
        ((0.7, 0.6, 0.72), "three_crops"),
    ],
)
def test_three_crops_must_gain_a_hundredth(accuracy: tuple[float, ...], chosen: str) -> None:
    rules = ("squash", "center_crop", "three_crops")
    figures = ResizeFigures(data="", n=9, accuracy=dict(zip(rules, accuracy, strict=True)))
    assert choose_resizing(figures) == chosen


def test_a_failed_run_leaves_the_old_model(made_models: Path, tmp_path: Path) -> None:
    (folder,) = find_bundles(made_models)
    before = Bundle.open(folder).revision
    with pytest.raises(KeyboardInterrupt):
        train(
            made.recipe(name="shapes", title="Shapes"),
            made.dataset(),
            Settings(models=made_models, home=tmp_path),
            seed=1,
            resume=False,
            reporter=made.Recorder(stop_after=1),
            command="tests",
        )
    assert Bundle.open(folder).revision == before


def test_cards_and_index_hold_what_metrics_json_holds() -> None:
    for folder in find_bundles(ROOT / "models"):
        bundle = Bundle.open(folder)
        card = bundle.read("README.md").decode()
        assert card == report.files(bundle.config, bundle.metrics())["README.md"].decode()
        head = yaml.safe_load(card.split("---")[1])
        (result,) = head["model-index"][0]["results"]
        accuracy = next(m["value"] for m in result["metrics"] if m["type"] == "accuracy")
        assert accuracy == round(bundle.metrics().test.accuracy, 4)


def test_the_index_is_current(tmp_path: Path) -> None:
    bundles = [Bundle.open(folder) for folder in find_bundles(ROOT / "models")]
    assert (ROOT / "models" / "README.md").read_text("utf-8") == report.index(bundles)


def test_the_index_lists_every_model(made_models: Path) -> None:
    write_index(made_models)
    assert "Shapes (`shapes`)" in (made_models / "README.md").read_text("utf-8")


def test_explore(tmp_path: Path) -> None:
    tables, page = explore(made.dataset(), tmp_path / "deep" / "folder")
    shapes, counts, values = tables
    assert shapes[2][0] == ["train", "600 × 32 × 32 × 3", "uint8", "600"]
    assert counts[2][0] == ["red square", "200", "180", "20", "50"]
    assert [row[:4] for row in values[2][:3]] == [
        ["train", "red", "0", "255"],
        ["train", "green", "0", "255"],
        ["train", "blue", "0", "255"],
    ]
    content = page.read_text("utf-8")
    assert content.count("<img") == 3
    assert "12 images of the class green bar" in content


@pytest.mark.parametrize("name", ["baseline", "classic"])
def test_stored_figures_are_those_of_the_stored_weights(name: str, data_folder: Path) -> None:
    from core.training.data import load_cifar10

    dataset = load_cifar10(Settings(data=data_folder))
    bundle = Bundle.open(ROOT / "models" / name)
    figures = evaluate_split(Classifier(bundle, threads=1), dataset.test, "CIFAR-10 test")
    stored = bundle.metrics().test
    assert figures.n == stored.n == 10_000
    assert figures.accuracy == pytest.approx(stored.accuracy, abs=0.001)
    assert figures.ece == pytest.approx(stored.ece, abs=0.001)
    floor = bundle.metrics().reported
    assert floor is not None
    assert figures.accuracy >= floor.accuracy
