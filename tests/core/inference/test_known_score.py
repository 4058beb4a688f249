from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from core.bundle.config import MODEL, VERDICT, Config, VerdictMethod
from core.bundle.folder import Bundle, write_bundle
from core.errors import BundleError
from core.inference.classifier import Classifier
from core.inference.engine import Outputs
from core.inference.known_score import (
    OOD_PARAMS,
    OodParams,
    known_scores,
    project_embeddings,
    read_ood_params,
    write_ood_params,
)
from core.registry.catalog import Catalog
from tests.conftest import ROOT
from tests.support import drawings

K, D = 4, 6
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(D, K))
BIAS = RNG.normal(size=K)
EMBEDDING = RNG.normal(size=(3, D)).astype(np.float32)
OUTPUTS = Outputs((EMBEDDING @ WEIGHTS + BIAS).astype(np.float32), EMBEDDING)
NONE: OodParams = {}


def at(temperature: float) -> Config:
    config = Bundle.open(ROOT / "models" / "classic").config
    plain = {"temperature": temperature, "exponent": 1.0, "beta": (1.0, 1.0, 0.0)}
    return config.model_copy(update=plain)


def test_logit_scores_equal_their_formulas() -> None:
    logits = OUTPUTS.logits.astype(float)
    powers = np.exp(logits / 1.7)
    p = powers / powers.sum(axis=1, keepdims=True)
    assert known_scores("max_softmax", OUTPUTS, at(1.7), NONE) == pytest.approx(p.max(axis=1))
    assert known_scores("energy", OUTPUTS, at(1.7), NONE) == pytest.approx(
        np.log(np.exp(logits).sum(axis=1))
    )
    expected = [-sum((q * (1 - q)) ** 0.1 for q in row) for row in p]
    assert known_scores("gen", OUTPUTS, at(1.7), NONE) == pytest.approx(expected)


def test_known_scores_of_huge_logits_are_finite() -> None:
    outputs = Outputs(np.array([[5e4, -5e4]], np.float32), np.zeros((1, 2), np.float32))
    for method in ("max_softmax", "energy", "gen"):
        assert np.isfinite(known_scores(method, outputs, at(1.0), NONE)).all()


def test_boundary_distance_equals_its_formula() -> None:
    """The distance is taken in the embedding, to the plane on which two classes are equal."""
    center = RNG.normal(size=D).astype(np.float32)
    differences = WEIGHTS[:, :, None] - WEIGHTS[:, None, :]
    arrays = {"distances": np.linalg.norm(differences, axis=0), "center": center}
    expected = []
    for z, logits in zip(EMBEDDING.astype(float), OUTPUTS.logits, strict=True):
        best = int(logits.argmax())
        others = [c for c in range(K) if c != best]
        far = [
            abs((WEIGHTS[:, best] - WEIGHTS[:, c]) @ z + BIAS[best] - BIAS[c])
            / np.linalg.norm(WEIGHTS[:, best] - WEIGHTS[:, c])
            for c in others
        ]
        expected.append(np.mean(far) / np.linalg.norm(z - center))
    assert known_scores("fdbd", OUTPUTS, at(1.0), arrays) == pytest.approx(expected, rel=1e-4)


def test_neighbour_distance_equals_its_formula() -> None:
    basis = np.linalg.qr(RNG.normal(size=(D, D)))[0].astype(np.float32)
    train = RNG.normal(size=(25, D)).astype(np.float32)
    arrays = {"axes": basis}
    neighbours = project_embeddings(train, arrays)
    assert np.allclose(np.linalg.norm(neighbours, axis=1), 1, atol=1e-5)

    def direction(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(x / np.linalg.norm(x))

    expected = [
        -sorted(float(((direction(z) - direction(t)) ** 2).sum()) for t in train)[9]
        for z in EMBEDDING
    ]
    given = known_scores("knn", OUTPUTS, at(1.0), {**arrays, "neighbours": neighbours})
    assert given == pytest.approx(expected, abs=1e-3)


def with_verdict(
    bundle: Bundle, folder: Path, method: VerdictMethod, arrays: OodParams | bytes | None
) -> Bundle:
    verdict = bundle.config.verdict.model_copy(update={"method": method})
    config = bundle.config.model_copy(update={"verdict": verdict})
    files = {MODEL: bundle.read(MODEL)}
    if arrays is not None:
        files[VERDICT] = arrays if isinstance(arrays, bytes) else write_ood_params(arrays)
    return write_bundle(folder / bundle.config.name, config, files)


def test_classifier_uses_the_configured_method(catalog: Catalog, tmp_path: Path) -> None:
    plain = catalog.bundle("classic")
    photo = drawings.ship(200, 150)
    outputs = catalog.load("classic").outputs(np.asarray(photo.resize((32, 32), 3))[None])
    d = outputs.embedding.shape[1]
    arrays = {"distances": np.ones((10, 10), np.float32), "center": np.zeros(d, np.float32)}
    assert set(arrays) == set(OOD_PARAMS["fdbd"])
    bundle = with_verdict(plain, tmp_path, "fdbd", arrays)
    many = Classifier(bundle, threads=1).predict_many([photo] * 3)
    alone = Classifier(bundle, threads=1).predict(photo)
    assert alone.known_score == pytest.approx(many[1].known_score, abs=1e-5)
    assert alone.scores == pytest.approx(catalog.load("classic").predict(photo).scores, abs=1e-6)
    assert alone.known_score != alone.confidence


def compressed(center: NDArray[np.float64]) -> bytes:
    """Return a small archive that unpacks to a large one."""
    buffer = BytesIO()
    np.savez_compressed(buffer, distances=np.ones((10, 10)), center=center)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "has no digest for verdict.npz"),
        (
            {"center": np.zeros(128)},
            r"cannot be used: .* requires the arrays distances, center\. D",
        ),
        ({"distances": np.ones((10, 10)), "center": np.zeros(7)}, r"a center of shape \(128,\)"),
        ({"distances": np.ones((10, 10)), "center": np.zeros(1)}, r"a center of shape \(128,\)"),
        ({"distances": np.ones((11, 10)), "center": np.zeros(128)}, r"of shape \(10, 10\)"),
        ({"distances": np.zeros((10, 10)), "center": np.zeros(128)}, "distances above 0"),
        ({"distances": np.full((10, 10), np.nan), "center": np.zeros(128)}, "not finite"),
        ({"distances": np.full((10, 10), 1e300), "center": np.zeros(128)}, "not finite"),
        ({"distances": np.ones((10, 10), int), "center": np.zeros(128)}, "has dtype int64"),
        (compressed(np.zeros(2 * 10**6)), "unpacks to 16,"),
        (b"no archive", "cannot be used"),
        (b"PK", "cannot be used"),
        (b"\x93NUMPY\x01\x00 cut", "cannot be used"),
        (b"0" * 4_000_001, "has 4,000,001 bytes"),
    ],
)
def test_invalid_arrays_are_reported(
    catalog: Catalog, tmp_path: Path, arrays: OodParams | bytes | None, message: str
) -> None:
    bundle = with_verdict(catalog.bundle("classic"), tmp_path, "fdbd", arrays)
    with pytest.raises(BundleError, match=message):
        Classifier(bundle, threads=1)


def test_corrupt_arrays_are_detected(catalog: Catalog, tmp_path: Path) -> None:
    """Truncated bytes and flipped bits raise a BundleError or change no shape."""
    arrays = {"distances": np.ones((10, 10)), "center": np.zeros(128)}
    whole = write_ood_params(arrays)
    rng = np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(whole[: rng.integers(len(whole))] if i % 2 else whole)
        if damaged:
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        bundle = with_verdict(catalog.bundle("classic"), tmp_path, "fdbd", bytes(damaged))
        try:
            given = read_ood_params(bundle, 128)
        except BundleError:
            continue
        assert {name: values.shape for name, values in given.items()} == {
            "distances": (10, 10),
            "center": (128,),
        }


@pytest.mark.parametrize("rows", [5, 9, 10])
def test_too_few_neighbours_are_rejected(catalog: Catalog, tmp_path: Path, rows: int) -> None:
    arrays = {"axes": np.eye(128)[:, :4], "neighbours": np.ones((rows, 4)) / 2}
    bundle = with_verdict(catalog.bundle("classic"), tmp_path, "knn", arrays)
    if rows < 10:
        with pytest.raises(BundleError, match="at least 10 neighbours"):
            read_ood_params(bundle, 128)
    else:
        assert set(read_ood_params(bundle, 128)) == {"axes", "neighbours"}


def test_probe_score_is_log_odds_against_none() -> None:
    rng = np.random.default_rng(2)
    embedding = rng.normal(size=(5, 4)).astype(np.float32)
    arrays: OodParams = {"kernel": rng.normal(size=(4, 4)), "bias": rng.normal(size=4)}
    outputs = Outputs(np.zeros((5, 3), np.float32), embedding)
    config = at(1.0)
    logits = embedding @ arrays["kernel"] + arrays["bias"]
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = np.log((1 - shares[:, 3]) / shares[:, 3])
    assert known_scores("probe", outputs, config, arrays) == pytest.approx(expected, abs=1e-4)


def test_probe_of_wrong_shape_is_rejected(catalog: Catalog, tmp_path: Path) -> None:
    arrays = {"kernel": np.zeros((128, 10)), "bias": np.zeros(10)}
    bundle = with_verdict(catalog.bundle("classic"), tmp_path, "probe", arrays)
    with pytest.raises(BundleError, match=r"a kernel of shape \(128, 11\) and a bias"):
        read_ood_params(bundle, 128)


@pytest.mark.parametrize("method", OOD_PARAMS)
def test_known_score_does_not_depend_on_batch_size(
    catalog: Catalog, tmp_path: Path, method: VerdictMethod
) -> None:
    rng = np.random.default_rng(1)
    directions = rng.normal(size=(500, 64))
    arrays: dict[str, NDArray[np.float64]] = {
        "distances": np.ones((10, 10)),
        "center": np.zeros(128),
        "axes": np.linalg.qr(rng.normal(size=(128, 64)))[0],
        "neighbours": directions / np.linalg.norm(directions, axis=1, keepdims=True),
        "kernel": rng.normal(size=(128, 11)),
        "bias": rng.normal(size=11),
    }
    wanted = {name: arrays[name] for name in OOD_PARAMS[method]}
    bundle = with_verdict(catalog.bundle("classic"), tmp_path, method, wanted or None)
    classifier = Classifier(bundle, threads=1)
    photos = [drawings.ship(90 + 3 * i, 80) for i in range(33)]
    many = [answer.known_score for answer in classifier.predict_many(photos)]
    single = [classifier.predict(photo).known_score for photo in photos]
    assert many == pytest.approx(single, abs=1e-5)
