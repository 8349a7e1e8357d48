"""Names as people read and write them: of files, classes and parts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

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

    Example:
        >>> parts_of(["Training_Set", "test2017", "valid", "docs"])
        {'Training_Set': 'train', 'test2017': 'test', 'valid': 'tune'}
        >>> parts_of(["seg_train", "seg_test", "test tube", "train"])
        {'seg_train': 'train', 'seg_test': 'test', 'train': 'train'}
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
