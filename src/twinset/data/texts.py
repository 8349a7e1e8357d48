"""Columns of text, each different value held once; from Python or from Arrow."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class Texts:
    """Holds a column of text of which few values differ, such as labels.

    Args:
        values: the different values, without repetition.
        codes: positions in `values`, (n,); −1 where a cell is empty.

    Example:
        >>> Texts.of(["b", "a", "b"]).codes.tolist()
        [0, 1, 0]
    """

    values: Sequence[str]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, cells: Iterable[str]) -> Texts:
        """Collect the different values, in the order of their first rows.

        Args:
            cells: one text per row.
        """
        number: dict[str, int] = {}
        codes = [number.setdefault(cell, len(number)) for cell in cells]
        return cls(list(number), np.array(codes, np.int64))

    @classmethod
    def joined(cls, columns: Sequence[Texts]) -> Texts:
        """Put columns one after the other.

        Args:
            columns: at least one.
        """
        whole = cls.of(value for column in columns for value in column.values)
        starts = np.cumsum([0, *(len(column.values) for column in columns)])
        codes = [
            np.append(whole.codes[start : start + len(column.values)], -1)[column.codes]
            for column, start in zip(columns, starts, strict=False)
        ]
        return cls(whole.values, np.concatenate(codes))

    def mapped(self, change: Callable[[str], str | None]) -> Texts:
        """Change each different value once; what becomes None or "" is empty.

        Args:
            change: from the value to another; several may become one.
        """
        number: dict[str, int] = {}
        changed = (change(value) for value in self.values)
        table = [number.setdefault(value, len(number)) if value else -1 for value in changed]
        return Texts(list(number), np.array([*table, -1], np.int64)[self.codes])

    @cached_property
    def each(self) -> list[str]:
        """The value of each row, "" where the cell is empty."""
        values = [*self.values, ""]  # where −1 leads
        return [values[code] for code in self.codes.tolist()]


def texts(column: Any) -> Texts:
    """Turn a column of labels, groups or splits into text.

    Whole numbers in floating point, as tables with gaps have them, lose their ".0"; NaN is a gap.

    Args:
        column: a chunked Arrow array of text, numbers, booleans or dates.

    Raises:
        DataError: it holds something else.
    """
    import pyarrow as arrow
    import pyarrow.compute as pc

    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if arrow.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
        if pc.all(pc.equal(column, pc.floor(column))).as_py():
            column = column.cast(arrow.int64())
    if arrow.types.is_nested(column.type) or "binary" in str(column.type):
        raise DataError(f"expected text or numbers. Received {column.type}")
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return Texts([], np.empty(0, np.int64))
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    values = encoded.chunk(0).dictionary.cast(arrow.string()).to_pylist()
    return Texts(values, np.concatenate(codes).astype(np.int64))


def strings(column: Any) -> list[str | None]:
    """Turn a column of text that hardly repeats, such as paths, into a list.

    Args:
        column: a chunked Arrow array.

    Raises:
        DataError: it holds no text.
    """
    import pyarrow as arrow

    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = str(column.type)
    if "string" not in kind or arrow.types.is_nested(column.type):
        if not arrow.types.is_null(column.type):
            raise DataError(f"expected paths as text. Received {kind}")
        column = column.cast(arrow.string())
    # by way of numpy it is five times as fast as `to_pylist`
    found: list[str | None] = column.to_numpy(zero_copy_only=False).tolist()
    return found
