"""Names, labels and columns as people write them, and the tables of text that hold them."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError

# what folders, manifests and Hugging Face's splits call the parts
PART_SPELLINGS = {
    "train": "train",
    "training": "train",
    "tune": "tune",
    "val": "tune",
    "valid": "tune",
    "validation": "tune",
    "dev": "tune",
    "calib": "calibration",
    "calibration": "calibration",
    "test": "test",
    "testing": "test",
}
# what says nothing in the name of a part: "training_set", "TestImages"
_FILLERS = frozenset(
    (
        *("set", "sets", "data", "dataset", "split", "part", "subset", "folder", "files", "file"),
        *("image", "images", "img", "imgs", "photo", "photos", "pic", "pics", "picture"),
        *("pictures", "sample", "samples"),
    )
)
_DIGITS = re.compile("([0-9]+)")


def part_of(spelling: str) -> str | None:
    """Return the part that a folder or split of this name is; None if it is none."""
    return parts_of([spelling]).get(spelling)


def parts_of(names: Iterable[str]) -> dict[str, str]:
    """Find names of parts among those that stand side by side: name → part.

    Case, numbers and words such as "set" and "images" do not matter. What else a name says, it must
    share with the name of another part, as in "seg_train" and "seg_test": "test tube" is none.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    families: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        words = re.findall(r"[^\W\d_]+", re.sub("(?<=[a-z])(?=[A-Z])", " ", name).casefold())
        words = [w if w in PART_SPELLINGS else _without_filler(w) for w in words]
        parts = [PART_SPELLINGS[word] for word in words if word in PART_SPELLINGS]
        if len(parts) == 1:
            rest = (*(w for w in words if w not in PART_SPELLINGS and w not in _FILLERS),)
            found[name] = parts[0], rest
            families.setdefault(rest, set()).add(parts[0])
    return {name: p for name, (p, rest) in found.items() if not rest or len(families[rest]) > 1}


def _without_filler(word: str) -> str:
    # "trainset", "testdata"
    bare = next((word.removesuffix(f) for f in ("set", "data") if word.endswith(f)), word)
    return bare if bare in PART_SPELLINGS else word


def natural_key(text: str) -> tuple[tuple[Any, ...], str]:
    """Return a key that sorts names as people do: "2" before "10", whatever the case."""
    pieces: list[Any] = _DIGITS.split(text.casefold())
    # digits are at the odd places; by length and then as text, since int() refuses 5,000 digits
    for k in range(1, len(pieces), 2):
        digits = pieces[k].lstrip("0")
        pieces[k] = (len(digits), digits)
    return tuple(pieces), text


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Return each name once, in natural order."""
    return tuple(sorted(set(names), key=natural_key))


def shown(text: str) -> str:
    r"""Return a name as it can be printed: bytes that are not UTF-8, and controls, as escapes.

    Example:
        >>> print(shown("caf\udce9\n.png"), shown("é😀 b.png"))
        caf\xe9\x0a.png é😀 b.png
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _escaped(character) for character in text
    )


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code & 0xFF:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character  # joiners within emoji, exotic spaces, characters newer than this Python


def class_name(text: str) -> str:
    """Return a class's name as it is shown and compared: composed (NFC), controls as escapes.

    Two spellings of "é", as one character or as two, look alike and come from different systems:
    they are one class.
    """
    return shown(unicodedata.normalize("NFC", text))


PARTS = ("train", "tune", "calibration", "test")


def label_codes(
    values: Any, count: int, classes: int, row: str = "image", *, none: bool = False
) -> NDArray[np.int64]:
    """Check labels, one per row, which with `none` may be −1."""
    labels = np.asarray(values)
    if labels.shape != (count,):
        raise DataError(
            f"Expected one label per {row}, shape ({count},). "
            f"Received labels of shape {labels.shape}."
        )
    if count and labels.dtype.kind not in "iu":  # an empty list comes as floats
        raise DataError(
            f"Expected integer labels. Received dtype {labels.dtype}; for names use "
            "`names, labels = np.unique(values, return_inverse=True)`."
        )
    wrong = np.flatnonzero((labels < -none) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"Expected labels from 0 to {classes - 1}, one per class name{', or -1' * none}. "
            f"Received {labels[wrong[0]]} at position {wrong[0]}."
        )
    return labels.astype(np.int64, copy=False)


def texts_of(field: str, values: Any, count: int, row: str = "image") -> NDArray[np.str_] | None:
    """Make an array of texts, one per row, of what the caller passed for a field."""
    if values is None:
        return None
    texts = np.asarray(values)
    if texts.shape != (count,):
        raise DataError(
            f"Expected one of `{field}` per {row}, shape ({count},). Received shape {texts.shape}."
        )
    return texts.astype(np.str_)


def check_parts(parts: NDArray[np.str_] | None) -> None:
    """Refuse names of parts that there are not."""
    if parts is None:
        return
    wrong = np.flatnonzero(~np.isin(parts, (*PARTS, "")))
    if wrong.size:
        raise DataError(
            f"Expected a part out of {[*PARTS, '']}. "
            f"Received {str(parts[wrong[0]])!r} at position {wrong[0]}."
        )


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of text of which few values differ, such as labels.

    `values` has the different ones, `codes` (n,) positions in it, −1 where a cell is empty.
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


TEXT_TABLES = (".csv", ".tsv", ".jsonl")
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
    """Read a table of text: its first line names the columns, or each line is a JSON object.

    The text is UTF-8, or UTF-16 that says so by its first bytes, as Excel's "Unicode text" does.
    The delimiter is what Excel's line "sep=;" above the names says, or else ",", ";", a tab or "|":
    the first with which `choose`, which finds the columns that are needed among the names of all,
    is content. `errors` is as for `bytes.decode`, since names of files may be other bytes.
    """
    # not by splitlines(): to that, U+2028 and some controls in a cell would end a line as well
    lines = list(io.StringIO(_text(file, errors), newline=""))
    if file.suffix.lower() == ".jsonl":
        table = _objects(file, lines)
        return table, choose(table.header)
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


def _objects(file: Path, lines: Sequence[str]) -> CsvTable:
    # what is no text is told as JSON tells it, and read again as the cells of a .csv are
    found = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    rows = [_object(file, number, line) for number, line in found]
    header = list(dict.fromkeys(name for row in rows for name in row))
    records = [[_cell(row.get(name)) for name in header] for row in rows]
    return CsvTable(header, records, [number for number, _ in found])


def _object(file: Path, number: int, line: str) -> dict[str, object]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        row, received = None, f"other text: {error}"
    else:
        received = line.strip()[:40]
    if not isinstance(row, dict):
        raise DataError(
            f"{shown(str(file))}, line {number}: expected one JSON object in each line, such as "
            f'{{"file_name": "1.png", "label": "cat"}}. Received {shown(received)}.'
        )
    return row


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(file: Path, errors: str) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(str(file))}: expected a table. {error.strerror}.") from None
    wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = raw.decode("utf-16" if wide else "utf-8-sig", errors)
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown(str(file))}, line {line}: expected text in UTF-8. Received the byte "
            f"{raw[error.start]:#04x}: save the table anew as UTF-8 (in Excel: 'CSV UTF-8')."
        ) from None
    if not text.strip():
        raise DataError(f"{shown(str(file))}: expected a table. Received an empty file.")
    return text


_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)


def _delimiter(file: Path, lines: list[str], choose: Callable[[Sequence[str]], T]) -> tuple[str, T]:
    errors: dict[int, DataError] = {}
    # a .tsv has tabs unless its columns say otherwise; a comma within a tab's header is a name's
    delimiters = "\t,;|" if file.suffix.lower() == ".tsv" else ",;\t|"
    if told := _SEPARATOR.fullmatch(lines[0]):
        delimiters, lines[0] = told[1], "\n"  # what comes after keeps its number
    for delimiter in delimiters:
        header: list[str] = []
        try:
            header = next((record for _, record in _records(file, lines, delimiter) if record), [])
            return delimiter, choose(header)
        except DataError as error:  # names in quotes are none with another delimiter
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
