"""TenSight's core: trained models behind one small interface.

import core

classifier = core.load("classic")
prediction = classifier.predict("photo.jpg")
"""

from __future__ import annotations

from core._version import __version__
from core.errors import (
    AccessError,
    BundleError,
    BusyError,
    CommandUnavailableError,
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
    TenSightError,
    TrainingError,
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
    "CommandUnavailableError",
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
    "TenSightError",
    "Timing",
    "TrainingError",
    "__version__",
    "load",
]


def load(name: str | None = None) -> Classifier:
    """Load a model by name, with the settings of the environment.

    Args:
        name: As in `tensight models list`; None: the default one.

    Raises:
        ModelNotFoundError: No model of that name.
        BundleError: Its folder is damaged.
        SettingsError: A TENSIGHT_ variable is wrong.
    """
    return Catalog(Settings.read()).load(name)
