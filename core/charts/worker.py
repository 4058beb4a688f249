"""Draw a chart: `python -m core.charts.worker` reads JSON and writes PNG.

The process has the lowest priority and a limit on its memory, so that no photo waits for a picture.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from core.charts.chart import Chart
from core.charts.draw import draw_chart
from core.system import ignore_stop_signals, lower_limit

__all__ = ["main"]

_MEMORY = 2 * 2**30
_LOWEST_PRIORITY = 19


def main() -> None:
    """Draw the chart of standard input."""
    ignore_stop_signals()
    with suppress(OSError, AttributeError):  # Windows has no priorities of this kind
        os.nice(_LOWEST_PRIORITY)
    for limit, most in (("RLIMIT_AS", _MEMORY), ("RLIMIT_CORE", 0)):
        with suppress(ValueError, OSError):
            lower_limit(limit, most)  # type: ignore[arg-type]  # both are names of limits
    chart = Chart.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(draw_chart(chart))


if __name__ == "__main__":
    main()
