"""Weights out of a file that PyTorch wrote in its old format, read without PyTorch."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.errors import ModelError

# The pickles before the numbers: this mark, the version, the machine, the tensors, and in which
# order their numbers follow.
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


def read_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read tensors of float32 and int64 by name; nothing that the file holds is run."""
    try:
        with Path(path).open("rb") as file:
            found = _read(file)
    except (OSError, ModelError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _not_so(path, error) from None
    except (AttributeError, EOFError, MemoryError, RecursionError, pickle.PickleError) as error:
        raise _not_so(path, error) from None
    return found


def _not_so(path: str | Path, error: Exception) -> ModelError:
    reason = str(error).rstrip(".") or type(error).__name__
    return ModelError(
        f"{path}: expected weights as PyTorch's old format holds them, float32 and int64 tensors "
        f"in a dictionary and nothing else. {reason}: install the package that it is from again."
    )


class _Storage(NamedTuple):  # not a dataclass: a pickle could set its fields
    key: str
    kind: np.dtype[Any]
    numbers: int


class _View(NamedTuple):  # of a storage, whose numbers come after the pickles
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _unpickled(file) != MAGIC or _unpickled(file) != VERSION:
        raise ModelError("Received another file")
    if not _unpickled(file).get("little_endian"):
        raise ModelError("Received one of a machine that writes numbers the other way round")
    tensors, order = _unpickled(file), _unpickled(file)
    if not isinstance(tensors, dict) or not all(isinstance(x, _View) for x in tensors.values()):
        raise ModelError("Received something beside tensors")
    known = {view.storage.key: view.storage for view in tensors.values()}
    numbers = {key: _numbers(file, known[key]) for key in order}
    return {str(name): _viewed(view, numbers[view.storage.key]) for name, view in tensors.items()}


def _numbers(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    if count != storage.numbers:
        raise ModelError(f"Received {count} numbers where {storage.numbers} are announced")
    data = file.read(count * storage.kind.itemsize)
    return np.frombuffer(data, storage.kind, count)  # a ValueError where the file is cut short


def _viewed(view: _View, numbers: NDArray[Any]) -> NDArray[Any]:
    # By stride: tensors that were made by transposing lie in memory as they did before.
    steps = [(size - 1) * step for size, step in zip(view.shape, view.strides, strict=True)]
    most = view.offset + sum(steps) if min(view.shape, default=1) else 0
    if min((view.offset, *view.shape, *view.strides)) < 0 or most >= max(len(numbers), 1):
        raise ModelError(f"Received a tensor that reaches beyond its {len(numbers)} numbers")
    if math.prod(view.shape) > len(numbers):  # strides of 0 make terabytes of one number
        raise ModelError(f"Received a tensor of more than its {len(numbers)} numbers")
    strides = [step * numbers.itemsize for step in view.strides]
    found = np.lib.stride_tricks.as_strided(
        numbers[view.offset :], view.shape, strides, writeable=False
    )
    return np.array(found, order="C")


def _unpickled(file: BinaryIO) -> Any:
    return _Tensors(file).load()


class _Tensors(pickle.Unpickler):
    # A pickle is a program, which may call whatever it can name. Here it can name four things, made
    # anew for each file, as it could set attributes on them. What they return is data.

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return _dictionary()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(
                _the(_Storage, storage), int(offset), _sizes(shape), _sizes(strides)
            )
        raise ModelError(f"Received one that asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, name, key, _, count, view = pid
        if kind != "storage" or view is not None:
            raise ModelError(f"Received {pid!r} where a storage belongs")
        return _Storage(str(key), _STORAGES[name], int(count))


def _dictionary() -> Callable[[], dict[Any, Any]]:
    class Dictionary(dict[Any, Any]):
        def __setstate__(self, state: Any) -> None:
            # versions of layers, which PyTorch hangs on to the dictionary
            del state

    return Dictionary


def _the(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise ModelError(f"Received {value!r} where a {kind.__name__.strip('_').lower()} belongs")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
