"""Parts of a model card on real photos: results by kind and source, errors, and training photos."""

from __future__ import annotations

from collections.abc import Mapping

from core.bundle.config import PhotoSource
from core.bundle.metrics import (
    PhotoMisclassification,
    ProportionEstimate,
    RealPhotoMetrics,
    SourceMetrics,
)
from core.text import escape_markdown

__all__ = ["real_photo_section", "training_photos"]

_MAX_LISTED = 20


def real_photo_section(photos: RealPhotoMetrics | None) -> str:
    """Render the results on real photos in Markdown.

    Args:
        photos: The results; None for a model that was not evaluated on real photos.

    Returns:
        The section with its heading; an empty string without results.
    """
    if photos is None:
        return ""
    paragraphs = ["\n## Real photos", _summary(photos)]
    for group, kinds in (
        ("other objects", photos.rejected_kinds),
        ("the held-out kinds", photos.rejected_kept_back_kinds),
    ):
        if kinds:
            paragraphs.append(
                f"Share of {group} that is rejected where 95% of the photos of known classes are "
                f"accepted, by kind with at least five photos: {_by_kind(kinds)}."
            )
    if photos.sources:
        paragraphs.append(_source_table(photos.sources))
    if photos.mistakes:
        paragraphs.append(_mistakes(photos.mistakes))
    return "\n\n".join(paragraphs) + "\n"


def training_photos(sources: tuple[PhotoSource, ...]) -> str:
    """Render the sources of the photos that a model was trained on in Markdown.

    Args:
        sources: Field `training.photos` of config.json.

    Returns:
        A paragraph and a table; an empty string without sources.
    """
    if not sources:
        return ""
    text = "Real photos in the training data, by source"
    if any(each.license is not None for each in sources):
        text += (
            ", with the license that the repository states. The photos cannot be redistributed, so "
            "this training cannot be reproduced exactly"
        )
    rows = [
        f"| {_safe(each.name)} | {each.photos:,} | {_safe(each.license or 'not recorded')} |"
        for each in sources
    ]
    return "\n".join(
        [f"{text}.", "", "| source | photos | license stated |", "| --- | ---: | --- |", *rows]
    )


def _summary(photos: RealPhotoMetrics) -> str:
    """State accuracy, and how well other objects and held-out kinds are detected."""
    text = (
        f"Accuracy on {photos.accuracy.n:,} photos of known classes ({_safe(photos.data)}): "
        f"{_estimate(photos.accuracy)}, whatever the verdict."
    )
    for group, n, auroc, rejected in (
        ("other objects", photos.n_none, photos.auroc, photos.rejected),
        (
            "kinds of other objects that took no part in training and selection",
            photos.n_kept_back,
            photos.auroc_kept_back,
            photos.rejected_kept_back,
        ),
    ):
        if auroc is not None and rejected is not None:
            text += (
                f" Against {n:,} photos of {group}: AUROC of the known score {auroc:.4f}, rejected "
                f"{_estimate(rejected)} where 95% of the known classes are accepted."
            )
    return text


def _by_kind(kinds: Mapping[str, ProportionEstimate]) -> str:
    return ", ".join(
        f"{_safe(kind)} {share.share:.3f} (n = {share.n})" for kind, share in kinds.items()
    )


def _source_table(sources: tuple[SourceMetrics, ...]) -> str:
    """Render the results by source."""
    rows = [
        "| source | n | accuracy | n, other objects | AUROC |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for each in sources:
        known = (
            ("", "")
            if each.accuracy is None
            else (f"{each.accuracy.n:,}", f"{each.accuracy.share:.3f}")
        )
        auroc = "" if each.auroc is None else f"{each.auroc:.4f}"
        rows.append(f"| {_safe(each.source)} | {' | '.join(known)} | {each.n_none:,} | {auroc} |")
    return "\n".join(rows)


def _mistakes(mistakes: tuple[PhotoMisclassification, ...]) -> str:
    """List misclassified photos, among them those with a wrong label in their source."""
    text = f"Misclassified photos: {len(mistakes):,}"
    if len(mistakes) > _MAX_LISTED:
        text += f", of which the {_MAX_LISTED} with the highest confidence are listed"
    rows = [
        "| source | photo | label in the source | answer | confidence |",
        "| --- | --- | --- | --- | ---: |",
    ]
    for each in mistakes[:_MAX_LISTED]:
        confidence = "" if each.confidence is None else f"{each.confidence:.3f}"
        cells = (each.source, each.path, each.label, each.answer)
        rows.append(f"| {' | '.join(map(_safe, cells))} | {confidence} |")
    return (
        f"{text}. Photos whose label in the source is wrong count as misclassified.\n\n"
        + "\n".join(rows)
    )


def _estimate(estimate: ProportionEstimate) -> str:
    return f"{estimate.share:.4f} ({estimate.low:.4f} to {estimate.high:.4f})"


def _safe(text: str) -> str:
    """Escape a text of the bundle for Markdown, except code spans."""
    return escape_markdown(text, keep_code=True)
