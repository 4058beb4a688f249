"""Checks that an exported network computes what was trained."""

from __future__ import annotations

from core.bundle.folder import Bundle
from core.errors import TrainingError
from core.settings import Settings
from core.training.data.datasets import Split
from core.training.evaluation.model_outputs import bundle_accuracy

__all__ = ["check_network", "check_precision"]

# Maximum validation accuracy that quantisation may cost.
_MAX_LOSS = 0.002
# Tolerance for the number format of training, which may be bfloat16.
_TOLERANCE = 0.01


def check_network(exact: Bundle, rows: Split, trained: float, settings: Settings) -> None:
    """Check that the accuracy in float32 is that which was measured in training.

    It differs where the code of the network changed after the run that is being exported.

    Args:
        exact: The exported network in float32.
        rows: Validation rows.
        trained: Accuracy on them in training, one view, 0 to 1.
        settings: `threads` is used.

    Raises:
        TrainingError: The accuracies differ by more than 0.01.
    """
    name = exact.config.name
    exported = bundle_accuracy(exact, rows, threads=settings.threads, one_view=True)
    if abs(exported - trained) > _TOLERANCE:
        raise TrainingError(
            f"The exported {name} has a validation accuracy of {exported:.4f}; in training it was "
            f"{trained:.4f}. The code of its network has changed since the run; train it again."
        )


def check_precision(draft: Bundle, exact: Bundle, rows: Split, settings: Settings) -> None:
    """Check that quantisation costs little accuracy.

    Args:
        draft: The exported network in the precision that is served.
        exact: The same network in float32.
        rows: Validation rows.
        settings: `threads` is used.

    Raises:
        TrainingError: It costs more than 0.002 of the accuracy on these rows.
    """
    before = bundle_accuracy(exact, rows, threads=settings.threads)
    after = bundle_accuracy(draft, rows, threads=settings.threads)
    if before - after > _MAX_LOSS:
        name, precision = draft.config.name, draft.config.precision
        raise TrainingError(
            f"{precision} weights cost {name} {before - after:.4f} of its validation accuracy; at "
            f"most {_MAX_LOSS} may be lost. Change the precision of its recipe, and export the run "
            "with --resume."
        )
