from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image

import core
from core.bundle.config import MODEL, VERDICT, VerdictConfig, View
from core.bundle.folder import find_bundles, write_bundle
from core.errors import BundleError, ImageError
from core.inference.calibration import softmax
from core.inference.classifier import Classifier
from core.inference.engine import Engine
from core.photos.preprocess import crops
from core.registry.catalog import Catalog
from core.settings import Settings
from tests.conftest import ROOT
from tests.support import drawings

MODELS = [folder.name for folder in find_bundles(ROOT / "models")]
GOLDEN = Path(__file__).with_name("golden.json")


@pytest.mark.parametrize("model", MODELS)
def test_scores_equal_stored_golden_scores(catalog: Catalog, model: str, ship: Image.Image) -> None:
    """Compare with scores that were stored when the weights last changed.

    After a change of weights, run `python -m tests.core.inference.test_classifier`.
    """
    golden = json.loads(GOLDEN.read_text())[model]
    prediction = catalog.load(model).predict(ship)
    weights = catalog.bundle(model).config.sha256[MODEL]
    assert weights == golden["weights"], "the weights have changed: renew golden.json"
    assert prediction.scores == pytest.approx(golden["scores"], abs=1e-4)


@pytest.mark.parametrize("model", MODELS)
def test_prediction_has_all_fields(catalog: Catalog, model: str, photo: Path) -> None:
    classifier = catalog.load(model)
    prediction = classifier.predict(photo)
    assert prediction.photo == str(photo)
    assert (prediction.model, prediction.revision) == (model, classifier.revision)
    assert sum(prediction.scores.values()) == pytest.approx(1, abs=1e-9)
    assert list(prediction.scores.values()) == sorted(prediction.scores.values(), reverse=True)
    assert prediction.label == next(iter(prediction.scores))
    assert prediction.confidence == prediction.scores[prediction.label]
    assert set(prediction.scores) == set(classifier.labels)
    assert prediction.timing_ms.decode > 0
    assert prediction.timing_ms.infer > 0
    assert prediction.saliency is None
    fields = "photo model revision label confidence verdict known_score scores timing_ms"
    assert list(json.loads(json.dumps(prediction.to_dict()))) == fields.split()


@pytest.mark.parametrize(
    "model",
    # A small and a large one; the others take seconds each.
    [
        pytest.param(name, marks=[pytest.mark.long] * (name not in ("classic", "efficientnet")))
        for name in MODELS
    ],
)
def test_scores_do_not_depend_on_batch_size_or_thread(catalog: Catalog, model: str) -> None:
    classifier = catalog.load(model)
    photos = [drawings.ship(100 + 7 * i, 90) for i in range(37)]
    single = [classifier.predict(photo).scores for photo in photos]
    for size in (2, 5, 37):
        batch = [
            prediction.scores
            for start in range(0, 37, size)
            for prediction in classifier.predict_many(photos[start : start + size])
        ]
        for ours, theirs in zip(batch, single, strict=True):
            assert ours == pytest.approx(theirs, abs=1e-5)
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda photo: classifier.predict(photo).scores, photos))
    assert parallel == single


def test_scores_are_equal_for_bytes_path_and_image(catalog: Catalog, photo: Path) -> None:
    classifier = catalog.load("classic")
    data = photo.read_bytes()
    answers = [classifier.predict(p) for p in (photo, str(photo), data)]
    assert answers[0].scores == answers[1].scores == answers[2].scores
    assert [answer.photo for answer in answers] == [str(photo), str(photo), None]
    png = BytesIO()
    drawings.ship(64, 64).save(png, "PNG")
    image = Image.open(png)
    assert classifier.predict(image).scores == classifier.predict(png.getvalue()).scores


def test_empty_batch_gives_no_predictions(catalog: Catalog) -> None:
    assert catalog.load("classic").predict_many([]) == []


def test_invalid_photo_raises_image_error(catalog: Catalog) -> None:
    with pytest.raises(ImageError):
        catalog.load("classic").predict(b"no photo")


def test_verdict_follows_the_thresholds(
    catalog: Catalog, ship: Image.Image, tmp_path: Path
) -> None:
    plain = {"exponent": 1.0, "beta": (1.0, 1.0, 0.0)}
    confidence = with_config(catalog, tmp_path, **plain).predict(ship).confidence
    verdicts = []
    for none_below, unsure_below in (
        (confidence + 0.01, 0.0),
        (confidence - 0.01, min(confidence + 0.01, 1.0)),
        (confidence - 0.02, confidence - 0.01),
    ):
        verdict = VerdictConfig(
            method="max_softmax", none_below=none_below, unsure_below=unsure_below
        )
        classifier = with_config(catalog, tmp_path, **plain, verdict=verdict)
        verdicts.append(classifier.predict(ship).verdict)
    assert verdicts == ["none", "unsure", "known"]


def test_mirror_view_makes_outputs_symmetric(catalog: Catalog, ship: Image.Image) -> None:
    classifier = catalog.load("classic")
    assert classifier.config.views == ("identity", "mirror")
    small = ship.resize((32, 32))
    seen = np.asarray(small)[None]
    ours, mirrored = classifier.outputs(seen), classifier.outputs(seen[:, :, ::-1])
    assert np.allclose(ours.logits, mirrored.logits, atol=1e-5)
    maps, mirrored_maps = classifier.maps(seen), classifier.maps(seen[:, :, ::-1])
    assert maps.shape == (1, 13, 13, 10)
    assert np.allclose(maps, mirrored_maps[:, :, ::-1], atol=1e-4)


def with_config(catalog: Catalog, folder: Path, **changes: object) -> Classifier:
    """Return `classic` with changes to its config.json."""
    classic = catalog.bundle("classic")
    config = classic.config.model_copy(update=changes)
    files = {name: classic.read(name) for name in (MODEL, VERDICT) if name in config.sha256}
    bundle = write_bundle(folder / "classic", config, files)
    return Classifier(bundle, threads=1)


def test_views_are_averaged(catalog: Catalog, ship: Image.Image, tmp_path: Path) -> None:
    one = with_config(catalog, tmp_path / "one", views=("identity",))
    seen = np.asarray(ship.resize((32, 32)))
    # As in airbench: pad by one reflected pixel, then take windows of 32.
    framed = np.pad(seen, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    mirrored = framed[:, ::-1]
    expected = {
        "identity": seen,
        "mirror": seen[:, ::-1],
        "up_left": framed[2:, 2:],
        "down_right": framed[:-2, :-2],
        "mirror_up_left": mirrored[2:, 2:],
        "mirror_down_right": mirrored[:-2, :-2],
    }
    assert set(expected) == set(get_args(View))
    logits = []
    for view, image in expected.items():
        alone = with_config(catalog, tmp_path / view, views=(view,))
        logits.append(one.outputs(image[None]).logits)
        assert np.allclose(alone.outputs(seen[None]).logits, logits[-1], atol=1e-4), view
    all_views = with_config(catalog, tmp_path / "all", views=tuple(expected))
    given = all_views.outputs(seen[None]).logits
    assert np.allclose(given, np.mean(logits, axis=0), atol=1e-4)


def test_three_crops_are_averaged(catalog: Catalog, tmp_path: Path) -> None:
    spec = catalog.bundle("classic").config.input.model_copy(update={"resize": "three_crops"})
    classifier = with_config(
        catalog, tmp_path, input=spec, temperature=1.0, exponent=1.0, beta=(1.0, 1.0, 0.0)
    )
    wide, square = drawings.ship(60, 48), drawings.ship(64, 64)
    both = classifier.predict_many([wide, square, wide], saliency=True)
    seen = crops(np.asarray(wide), spec)
    assert len(seen) == 3
    expected = softmax(classifier.outputs(seen).logits.mean(axis=0))
    scores = [both[0].scores[label] for label in classifier.labels]
    assert scores == pytest.approx(list(expected), abs=1e-5)
    assert both[0].scores == both[2].scores
    alone = classifier.predict(square, saliency=True)
    assert both[1].scores == pytest.approx(alone.scores, abs=1e-6)
    middle = classifier.predict(Image.fromarray(seen[1]), saliency=True)
    assert middle.label == both[0].label, "the maps are comparable only for equal labels"
    assert middle.saliency is not None
    assert both[0].saliency is not None
    assert np.allclose(both[0].saliency, middle.saliency, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_saliency_is_computed_on_request(catalog: Catalog, model: str, photo: Path) -> None:
    classifier = catalog.load(model)
    saliency = classifier.predict(photo, saliency=True).saliency
    assert saliency is not None
    assert saliency.shape == (classifier.config.input.height, classifier.config.input.width)
    assert saliency.dtype == np.float32
    assert saliency.min() >= 0
    assert 0.5 < saliency.max() <= 1


def test_load_accepts_a_model_name(monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    monkeypatch.setenv("TENSIGHT_MODELS", str(ROOT / "models"))
    assert core.load("baseline").predict(photo).model == "baseline"


def test_invalid_flatbuffer_is_rejected() -> None:
    with pytest.raises(BundleError, match="cannot be loaded"):
        Engine(b"not a model", shape=(32, 32), classes=10, threads=1)


def test_engine_rejects_mismatched_labels_or_shape(catalog: Catalog) -> None:
    weights = catalog.bundle("classic").read(MODEL)
    with pytest.raises(BundleError, match=r"config\.json names 7 labels"):
        Engine(weights, shape=(32, 32), classes=7, threads=1)
    with pytest.raises(BundleError, match="cannot run on images of shape"):
        Engine(weights, shape=(40, 40), classes=10, threads=1)


def renew() -> None:
    """Write golden.json."""
    catalog = Catalog(Settings(models=ROOT / "models"))
    golden = {}
    for model in MODELS:
        prediction = catalog.load(model).predict(drawings.ship(640, 480))
        weights = catalog.bundle(model).config.sha256[MODEL]
        golden[model] = {"weights": weights, "scores": prediction.scores}
    GOLDEN.write_text(json.dumps(golden, indent=1) + "\n")


if __name__ == "__main__":
    renew()
