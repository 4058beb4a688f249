"""Made-up metrics on real photos."""

from __future__ import annotations

from core.bundle.metrics import ProportionEstimate, RealPhotoMetrics, SourceMetrics

__all__ = ["estimate", "real_photo_metrics"]


def estimate(share: float, n: int) -> ProportionEstimate:
    """Return an estimate whose interval extends 0.01 to both sides."""
    return ProportionEstimate(n=n, share=share, low=share - 0.01, high=share + 0.01)


def real_photo_metrics(
    data: str = "real photos, valid", share: float = 0.97, **changes: object
) -> RealPhotoMetrics:
    """Return metrics on 693 photos of known classes and 257 of other objects.

    Args:
        data: The photos in words.
        share: Accuracy, 0 to 1.
        **changes: Other values of fields.
    """
    fields: dict[str, object] = {
        "data": data,
        "accuracy": estimate(share, 693),
        "recall": {"cat": estimate(0.98, 90), "truck": estimate(0.91, 33)},
        "auroc": 0.9812,
        "n_none": 257,
        "rejected": estimate(0.93, 257),
        "auroc_kept_back": 0.9711,
        "n_kept_back": 694,
        "rejected_kept_back": estimate(0.88, 694),
        "rejected_kinds": {"cow": estimate(0.8, 5)},
        "rejected_kept_back_kinds": {"panda": estimate(0.9, 74)},
        "ece": 0.0123,
        "ece_if_true": (0.01, 0.02),
        "sources": (
            SourceMetrics(source="a/photos", accuracy=estimate(share, 40), n_none=20, auroc=0.9876),
            SourceMetrics(source="b/others", accuracy=None, n_none=13, auroc=None),
        ),
    }
    return RealPhotoMetrics.model_validate(fields | changes)
