"""Texts as people read them: names of files, classes and parts, and columns of such."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
_DIGITS = re.compile("([0-9]+)")


def part_of(spelling: str) -> str | None:
    """Return the part that a folder or split of this name is; None if it is none."""
    return PART_SPELLINGS.get(spelling.strip().casefold())


def natural_key(text: str) -> tuple[tuple[Any, ...], str]:
    """Return a key that sorts names as people do: "2" before "10", whatever the case.

    Example:
        >>> sorted(["b10", "B2", "a", "b2"], key=natural_key)
        ['a', 'B2', 'b2', 'b10']
    """
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


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of text of which few values differ, such as labels.

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
