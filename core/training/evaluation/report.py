"""Generated files of a model folder: metrics.json, plots and the model card."""

from __future__ import annotations

from typing import Any

import yaml

from core.bundle.card import CONFUSION, CURVES, RELIABILITY, card
from core.bundle.config import CARD, METRICS, Config
from core.bundle.metrics import Metrics
from core.training.evaluation.plots import draw_confusion, draw_curves, draw_reliability

__all__ = ["card_file", "files"]


def files(config: Config, metrics: Metrics) -> dict[str, bytes]:
    """Generate metrics.json, the plots and the card of a model.

    Args:
        config: Its config.json.
        metrics: Its metrics.

    Returns:
        Contents by file name; without epochs there is no plot of training curves.
    """
    curves = {CURVES: draw_curves(metrics)} if metrics.curves else {}
    return curves | {
        METRICS: (metrics.model_dump_json(indent=2) + "\n").encode(),
        CONFUSION: draw_confusion(config, metrics),
        RELIABILITY: draw_reliability(metrics),
        CARD: card_file(config, metrics),
    }


def card_file(config: Config, metrics: Metrics) -> bytes:
    """Generate the card of a model, README.md, with its front matter for the Hub."""
    return (_front_matter(config, metrics) + card(config, metrics)).encode()


def _front_matter(config: Config, metrics: Metrics) -> str:
    """Return the YAML front matter of a card, which the Hub reads."""
    test, training = metrics.test, config.training
    fields: dict[str, Any] = {
        "license": training.license,
        "library_name": "litert",
        "pipeline_tag": "image-classification",
        "tags": ["tensight", config.family],
        "model-index": [
            {
                "name": config.name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": test.data,
                            "type": test.hub or test.data,
                            "split": "test",
                        },
                        "metrics": [
                            {"type": "accuracy", "value": round(test.accuracy, 4)},
                            {"type": "precision", "value": round(test.precision, 4)},
                            {"type": "recall", "value": round(test.recall, 4)},
                            {"type": "f1", "value": round(test.f1, 4)},
                        ],
                    }
                ],
            }
        ],
    }
    if datasets := training.datasets or ((test.hub,) if test.hub else ()):
        fields["datasets"] = list(datasets)
    return f"---\n{yaml.safe_dump(fields, sort_keys=False)}---\n\n"
