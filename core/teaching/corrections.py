"""Corrections: add a photo that a taught model got wrong to its true class, and teach again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core import locale
from core.bundle.metrics import ProportionEstimate
from core.locale import Language
from core.teaching.collect import LabelledPhoto
from core.teaching.service import TaughtModel, Teaching

__all__ = ["Correction", "correct"]


@dataclass(frozen=True)
class Correction:
    """A model that has been taught again with a photo that it got wrong.

    Attributes:
        model: The corrected model.
        before: Cross-validated accuracy before the correction, on the photos of that time.
    """

    model: TaughtModel
    before: ProportionEstimate

    @property
    def after(self) -> ProportionEstimate:
        """Cross-validated accuracy after the correction, on all photos including the new one."""
        return self.model.report.accuracy

    def texts(self, language: Language) -> dict[str, str]:
        """Format the values for a sentence that says by how much the model got better.

        Returns:
            `title`, shares of the photos `before` and `after`, their numbers `before_n` and
            `after_n`, and the `change` in percentage points with its sign.
        """
        change = 100 * (self.after.share - self.before.share)
        sign = "+" if change > 0 else "−"
        return {
            "title": self.model.bundle.config.title,
            "before": f"{self.before.share:.0%}",
            "before_n": str(self.before.n),
            "after": f"{self.after.share:.0%}",
            "after_n": str(self.after.n),
            "change": ("±" if round(change, 1) == 0 else sign)
            + locale.decimal(abs(change), 1, language),
        }


def correct(
    teaching: Teaching,
    owner: str,
    model: str,
    photo: LabelledPhoto,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Correction:
    """Add a photo to its class, and teach the private model again.

    Args:
        teaching: The teaching service.
        owner: Owner of the model.
        model: Id of the model.
        photo: The photo with its true class.
        progress: Called with the number of photos that are done, and their total number.

    Raises:
        ModelNotFoundError, TeachingError, MissingExtraError, OutputError: As in
            `Teaching.add_photos`.
        BundleError: As in `Teaching.bundle`.
    """
    before = teaching.bundle(model).metrics().taught
    result = teaching.add_photos(owner, model, [photo], progress=progress)
    return Correction(result, result.report.accuracy if before is None else before.accuracy)
