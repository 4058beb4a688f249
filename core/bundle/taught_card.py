"""Model cards of taught models."""

from __future__ import annotations

from core.bundle.config import Base, Config
from core.bundle.metrics import Metrics, TaughtMetrics
from core.text import escape_markdown, markdown_code

__all__ = ["taught_card"]


def taught_card(config: Config, metrics: Metrics, base: Base, taught: TaughtMetrics) -> str:
    """Render the card of a taught model: usage, what is known of its quality, and limits.

    Args:
        config: The model's config.json.
        metrics: The model's metrics.json.
        base: The `base` of `config`.
        taught: The `taught` of `metrics`.

    Returns:
        Markdown without YAML front matter.
    """
    accuracy, none = taught.accuracy, taught.none
    photos = dict(zip(config.labels, taught.photos, strict=True))
    classes = "\n".join(
        f"| {_shown(c.label)} | {photos[c.label]} | {c.precision:.3f} | {c.recall:.3f} |"
        for c in metrics.test.classes
    )
    versions = ", ".join(
        f"{_shown(name)} {_shown(number)}" for name, number in metrics.origin.versions.items()
    )
    return f"""# {_shown(config.title)}

{_shown(config.description)}

Made by {markdown_code(metrics.origin.command)}; do not edit.

## Use

```python
import core

prediction = core.load("{config.name}").predict("photo.jpg")
```

It knows {len(config.labels)} labels: {", ".join(map(_shown, config.labels))}. It was taught on the
model `{base.name}` (SHA-256 of its model.tflite `{base.sha256}`), which must be installed too.

## Figures

By cross-validation on the {metrics.test.n:,} photos that it was taught with, in
{taught.views} views each: every photo is classified by a model that was taught without it.

| | n | share | 95% interval |
| --- | ---: | ---: | ---: |
| right label | {accuracy.n} | {accuracy.share:.3f} | {accuracy.low:.3f} to {accuracy.high:.3f} |
| told none | {none.n} | {none.share:.3f} | {none.low:.3f} to {none.high:.3f} |

Log loss {metrics.test.log_loss:.4f} nats, ECE {metrics.test.ece:.4f} (15 bins).

| class | photos | precision | recall |
| --- | ---: | ---: | ---: |
{classes}
{_advice(taught)}
Of each class, the rows show how often its photos were taken for which class.

{_confusion(config, metrics)}

The confidence is calibrated on the same folds (temperature {config.temperature:.3f}). The verdict
is `none` under a similarity to the nearest class of {config.verdict.none_below:.3f}, and else
`unsure` under a confidence of {config.verdict.unsure_below:.3f}.

## Limits

The photos come from whoever taught the model, often from one place and one day. Photos from
elsewhere may be harder than these figures say. Measured on {_shown(metrics.origin.hardware)},
{_shown(metrics.origin.date)}, TenSight {_shown(metrics.origin.commit)}; {versions}.
"""


def _advice(taught: TaughtMetrics) -> str:
    lines = []
    if taught.weak:
        lines.append(f"More photos would help: {', '.join(map(_shown, taught.weak))}.")
    if taught.doubtful:
        lines.append(f"{taught.doubtful} of the photos may be in the wrong class.")
    return "".join(f"\n{line}\n" for line in lines)


def _confusion(config: Config, metrics: Metrics) -> str:
    labels = [_shown(label) for label in config.labels]
    rows = (
        f"| {label} | {' | '.join(map(str, counts))} |"
        for label, counts in zip(labels, metrics.test.confusion, strict=True)
    )
    head = f"| | {' | '.join(labels)} |\n| --- |{' ---: |' * len(labels)}"
    return "\n".join([head, *rows])


def _shown(text: str) -> str:
    return escape_markdown(text)
