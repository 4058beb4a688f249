"""Training several recipes in turn."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest

from core.bundle.folder import Bundle, find_bundles
from core.bundle.leaderboard import read_models
from core.errors import BundleError, DataError, ModelNotFoundError, TrainingError
from core.registry.catalog import Catalog
from core.settings import Settings
from core.training.data.datasets import Dataset
from core.training.evaluation.results_page import results_page
from core.training.recipe import Recipe
from core.training.recipes import RECIPES, VGG16
from core.training.run import RunOptions
from core.training.train import train
from core.training.train_all import Outcome, train_all, training_order
from tests.support import made


def begin(
    recipes: list[Recipe], data: Dataset, settings: Settings, *, resume: bool = False
) -> list[Outcome]:
    """Train recipes, each for as short as possible."""
    return list(
        train_all(
            [recipe.name for recipe in recipes],
            data,
            settings,
            seed=0,
            resume=resume,
            reporter=lambda name: nullcontext(made.Recorder()),
            recipes={recipe.name: recipe for recipe in recipes},
        )
    )


def test_missing_data_is_reported_before_the_first_recipe(tmp_path: Path) -> None:
    recipes = [made.recipe(name="one"), made.recipe(name="two", outliers_per_epoch=30)]
    ten = made.ten()
    settings = Settings(data=tmp_path, home=tmp_path / "home", models=tmp_path / "models")
    with pytest.raises(DataError, match=r"no valid-\*\.parquet: Tiny ImageNet is incomplete"):
        begin(recipes, ten, settings)
    made.tiny_imagenet(tmp_path)
    with pytest.raises(DataError, match=r"int8\.tflite cannot be read"):
        begin([recipes[0], made.like("mobilenet")], ten, settings)
    with pytest.raises(DataError, match=r"pretrained weights of VGG16 are missing.*pretrain"):
        begin([recipes[0], made.recipe(name="three", pretrained_body="vgg16")], ten, settings)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "labels.csv").write_text("file,label\na.png,cow\n")
    with pytest.raises(DataError, match="the model has no label 'cow'"):
        begin(recipes, ten, settings)
    (tmp_path / "photos" / "labels.csv").unlink()
    next((tmp_path / "tiny-imagenet" / "data").glob("train-*")).unlink()
    with pytest.raises(DataError, match=r"no train-\*\.parquet"):
        begin(recipes, ten, settings)
    assert not settings.home.exists(), "nothing was begun"


def test_missing_images_of_the_probe_are_reported_before_the_first_recipe(tmp_path: Path) -> None:
    settings = Settings(data=made.real_photos(tmp_path), home=tmp_path / "home")
    probed = made.like("efficientnet", prepare=None)
    assert probed.plan is not None
    assert probed.plan.tiny_imagenet_weight > 0
    with pytest.raises(DataError, match=r"no train-\*\.parquet: Tiny ImageNet is incomplete"):
        begin([probed], made.ten(), settings)
    made.tiny_imagenet(tmp_path)
    # It names the classes.
    (tmp_path / "tiny-imagenet" / "data" / "valid-00000-of-00001.parquet").unlink()
    with pytest.raises(DataError, match=r"no valid-\*\.parquet: Tiny ImageNet is incomplete"):
        begin([probed], made.ten(), settings)
    assert not settings.home.exists(), "nothing was begun"


def test_failed_recipe_does_not_stop_the_next(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    recipes = [made.recipe(name="huge", batch_size=1000), made.recipe(name="small", epochs=1)]
    huge, small = begin(recipes, made.dataset(), settings)
    assert (huge.name, small.name) == ("huge", "small")
    assert "less than one batch" in str(huge.result)
    assert isinstance(small.result, Bundle)


def test_vgg16_comes_before_recipes_that_need_it() -> None:
    names = training_order()
    assert set(names) == {*RECIPES, VGG16}
    assert names.index(VGG16) < min(names.index(n) for n, r in RECIPES.items() if r.pretrained_body)


def test_unfinished_run_is_reported_before_the_first_recipe(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, models=tmp_path / "models")
    recipe = made.recipe(epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train(
            recipe,
            made.dataset(),
            settings,
            RunOptions(0, False, made.Recorder(stop_after=1)),
            command="tests",
        )
    with pytest.raises(TrainingError, match="unfinished run of 1 epochs"):
        begin([made.recipe(name="other"), recipe], made.dataset(), settings)
    assert not (tmp_path / "runs" / "other").exists()
    (outcome,) = begin([recipe], made.dataset(), settings, resume=True)
    assert isinstance(outcome.result, Bundle)


def test_unbundled_recipe_stores_metrics_only(made_models: Path, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    shutil.copytree(made_models, settings.models)
    kept = Bundle.open(settings.models / "shapes")
    recipe = made.recipe(name="seen", epochs=1, bundled=False)
    (seen,) = (outcome.result for outcome in begin([recipe], made.dataset(), settings))
    assert isinstance(seen, Bundle)
    assert [folder.name for folder in find_bundles(settings.models)] == ["shapes"]
    first, second = read_models(settings.models)
    assert (first.config.name, first.revision) == ("shapes", kept.revision)
    assert (second.config, second.metrics, second.revision) == (seen.config, seen.metrics(), None)
    page = results_page([first, second], None, RECIPES)
    row = f"| Baseline CNN (`seen`) | 0.6527 | {seen.metrics().test.accuracy:.4f} |"
    assert page.count(row) == 1
    assert "The weights of `seen` are not stored, only their metrics." in page
    begin([recipe], made.dataset(), settings, resume=True)
    assert len(read_models(settings.models)) == 2, "the old figures were replaced"
    (settings.models / "unbundled.json").write_text("{}x")
    with pytest.raises(BundleError, match=r"unbundled\.json is invalid"):
        read_models(settings.models)
    assert len(Catalog(settings).models()) == 1, "and the rest can still be listed"


@pytest.mark.long
def test_model_that_is_bundled_later_has_one_row(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    begin([made.recipe(name="one", epochs=1, bundled=False)], made.dataset(), settings)
    catalog = Catalog(settings)
    assert [result.revision for result in [*catalog.models(), *catalog.unbundled()]] == [None]
    with pytest.raises(ModelNotFoundError, match="'one' cannot be loaded: only its metrics"):
        catalog.load("one")
    begin([made.recipe(name="one", epochs=1)], made.dataset(), settings, resume=True)
    (result,) = read_models(settings.models)
    assert result.revision is not None
