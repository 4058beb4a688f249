"""Draw a chart: `python -m core.charts.worker` reads JSON and writes PNG.

The process has the lowest priority and a limit on its memory, so that no photo waits for a picture.
"""

from __future__ import annotations

import sys

from core.charts.chart import Chart
from core.charts.draw import draw_chart
from core.system import become_background_worker

__all__ = ["main"]

_MEMORY_BYTES = 2 * 2**30


def main() -> None:
    """Read a chart from standard input, and write its picture to standard output."""
    become_background_worker(_MEMORY_BYTES)
    chart = Chart.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.buffer.write(draw_chart(chart))


if __name__ == "__main__":
    main()
