"""Generated pages and cards of a models folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.bundle.config import CARD, MODEL
from core.bundle.folder import Bundle, write_bundle
from core.training.pages import write_cards, write_pages
from tests.conftest import ROOT


def test_index_lists_every_model(made_models: Path) -> None:
    write_pages(made_models)
    assert "Shapes (`shapes`)" in (made_models / "README.md").read_text("utf-8")


def test_write_cards_replaces_outdated_cards_only(tmp_path: Path) -> None:
    for name in ("baseline", "classic"):
        shutil.copytree(ROOT / "models" / name, tmp_path / name)
    current = Bundle.open(tmp_path / "baseline")
    classic = Bundle.open(tmp_path / "classic")
    files = {name: classic.read(name) for name in classic.config.sha256}
    write_bundle(classic.folder, classic.config, files | {CARD: b"an older card"})
    before = (tmp_path / "baseline" / MODEL).stat().st_ino
    write_cards(tmp_path)
    for name, bundle in (("baseline", current), ("classic", classic)):
        written = Bundle.open(tmp_path / name)
        written.verify()
        assert written.read(CARD) == bundle.read(CARD)
        assert written.revision == bundle.revision
    assert (tmp_path / "baseline" / MODEL).stat().st_ino == before
