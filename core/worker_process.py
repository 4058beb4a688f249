"""Run a worker process once: it reads its input, writes its output and ends."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

__all__ = ["run_worker"]

logger = logging.getLogger(__name__)

# Environment variables of a worker: it must see no token, key or password.
_KEPT = (
    *("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG"),
    *("HOME", "USERPROFILE", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
    *("TMPDIR", "TEMP", "TMP"),
)


def run_worker(
    command: tuple[str, ...], content: bytes, *, timeout_s: float, task: str
) -> bytes | None:
    """Run a worker process and return what it writes to standard output.

    Args:
        command: Command line of the worker.
        content: Its standard input.
        timeout_s: Timeout in seconds, after which it is killed.
        task: What the worker does, for the log.

    Returns:
        None where the worker failed; the reason is logged.
    """
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    try:
        run = subprocess.run(
            command,
            input=content,
            env=environment | {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"},
            cwd=Path(__file__).resolve().parents[1],
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except subprocess.TimeoutExpired:
        logger.error("%s: not done within %.0f s", task, timeout_s)
    except (OSError, subprocess.CalledProcessError) as error:
        details = getattr(error, "stderr", None) or b""
        logger.error("%s: failed: %s %s", task, error, details.decode(errors="replace"))
    else:
        return run.stdout
    return None
