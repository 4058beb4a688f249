"""Reading weights of PyTorch's legacy format, and refusing everything else."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from core.errors import DataError
from core.training.networks.torch_file import read_state_dict
from tests.support.torch_files import write_state_dict


class _Malicious:
    """Object whose pickle runs a command when it is loaded."""

    def __init__(self, command: str) -> None:
        self._command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self._command,)


def test_small_file_is_read(tmp_path: Path) -> None:
    tensors: dict[str, NDArray[Any]] = {
        "a.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "a.count": np.asarray(7, np.int64),
    }
    file = tmp_path / "small.pth"
    write_state_dict(file, tensors)
    found = read_state_dict(file)
    assert list(found) == ["a.weight", "a.count"]
    np.testing.assert_array_equal(found["a.weight"], tensors["a.weight"])
    assert found["a.count"] == 7
    assert "torch" not in sys.modules


def test_malicious_file_is_refused_and_not_run(tmp_path: Path) -> None:
    witness = tmp_path / "it-ran"
    file = tmp_path / "bad.pth"
    write_state_dict(file, {"w": np.zeros(2, np.float32)}, more=_Malicious(f"touch {witness}"))
    with pytest.raises(DataError, match=r"refers to (posix|nt)\.system, which no state dict needs"):
        read_state_dict(file)
    assert not witness.exists()


def test_other_content_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    whole = tmp_path / "whole.pth"
    write_state_dict(whole, {"w": np.arange(9, dtype=np.float32)})
    for content, message in (
        (b"", "damaged"),
        (b"no pickle", "damaged"),
        (pickle.dumps(1), "damaged"),
        (pickle.dumps(1) * 2, "not a file of PyTorch's legacy format"),
        (whole.read_bytes()[:-5], "truncated"),
    ):
        file.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_state_dict(file)
    write_state_dict(file, {}, more={"nested": 1})
    with pytest.raises(DataError, match="something other than tensors"):
        read_state_dict(file)
    with pytest.raises(DataError, match="cannot be read"):
        read_state_dict(tmp_path / "absent.pth")
