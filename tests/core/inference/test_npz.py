"""Arrays of a model folder in NPZ files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.bundle.config import MODEL, VERDICT
from core.bundle.folder import write_bundle
from core.errors import BundleError
from core.inference.classifier import Classifier
from core.inference.known_score import write_ood_params
from core.registry.catalog import Catalog


def test_object_array_is_never_unpickled(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "evil.npz"
    np.savez(file, distances=np.array([print], dtype=object), center=np.zeros(128))
    classic = catalog.bundle("classic")
    verdict = classic.config.verdict.model_copy(update={"method": "fdbd"})
    config = classic.config.model_copy(update={"verdict": verdict})
    files = {MODEL: classic.read(MODEL), VERDICT: file.read_bytes()}
    bundle = write_bundle(tmp_path / "classic", config, files)
    with pytest.raises(BundleError, match="allow_pickle=False"):
        Classifier(bundle, threads=1)


def test_equal_arrays_give_equal_bytes() -> None:
    arrays = {"center": np.arange(4.0)}
    assert write_ood_params(arrays) == write_ood_params(dict(arrays))
