"""Compare histograms: `python -m core.rollout.drift_worker` reads samples and writes reports.

Both are JSON, see `core.rollout.drift_process`. The process has the lowest priority and a limit on
its memory.
"""

from __future__ import annotations

import sys

from core.rollout.drift_process import REPORTS, SAMPLES
from core.rollout.drift_report import drift_reports
from core.system import become_background_worker

__all__ = ["main"]

_MEMORY_BYTES = 2 * 2**30


def main() -> None:
    """Compare the samples of standard input."""
    become_background_worker(_MEMORY_BYTES)
    samples = SAMPLES.validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(REPORTS.dump_json(drift_reports(samples)))


if __name__ == "__main__":
    main()
