"""What an index takes: texts, values, ids and vectors, checked before anything is stored."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError

Scalar = str | int | float | bool | None
Metadata = Mapping[str, Scalar]
Kind = Literal["text", "number", "boolean", "null"]

# Squared distances of longer vectors leave float32's range.
LARGEST_COORDINATE = 1e15
# What the integer columns of all stores hold.
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def kind(value: Scalar) -> Kind:
    """Tell the kind of a value; those of different kinds are unequal, and neither is less."""
    if value is None:
        return "null"
    if isinstance(value, bool):  # before the numbers: Python counts True among them
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def checked_text(text: Any, what: str) -> str:
    """Return a text that every store can hold."""
    if not isinstance(text, str) or not text:
        raise StoreError(f"Expected {what} to be a text of 1 character or more. Received {text!r}.")
    return _storable(str(text), what)


def checked_value(value: Any, what: str) -> Scalar:
    """Return a value as plain Python; NumPy's scalars are turned into it."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, str):
        return _storable(str(plain), what)
    if plain is None or isinstance(plain, bool):
        return plain
    if isinstance(plain, int) and SMALLEST <= plain <= LARGEST:
        return int(plain)
    if isinstance(plain, float) and math.isfinite(plain):
        return float(plain)
    raise StoreError(
        f"Expected {what} to be a text, a finite number of 64 bits, true, false or None. "
        f"Received {value!r}."
    )


def checked_metadata(metadata: Any, what: str) -> dict[str, Scalar]:
    """Return a copy of what is known of one item, each name and value checked."""
    if type(metadata) is dict and _plain(metadata):
        return dict(metadata)
    if not isinstance(metadata, Mapping):
        raise StoreError(
            f"Expected metadata of {what} as a mapping from names to values. Received {metadata!r}."
        )
    return {
        checked_text(name, f"a metadata name of {what}"): checked_value(
            value, f"metadata {name!r} of {what}"
        )
        for name, value in metadata.items()
    }


def _plain(metadata: dict[Any, Any]) -> bool:
    # What most metadata are, told in half a microsecond; the others are looked at one by one.
    for name, value in metadata.items():
        if type(name) is not str or not name.isascii() or not name or "\0" in name:
            return False
        kind = type(value)
        if kind is str:
            if not value.isascii() or "\0" in value:
                return False
        elif kind is int:
            if not SMALLEST <= value <= LARGEST:
                return False
        elif kind is float:
            if not math.isfinite(value):
                return False
        elif value is not None and kind is not bool:
            return False
    return True


def _storable(text: str, what: str) -> str:
    # Postgres refuses NUL; half a surrogate pair, as in undecodable file names, is not UTF-8
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise StoreError(
            f"Expected {what} to be Unicode text. Received {text!r}, which UTF-8 cannot hold."
        ) from None
    if "\0" in text:
        raise StoreError(f"Expected {what} without a NUL character. Received {text!r}.")
    return text


def checked_ids(ids: Any) -> tuple[str, ...]:
    """Return ids as a tuple."""
    if isinstance(ids, str):
        raise StoreError(f"Expected a list of ids. Received the text {ids!r}: write [{ids!r}].")
    texts = tuple(ids)
    joined = "".join(texts) if set(map(type, texts)) <= {str} and all(texts) else "\0"
    if not joined.isascii() or "\0" in joined:  # each is looked at only where it must be
        texts = tuple(checked_text(id_, "an id") for id_ in texts)
    if len(set(texts)) < len(texts):
        again, _ = Counter(texts).most_common(1)[0]
        raise StoreError(
            f"Expected each id once. Received {again!r} more often: ids tell items apart."
        )
    return texts


def checked_vectors(vectors: Any, what: str, dim: int | None = None) -> NDArray[np.float32]:
    """Return vectors as contiguous, read-only float32, without a copy where they are that."""
    try:
        array = np.asarray(vectors)
    except ValueError:  # rows of different lengths
        raise StoreError(f"Expected {what} of one size. Received rows that differ.") from None
    if array.ndim != 2 or array.shape[1] < 1 or array.dtype.kind not in "fiu":
        raise StoreError(
            f"Expected {what} as numbers of shape (n, d). "
            f"Received {array.dtype} of shape {array.shape}."
        )
    if dim is not None and array.shape[1] != dim:
        raise StoreError(
            f"Expected {what} of size {dim}, as in this index. Received {array.shape[1]}: "
            "they come from another model."
        )
    with np.errstate(over="ignore"):  # beyond float32 becomes infinity, and is told below
        found = np.ascontiguousarray(array, np.float32).view()
    for start in range(0, len(found), 8192):  # no second array of the size of all
        part = np.abs(found[start : start + 8192])
        if not part.max() <= LARGEST_COORDINATE:  # or NaN
            bad = np.flatnonzero(~(part <= LARGEST_COORDINATE).all(axis=1))
            raise StoreError(
                f"Expected {what} of finite numbers within ±{LARGEST_COORDINATE:g}. Received "
                f"NaN, infinity or more in row {start + int(bad[0])}."
            )
    found.flags.writeable = False
    return found


def checked_k(k: Any, within: Any) -> tuple[int | None, float | None]:
    """Return how many neighbours are wanted, and how far they may be."""
    if k is not None and (not is_whole(k) or k < 1):
        raise StoreError(f"Expected k as 1 or more, or None for all within. Received {k!r}.")
    if within is not None and not (is_number(within) and within >= 0):
        raise StoreError(f"Expected `within` as a distance of 0 or more. Received {within!r}.")
    if k is None and within is None:
        raise StoreError("Expected k, or `within`, or both. Received neither: all would answer.")
    return (None if k is None else int(k)), (None if within is None else float(within))


def is_number(value: Any) -> bool:
    """Tell whether a value is a real number, of Python or NumPy."""
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Tell whether a value is an integer, of Python or NumPy."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
