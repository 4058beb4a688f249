"""Trial of an untrusted model in a subprocess, which a crafted one may crash."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from core.bundle.folder import Bundle
from core.errors import BundleError

__all__ = ["try_bundle"]

_TIMEOUT_S = 120
_MAX_QUOTED_CHARACTERS = 4000


def try_bundle(bundle: Bundle, base: Bundle | None = None) -> None:
    """Verify, load and run a model in a subprocess; see `core.registry.probe`.

    Args:
        bundle: The model folder.
        base: That of its base; None for a model without one.

    Raises:
        BundleError: The model is damaged, crashes the engine or does not answer in time.
    """
    kept = ("PATH", "PYTHONPATH", "SYSTEMROOT", "LD_LIBRARY_PATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    # Each OpenBLAS thread would use up part of the memory limit of the process.
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "OPENBLAS_NUM_THREADS": "1"}
    folders = [str(each.folder) for each in (bundle, base) if each is not None]
    command = [sys.executable, "-m", "core.registry.probe", *folders]
    what = f"{bundle.config.name} {bundle.revision}"
    with tempfile.TemporaryFile() as stderr_file:
        try:
            code = subprocess.run(
                command,
                env=environment,
                cwd=Path(__file__).resolve().parents[2],
                stdout=subprocess.DEVNULL,
                stderr=stderr_file,
                timeout=_TIMEOUT_S,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise BundleError(f"{what} did not classify an image within {_TIMEOUT_S} s.") from error
        stderr_file.seek(max(0, stderr_file.seek(0, os.SEEK_END) - _MAX_QUOTED_CHARACTERS))
        lines = stderr_file.read().decode(errors="replace").splitlines()
    if code < 0:
        raise BundleError(f"{what} crashes the inference engine (signal {-code}).")
    if code != 0:
        last = "".join(c for c in (lines or ["no reason was given"])[-1] if c.isprintable())
        raise BundleError(f"{what} cannot be used: {last}")
