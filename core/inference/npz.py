"""Read the arrays of untrusted .npz files within a limit on their size."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CORRUPT", "read_arrays", "write_arrays"]

CORRUPT = (
    ValueError,
    KeyError,
    TypeError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)
"""Exceptions that zipfile and NumPy raise on corrupt files and on files of other formats."""


def read_arrays(
    content: bytes, names: Collection[str], *, max_bytes: int
) -> dict[str, NDArray[Any]]:
    """Read arrays by name, without unpickling.

    Args:
        content: Content of the file.
        names: Names of the arrays.
        max_bytes: Maximum size of the file in bytes; unpacked, it may have twice as many.

    Raises:
        ValueError: The file or its content is too large.
        Exception: One of `CORRUPT`: the file is corrupt, or an array is missing.
    """
    if len(content) > max_bytes:
        raise ValueError(f"it has {len(content):,} bytes; the limit is {max_bytes:,}")
    with zipfile.ZipFile(BytesIO(content)) as archive:
        # The declared sizes are checked before anything is unpacked, since a small archive can
        # expand to more than the memory.
        size = sum(entry.file_size for entry in archive.infolist())
    if size > 2 * max_bytes:
        raise ValueError(f"it unpacks to {size:,} bytes; the limit is {2 * max_bytes:,}")
    with np.load(BytesIO(content), allow_pickle=False) as entries:
        return {name: np.asarray(entries[name]) for name in names}


def write_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialise arrays to the content of a .npz file; equal arrays give equal bytes."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # the stub accepts no mapping
    return buffer.getvalue()
