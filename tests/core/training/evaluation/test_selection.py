"""The selection of inference settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.bundle.config import VERDICT, VerdictMethod
from core.bundle.folder import Bundle
from core.settings import Settings
from core.training.data.tiny_imagenet import TINY_HUB_REPO, TinyImageNet
from core.training.evaluation import selection
from core.training.evaluation.evaluation_data import EvaluationData
from core.training.evaluation.selection import complete_config
from core.training.evaluation.verdict_probe import TinyProbe
from tests.conftest import ROOT
from tests.support import made


@pytest.mark.parametrize("method", ["probe", "energy"])
def test_training_record_names_tiny_imagenet_if_its_probe_is_selected(
    method: VerdictMethod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "best_method", lambda comparisons: method)
    settings = Settings(data=made.real_photos(tmp_path), threads=1)
    data = EvaluationData.load_with_real_photos(made.ten(), settings)
    draft = Bundle.open(ROOT / "models" / "classic")
    probe = TinyProbe(TinyImageNet(data.learn, data.learn), 1.0)
    config, files, _ = complete_config(draft, data, settings, probe)
    assert config.verdict.method == method
    assert (VERDICT in files) == (method == "probe")
    assert (TINY_HUB_REPO in config.training.datasets) == (method == "probe")
    assert ("Tiny ImageNet" in config.training.data) == (method == "probe")
