"""Read a state dict of PyTorch's legacy file format with a restricted unpickler, without PyTorch.

Such a file is a pickle, and a pickle may call any function of any module. The unpickler here
accepts the names that a state dict consists of and refuses all others: `collections.OrderedDict`,
PyTorch's storage classes and `torch._utils._rebuild_tensor_v2`. No code of PyTorch runs: storages
become NumPy dtypes, and tensors become offsets into storages, which are read at the end.
"""

from __future__ import annotations

import os
import pickle  # only through the restricted unpicklers below
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.errors import DataError

__all__ = ["read_state_dict"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_DTYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


@dataclass(frozen=True, slots=True)
class _Storage:
    """A one-dimensional array in the file, by its key."""

    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A strided view of a storage; offset and strides in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the tensor from the values of its storage, shape (size,)."""
        steps = [step * values.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, steps, writeable=False
        ).copy()


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a state dict.

    Args:
        path: A file that `torch.save` wrote before version 1.6, or with
            `_use_new_zipfile_serialization=False`. It must contain tensors by name and nothing
            else.

    Returns:
        Tensors by name, in the order of the file.

    Raises:
        DataError: The file cannot be read, has another format, is truncated, or refers to a name
            that a state dict does not need.
    """
    try:
        with Path(path).open("rb") as stream:
            state, values = _read(stream, path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    return {name: tensor.take(values[tensor.storage.key]) for name, tensor in state.items()}


def _read(
    stream: BinaryIO, path: str | os.PathLike[str]
) -> tuple[dict[str, _Tensor], dict[str, NDArray[Any]]]:
    """Read tensors by name, and the values of each storage, shape (size,), by its key."""
    if (_load_plain(stream), _load_plain(stream)) != (_MAGIC, _PROTOCOL):
        raise DataError(f"{path} is not a file of PyTorch's legacy format.")
    system = _load_plain(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DataError(f"{path} was not written on a little-endian machine.")
    unpickler = _StateDict(stream)
    state = _load(unpickler)
    keys = _load_plain(stream)
    storages = unpickler.storages
    if (
        not isinstance(state, dict)
        or not all(isinstance(name, str) for name in state)
        or not all(isinstance(tensor, _Tensor) for tensor in state.values())
    ):
        raise DataError(f"{path} contains something other than tensors by name.")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise DataError(f"The storages that {path} lists are not those of its tensors.")
    return state, {key: _read_values(stream, storages[key]) for key in map(str, keys)}


class _Plain(pickle.Unpickler):
    """Unpickler of numbers, strings, lists and dicts, which refuses every name."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise DataError(
            f"The file refers to {module}.{name}, which no state dict needs. It may be malicious; "
            "install the package again from a trusted source."
        )


class _StateDict(_Plain):
    """Unpickler of the names that a state dict needs, which collects its storages."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilder()
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return super().find_class(module, name)

    def persistent_load(self, pid: Any, /) -> _Storage:
        match pid:
            case ("storage", np.dtype() as dtype, str(key), str(), int(size), None) if size >= 0:
                storage = _Storage(key, dtype, size)
            case _:
                raise DataError("The file describes a storage in an unknown way.")
        if self.storages.setdefault(key, storage) != storage:
            raise DataError(f"The file describes the storage {key} twice in different ways.")
        return storage


def _rebuilder() -> Callable[..., _Tensor]:
    # A new function for each file, since a pickle can set attributes of what it is given.
    def rebuild(
        storage: _Storage,
        offset: int,
        shape: Sequence[int],
        strides: Sequence[int],
        *_: object,
    ) -> _Tensor:
        if not isinstance(storage, _Storage) or not all(
            isinstance(number, int) and number >= 0 for number in (offset, *shape, *strides)
        ):
            raise DataError("The file describes a tensor in an unknown way.")
        if len(shape) != len(strides) or prod(shape) > storage.size:
            raise DataError("The file describes a tensor in an unknown way.")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and last >= storage.size:
            raise DataError("The file contains a tensor that exceeds its storage.")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    return rebuild


def _load_plain(stream: BinaryIO) -> Any:
    return _load(_Plain(stream))


def _load(unpickler: pickle.Unpickler) -> Any:
    try:
        return unpickler.load()
    except DataError:
        raise
    # Damaged bytes raise all of these; the documentation of pickle lists only some.
    except (
        pickle.UnpicklingError,
        ValueError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ImportError,
        MemoryError,
        OverflowError,
    ) as error:
        raise DataError(f"The file is damaged or has another format: {error}") from error


def _read_values(stream: BinaryIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(stream.read(8), "little")
    if count != storage.size:
        raise DataError("A storage of the file has another size than the file states.")
    data = stream.read(count * storage.dtype.itemsize)
    if len(data) != count * storage.dtype.itemsize:
        raise DataError("The file is truncated.")
    return np.frombuffer(data, storage.dtype)
