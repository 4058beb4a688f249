"""The ablation study."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import keras
import pytest

from core.bundle.folder import find_bundles
from core.settings import Settings
from core.training.ablation import CHANGES, ablate
from core.training.ablation_results import Ablation, read_ablation
from core.training.evaluation.results_page import results_page
from core.training.recipes import RECIPES, get_recipe
from tests.support import made


@pytest.mark.long
def test_ablation_compares_options_and_resumes(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    changes = {"nothing": {}, "no augmentation": {"crop_padding": 0, "flip": None}}

    def ask(*, resume: bool) -> Ablation | None:
        return ablate(
            made.dataset(),
            settings,
            resume=resume,
            reporter=lambda name: nullcontext(made.Recorder()),
            base=made.recipe(epochs=2),
            changes=changes,
            seeds=(3, 4),
        )

    done = ask(resume=False)
    assert done is not None
    assert [option.change for option in done.options] == list(changes)
    assert [len(option.test) for option in done.options] == [2, 2]
    assert (done.n_validation, done.n_test, done.seeds) == (60, 150, (3, 4))
    assert read_ablation(settings.models) == done
    assert find_bundles(settings.models) == [], "none of them is served"
    page = results_page([], done, RECIPES)
    assert "2 seeds (3, 4): accuracy on 60 validation rows and on 150 images of Shapes test" in page
    assert page.count(" ± ") == 4
    assert done.base.startswith("baseline, 2 epochs, batch size 50, AdamW(learning_rate=0.001")
    assert done.made.epochs == 8
    again = ask(resume=True)
    assert again is not None
    assert again.made == done.made, "nothing was trained"
    assert [o.test for o in again.options] == [o.test for o in done.options]


@pytest.mark.parametrize(("change", "fields"), CHANGES.items())
def test_every_option_changes_one_thing(change: str, fields: dict[str, object]) -> None:
    base = get_recipe("classic")
    changed = replace(base, **fields)  # type: ignore[arg-type]  # names and types of a dict
    model = changed.build(changed.input_shape, 10)
    kinds = [type(layer).__name__ for layer in model.layers]
    (dropout,) = (x.rate for x in model.layers if isinstance(x, keras.layers.Dropout))
    assert kinds.count("Conv2D") == (4 if "one layer more" in change else 3)
    assert kinds.count("BatchNormalization") == (0 if "no batch norm" in change else 3)
    assert dropout == {"dropout 0": 0.0, "dropout 0.6": 0.6}.get(change, 0.4)
    # The two of more epochs are to be compared with each other.
    one = {"epochs", "patience"} if "12 epochs" in change else {"crop_padding", "flip"}
    assert set(fields) <= one or set(fields) in ({"build"}, {"optimizer"})
    if "optimizer" in fields:
        assert changed.optimizer.weight_decay == base.optimizer.weight_decay  # type: ignore[union-attr]
    if "augmentation" in change:
        assert (changed.crop_padding, changed.flip) == (0, None)
    if "rate five" in change:
        factor = 5 if "higher" in change else 1 / 5
        assert changed.scheduled_optimizer.learning_rate == pytest.approx(
            factor * base.scheduled_optimizer.learning_rate
        )
    if "epochs" in fields:
        assert changed.epochs == 12
        assert changed.patience == (12 if "no early stopping" in change else 1)
