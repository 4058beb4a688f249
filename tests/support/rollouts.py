"""An installed candidate beside a bundled model, and fake workers of shadows."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from core.bundle.folder import Bundle
from core.registry.revisions import RevisionStore, StoredRevision
from core.settings import Settings
from tests.conftest import ROOT
from tests.support.releases import retitled

__all__ = ["MODEL", "fake_worker", "install_candidate", "settings_with_model"]

MODEL = "baseline"


def settings_with_model(folder: Path, model: str = MODEL) -> Settings:
    """Return settings with one bundled model and a home of their own."""
    shutil.copytree(ROOT / "models" / model, folder / "models" / model)
    return Settings(models=folder / "models", home=folder / "home", threads=1)


def install_candidate(settings: Settings, title: str = "Candidate", model: str = MODEL) -> str:
    """Install another revision of the model, with the same weights, and return its name."""
    revisions = RevisionStore(settings.home)
    with revisions.staging() as staging:
        shutil.copytree(settings.models / model, staging / model)
        retitled(staging / model, title)
        stored = StoredRevision(Bundle.open(staging / model), "owner/models", "0" * 40, "2026")
        with revisions.changing():
            return revisions.add(stored).revision


def fake_worker(code: str) -> tuple[str, ...]:
    """Return the command line of a worker that runs some code once it has said it is ready."""
    program = (
        "import sys, time, os\n"
        "from core.photos.messages import read_message, write_message\n"
        "write_message(sys.stdout.buffer, {'ready': True})\n"
        f"read_message(sys.stdin.buffer, max_bytes=1 << 24)\n{code}"
    )
    return sys.executable, "-c", program
