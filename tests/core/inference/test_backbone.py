"""A model file that the classifiers of several models share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.bundle.folder import Bundle
from core.errors import BundleError
from core.inference.backbone import Backbone
from core.inference.isolated_engine import IsolatedEngine
from core.message_process import MessageProcess
from tests.conftest import ROOT

CLASSIC = ROOT / "models" / "classic"


def test_isolated_backbone_has_the_engine_in_another_process() -> None:
    started: list[MessageProcess] = []
    plain = Backbone.load(Bundle.open(CLASSIC), threads=1)
    isolated = Backbone.isolate(Bundle.open(CLASSIC), threads=1, on_start=started.append)
    assert isinstance(isolated.engine, IsolatedEngine)
    assert isolated.engine.features == plain.engine.features
    (process,) = started
    process.close()


def test_changed_model_file_is_not_loaded(tmp_path: Path) -> None:
    folder = shutil.copytree(CLASSIC, tmp_path / "classic")
    bundle = Bundle.open(folder)
    (folder / "model.tflite").write_bytes(b"something else")
    with pytest.raises(BundleError):
        Backbone.load(bundle, threads=1)
