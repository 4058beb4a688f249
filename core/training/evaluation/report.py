"""What people read: cards, plots, the index of models; all from config.json and metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from core.bundle.card import (
    CONFUSION,
    CURVES,
    RELIABILITY,
    began_with,
    card,
    mean_of_shift,
    separations,
)
from core.bundle.config import CARD, METRICS, Config, Pretrained
from core.bundle.leaderboard import ModelInfo, mean_and_spread
from core.bundle.metrics import Metrics
from core.training.ablation_results import Ablation
from core.training.evaluation.calibrate import ece_if_true
from core.training.recipes import RECIPES

__all__ = ["files", "index", "leaderboard", "measured_on", "results_page"]


def files(config: Config, metrics: Metrics) -> dict[str, bytes]:
    """metrics.json, the plots and the card of a model, by file name."""
    curves = {CURVES: _curves(metrics)} if metrics.curves else {}
    return curves | {
        METRICS: (metrics.model_dump_json(indent=2) + "\n").encode(),
        CONFUSION: _confusion(config, metrics),
        RELIABILITY: _reliability(metrics),
        CARD: (_head(config, metrics) + card(config, metrics)).encode(),
    }


def leaderboard(results: Sequence[ModelInfo]) -> str:
    """A Markdown table of models, the most accurate first."""
    lines = [
        "| model | accuracy | student report | F1 | ECE | photos right | told none | parameters "
        "| MB | ms a photo |",
        f"| --- |{' ---: |' * 9}",
    ]
    for result in _best_first(results):
        metrics = result.metrics
        test = metrics.test
        reported = f"{metrics.reported.accuracy:.4f}" if metrics.reported else ""
        right = told = ""
        if metrics.photos is not None:
            right, told = (
                f"{share.share:.3f}" if share is not None else ""
                for share in (metrics.photos.accuracy, metrics.photos.told_none)
            )
        lines.append(
            f"| {_named(result)} | {test.accuracy:.4f} | {reported} "
            f"| {test.f1:.4f} | {test.ece:.4f} | {right} | {told} | {metrics.parameters:,} "
            f"| {metrics.bytes / 1e6:.1f} | {metrics.milliseconds:.1f} |"
        )
    return "\n".join(lines) + "\n"


def readme_table(results: Sequence[ModelInfo]) -> str:
    """Return a Markdown table of models for the README, the most accurate first.

    Accuracy on photos comes with its number of photos and 95% interval (Wilson 1927).
    """
    lines = [
        "| model | accuracy on CIFAR-10 | accuracy on photos | ms per photo |",
        "| --- | ---: | ---: | ---: |",
    ]
    for result in _best_first(results):
        metrics = result.metrics
        photos = metrics.photos.accuracy if metrics.photos is not None else None
        on_photos = (
            f"{photos.share:.3f} ({photos.low:.3f} to {photos.high:.3f}, n = {photos.n})"
            if photos is not None
            else ""
        )
        lines.append(
            f"| {_named(result)} | {metrics.test.accuracy:.4f} | {on_photos} "
            f"| {metrics.milliseconds:.1f} |"
        )
    machines = sorted({result.metrics.origin.hardware for result in results})
    return (
        "\n".join(lines)
        + "\n\nMeasured on the stored weights; milliseconds at batch size 1 without "
        f"decoding, on {'; '.join(machines)}.\n"
    )


def measured_on(results: Sequence[ModelInfo]) -> str:
    """A sentence that says what the leaderboard's figures are."""
    tests = sorted({f"{r.metrics.test.n:,} rows of {r.metrics.test.data}" for r in results})
    machines = sorted({r.metrics.origin.hardware for r in results})
    apart = [f"`{r.config.name}`" for r in results if r.revision is None]
    seen = [r.metrics.photos for r in results if r.metrics.photos is not None]
    known = sorted({photos.accuracy.n for photos in seen if photos.accuracy})
    none = sorted({photos.told_none.n for photos in seen if photos.told_none})
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
        + (f"Only figures are kept of {', '.join(apart)}, no weights.\n" if apart else "")
    )


def _either(numbers: Sequence[int]) -> str:
    return " or ".join(map(str, numbers))


def index(results: Sequence[ModelInfo]) -> str:
    """models/README.md."""
    return (
        "# Models\n\n"
        "Made by `tensight evaluate`; do not edit. One folder a model, laid out as its repository "
        "on the Hugging Face Hub; the card in it says more.\n\n"
        f"{leaderboard(results)}\n{measured_on(results)}"
    )


def results_page(results: Sequence[ModelInfo], ablation: Ablation | None) -> str:
    """docs/RESULTS.md."""
    figures = ("accuracy", "precision", "recall", "f1")
    lines = [
        "# Results",
        "",
        "Made by `tensight evaluate --all` or `make docs` from models/; do not edit. What the "
        "student report gave for its models (whose epochs were chosen on the very rows they were "
        "measured on) beside what those of this project give: no weights, epoch, temperature, "
        "threshold or rule was chosen on them. (Recipes of VGG16 were changed after attempts whose "
        "figures on them had been seen: TRAINING.md.) Precision, recall and F1 are means over the "
        "classes.",
        "",
        "| model | accuracy: report | here | precision: report | here | recall: report | here "
        "| F1: report | here |",
        f"| --- |{' ---: |' * 2 * len(figures)}",
    ]
    for result in _best_first(results):
        cells = []
        for figure in figures:
            reported = getattr(result.metrics.reported, figure, None)
            cells.append("" if reported is None else f"{reported:.4f}")
            cells.append(f"{getattr(result.metrics.test, figure):.4f}")
        lines.append(f"| {_named(result)} | {' | '.join(cells)} |")
    there = {result.config.name for result in results}
    for recipe in RECIPES.values():
        if recipe.reported is not None and recipe.name not in there:
            cells = [f"{getattr(recipe.reported, figure):.4f} | " for figure in figures]
            lines.append(f"| {recipe.title} (`{recipe.name}`) | {' | '.join(cells)} |")
    lines += [
        "",
        measured_on(results),
        "The engine sees each photo as often as it has views; of three crops, three times that.",
        "",
        "| model | parameters | bytes | weights | resize | views | ms a photo | learned from "
        "| epochs | minutes | on |",
        "| --- | ---: | ---: | --- | --- | ---: | ---: | --- | ---: | ---: | --- |",
    ]
    for result in _best_first(results):
        config, metrics, training = result.config, result.metrics, result.config.training
        began = f"{training.pretrained.network}'s weights (below); " if training.pretrained else ""
        lines.append(
            f"| {_named(result)} | {metrics.parameters:,} | {metrics.bytes:,} | {config.precision} "
            f"| {config.input.resize} | {len(config.views)} | {metrics.milliseconds:.2f} "
            f"| {began}{training.data} "
            f"| {training.epochs or ''} | {metrics.training_seconds / 60:.0f} "
            f"| {training.hardware}, {training.date} |"
        )
    bodies: dict[str, tuple[Pretrained, list[str]]] = {}
    for result in _best_first(results):
        if (body := result.config.training.pretrained) is not None:
            bodies.setdefault(body.sha256, (body, []))[1].append(f"`{result.config.name}`")
    for body, names in bodies.values():
        lines += ["", f"{', '.join(names)} began with these weights: {began_with(body)}"]
    lines += _trust(_best_first(results))
    lines += ["", "## What the report tried", ""]
    if ablation is not None:
        lines += _options(ablation)
    lines += [
        "The report looked at Inception, and left it for VGG16. It is left here too: the Inception "
        "networks of keras.applications take images of at least 75×75 pixels, so that most of "
        "their work on CIFAR-10 would be on pixels that enlarging made up; and what was wanted of "
        "them, ImageNet's features, `mobilenet` has with a tenth of the parameters.",
        "",
    ]
    return "\n".join(lines)


def _trust(results: Sequence[ModelInfo]) -> list[str]:
    """How far each model is to be trusted: calibration, what it does not know, spoiled images."""
    lines = [
        "",
        "## How sure they are",
        "",
        "Expected calibration error (ECE, 15 bins) on the test rows; on sharper images of the same "
        "classes (half of Tiny ImageNet valid; by the other half resize rules and thresholds were "
        "chosen); and on photos of the labels. ECE is never 0, and the fewer the rows, the larger: "
        "beside that on test stands what it would be if the confidences of these very rows were "
        "true (nine in ten of 2,000 draws of who is right).",
        "",
        "| model | ECE, test | if true | ECE, sharper | n | accuracy | mean confidence "
        "| ECE, photos | n | accuracy | mean confidence |",
        f"| --- |{' ---: |' * 10}",
    ]
    for result in results:
        sharp, photos = result.metrics.sharp, result.metrics.photos
        low, high = ece_if_true(result.metrics.test.reliability)
        cells = [f"{result.metrics.test.ece:.4f}", f"{low:.4f} to {high:.4f}", *[""] * 8]
        if sharp is not None:
            cells[2:6] = [
                f"{sharp.ece:.4f}",
                f"{sharp.n:,}",
                f"{sharp.accuracy:.4f}",
                f"{sharp.confidence:.4f}",
            ]
        if photos is not None and photos.accuracy is not None and photos.ece is not None:
            cells[6:] = [
                f"{photos.ece:.3f}",
                f"{photos.accuracy.n}",
                f"{photos.accuracy.share:.3f}",
                f"{photos.confidence:.3f}",
            ]
        lines.append(f"| {_named(result)} | {' | '.join(cells)} |")
    lines += [
        "",
        "## None of the labels",
        "",
        "How well each method tells images of none of the labels from others: area under the curve "
        "(AUROC), and share of them that score higher than the lowest twentieth of the others "
        "(FPR); and the share of each that the model tells to be none, by its own threshold. The "
        "method in bold is the model's. Tiny ImageNet's images are brought down to 32 pixels where "
        "they stand against CIFAR-10's rows, but they come from another source, which may be seen "
        "in them; where both kinds are Tiny ImageNet's, it cannot. `mobilenet` began with "
        "ImageNet's weights, and VGG16 learned what those answer, so kinds of things that are new "
        "to `scratch` were seen by their teachers.",
    ]
    for result in results:
        if result.metrics.outliers is not None:
            lines += ["", f"### {_named(result)}", ""]
            lines += separations(result.config, result.metrics.outliers)
    # All together or not at all: `tensight evaluate --all` shows every model the same images.
    measured = [result for result in results if result.metrics.shift]
    lines += _shifts([r for r in measured if _alike(r, measured[0])])
    return lines


def _alike(result: ModelInfo, other: ModelInfo) -> bool:
    """Whether two models were shown images spoiled in the same ways."""
    ours, theirs = result.metrics, other.metrics
    return (set(ours.shift or ()), ours.shift_n) == (set(theirs.shift or ()), theirs.shift_n)


def _shifts(results: Sequence[ModelInfo]) -> list[str]:
    if not results:
        return []
    ways = list(results[0].metrics.shift or {})
    lines = [
        "",
        "## Spoiled images",
        "",
        f"Accuracy / ECE on the first {results[0].metrics.shift_n:,} test rows, spoiled in "
        f"{len(ways)} common ways (Hendrycks and Dietterich 2019; made by imagecorruptions-imaug): "
        "mean over strengths 1 to 5, and below, by strength, mean over the ways. The strengths are "
        "those made for ImageNet's larger images, so much harder on 32 pixels than CIFAR-10-C's: "
        "compare models here, not with figures on that.",
        "",
        f"| way | {' | '.join(result.config.name for result in results)} |",
        f"| --- |{' ---: |' * len(results)}",
    ]
    for way in ways:
        cells = []
        for result in results:
            accuracy, gap = mean_of_shift({way: (result.metrics.shift or {})[way]})
            cells.append(f"{accuracy:.3f} / {gap:.3f}")
        lines.append(f"| {way} | {' | '.join(cells)} |")
    for strength in range(5):
        cells = []
        for result in results:
            each = [(result.metrics.shift or {})[way] for way in ways]
            accuracy = float(np.mean([one.accuracy[strength] for one in each]))
            gap = float(np.mean([one.ece[strength] for one in each]))
            cells.append(f"{accuracy:.3f} / {gap:.3f}")
        lines.append(f"| all, strength {strength + 1} | {' | '.join(cells)} |")
    return lines


def _best_first(results: Sequence[ModelInfo]) -> list[ModelInfo]:
    return sorted(results, key=lambda result: -result.metrics.test.accuracy)


def _named(result: ModelInfo) -> str:
    return f"{result.config.title} (`{result.config.name}`)"


def _options(ablation: Ablation) -> list[str]:
    lines = [
        f"Short runs of one recipe ({ablation.base}) with one thing changed, "
        f"{len(ablation.seeds)} seeds each ({', '.join(map(str, ablation.seeds))}): accuracy on "
        f"{ablation.n_validation:,} rows held out, and on {ablation.n_test:,} of {ablation.data}, "
        "mean and standard deviation over the seeds.",
        "",
        "| changed | held out | test | epochs |",
        "| --- | ---: | ---: | ---: |",
    ]
    for option in ablation.options:
        shares = (mean_and_spread(each) for each in (option.validation, option.test))
        cells = [f"{mean:.4f} ± {spread:.4f}" for mean, spread in shares]
        epochs = ", ".join(map(str, sorted(set(option.epochs))))
        lines.append(f"| {option.change} | {' | '.join(cells)} | {epochs} |")
    made = ablation.made
    return [
        *lines,
        "",
        f"`{ablation.command}`, {made.seconds / 60:.0f} minutes of training on {made.hardware}, "
        f"{made.date}, code {made.commit}.",
        "",
    ]


def _head(config: Config, metrics: Metrics) -> str:
    """What the Hub reads of a card."""
    test, training = metrics.test, config.training
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
    return f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n"


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
        axes.axvline(metrics.best_epoch or 0, color="grey", linewidth=0.8, linestyle=":")
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
