"""The models that rollouts are about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from core.bundle.folder import Bundle
from core.inference.classifier import Classifier
from core.message_process import MessageProcess

__all__ = ["Models"]


class Models(Protocol):
    """The part of `Catalog` that rollouts need."""

    def load(self, name: str | None = None) -> Classifier:
        """Return the classifier of a model's live revision."""

    def default(self) -> str:
        """Return the name of the default model."""

    def bundled(self, name: str) -> Bundle | None:
        """Open the bundled revision of a model; None where there is none."""

    def find_revision(self, name: str, revision: str) -> Bundle | None:
        """Open an installed or bundled revision; None where it is not installed."""

    def folders(self, bundle: Bundle) -> list[Path]:
        """Return the model folder of a bundle, and that of its base where it has one."""

    def load_candidate(
        self, bundle: Bundle, *, on_start: Callable[[MessageProcess], object]
    ) -> Classifier:
        """Load a classifier that may crash or hang without harm to this process."""

    def report(self, problem: str) -> None:
        """Log a problem and tell the operators, once."""
