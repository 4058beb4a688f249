"""Model cards: Markdown rendered from config.json and metrics.json."""

from __future__ import annotations

import statistics
from collections.abc import Mapping

from core.bundle.config import Config, Pretrained
from core.bundle.leaderboard import best_method
from core.bundle.metrics import ConfidenceMetrics, CorruptionMetrics, Metrics, OutlierMetrics
from core.bundle.taught_card import taught_card
from core.text import escape_markdown, markdown_code

__all__ = [
    "CONFUSION",
    "CURVES",
    "RELIABILITY",
    "began_with",
    "card",
    "mean_of_shift",
    "separations",
]

CURVES = "curves.png"
CONFUSION = "confusion.png"
RELIABILITY = "reliability.png"
"""File names of the plots that a card embeds."""

_BESIDE = "Beside them, the student report's figures for its model of this name.\n"


def card(config: Config, metrics: Metrics, *, pictures: bool = True) -> str:
    """Render a model card: usage, evaluation results, training details and limits.

    Args:
        config: The model's config.json.
        metrics: The model's metrics.json.
        pictures: Whether to embed the plots that are stored beside a card.

    Returns:
        Markdown without YAML front matter.
    """
    if config.base is not None and metrics.taught is not None:
        return taught_card(config, metrics, config.base, metrics.taught)
    test, made = metrics.test, metrics.origin
    beside = metrics.reported is not None
    figures = _results_table(config, metrics)
    classes = "\n".join(
        f"| {_shown(c.label)} | {c.precision:.3f} | {c.recall:.3f} | {c.f1:.3f} | {c.support:,} |"
        for c in test.classes
    )
    verdicts = ", ".join(f"{verdict} {n:,}" for verdict, n in test.verdicts.items())
    versions = ", ".join(
        f"{_shown(name)} {_shown(number)}" for name, number in made.versions.items()
    )
    plots = [("Confusion matrix", CONFUSION), ("Reliability diagram", RELIABILITY)]
    labels = ", ".join(map(_shown, config.labels))
    drawn = "\n".join(f"![{name}]({file})" for name, file in plots if pictures)
    return f"""# {_shown(config.title)}

{_shown(config.description)}

Made by {markdown_code(made.command)}; do not edit.

## Use

```python
import core

prediction = core.load("{config.name}").predict("photo.jpg")
```

It knows {len(config.labels)} labels: {labels}. The confidence is calibrated
(temperature {config.temperature:.3f}, exponent {config.exponent:.3f}, beta
{", ".join(f"{each:.3f}" for each in config.beta)}). The verdict is `none` under a known_score
({config.verdict.method}) of {config.verdict.none_below:.3f} and else `unsure` under a confidence of
{config.verdict.unsure_below:.3f}; both come from images held out for validation.

## Figures

On {test.n:,} rows of {_shown(test.data)}, from model.tflite ({metrics.bytes:,} bytes,
{config.precision} weights), views {" + ".join(config.views)}.
{_BESIDE if beside else ""}
{figures}

Verdicts: {verdicts}. One photo takes {metrics.milliseconds:.2f} ms at batch 1, decoding apart.

| class | precision | recall | F1 | rows |
| --- | ---: | ---: | ---: | ---: |
{classes}

{drawn}
{_photos(config, metrics)}{_of_none(config, metrics)}{_spoiled(metrics)}
## Training

{_trained(config, metrics, pictures=pictures)}
{_beginning(config)}{_notes(config)}
Measured on {_shown(made.hardware)}, {_shown(made.date)}, code {_shown(made.commit)}; {versions}.

## Limits

It takes {config.input.height}×{config.input.width} pixels: a large photo is scaled down to that,
and small things in it are lost. The confidence holds for photos like those of the data set.
"""


def _results_table(config: Config, metrics: Metrics) -> str:
    """Render the evaluation results, beside those of the student report where it has such."""
    test = metrics.test
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
    return "\n".join(f"| {' | '.join(row if beside else row[:2])} |" for row in table)


def _trained(config: Config, metrics: Metrics, *, pictures: bool) -> str:
    """Describe how the weights were trained, or where they were exported from."""
    training, validation = config.training, metrics.validation
    if training.epochs is None:
        return (
            f"Trained elsewhere, and exported from {_shown(training.data)} on "
            f"{_shown(training.date)}, code {_shown(training.commit)}. {metrics.parameters:,} "
            f"parameters; accuracy on the {validation.n:,} images that calibration and thresholds "
            f"come from {validation.accuracy:.4f}."
        )
    curves = f"\n\n![Training curves]({CURVES})" if pictures else ""
    recipe, data = markdown_code(training.recipe), _shown(training.data)
    where = f"{_shown(training.hardware)}, {_shown(training.date)}"
    return f"""Recipe {recipe}, {data}, seed {training.seed};
{training.epochs} epochs, of which, among those of images of the served size, epoch
{metrics.best_epoch} was best on
{validation.n:,} rows held out for validation (accuracy there, all views,
{validation.accuracy:.4f}). {metrics.parameters:,} parameters,
{metrics.training_seconds / 60:.0f} minutes on {where}, code
{_shown(training.commit)}.{curves}"""


def _beginning(config: Config) -> str:
    """Describe the pretrained weights; an empty string without any."""
    body = config.training.pretrained
    return "" if body is None else f"\nIt began with other weights: {began_with(body)}\n"


def _notes(config: Config) -> str:
    return f"\n{_shown(config.training.notes)}\n" if config.training.notes else ""


def _photos(config: Config, metrics: Metrics) -> str:
    """Render the results on photos larger than the training images; empty without any."""
    lines: list[str] = []
    if metrics.resize is not None:
        by_rule = metrics.resize.accuracy
        rules = ", ".join(f"`{rule}` {share:.4f}" for rule, share in by_rule.items())
        others = {rule: share for rule, share in by_rule.items() if rule != config.input.resize}
        gains = ", ".join(
            f"{by_rule[config.input.resize] - share:+.4f} over `{rule}`"
            for rule, share in others.items()
        )
        # Real photos keep their aspect ratios; square data-set images were cropped to 4:3 and 3:4.
        cut = "" if metrics.resize.data.startswith("real photos") else " cut to 4:3 and 3:4"
        lines += [
            f"The resize rule is `{config.input.resize}`, chosen by the accuracy on "
            f"{metrics.resize.n:,} images{cut} ({_shown(metrics.resize.data)}): {rules}. It "
            f"gains {gains}; three crops would be taken only where they gain a hundredth over both "
            "others.",
            "",
        ]
    if metrics.sharp is not None:
        lines += [f"{_sure(metrics.sharp)}", ""]
    if metrics.photos is not None:
        photos = metrics.photos
        shares = {
            "in class: right label": photos.accuracy,
            **{_shown(label): share for label, share in photos.recall.items()},
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
        if photos.accuracy is not None and photos.ece is not None:
            lines += [
                f"Of those in class its mean confidence is {photos.confidence:.3f} (ECE "
                f"{photos.ece:.3f}, n {photos.accuracy.n}: a rough figure).",
                "",
            ]
    return "\n".join(["", "## Photos", "", *lines]) if lines else ""


def _sure(certainty: ConfidenceMetrics) -> str:
    return (
        f"On {certainty.n:,} images ({_shown(certainty.data)}), as they are: accuracy "
        f"{certainty.accuracy:.4f}, mean confidence {certainty.confidence:.4f}, ECE "
        f"{certainty.ece:.4f}."
    )


def _of_none(config: Config, metrics: Metrics) -> str:
    """Render the out-of-distribution results; empty where they were not measured."""
    if metrics.outliers is None:
        return ""
    lines = [
        "",
        "## None of the labels",
        "",
        f"{_chosen(config, metrics.outliers)} AUROC: area under the curve, the share of pairs in "
        "which the image of a label has the higher score; FPR: share of images of none that score "
        "higher than the lowest twentieth of those of a label; told none: by the model's own "
        "threshold.",
        "",
        *separations(config, metrics.outliers),
    ]
    return "\n".join(lines) + "\n"


def _chosen(config: Config, outliers: OutlierMetrics) -> str:
    method = config.verdict.method
    if method == best_method(outliers.chosen_by):
        return (
            f"`{method}` was chosen by its mean AUROC in the first two comparisons (`knn`, "
            "which needs megabytes beside the model, must be better by .005); on the others it is "
            "only reported."
        )
    return f"`{method}` is what the model came with; by the first two comparisons none was chosen."


def separations(config: Config, outliers: OutlierMetrics) -> list[str]:
    """Render AUROC and FPR@95 of every out-of-distribution score as a Markdown table.

    Args:
        config: The model's config.json; the method it uses is set in bold.
        outliers: The comparisons, one row each.

    Returns:
        Lines of the table, header first.
    """
    each = [*outliers.chosen_by, *outliers.reported]
    if outliers.photos is not None:
        each.append(outliers.photos)
    methods = list(each[0].auroc)
    head = [f"**{m}**" if m == config.verdict.method else m for m in methods]
    return [
        f"| label | n | told none | none | n | told none "
        f"| {' | '.join(f'{m} AUROC | FPR' for m in head)} |",
        f"| --- | ---: | ---: | --- | ---: | ---: |{' ---: |' * 2 * len(methods)}",
        *(
            f"| {_shown(one.known)} | {one.n_known:,} | {one.known_told_none:.4f} "
            f"| {_shown(one.none)} | {one.n_none:,} | {one.none_told_none:.4f} | "
            + " | ".join(f"{one.auroc[m]:.4f} | {one.fpr95[m]:.4f}" for m in methods)
            + " |"
            for one in each
        ),
    ]


def _spoiled(metrics: Metrics) -> str:
    """Render the results on corrupted test images; empty where they were not measured."""
    if not metrics.shift:
        return ""
    accuracy, gap = mean_of_shift(metrics.shift)
    return (
        f"\n## Spoiled images\n\nOn {metrics.shift_n:,} test rows under {len(metrics.shift)} "
        f"common corruptions at five strengths: mean accuracy {accuracy:.4f}, mean ECE {gap:.4f}.\n"
    )


def mean_of_shift(shift: Mapping[str, CorruptionMetrics]) -> tuple[float, float]:
    """Average accuracy and ECE over all corruptions and severities.

    Args:
        shift: Results by name of the corruption; at least one.

    Returns:
        Mean accuracy and mean ECE, each 0 to 1.
    """
    each = list(shift.values())
    return (
        statistics.fmean(share for one in each for share in one.accuracy),
        statistics.fmean(share for one in each for share in one.ece),
    )


def began_with(body: Pretrained) -> str:
    """Describe pretrained weights: origin, accuracy on Tiny ImageNet, and cost of training."""
    known = ""
    if body.accuracy is not None:
        known = (
            f" It is right on {body.accuracy:.4f} of Tiny ImageNet's {body.n:,} valid images of "
            "the classes that it learned."
        )
    made = ""
    if body.made is not None:
        made = (
            f" {body.made.epochs} epochs, {body.made.seconds / 60:.0f} minutes on "
            f"{_shown(body.made.hardware)}, {_shown(body.made.date)}, code "
            f"{_shown(body.made.commit)}."
        )
    return f"{_shown(body.network)} {_shown(body.source)}.{known}{made}"


def _shown(text: str) -> str:
    """Words of whoever made the model, as they are; only what stands as code may look so."""
    return escape_markdown(text, keep_code=True)
