"""Read a state dict of torch's older file format with a restricted unpickler, without torch.

Such a file is a pickle, and a pickle may name any function of any module. The unpickler here
accepts what a state dict is made of and refuses everything else: `collections.OrderedDict`, torch's
storage classes and `torch._utils._rebuild_tensor_v2`. No code of torch is run: storages become
NumPy dtypes, and tensors become offsets into the file, which are read once all names are known.
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
    key: str
    dtype: np.dtype[Any]
    size: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Copy the tensor's numbers out of its storage, shape (size,)."""
        steps = [step * values.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(
            values[self.offset :], self.shape, steps, writeable=False
        ).copy()


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read a state dict.

    Args:
        path: A file that `torch.save` wrote before version 1.6, or with
            `_use_new_zipfile_serialization=False`: tensors under names, no more.

    Returns:
        The tensors by name, in the order of the file.

    Raises:
        DataError: The file cannot be read, is no such file, is truncated, or names anything that a
            state dict does not need.
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
    """Return the tensors by name, and the numbers of each storage by its key."""
    if (_plain(stream), _plain(stream)) != (_MAGIC, _PROTOCOL):
        raise DataError(f"{path} is no file of torch's older format.")
    system = _plain(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise DataError(f"{path} was not written by a little-endian machine.")
    unpickler = _StateDict(stream)
    state = _load(unpickler)
    keys = _plain(stream)
    storages = unpickler.storages
    if (
        not isinstance(state, dict)
        or not all(isinstance(name, str) for name in state)
        or not all(isinstance(tensor, _Tensor) for tensor in state.values())
    ):
        raise DataError(f"{path} holds something other than tensors under names.")
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise DataError(f"{path} lists other storages than its tensors use.")
    return state, {key: _values(stream, storages[key]) for key in map(str, keys)}


class _Plain(pickle.Unpickler):
    """Accept numbers, strings, lists and dicts; refuse every name."""

    def find_class(self, module: str, name: str, /) -> Any:
        raise DataError(
            f"The file names {module}.{name}, which no state dict needs. It may be malicious; "
            "install the package again from a source that you trust."
        )


class _StateDict(_Plain):
    """Accept the names that a state dict needs, and collect its storages."""

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
                raise DataError("The file describes a storage in a way that is unknown here.")
        if self.storages.setdefault(key, storage) != storage:
            raise DataError(f"The file describes the storage {key} twice, differently.")
        return storage


def _rebuilder() -> Callable[..., _Tensor]:
    # A new function for every file, since a pickle may set attributes of what it was given.
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
            raise DataError("The file describes a tensor in a way that is unknown here.")
        if len(shape) != len(strides) or prod(shape) > storage.size:
            raise DataError("The file describes a tensor in a way that is unknown here.")
        last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        if 0 not in shape and last >= storage.size:
            raise DataError("The file holds a tensor that reaches beyond its storage.")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))

    return rebuild


def _plain(stream: BinaryIO) -> Any:
    return _load(_Plain(stream))


def _load(unpickler: pickle.Unpickler) -> Any:
    try:
        return unpickler.load()
    except DataError:
        raise
    # The errors that damaged bytes raise; the documentation of pickle lists only some of them.
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
        raise DataError(f"The file is damaged, or of another format: {error}") from error


def _values(stream: BinaryIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(stream.read(8), "little")
    if count != storage.size:
        raise DataError("The file's storages have other sizes than it says.")
    data = stream.read(count * storage.dtype.itemsize)
    if len(data) != count * storage.dtype.itemsize:
        raise DataError("The file is truncated.")
    return np.frombuffer(data, storage.dtype)
