"""What people read: cards, plots, the index of models; all from config.json and metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from core.bundle import CARD, METRICS, Bundle, Config, Metrics

__all__ = ["files", "index", "leaderboard"]

_CURVES = "curves.png"
_CONFUSION = "confusion.png"
_RELIABILITY = "reliability.png"
_BESIDE = "Beside them, the student report's figures for its model of this name.\n"


def files(config: Config, metrics: Metrics) -> dict[str, bytes]:
    """metrics.json, the plots and the card of a model, by file name."""
    return {
        METRICS: (metrics.model_dump_json(indent=2) + "\n").encode(),
        _CURVES: _curves(metrics),
        _CONFUSION: _confusion(config, metrics),
        _RELIABILITY: _reliability(metrics),
        CARD: _card(config, metrics).encode(),
    }


def leaderboard(models: Sequence[tuple[Config, Metrics]]) -> str:
    """A Markdown table of models, the most accurate first."""
    lines = [
        "| model | accuracy | student report | F1 | ECE | photos right | told none | parameters "
        "| MB | ms a photo |",
        f"| --- |{' ---: |' * 9}",
    ]
    for config, metrics in sorted(models, key=lambda model: -model[1].test.accuracy):
        test = metrics.test
        reported = f"{metrics.reported.accuracy:.4f}" if metrics.reported else ""
        right = told = ""
        if metrics.photos is not None:
            right, told = (
                f"{share.share:.3f}" if share is not None else ""
                for share in (metrics.photos.accuracy, metrics.photos.told_none)
            )
        lines.append(
            f"| {config.title} (`{config.name}`) | {test.accuracy:.4f} | {reported} "
            f"| {test.f1:.4f} | {test.ece:.4f} | {right} | {told} | {metrics.parameters:,} "
            f"| {metrics.bytes / 1e6:.1f} | {metrics.milliseconds:.1f} |"
        )
    return "\n".join(lines) + "\n"


def measured_on(models: Sequence[tuple[Config, Metrics]]) -> str:
    """A sentence that says what the leaderboard's figures are."""
    tests = sorted({f"{m.test.n:,} rows of {m.test.data}" for _, m in models})
    machines = sorted({m.origin.hardware for _, m in models})
    known = sorted({m.photos.accuracy.n for _, m in models if m.photos and m.photos.accuracy})
    none = sorted({m.photos.told_none.n for _, m in models if m.photos and m.photos.told_none})
    photos = ""
    if known and none:
        photos = (
            f" Photos that nothing was chosen by: share of {_either(known)} of a known class that "
            f"get their label, and of {_either(none)} of none that are told so."
        )
    return (
        f"Accuracy, macro F1 and expected calibration error (ECE, 15 bins) on {'; '.join(tests)}, "
        f"measured on the stored weights; milliseconds at batch 1, decoding apart, on "
        f"{'; '.join(machines)}.{photos}\n"
    )


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def index(bundles: Sequence[Bundle]) -> str:
    """models/README.md."""
    models = [(bundle.config, bundle.metrics()) for bundle in bundles]
    return (
        "# Models\n\n"
        "Made by `tensight evaluate`; do not edit. One folder a model, laid out as its repository "
        "on the Hugging Face Hub; the card in it says more.\n\n"
        f"{leaderboard(models)}\n{measured_on(models)}"
    )


def _card(config: Config, metrics: Metrics) -> str:
    test, training, made = metrics.test, config.training, metrics.origin
    head: dict[str, Any] = {
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
        head["datasets"] = list(datasets)
    rows = [
        ("accuracy", test.accuracy, metrics.reported and metrics.reported.accuracy),
        ("accuracy, one view", metrics.single_view, None),
        ("accuracy, float32 weights (when exported)", metrics.float32, None),
        (f"accuracy lost to {config.precision} weights", metrics.lost, None),
        ("precision (macro)", test.precision, metrics.reported and metrics.reported.precision),
        ("recall (macro)", test.recall, metrics.reported and metrics.reported.recall),
        ("F1 (macro)", test.f1, metrics.reported and metrics.reported.f1),
        ("log loss, nats", test.log_loss, None),
        ("ECE, 15 bins", test.ece, None),
    ]
    beside = metrics.reported is not None
    table = [["", "here", "student report"], ["---", "---:", "---:"]] + [
        [name, f"{ours:.4f}", "" if reported is None else f"{reported:.4f}"]
        for name, ours, reported in rows
        if ours is not None
    ]
    figures = "\n".join(f"| {' | '.join(row if beside else row[:2])} |" for row in table)
    classes = "\n".join(
        f"| {c.label} | {c.precision:.3f} | {c.recall:.3f} | {c.f1:.3f} | {c.support:,} |"
        for c in test.classes
    )
    verdicts = ", ".join(f"{verdict} {n:,}" for verdict, n in test.verdicts.items())
    versions = ", ".join(f"{name} {number}" for name, number in made.versions.items())
    return f"""---
{yaml.safe_dump(head, sort_keys=False)}---

# {config.title}

{config.description}

Made by `{made.command}`; do not edit.

## Use

```python
import core

prediction = core.load("{config.name}").predict("photo.jpg")
```

It knows {len(config.labels)} labels: {", ".join(config.labels)}. The confidence is calibrated
(temperature {config.temperature:.3f}). The verdict is `none` under a known_score of
{config.verdict.none_below:.3f} and else `unsure` under a confidence of
{config.verdict.unsure_below:.3f}; both come from the rows held out for validation.

## Figures

On {test.n:,} rows of {test.data}, from model.tflite ({metrics.bytes:,} bytes,
{config.precision} weights), views {" + ".join(config.views)}.
{_BESIDE if beside else ""}
{figures}

Verdicts: {verdicts}. One photo takes {metrics.milliseconds:.2f} ms at batch 1, decoding apart.

| class | precision | recall | F1 | rows |
| --- | ---: | ---: | ---: | ---: |
{classes}

![Confusion matrix]({_CONFUSION})
![Reliability diagram]({_RELIABILITY})
{_photos(config, metrics)}
## Training

Recipe `{training.recipe}`, {training.data}, seed {training.seed}; {training.epochs} epochs, of
which, among those of images of the served size, epoch {metrics.best_epoch} was best on
{metrics.validation.n:,} rows held out for validation (accuracy there, all views,
{metrics.validation.accuracy:.4f}). {metrics.parameters:,} parameters,
{metrics.training_seconds / 60:.0f} minutes on {training.hardware}, {training.date}, code
{training.commit}.
{_notes(config)}
![Training curves]({_CURVES})

Measured on {made.hardware}, {made.date}, code {made.commit}; {versions}.

## Limits

It takes {config.input.height}×{config.input.width} pixels: a large photo is scaled down to that,
and small things in it are lost. The confidence holds for photos like those of the data set.
"""


def _notes(config: Config) -> str:
    return f"\n{config.training.notes}\n" if config.training.notes else ""


def _photos(config: Config, metrics: Metrics) -> str:
    """What the card says of photos larger than the images that were learned from."""
    lines: list[str] = []
    if metrics.resize is not None:
        by_rule = metrics.resize.accuracy
        rules = ", ".join(f"`{rule}` {share:.4f}" for rule, share in by_rule.items())
        others = {rule: share for rule, share in by_rule.items() if rule != config.input.resize}
        gains = ", ".join(
            f"{by_rule[config.input.resize] - share:+.4f} over `{rule}`"
            for rule, share in others.items()
        )
        lines += [
            f"The resize rule is `{config.input.resize}`, chosen by the accuracy on "
            f"{metrics.resize.n:,} images cut to 4:3 and 3:4 ({metrics.resize.data}): {rules}. It "
            f"gains {gains}; three crops would be taken only where they gain a hundredth over both "
            "others.",
            "",
        ]
    if metrics.photos is not None:
        photos = metrics.photos
        shares = {
            "in class: right label": photos.accuracy,
            **photos.recall,
            "in class: known, and right": photos.known_and_right,
            "in class: told none": photos.known_told_none,
            "of no class: told none": photos.told_none,
            "of no class: taken for known": photos.taken_for_known,
        }
        lines += [
            f"On {photos.n} photos that nothing was chosen by:",
            "",
            "| | n | share | 95% interval |",
            "| --- | ---: | ---: | ---: |",
            *(
                f"| {what} | {e.n} | {e.share:.3f} | {e.low:.3f} to {e.high:.3f} |"
                for what, e in shares.items()
                if e is not None
            ),
            "",
        ]
    return "\n".join(["", "## Photos", "", *lines]) if lines else ""


def _curves(metrics: Metrics) -> bytes:
    figure = Figure(figsize=(8, 3), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    epochs = [c.epoch for c in metrics.curves]
    loss.plot(epochs, [c.loss for c in metrics.curves], label="train")
    loss.plot(epochs, [c.validation_loss for c in metrics.curves], label="validation")
    loss.set(xlabel="epoch", ylabel="loss (nats)")
    accuracy.plot(epochs, [c.accuracy for c in metrics.curves], label="train")
    accuracy.plot(epochs, [c.validation_accuracy for c in metrics.curves], label="validation")
    accuracy.set(xlabel="epoch", ylabel="accuracy")
    for axes in (loss, accuracy):
        axes.axvline(metrics.best_epoch, color="grey", linewidth=0.8, linestyle=":")
        axes.legend()
        axes.grid(alpha=0.3)
    return _png(figure)


def _confusion(config: Config, metrics: Metrics) -> bytes:
    counts = np.asarray(metrics.test.confusion, np.float64)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    k = len(config.labels)
    side = min(2.5 + 0.45 * k, 20)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="answer", ylabel="truth")
    axes.set_xticks(range(k), config.labels, rotation=90)
    axes.set_yticks(range(k), config.labels)
    if k <= 30:
        for i in range(k):
            for j in range(k):
                shade = "white" if shares[i, j] > 0.5 else "black"
                axes.text(
                    j, i, f"{counts[i, j]:.0f}", ha="center", va="center", color=shade, size=8
                )
    return _png(figure)


def _reliability(metrics: Metrics) -> bytes:
    figure = Figure(figsize=(4.2, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle=":")
    bins = [b for b in metrics.test.reliability if b.accuracy is not None]
    axes.bar(
        [b.low for b in bins],
        [b.accuracy or 0.0 for b in bins],
        width=[b.high - b.low for b in bins],
        align="edge",
        edgecolor="white",
    )
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set_title(f"ECE {metrics.test.ece:.4f}, {metrics.test.n:,} rows")
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = BytesIO()
    # Without the metadata the same figures give the same bytes.
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()
