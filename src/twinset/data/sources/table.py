"""A table that names images: in text or Parquet, with paths or the images themselves."""

from __future__ import annotations

import math
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data import arrow
from twinset.data.arrow import strings, texts
from twinset.data.decoding.image_file import SUFFIXES as IMAGE_SUFFIXES
from twinset.data.image_sources import FileSource, ImageSource, TableSource
from twinset.data.listing import Listing
from twinset.data.names import (
    PART_SPELLINGS,
    TEXT_TABLES,
    Texts,
    class_name,
    parts_of,
    read_csv,
    shown,
)
from twinset.data.sources import Asked, Source
from twinset.errors import DataError, reason

SUFFIXES = (*TEXT_TABLES, ".parquet")
# in any case, with "_" or " " between the words
USUAL_NAMES = {
    "image": (
        *("path", "image", "file", "filename", "file_name", "filepath", "file_path"),
        *("image_path", "image_file", "img"),
    ),
    "label": ("label", "labels", "class", "class_name", "category"),
    "group": ("group",),
    "split": ("split", "part"),
}
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class Columns:
    """The names of the columns of a table that count; None for one that is not there."""

    image: str | None
    label: str | None
    group: str | None
    split: str | None

    @classmethod
    def found(cls, names: Sequence[str], place: str, asked: Asked, *optional: str) -> Columns:
        """Find the columns among those of a table, by the usual names where none was asked for."""
        may_lack = ("group", "split", *optional, *(() if asked.labelled else ("label",)))
        return cls(*(cls._pick(what, list(names), place, asked, may_lack) for what in USUAL_NAMES))

    @staticmethod
    def _pick(
        what: str, names: list[str], place: str, asked: Asked, may_lack: Sequence[str]
    ) -> str | None:
        chosen = getattr(asked, what)
        plain = [name.strip().casefold().replace(" ", "_") for name in names]
        usual = [name for name, p in zip(names, plain, strict=True) if p in USUAL_NAMES[what]]
        if chosen is not None:
            usual = [name for name in names if name == chosen]
        if len(usual) == 1:
            return usual[0]
        if not usual and chosen is None and what in may_lack:
            return None
        wanted = repr(chosen) if chosen is not None else " or ".join(USUAL_NAMES[what])
        advice = (
            "the first line has to name the columns, such as path,label."
            if any(PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES for name in names)
            else f"name the one for the {what} with --{what} COLUMN, or {what}=… in Python."
        )
        raise DataError(
            f"{place}: expected one column {wanted}. Received the columns "
            f"{', '.join(map(repr, names))}: {advice}"
        )


def read_table(place: str, asked: Asked) -> Listing:
    """List the images that a table names; relative paths begin at the table's folder.

    A table is its user's own, so absolute paths and ".." are fine: it may name any file that its
    user may read. Do not read tables of strangers with rights that they do not have.
    """
    asked.refuse(place, SOURCE.takes, "classes")
    file = Path(place)
    if file.suffix.lower() == ".parquet":
        return table_listing(arrow.open_table(file), asked, file.name)
    name = shown(str(file))
    cells, columns = read_csv(file, lambda names: Columns.found(names, name, asked))

    def column(which: str | None) -> Texts | None:
        return None if which is None else Texts.of(cells.column(which))

    images, missing = find_files(cells.column(columns.image or ""), file.parent)
    others = {}
    if not asked.labelled:
        others = {n: _typed(cells.column(n)) for n in cells.header if n != columns.image}
    return assembled(
        images,
        {what: column(getattr(columns, what)) for what in ("label", "group", "split")},
        others,
        file,
        asked,
        faults={**missing, **cells.faults},
        where=cells.where,
    )


def table_listing(table: arrow.Table, asked: Asked, prefix: str) -> Listing:
    """List what the rows of a Parquet or Arrow file say of images."""
    place = shown(str(table.path))
    noted = arrow.features(table.schema)
    told: dict[str, Any] = _told(table.schema, noted, asked)
    found = Columns.found(table.schema.names, place, replace(asked, **told))
    image = found.image or ""
    class_names = _class_names(noted.get(found.label or "", {}))
    if class_names is not None and len({*class_names}) < len(class_names):
        class_names = None  # two of one name: one class

    def column(name: str | None) -> Texts | None:
        if name is None:
            return None
        with _naming(place, name):
            values = texts(table.columns([name]).column(name))
        names = _class_names(noted.get(name, {}))
        return values if names is None else values.mapped(lambda code: _named(code, names))

    if arrow.is_encoded(table.schema.field(image).type):
        sources, faults = _cells(table, image, prefix)
    else:
        # paths of files that lie beside the table
        with _naming(place, image):
            paths = strings(table.columns([image]).column(0))
        sources, faults = find_files([path or "" for path in paths], table.path.parent)
    return assembled(
        sources,
        {what: column(getattr(found, what)) for what in ("label", "group", "split")},
        {} if asked.labelled else arrow.scalars(table, leave_out=image),
        table.path,
        asked,
        faults=faults,
        where=lambda row: f"row {row}",
        class_names=class_names,
    )


def assembled(
    sources: Sequence[ImageSource],
    told: Mapping[str, Texts | None],
    others: Mapping[str, Sequence[Any]],
    file: Path,
    asked: Asked,
    **more: Any,
) -> Listing:
    """Make a listing of a table's columns."""
    where = more["where"]
    classes = more.pop("class_names", None)
    label = told["label"]
    codes, names = np.full(len(sources), -1), tuple[str, ...]()
    if label is not None:
        label = label.mapped(lambda text: class_name(text.strip()))
        names = classes or tuple(label.values)
        number = {name: code for code, name in enumerate(names)}
        codes = np.array([*(number.get(name, -1) for name in label.values), -1])[label.codes]
    group, split = told["group"], told["split"]
    parts = _parts(split, shown(str(file)), where) if split and asked.labelled else None
    columns = {key.strip(): values for key, values in others.items()}
    named = next((key for key in columns if key.casefold() == "id"), None)
    # an index knows images by a column called "id", whatever its case
    ids = more.pop("ids", None)
    if named is not None:
        ids = ["" if value is None else shown(str(value)) for value in columns.pop(named)]
    return Listing(
        sources,
        shown(file.name),
        codes,
        names,
        None if group is None else np.array(group.mapped(str.strip).mapped(shown).each, np.str_),
        parts,
        ids,
        {key: [_held(value) for value in values] for key, values in columns.items() if key},
        shown(os.path.abspath(file)),  # noqa: PTH100 - links stay as they are
        all_classes=classes is not None,
        **more,
    )


def _parts(splits: Texts, place: str, where: Callable[[int], str]) -> NDArray[np.str_]:
    parts = parts_of(splits.values)
    for code, value in enumerate(splits.values):
        if value.strip() and value not in parts:
            row = int(np.argmax(splits.codes == code))
            raise DataError(
                f"{place}, {where(row)}: expected a split out of "
                f"{', '.join(PART_SPELLINGS)}, or nothing. Received {value!r}."
            )
    return np.array(splits.mapped(parts.get).each, np.str_)


@contextmanager
def _naming(place: str, column: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{place}, column {column!r}: {error}: name another column.") from None


def _told(schema: Any, noted: Mapping[str, Mapping[str, Any]], asked: Asked) -> dict[str, str]:
    """Find columns by type and note, where neither the caller nor a usual name tells them."""
    told = {}
    encoded = [name for name in schema.names if arrow.is_encoded(schema.field(name).type)]
    classes = [name for name in schema.names if _class_names(noted.get(name, {})) is not None]
    usual = {name.casefold() for name in USUAL_NAMES["label"]}
    if asked.image is None and len(encoded) == 1:
        told["image"] = encoded[0]
    if asked.label is None and len(classes) == 1 and not usual & {*schema.names}:
        told["label"] = classes[0]
    return told


def _class_names(feature: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _named(code: str, names: tuple[str, ...]) -> str | None:
    try:
        number = int(code)
    except ValueError:
        return code
    return names[number] if 0 <= number < len(names) else None


def _cells(
    table: arrow.Table, column: str, prefix: str
) -> tuple[list[ImageSource], dict[int, str]]:
    """Make the sources of encoded images; a row may name a file instead."""
    path = str(table.path.absolute())
    sources: list[ImageSource] = [
        TableSource(path, row, column, f"{prefix}[{row}]") for row in range(table.rows)
    ]
    empty = np.flatnonzero(table.empty(column)).tolist()
    if not empty:
        return sources, {}
    bad = dict.fromkeys(empty, "no image")
    paths = table.paths(column)
    named = [row for row in empty if paths[row]]
    files, missing = find_files([paths[row] or "" for row in named], table.path.parent)
    for k, row in enumerate(named):
        if k in missing:
            bad[row] = f"no image, and for its path {paths[row]!r} {missing[k]}"
        else:
            sources[row] = files[k]
            del bad[row]
    return sources, bad


def _held(value: Any) -> Any:
    # no store holds NUL
    return value.replace("\0", "\\x00") if isinstance(value, str) else value


def _typed(cells: Sequence[str]) -> list[Any]:
    """Turn text into numbers or booleans, if all of it can be; empty cells into None.

    "007" stays text, as whoever wrote the zeros meant them.
    """
    stripped = [cell.strip() for cell in cells]
    filled = [text for text in stripped if text]
    read: Callable[[str], Any] = str
    if all(_NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in filled):
        read = _number
    elif all(text.casefold() in _BOOLEANS for text in filled):
        read = lambda text: _BOOLEANS[text.casefold()]  # noqa: E731
    return [read(text) if text else None for text in stripped]


def _number(text: str) -> int | float:
    # beyond 2^53 not every whole number is a float, and not every store keeps it
    return int(text) if text.lstrip("-").isdigit() and len(text) < 16 else float(text)


def is_absolute(path: str) -> bool:
    """Tell an absolute path of either flavour, whatever the system that this runs on."""
    return PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def find_files(paths: Sequence[str], folder: Path) -> tuple[list[ImageSource], dict[int, str]]:
    """Look for files: their sources, and why some cannot be used.

    On bare text: a `Path` for each of a million files takes longer than all the rest.
    """
    inside = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    sources: list[ImageSource] = []
    bad = {}
    for row, path in enumerate(paths):
        whole = _whole(path, inside)
        reason = _missing(whole) if path else "no path"
        if reason is not None:
            others = [_whole(other, inside) for other in _spellings(path)]
            if not os.path.isabs(path):  # noqa: PTH117 - bare text
                others.append(inside + path)  # elsewhere than on Windows "x:\\y" may be a name
            found = next((other for other in others if _missing(other) is None), None)
            if found is not None:
                whole = found
            else:
                bad[row] = "an address, not a file: download it first" if "://" in path else reason
        file = os.path.normpath(whole)
        name = file[len(inside) :].replace(os.sep, "/") if file.startswith(inside) else path
        sources.append(FileSource(whole, name if name.isprintable() else shown(name)))
    return sources, bad


def _whole(path: str, inside: str) -> str:
    # the first character or two tell most paths, without a Path for each of a million
    may_be_absolute = path[:1] in ("/", "\\") or path[1:2] == ":"
    return path if may_be_absolute and is_absolute(path) else inside + path


def _missing(file: str) -> str | None:
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:
        return reason(error)
    return None if stat.S_ISREG(mode) else "no file, but a folder or a device"


def _spellings(path: str) -> Iterator[str]:
    """Give other spellings of a path: spaces around it, Windows' separators, Unicode's forms."""
    others = [path.strip(), path.strip().replace("\\", "/")]
    others += [unicodedata.normalize(form, other) for other in others for form in ("NFC", "NFD")]
    yield from (other for other in dict.fromkeys(others) if other != path)


def _claims(place: str) -> bool:
    return Path(place).suffix.lower() in SUFFIXES and Path(place).is_file()


SOURCE = Source(f"a table of images ({', '.join(SUFFIXES)})", _claims, read_table, last=True)
