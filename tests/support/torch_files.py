"""Files of torch's older format, written without torch."""

from __future__ import annotations

import pickle
import sys
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage:
    """Stands for a tensor's storage; written as a persistent id."""

    def __init__(self, values: NDArray[Any], key: str) -> None:
        self.values = values
        self.key = key


class _Tensor:
    """Pickled as torch pickles a tensor."""

    def __init__(self, storage: _Storage, rebuild: Any) -> None:
        self._storage = storage
        self._rebuild = rebuild

    def __reduce__(self) -> tuple[Any, ...]:
        values = self._storage.values
        strides = tuple(step // values.itemsize for step in values.strides)
        arguments: tuple[Any, ...] = (self._storage, 0, values.shape, strides, False, OrderedDict())
        return self._rebuild, arguments


class _Pickler(pickle.Pickler):
    def persistent_id(self, each: Any) -> Any:
        if not isinstance(each, _Storage):
            return None
        name = {"f4": "FloatStorage", "i8": "LongStorage"}[each.values.dtype.str[1:]]
        kind = getattr(sys.modules["torch"], name)
        return ("storage", kind, each.key, "cpu", each.values.size, None)


def _torch() -> dict[str, ModuleType]:
    """Return modules with the names that a state dict refers to."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")

    def rebuild() -> None:
        """Stand for torch's own."""

    for module, name, what in (
        (torch, "FloatStorage", type("FloatStorage", (), {"__module__": "torch"})),
        (torch, "LongStorage", type("LongStorage", (), {"__module__": "torch"})),
        (utils, "_rebuild_tensor_v2", rebuild),
    ):
        what.__name__ = what.__qualname__ = name
        what.__module__ = module.__name__
        setattr(module, name, what)
    torch._utils = utils  # type: ignore[attr-defined]  # as the real one has it
    return {"torch": torch, "torch._utils": utils}


def write_state_dict(file: Path, tensors: Mapping[str, NDArray[Any]], more: Any = None) -> None:
    """Write a file as `torch.save` did before version 1.6.

    Args:
        file: Where to.
        tensors: Arrays of float32 or int64 by name.
        more: Put under the name `more`, if given; no state dict has such.
    """
    stream = BytesIO()
    for plain in (_MAGIC, 1001, {"little_endian": True}):
        pickle.dump(plain, stream, 2)
    storages = [_Storage(np.asarray(values), str(i)) for i, values in enumerate(tensors.values())]
    with mock.patch.dict(sys.modules, _torch()):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        state: OrderedDict[str, Any] = OrderedDict(
            (name, _Tensor(storage, rebuild))
            for name, storage in zip(tensors, storages, strict=True)
        )
        if more is not None:
            state["more"] = more
        _Pickler(stream, 2).dump(state)
    pickle.dump([storage.key for storage in storages], stream, 2)
    for storage in storages:
        stream.write(storage.values.size.to_bytes(8, "little") + storage.values.tobytes())
    file.write_bytes(stream.getvalue())
