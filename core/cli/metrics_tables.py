"""Tables of evaluation results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from core.cli.console import print_table, say

if TYPE_CHECKING:
    from core.bundle.folder import Bundle
    from core.bundle.metrics import (
        Metrics,
        PhotoMetrics,
        ProportionEstimate,
        RealPhotoMetrics,
    )
    from core.training.evaluation.teaching_results import TeachingResults

__all__ = ["print_evaluated", "print_metrics", "print_photo_metrics", "print_teaching"]


def print_evaluated(bundle: Bundle, *, as_json: bool = False) -> None:
    """Print the evaluation results of a bundle that was written, and where it is."""
    metrics = bundle.metrics()
    if as_json:
        typer.echo(metrics.model_dump_json())
    else:
        print_metrics(metrics)
    say(f"Written to {bundle.folder}")


def print_metrics(metrics: Metrics) -> None:
    """Print the evaluation results of a model."""
    test = metrics.test
    reported = metrics.reported
    rows = [
        ["accuracy", f"{test.accuracy:.4f}", f"{reported.accuracy:.4f}" if reported else ""],
        [
            "precision (macro)",
            f"{test.precision:.4f}",
            f"{reported.precision:.4f}" if reported else "",
        ],
        ["recall (macro)", f"{test.recall:.4f}", f"{reported.recall:.4f}" if reported else ""],
        ["F1 (macro)", f"{test.f1:.4f}", f"{reported.f1:.4f}" if reported else ""],
        ["log loss", f"{test.log_loss:.4f}", ""],
        ["ECE (15 bins)", f"{test.ece:.4f}", ""],
        ["validation accuracy", f"{metrics.validation.accuracy:.4f}", ""],
    ]
    if metrics.single_view is not None:
        rows.insert(1, ["accuracy, one view", f"{metrics.single_view:.4f}", ""])
    if metrics.float32 is not None:
        rows.insert(2, ["accuracy, float32 weights", f"{metrics.float32:.4f}", ""])
    if metrics.lost is not None:
        rows.insert(3, ["accuracy lost to quantisation", f"{metrics.lost:.4f}", ""])
    typer.echo(f"{test.data}, {test.n:,} images")
    print_table(["", "this model", "student report (baseline)"], rows)
    print_table(
        ["class", "precision", "recall", "F1", "rows"],
        [
            [c.label, f"{c.precision:.4f}", f"{c.recall:.4f}", f"{c.f1:.4f}", str(c.support)]
            for c in test.classes
        ],
    )
    typer.echo("Confusion matrix: rows are true classes, columns are predictions")
    labels = [c.label for c in test.classes]
    print_table(
        ["", *labels],
        [[label, *map(str, row)] for label, row in zip(labels, test.confusion, strict=True)],
    )
    if metrics.resize is not None:
        typer.echo(f"Accuracy by resize rule: {metrics.resize.n:,} of {metrics.resize.data}")
        rules = [[rule, f"{share:.4f}"] for rule, share in metrics.resize.accuracy.items()]
        print_table(["rule", "accuracy"], rules)
    if metrics.photos is not None:
        typer.echo(f"{metrics.photos.n} photos held out of model selection")
        print_photo_metrics(metrics.photos)
    _print_real_photos("Real photos", metrics.real_photos, metrics.real_photos_frozen)
    _print_real_photos("Unseen sources", metrics.unseen_sources, metrics.unseen_sources_frozen)


def _print_real_photos(
    title: str, tuned: RealPhotoMetrics | None, frozen: RealPhotoMetrics | None
) -> None:
    """Print results on real photos beside those of the network before fine-tuning."""
    if tuned is None:
        return
    typer.echo(f"{title}: {tuned.data}; `frozen`: logistic regression on the frozen features")
    print_table(
        ["", "n", "share", "95% interval", "frozen"],
        [
            [what, *_shown(share), *_shown(other)[1:2]]
            for (what, share), (_, other) in zip(
                _real_photo_rows(tuned, tuned), _real_photo_rows(frozen, tuned), strict=True
            )
        ],
    )
    print_table(
        ["source", "n", "accuracy", "of no label", "AUROC"],
        [
            [
                each.source,
                *_shown(each.accuracy)[:2],
                str(each.n_none),
                "" if each.auroc is None else f"{each.auroc:.4f}",
            ]
            for each in tuned.sources
        ],
    )
    if tuned.ece is not None:
        rows = [["ECE", f"{tuned.ece:.4f}"]]
        if tuned.ece_cross_fitted is not None:
            rows.append(["ECE, 5-fold cross-fitted", f"{tuned.ece_cross_fitted:.4f}"])
        if tuned.ece_if_true is not None:
            rows.append(
                [
                    "ECE of a perfectly calibrated model",
                    "{:.4f} to {:.4f}".format(*tuned.ece_if_true),
                ]
            )
        print_table(["calibration", ""], rows)
    print_table(
        ["misclassified, or wrongly labelled", "label", "prediction", "confidence"],
        [
            [
                f"{each.source}: {each.path}",
                each.label,
                each.answer,
                "" if each.confidence is None else f"{each.confidence:.3f}",
            ]
            for each in tuned.mistakes
        ],
    )


def _real_photo_rows(
    figures: RealPhotoMetrics | None, like: RealPhotoMetrics
) -> list[tuple[str, ProportionEstimate | tuple[int, float | None] | None]]:
    """Return name and value of each row, in the rows of `like`; a value may be (n, AUROC)."""
    rejected = [f"  {kind}" for kind in like.rejected_kinds]
    kept_back = [f"  {kind}" for kind in like.rejected_kept_back_kinds]
    if figures is None:
        return [(name, None) for name, _ in _real_photo_rows(like, like)]
    worst = min(figures.recall.items(), key=lambda each: each[1].share)
    return [
        ("accuracy", figures.accuracy),
        *((f"  {label}", figures.recall.get(label)) for label in like.recall),
        (f"worst class: {worst[0]}", worst[1]),
        ("AUROC, labels vs. none", (figures.n_none, figures.auroc)),
        ("TNR of none at 95% TPR", figures.rejected),
        *((name, figures.rejected_kinds.get(name.strip())) for name in rejected),
        (
            "AUROC, labels vs. held-out kinds of none",
            (figures.n_kept_back, figures.auroc_kept_back),
        ),
        ("TNR of these at 95% TPR", figures.rejected_kept_back),
        *((name, figures.rejected_kept_back_kinds.get(name.strip())) for name in kept_back),
    ]


def _shown(figure: ProportionEstimate | tuple[int, float | None] | None) -> list[str]:
    """Format n, value and interval; empty strings where there is none."""
    if figure is None:
        return ["", "", ""]
    if isinstance(figure, tuple):
        n, area = figure
        return [str(n), "" if area is None else f"{area:.4f}", ""]
    return [str(figure.n), f"{figure.share:.4f}", f"{figure.low:.4f} to {figure.high:.4f}"]


def print_photo_metrics(figures: PhotoMetrics) -> None:
    """Print evaluation results on a folder of photos."""
    rows: list[tuple[str, ProportionEstimate | None]] = [
        ("known class: accuracy", figures.accuracy),
        *((f"  {label}", share) for label, share in figures.recall.items()),
        ("known class: verdict known, right label", figures.known_and_right),
        ("known class: verdict none", figures.known_told_none),
        ("no known class: verdict none", figures.told_none),
        ("no known class: verdict known", figures.taken_for_known),
    ]
    print_table(
        ["", "n", "share", "95% interval"],
        [
            [what, str(share.n), f"{share.share:.3f}", f"{share.low:.3f} to {share.high:.3f}"]
            for what, share in rows
            if share is not None
        ],
    )


def print_teaching(results: TeachingResults) -> None:
    """Print how well new classes are taught."""
    print_table(
        ["suite", "classes", "photos", "taught", "dense network", "nearest mean", "AUROC", "ECE"],
        [
            [
                each.suite,
                str(each.classes),
                str(each.photos),
                *(
                    f"{found.mean:.4f} ({found.low:.4f} to {found.high:.4f})"
                    for found in (each.taught, each.teachable_machine, each.nearest_mean)
                ),
                f"{each.auroc.mean:.4f}",
                f"{each.ece:.4f}",
            ]
            for each in results.suites
        ],
    )
