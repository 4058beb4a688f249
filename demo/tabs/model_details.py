"""The results of one model: learning curves, calibration, confusion matrix and classes."""

from __future__ import annotations

import html

from core import locale
from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import Metrics
from demo.charts import Axis, Series, line_chart
from demo.components import table

__all__ = ["calibration", "class_table", "confusion_matrix", "learning_curves"]

# Bins of the reliability diagram with fewer images are too noisy to draw.
_MIN_IMAGES = 10
# Maximum number of classes of a confusion matrix that is still legible.
_MAX_CLASSES = 30


def learning_curves(metrics: Metrics, language: locale.Language) -> str:
    """Draw the accuracy by epoch, with a sentence; empty for a model trained elsewhere."""
    texts, curves = locale.page_texts(language), metrics.curves
    if not curves:
        return ""
    best = max(curves, key=lambda each: each.epoch == metrics.best_epoch)
    text = texts["models_learned"].format(
        epochs=len(curves),
        best=best.epoch,
        train=f"{locale.decimal(100 * best.accuracy, 1, language)}%",
        validation=f"{locale.decimal(100 * best.validation_accuracy, 1, language)}%",
    )
    series = [
        Series(texts["models_train"], [(c.epoch, c.accuracy) for c in curves], "first"),
        Series(
            texts["models_validation"], [(c.epoch, c.validation_accuracy) for c in curves], "second"
        ),
    ]
    low = min(min(c.accuracy, c.validation_accuracy) for c in curves)
    epochs = [c.epoch for c in curves]
    x = Axis(texts["models_epoch"], min(epochs), max(*epochs, min(epochs) + 1), "{:.0f}".format, 1)
    y = Axis(texts["models_share"], max(low - 0.02, 0.0), 1.0, lambda v: f"{v:.0%}", 0.01)
    drawn = line_chart(series, x, y, text)
    return f"<h3>{html.escape(texts['models_curves'])}</h3>{drawn}<p>{html.escape(text)}</p>"


def calibration(metrics: Metrics, language: locale.Language) -> str:
    """Draw the reliability diagram of a model, with its calibration error in words."""
    texts = locale.page_texts(language)
    text = _calibration_text(metrics, language)
    points = [
        (each.confidence, each.accuracy)
        for each in metrics.test.reliability
        if each.n >= _MIN_IMAGES and each.confidence is not None and each.accuracy is not None
    ]
    series = [
        Series(texts["model"], points, "first"),
        Series(texts["ideal"], [(0.0, 0.0), (1.0, 1.0)], "reference"),
    ]
    x = Axis(texts["confidence"], 0, 1, lambda v: f"{v:.0%}", 0.01)
    y = Axis(texts["right"], 0, 1, lambda v: f"{v:.0%}", 0.01)
    drawn = line_chart(series, x, y, text)
    return f"<h3>{html.escape(texts['models_trust'])}</h3>{drawn}<p>{html.escape(text)}</p>"


def _calibration_text(metrics: Metrics, language: locale.Language) -> str:
    texts = locale.page_texts(language)
    sentences = [
        texts["calibrated"].format(
            n=locale.decimal(metrics.test.n, 0, language),
            ece=f"{locale.decimal(100 * metrics.test.ece, 1, language)}%",
        )
    ]
    # The validation photos selected the calibration, so the test photos come first.
    measured = metrics.photos or metrics.real_photos
    found = None if measured is None else measured.accuracy
    if measured is not None and found is not None and measured.confidence is not None:
        sentences.append(
            texts["calibrated_on_photos"].format(
                n=locale.decimal(found.n, 0, language),
                confidence=f"{measured.confidence:.0%}",
                right=f"{found.share:.0%}",
            )
        )
    return " ".join(sentences)


def confusion_matrix(result: ModelInfo, language: locale.Language) -> str:
    """Render the confusion matrix as an HTML table, shaded by the share of the row."""
    texts, labels = locale.page_texts(language), result.config.labels
    if len(labels) > _MAX_CLASSES:
        return f"<p>{html.escape(texts['models_many'].format(most=_MAX_CLASSES))}</p>"
    names = [html.escape(locale.label_name(label, language)) for label in labels]
    head = "".join(f'<th scope="col"><span>{name}</span></th>' for name in names)
    rows = []
    for name, counts in zip(names, result.metrics.test.confusion, strict=True):
        total = max(sum(counts), 1)
        cells = "".join(
            f'<td style="--share:{n / total:.3f}"{" class=most" if n > total / 2 else ""}>{n}</td>'
            for n in counts
        )
        rows.append(f'<tr><th scope="row">{name}</th>{cells}</tr>')
    taught = result.metrics.taught is not None
    caption = html.escape(texts["teach_confused" if taught else "models_confusion"])
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}">'
        f'<table class="confusion"><caption><span>{caption}</span></caption>'
        f"<thead><tr><th scope=col>{texts['models_truth']}</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def class_table(result: ModelInfo, language: locale.Language) -> str:
    """Render precision, recall and F1 of each class as an HTML table."""
    texts = locale.page_texts(language)
    rows = [
        [
            locale.label_name(each.label, language),
            *(locale.decimal(v, 3, language) for v in (each.precision, each.recall, each.f1)),
            locale.decimal(each.support, 0, language),
        ]
        for each in result.metrics.test.classes
    ]
    columns = ("precision", "recall", "f1", "rows")
    head = [texts["batch_class"], *(texts[f"models_{column}"] for column in columns)]
    return table(head, rows, texts["models_classes"])
