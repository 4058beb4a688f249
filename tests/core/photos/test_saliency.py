from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from core.bundle.folder import find_bundles
from core.inference.classifier import Classifier
from core.photos.preprocess import InputSpec, center_crop_box
from core.photos.saliency import overlay
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support import drawings

MODELS = [folder.name for folder in find_bundles(ROOT / "models")]
SPEC = InputSpec(
    height=8, width=8, resize="squash", interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)
)
SIDE = 320


PASTED = 144
GROUNDS = [(128, 128, 128), (200, 200, 200), (60, 60, 60), (230, 220, 200)]
PLACES = [(16, 16), (160, 16), (16, 160), (160, 160)]


def mass_of_the_object(saliency: NDArray[np.float32] | None, place: tuple[int, int]) -> float:
    assert saliency is not None
    scale = saliency.shape[0] / SIDE
    left, top = (int(edge * scale) for edge in place)
    right, bottom = (int((edge + PASTED) * scale) + 1 for edge in place)
    return float(saliency[top:bottom, left:right].sum() / saliency.sum())


def seen_on_plain_ground(classifier: Classifier) -> list[tuple[float, str]]:
    """Return saliency share and predicted label of a small object at several places."""
    seen = []
    for ground in GROUNDS:
        for place in PLACES:
            photo = Image.new("RGB", (SIDE, SIDE), ground)
            photo.paste(drawings.seascape(PASTED, PASTED), place)
            prediction = classifier.predict(photo, saliency=True)
            seen.append((mass_of_the_object(prediction.saliency, place), prediction.label))
    return seen


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=[pytest.mark.long] * (name in ("scratch", "transfer")))
        for name in MODELS
        if name != "baseline"
    ],
)
def test_saliency_concentrates_on_the_object(catalog: Catalog, model: str) -> None:
    """The object has most of the saliency on average, and whenever it is classified correctly.

    A model that hardly ever classifies so small an object correctly must do so every time.
    """
    seen = seen_on_plain_ground(catalog.load(model))
    masses = [mass for mass, _ in seen]
    known = [mass for mass, label in seen if label == "ship"]
    assert min(known, default=1) > 0.5
    assert np.mean(masses) > 0.5
    assert len(known) >= 4 or min(masses) > 0.5, "too few correct classifications to judge by"


def test_saliency_of_the_weakest_model_concentrates_on_average(catalog: Catalog) -> None:
    """It misses at most one place in six at which it classifies the object correctly."""
    seen = seen_on_plain_ground(catalog.load("baseline"))
    known = [mass for mass, label in seen if label == "ship"]
    assert np.mean([mass for mass, _ in seen]) > 0.5
    assert sum(mass > 0.5 for mass in known) >= 5 / 6 * len(known)


@pytest.mark.parametrize("model", MODELS)
def test_saliency_covers_an_object_that_fills_the_photo(catalog: Catalog, model: str) -> None:
    """Saliency is not limited to the few places that differ most from the rest."""
    saliency = catalog.load(model).predict(drawings.seascape(SIDE, SIDE), saliency=True).saliency
    assert saliency is not None
    assert (saliency > 0).mean() > 0.2


def test_saliency_maps_differ_between_labels(catalog: Catalog, ship: Image.Image) -> None:
    classifier = catalog.load("classic")
    (maps,) = classifier.maps(classifier.preprocess(ship).crops)
    assert maps.shape[2] == len(classifier.labels)
    likeness = np.corrcoef(maps.reshape(-1, maps.shape[2]).T)
    assert likeness.min() < 0


def test_overlay_colors_lie_where_the_evidence_is() -> None:
    grey = np.full((40, 80, 3), 128, np.uint8)
    saliency = np.zeros((8, 8), np.float32)
    saliency[:4, :4] = 1
    drawn = np.asarray(overlay(grey, saliency, SPEC))
    assert drawn.shape == grey.shape
    assert (drawn[:10, :20, 0].astype(int) > 150).all(), "no red where the evidence is"
    assert np.array_equal(drawn[30:, 60:], grey[30:, 60:]), "color where there is no evidence"
    assert np.array_equal(np.asarray(overlay(grey, saliency, SPEC, opacity=0)), grey)


def test_overlay_leaves_cropped_parts_unchanged() -> None:
    spec = SPEC.model_copy(update={"resize": "center_crop"})
    assert center_crop_box(80, 40, spec) == (20, 0, 60, 40)
    grey = np.full((40, 80, 3), 128, np.uint8)
    drawn = np.asarray(overlay(grey, np.ones((8, 8), np.float32), spec))
    assert np.array_equal(drawn[:, :20], grey[:, :20])
    assert np.array_equal(drawn[:, 60:], grey[:, 60:])
    assert (drawn[:, 20:60] != 128).any(axis=-1).all()


def test_overlay_limits_the_size_of_large_photos() -> None:
    drawn = overlay(np.zeros((3000, 2000, 3), np.uint8), np.ones((8, 8), np.float32), SPEC)
    assert max(drawn.size) == 1024


@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
def test_saliency_of_many_photos_takes_no_more_memory_than_one() -> None:
    """A batch of 16 of `scratch` once took 1.6 GB, which the engine kept."""
    program = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "from core.registry.catalog import Catalog\n"
        "from core.settings import Settings\n"
        "classifier = Catalog(Settings.read()).load('scratch')\n"
        "photos = [Image.fromarray(np.full((64, 64, 3), i, np.uint8)) for i in range(8)]\n"
        "one = classifier.predict(photos[0], saliency=True)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "many = classifier.predict_many(photos, saliency=True)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert all(each.saliency is not None for each in many)\n"
        "print(after / before)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"TENSIGHT_MODELS": str(ROOT / "models")},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 1.3
