"""Rollouts of an installed candidate beside a bundled model, and fake workers for it."""

from __future__ import annotations

import asyncio
import io
import shutil
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from core.bundle.folder import Bundle
from core.inference.classifier import Classifier
from core.inference.prediction import Prediction
from core.registry.catalog import Catalog
from core.registry.revisions import RevisionStore, StoredRevision
from core.rollout.assignment import is_assigned
from core.rollout.traffic import Rollouts, Timings
from core.serving.local import LocalPredictor
from core.settings import Settings
from core.store.rollouts import Rollout
from core.store.store import Store
from tests.conftest import ROOT
from tests.support import drawings
from tests.support.catalogs import failing
from tests.support.releases import retitled
from tests.support.servers import wait_for

__all__ = [
    "MODEL",
    "CatalogWithFailingCandidate",
    "apply_rollout",
    "ask",
    "begin_rollout",
    "client_of",
    "drawing",
    "fake_engine_worker",
    "fake_worker",
    "install_candidate",
    "refresh_until",
    "rollout_predictor",
    "settings_with_model",
]

MODEL = "baseline"


def settings_with_model(folder: Path, model: str = MODEL) -> Settings:
    """Return settings with one bundled model and a home of their own."""
    shutil.copytree(ROOT / "models" / model, folder / "models" / model)
    return Settings(models=folder / "models", home=folder / "home", threads=1)


def install_candidate(
    settings: Settings, title: str = "Candidate", model: str = MODEL, **changes: object
) -> str:
    """Install another revision of the model, with the same weights, and return its name.

    Args:
        settings: Settings with the model.
        title: Title of the revision.
        model: Name of the model.
        changes: Fields of its input that differ.
    """
    revisions = RevisionStore(settings.home)
    with revisions.staging() as staging:
        shutil.copytree(settings.models / model, staging / model)
        retitled(staging / model, title, **changes)
        stored = StoredRevision(Bundle.open(staging / model), "owner/models", "0" * 40, "2026")
        with revisions.changing():
            return revisions.add(stored).revision


def rollout_predictor(
    settings: Settings, catalog: Catalog | None = None, **changes: Any
) -> LocalPredictor:
    """Create a predictor that checks its rollouts continuously.

    Args:
        settings: Settings of models and database.
        catalog: Its models; None for those of the settings.
        changes: Arguments of `Rollouts` other than the usual ones.
    """
    catalog = catalog or Catalog(settings)
    return LocalPredictor(
        catalog,
        queue_size=64,
        deadline_s=60,
        rollouts=lambda is_idle: Rollouts(
            catalog,
            lambda: Store.find(settings),
            is_idle=is_idle,
            timings=Timings(poll_s=0.02, store_s=0.05, retry_s=0.02),
            **changes,
        ),
    )


def begin_rollout(
    store: Store, settings: Settings, candidate: str, kind: Literal["canary", "shadow"] = "canary"
) -> Rollout:
    """Begin a canary for half of the clients, or a shadow for all photos."""
    live = Bundle.open(settings.models / MODEL).revision
    return store.rollouts.begin(
        MODEL,
        kind,
        candidate=candidate,
        live=live,
        share=1.0 if kind == "shadow" else 0.5,
        slow_ms=1e6,
    )


def ask(predictor: LocalPredictor, photo: Path, client: str | None) -> Prediction:
    """Return the answer to a photo of a client; None for a trusted caller."""
    return asyncio.run(predictor.predict(photo.read_bytes(), model=MODEL, client=client))


def drawing(seed: int) -> bytes:
    """Return a photo of its own for each seed."""
    stream = io.BytesIO()
    drawings.ship(200 + seed, 150).save(stream, "JPEG")
    return stream.getvalue()


def client_of(rollout: Rollout, *, assigned: bool) -> str:
    """Return a client whom a canary answers, or does not."""
    return next(c for i in range(99) if is_assigned(rollout, c := f"chat:{i}") == assigned)


def apply_rollout(rollouts: Rollouts) -> None:
    """Let a process apply the active rollout, and wait until its candidate is loaded."""
    refresh_until(rollouts, lambda: rollouts.status() != [])


def refresh_until(rollouts: Rollouts, condition: Callable[[], bool]) -> None:
    """Read the active rollouts until a condition holds."""

    def is_reached() -> bool:
        rollouts.refresh()
        return condition()

    wait_for(is_reached)


class CatalogWithFailingCandidate(Catalog):
    """A catalog whose candidates fail at every photo, or compute NaN."""

    nan = False

    def load_candidate(self, bundle: Bundle, **options: Any) -> Classifier:
        return failing(super().load_candidate(bundle, **options), nan=self.nan)


def fake_worker(code: str) -> tuple[str, ...]:
    """Return the command line of a shadow's worker that runs some code for each photo.

    The code can use `answer(dict)`, and the variables `photo` and `usual`, an answer.
    """
    usual = {"label": "cat", "verdict": "known", "confidence": 0.9, "known_score": 1.0, "ms": 2.0}
    return _worker(code, f"usual = {usual}\nanswer({{'ready': True}})\n")


def fake_engine_worker(code: str, *, features: int = 3) -> tuple[str, ...]:
    """Return the command line of an engine's worker that runs some code for each request.

    The code can use `answer(dict, bytes)`, and the variables `header` and `photo`, the pixels.

    Args:
        code: The code.
        features: Length of the embeddings.
    """
    return _worker(code, f"answer({{'features': {features}, 'has_features': False}})\n")


def _worker(code: str, prelude: str) -> tuple[str, ...]:
    program = (
        "import sys, time, os\n"
        "from core.messages import read_message, write_message\n"
        "def answer(values, body=b''): write_message(sys.stdout.buffer, values, body)\n"
        + prelude
        + "while True:\n"
        "    try:\n"
        "        header, photo = read_message(sys.stdin.buffer, max_bytes=1 << 24)\n"
        "    except EOFError:\n"
        "        break\n" + textwrap.indent(code, "    ")
    )
    return sys.executable, "-c", program
