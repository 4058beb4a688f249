"""Random views of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from core.settings import Settings
from core.training.data.photo_views import PhotoViews
from core.training.data.real_photos import load_real_photos
from core.training.photo_plan import Phase, PhotoPlan
from tests.support import made

PLAN = PhotoPlan(
    phases=(Phase(1, 24, 100, peak_rate=1e-3, final_rate=1e-4),),
    known_fraction=0.2,
    none_fraction=0.1,
)


SPEC = made.recipe().input.model_copy(update={"height": 24, "width": 24})


def test_blurred_photos_have_less_detail(tmp_path: Path) -> None:
    made.real_photos(tmp_path)
    noise = load_real_photos(Settings(data=tmp_path)).train.images[0]

    def detail(blurred: float) -> float:
        plan = replace(PLAN, blurred_fraction=blurred, blurred_sides=(8, 10))
        views = PhotoViews(plan, SPEC, 4)
        rng = np.random.default_rng(0)
        made_of = [views.photo(noise, rng).astype(float) for _ in range(20)]
        return float(np.mean([np.abs(np.diff(each, axis=1)).mean() for each in made_of]))

    assert detail(1.0) < 0.6 * detail(0.0)
