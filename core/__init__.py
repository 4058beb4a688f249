"""TenSight's core: trained models behind one small interface.

import core

classifier = core.load("classic")
prediction = classifier.predict("photo.jpg")

Public names are loaded when they are first used (PEP 562), so `import core` is cheap.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from core._version import __version__

if TYPE_CHECKING:
    from core.errors import (
        AccessError,
        BundleError,
        BusyError,
        DataError,
        DeadlineError,
        ImageError,
        ListenError,
        MissingExtraError,
        ModelNotFoundError,
        OutputError,
        PhotoReadError,
        PredictorError,
        RateError,
        RequestError,
        SettingsError,
        TeachingError,
        TenSightError,
        TrainingError,
        UnavailableError,
    )
    from core.inference.classifier import Classifier
    from core.inference.prediction import Prediction, Timing
    from core.registry.catalog import Catalog
    from core.settings import Settings

__all__ = [
    "AccessError",
    "BundleError",
    "BusyError",
    "Catalog",
    "Classifier",
    "DataError",
    "DeadlineError",
    "ImageError",
    "ListenError",
    "MissingExtraError",
    "ModelNotFoundError",
    "OutputError",
    "PhotoReadError",
    "Prediction",
    "PredictorError",
    "RateError",
    "RequestError",
    "Settings",
    "SettingsError",
    "TeachingError",
    "TenSightError",
    "Timing",
    "TrainingError",
    "UnavailableError",
    "__version__",
    "load",
]

_ELSEWHERE = {
    "Catalog": "core.registry.catalog",
    "Classifier": "core.inference.classifier",
    "Prediction": "core.inference.prediction",
    "Settings": "core.settings",
    "Timing": "core.inference.prediction",
}


def load(name: str | os.PathLike[str] | None = None) -> Classifier:
    """Load a model by name or from a folder, with the settings of the environment.

    Args:
        name: As in `tensight models list`, or the path of a model folder: a `Path`, or a string
            with a slash in it, such as `./shapes`. None for the default model.

    Raises:
        ModelNotFoundError: No model of that name.
        BundleError: Its folder is damaged, or the base of a taught model is not installed.
        SettingsError: A TENSIGHT_ variable is wrong.
    """
    from core.registry.catalog import Catalog  # noqa: PLC0415  # `import core` stays cheap
    from core.settings import Settings  # noqa: PLC0415

    catalog = Catalog(Settings.read())
    if isinstance(name, os.PathLike):
        return catalog.load_folder(Path(name))
    if name is not None and ("/" in name or os.sep in name):
        return catalog.load_folder(Path(name))
    return catalog.load(name)


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ELSEWHERE.get(name, "core.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
