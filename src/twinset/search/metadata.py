"""What may be known of an item: names, and texts, numbers, truths or None as values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from twinset.errors import StoreError

Scalar = str | int | float | bool | None
Metadata = Mapping[str, Scalar]
Kind = Literal["text", "number", "truth", "null"]

# What the integer columns of all stores hold.
SMALLEST, LARGEST = -(2**63), 2**63 - 1


def kind(value: Scalar) -> Kind:
    """Tell the kind of a value; those of different kinds are unequal, and neither is less.

    Args:
        value: a text, a number, a truth or None.

    Example:
        >>> [kind(value) for value in ("1", 1, 1.0, True, None)]
        ['text', 'number', 'number', 'truth', 'null']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):  # before the numbers: Python counts True among them
        return "truth"
    return "text" if isinstance(value, str) else "number"


def checked_text(text: Any, what: str) -> str:
    """Return a text that every store can hold.

    Args:
        text: what came.
        what: its name in the error.

    Raises:
        StoreError: it is no text, is empty, or holds what UTF-8 or a database cannot.
    """
    if not isinstance(text, str) or not text:
        raise StoreError(f"Expected {what} to be a text of 1 character or more. Received {text!r}.")
    return _storable(str(text), what)


def checked_value(value: Any, what: str) -> Scalar:
    """Return a value as plain Python; NumPy's scalars are turned into it.

    Args:
        value: what came.
        what: its name in the error.

    Raises:
        StoreError: it is no text, finite number of 64 bits, truth or None.
    """
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
    """Return a copy of what is known of one item, each name and value checked.

    Args:
        metadata: a mapping from names to values.
        what: the item's name in errors.

    Raises:
        StoreError: it is no mapping, or a name or a value cannot be held.
    """
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
