"""Columns of text, and the tables in text that hold them (.csv, .tsv)."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset.data.names import shown
from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of text of which few values differ, such as labels.

    `values` has the different ones, `codes` (n,) positions in it, −1 where a cell is empty.

    Example:
        >>> Texts.of(["b", "a", "b"]).codes.tolist()
        [0, 1, 0]
    """

    values: Sequence[str]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, cells: Iterable[str]) -> Texts:
        """Collect the different values, in the order of their first rows."""
        number: dict[str, int] = {}
        codes = [number.setdefault(cell, len(number)) for cell in cells]
        return cls(list(number), np.array(codes, np.int64))

    def mapped(self, change: Callable[[str], str | None]) -> Texts:
        """Change each different value once; what becomes None or "" is empty."""
        number: dict[str, int] = {}
        changed = (change(value) for value in self.values)
        table = [number.setdefault(value, len(number)) if value else -1 for value in changed]
        return Texts(list(number), np.array([*table, -1], np.int64)[self.codes])

    @cached_property
    def each(self) -> list[str]:
        """The value of each row, "" where the cell is empty."""
        values = [*self.values, ""]  # where −1 leads
        return [values[code] for code in self.codes.tolist()]


TEXT_TABLES = (".csv", ".tsv")
T = TypeVar("T")


@dataclass(frozen=True)
class CsvTable:
    """The cells of a table in text.

    Each record has as many cells as the header; `lines` has the number of its first line, from 1,
    and `faults` what is wrong with a row.
    """

    header: Sequence[str]
    records: Sequence[Sequence[str]]
    lines: Sequence[int]
    faults: Mapping[int, str] = field(default_factory=dict)

    def column(self, name: str) -> list[str]:
        """List the cells of a column."""
        place = self.header.index(name)
        return [record[place] for record in self.records]

    def where(self, row: int) -> str:
        """Tell people where a row is."""
        return f"line {self.lines[row]}"


def read_csv(
    file: Path, choose: Callable[[Sequence[str]], T], *, errors: str = "strict"
) -> tuple[CsvTable, T]:
    """Read a table in UTF-8 whose first line names the columns.

    The delimiter is ",", ";" or a tab: the first with which `choose`, which finds the columns that
    are needed among the names of all, is content. `errors` is as for `bytes.decode`, since names of
    files may be other bytes.
    """
    # not by splitlines(): to that, U+2028 and some controls in a cell would end a line as well
    lines = list(io.StringIO(_text(file, errors), newline=""))
    delimiter, chosen = _delimiter(file, lines, choose)
    found = [(start, record) for start, record in _records(file, lines, delimiter) if record]
    header, records = found[0][1], [record for _, record in found[1:]]
    faults = {}
    for row, record in enumerate(records):
        if len(record) > len(header) and any(record[len(header) :]):
            faults[row] = (
                f"{len(record)} cells where the header has {len(header)}: "
                f"put cells that contain {delimiter!r} in quotes"
            )
        # cells that are missing at the end are empty, as spreadsheets write them
        record += [""] * (len(header) - len(record))
    return CsvTable(header, records, [start for start, _ in found[1:]], faults), chosen


def _text(file: Path, errors: str) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(str(file))}: expected a table. {error.strerror}.") from None
    try:
        text = raw.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown(str(file))}, line {line}: expected text in UTF-8. Received the byte "
            f"{raw[error.start]:#04x}: save the table anew as UTF-8 (in Excel: 'CSV UTF-8')."
        ) from None
    if not text.strip():
        raise DataError(f"{shown(str(file))}: expected a table. Received an empty file.")
    return text


def _delimiter(file: Path, lines: list[str], choose: Callable[[Sequence[str]], T]) -> tuple[str, T]:
    errors: dict[int, DataError] = {}
    # a .tsv has tabs unless its columns say otherwise; a comma within a tab's header is a name's
    for delimiter in "\t,;" if file.suffix.lower() == ".tsv" else ",;\t":
        header = next((record for _, record in _records(file, lines, delimiter) if record), [])
        try:
            return delimiter, choose(header)
        except DataError as error:
            errors[len(header)] = errors.get(len(header), error)
    raise errors[max(errors)]  # the one that sees most columns


def _records(file: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read the records, blank ones too, each with the number of its first line."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for record in reader:
            yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"{shown(str(file))}, line {start}: expected cells in quotes to be closed, with "
            f'quotes in them doubled (""). Received other text: {error}.'
        ) from None
