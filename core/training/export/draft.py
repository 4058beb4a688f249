"""Configuration of an exported network before selection and calibration."""

from __future__ import annotations

from core.bundle.config import (
    FORMAT_SINCE,
    MODEL,
    Config,
    Family,
    Precision,
    Training,
    VerdictConfig,
    View,
)
from core.photos.preprocess import InputSpec

__all__ = ["draft_config"]

_NO_DIGEST = "0" * 64


def draft_config(
    *,
    name: str,
    title: str,
    description: str,
    family: Family,
    labels: tuple[str, ...],
    spec: InputSpec,
    views: tuple[View, ...],
    precision: Precision,
    training: Training,
    offered: bool = True,
) -> Config:
    """Return config.json of an uncalibrated network, which accepts everything.

    `selection.complete_config` replaces resize rule, calibration and verdict; writing the bundle
    replaces the digests.

    Args:
        name: Name of the model.
        title: Display name.
        description: One or two sentences for the model card.
        family: Training family.
        labels: Name of each logit.
        spec: Input size and normalisation.
        views: Test-time augmentations.
        precision: Number format of the weights.
        training: Training record.
        offered: Whether the page and the bot list the model.
    """
    return Config(
        name=name,
        title=title,
        description=description,
        family=family,
        labels=labels,
        input=spec,
        views=views,
        precision=precision,
        temperature=1.0,
        offered=offered,
        verdict=VerdictConfig(method="max_softmax", none_below=0.0, unsure_below=0.0),
        sha256={MODEL: _NO_DIGEST},
        training=training,
        minimum_version=FORMAT_SINCE,
    )
