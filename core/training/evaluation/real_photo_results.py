"""Section of docs/RESULTS.md on real photos, with the baseline of frozen features beside."""

from __future__ import annotations

from collections.abc import Sequence

from core.bundle.leaderboard import ModelInfo
from core.bundle.metrics import RealPhotoMetrics
from core.training.evaluation.tables import display_name, estimate_cells, with_interval

__all__ = ["real_photo_results"]


def real_photo_results(results: Sequence[ModelInfo]) -> list[str]:
    """Render accuracy and out-of-distribution detection on real photos.

    Args:
        results: All models.

    Returns:
        Lines of the section; empty where no model was evaluated on real photos.
    """
    rows: list[str] = []
    for result in results:
        metrics = result.metrics
        for name, found in (
            ("", metrics.real_photos),
            (", frozen features", metrics.real_photos_frozen),
            ("", metrics.unseen_sources),
            (", frozen features", metrics.unseen_sources_frozen),
        ):
            if found is not None:
                rows.append(f"| {display_name(result)}{name} | {' | '.join(_cells(found))} |")
    if not rows:
        return []
    return [
        "## Real photos",
        "",
        "Accuracy on photos of known classes; AUROC of known_score, and share of photos of other "
        "objects that are rejected where 95% of the photos of known classes are accepted, with 95% "
        "intervals. Held-out kinds are kinds of other objects that took no part in training and "
        "model selection. The first two rows of a model compare it with its baseline, a logistic "
        "regression on the features of the pretrained network (frozen features). The validation "
        "photos selected calibration, resize rule, verdict and the interpolation of weights; "
        "held-out sources selected nothing. "
        "The cards list rejection by kind, and the misclassified photos.",
        "",
        "| model | photos | n | accuracy | 95% interval | worst class | n, other objects | AUROC "
        "| rejected | n, held-out kinds | AUROC | rejected | ECE | if calibrated |",
        "| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: "
        "| ---: |",
        *rows,
        "",
        *_held_out_sources(results),
    ]


def _cells(metrics: RealPhotoMetrics) -> list[str]:
    share, interval, n = estimate_cells(metrics.accuracy)
    worst = min(metrics.recall.items(), key=lambda each: each[1].share)
    error = "" if metrics.ece is None else f"{metrics.ece:.4f}"
    expected = (
        "" if metrics.ece_if_true is None else "{:.4f} to {:.4f}".format(*metrics.ece_if_true)
    )
    return [
        metrics.data,
        n,
        share,
        interval,
        f"{worst[0]} {worst[1].share:.3f} (n = {worst[1].n})",
        f"{metrics.n_none:,}",
        _area(metrics.auroc),
        with_interval(metrics.rejected),
        f"{metrics.n_kept_back:,}",
        _area(metrics.auroc_kept_back),
        with_interval(metrics.rejected_kept_back),
        error,
        expected,
    ]


def _held_out_sources(results: Sequence[ModelInfo]) -> list[str]:
    """Render the results by held-out source, so that a source cannot stand for a class."""
    lines: list[str] = []
    for result in results:
        found, frozen = result.metrics.unseen_sources, result.metrics.unseen_sources_frozen
        if found is None or frozen is None:
            continue
        lines += [
            f"By held-out source, {display_name(result)} and its frozen features; AUROC inside "
            "each source that has photos of known classes and of other objects:",
            "",
            "| source | n | accuracy | frozen features | n, other objects | AUROC "
            "| frozen features |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        baseline = {each.source: each for each in frozen.sources}
        for each in found.sources:
            both = (each, baseline[each.source])
            shares = ["" if e.accuracy is None else f"{e.accuracy.share:.4f}" for e in both]
            n = "" if each.accuracy is None else f"{each.accuracy.n:,}"
            areas = [_area(e.auroc) for e in both]
            lines.append(
                f"| {each.source} | {n} | {' | '.join(shares)} | {each.n_none:,} "
                f"| {' | '.join(areas)} |"
            )
        lines.append("")
    return lines


def _area(auroc: float | None) -> str:
    return "" if auroc is None else f"{auroc:.4f}"
