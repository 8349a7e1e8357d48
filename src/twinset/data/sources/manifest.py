"""A table that names images and their labels (CSV, TSV, Parquet) → `Listing`."""

from __future__ import annotations

import csv
import io
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from twinset.data.sources import tables
from twinset.data.sources.listing import FileSource, ImageSource, Listing, TableSource
from twinset.data.sources.names import shown
from twinset.data.sources.rows import Rows
from twinset.data.sources.texts import Texts, strings, texts
from twinset.errors import DataError

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


@dataclass(frozen=True)
class Columns:
    """Names the columns of a table that count.

    Args:
        image: with paths or encoded images. Defaults to the one with a usual name.
        label: likewise.
        group: likewise, or none.
        split: likewise, or none.
        optional: which of these may be missing. Defaults to "group" and "split".
    """

    image: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    optional: tuple[str, ...] = ("group", "split")

    def found(self, names: Sequence[str], place: str) -> Columns:
        """Find the columns among those of a table.

        Args:
            names: of all its columns.
            place: how errors call the table.

        Raises:
            DataError: a column is missing, or several could be meant.
        """
        picked = {what: self._pick(what, list(names), place) for what in USUAL_NAMES}
        return Columns(**picked, optional=self.optional)

    def _pick(self, what: str, names: list[str], place: str) -> str | None:
        chosen = getattr(self, what)
        plain = [name.strip().casefold().replace(" ", "_") for name in names]
        usual = [name for name, p in zip(names, plain, strict=True) if p in USUAL_NAMES[what]]
        if chosen is not None:
            usual = [name for name in names if name == chosen]
        if len(usual) == 1:
            return usual[0]
        if not usual and chosen is None and what in self.optional:
            return None
        wanted = repr(chosen) if chosen is not None else " or ".join(USUAL_NAMES[what])
        raise DataError(
            f"{place}: expected one column {wanted}. Received the columns "
            f"{', '.join(map(repr, names))}: name the one for the {what} with {what}=…"
        )


def read_manifest(
    path: str | os.PathLike[str],
    *,
    image: str | None = None,
    label: str | None = None,
    group: str | None = None,
    split: str | None = None,
) -> Listing:
    r"""List the images that a table names.

    Text is UTF-8, its first line names the columns, and the delimiter is ",", ";" or a tab.
    Parquet has paths, or the encoded images themselves: bytes, or structs with a field "bytes",
    as Hugging Face writes them. Labels are names, numbers included, in natural order ("2" before
    "10"), or in the order that Hugging Face noted.

    Relative paths begin at the table's folder. A table is its user's own, so absolute paths and
    ".." are fine: it may name any file that its user may read. Do not read tables of strangers
    with rights that they do not have.

    Skipped are rows whose file is missing, rows without a label, and rows that name a file
    again; if such rows disagree, all of them. Links to one file count as different files. An
    image without a group, in a table with groups, is a group by itself.

    Args:
        path: a file .csv, .tsv or .parquet.
        image: the column with paths or encoded images. Defaults to a usual name (`USUAL_NAMES`).
        label: likewise the column with labels.
        group: likewise the column with groups, which may be missing.
        split: likewise the column with the parts (train; val, valid, validation, dev, tune; calib,
            calibration; test; or nothing), which may be missing.

    Raises:
        DataError: the file cannot be read, a column is missing, a split is unknown, or no row is
            of use.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "pets.csv")
        ...     _ = table.write_text("path,label\na.png,cat\nb.png,dog\nc.png,dog\n")
        ...     for name in "ab":
        ...         Path(folder, f"{name}.png").touch()
        ...     listing = read_manifest(table)
        >>> listing
        Listing('pets.csv', 2 images, 2 classes, 1 skipped)
        >>> listing.skipped[0].name, listing.skipped[0].reason
        ('c.png', 'line 4: no such file')
    """
    file = Path(path)
    rows = read_rows(file, Columns(image, label, group, split))
    return rows.listing(shown(file.name), shown(str(file)))


def read_rows(file: Path, columns: Columns) -> Rows:
    """Read what the rows of a table say of images, before they are judged.

    Args:
        file: a file .csv, .tsv or .parquet.
        columns: those that count.

    Raises:
        DataError: the file cannot be read, or a column is missing.
    """
    if file.suffix.lower() == ".parquet":
        return table_rows(tables.open_table(file), columns, file.name)
    return _text_rows(file, columns)


# --- text


def _text_rows(file: Path, columns: Columns) -> Rows:
    # not by splitlines(): to that, U+2028 and some controls in a cell would end a line as well
    lines = list(io.StringIO(_text(file), newline=""))
    delimiter, columns = _delimiter(file, lines, columns)
    records, starts = [], []
    for start, record in _records(file, lines, delimiter):
        if record:  # else a blank line
            records.append(record)
            starts.append(start)
    header, records, starts = records[0], records[1:], starts[1:]
    bad = {}
    for row, record in enumerate(records):
        if len(record) > len(header) and any(record[len(header) :]):
            bad[row] = (
                f"{len(record)} cells where the header has {len(header)}: "
                f"put cells that contain {delimiter!r} in quotes"
            )
        record += [""] * (len(header) - len(record))

    def cells(column: str | None) -> list[str] | None:
        return None if column is None else [record[header.index(column)] for record in records]

    def column(name: str | None) -> Texts | None:
        values = cells(name)
        return None if values is None else Texts.of(values)

    sources, files, missing = _find(cells(columns.image) or [], file.parent)
    return Rows(
        sources,
        column(columns.label) or Texts.of([]),
        missing | bad,
        lambda row: f"line {starts[row]}",
        column(columns.group),
        column(columns.split),
        files,
        others=lambda: {name: cells(name) or [] for name in header if name != columns.image},
    )


def _text(file: Path) -> str:
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise DataError(f"{shown(str(file))}: expected a table. {error.strerror}.") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{shown(str(file))}, line {line}: expected text in UTF-8. Received the byte "
            f"{raw[error.start]:#04x}: save the table anew as UTF-8 (in Excel: 'CSV UTF-8')."
        ) from None
    if not text.strip():
        raise DataError(f"{shown(str(file))}: expected a table. Received an empty file.")
    return text


def _delimiter(file: Path, lines: list[str], columns: Columns) -> tuple[str, Columns]:
    """Find the delimiter with which the header has the columns that are needed."""
    errors: dict[int, DataError] = {}
    for delimiter in "\t,;" if file.suffix.lower() == ".tsv" else ",;\t":
        header = next((record for _, record in _records(file, lines, delimiter) if record), [])
        try:
            return delimiter, columns.found(header, shown(str(file)))
        except DataError as error:
            errors[len(header)] = errors.get(len(header), error)
    raise errors[max(errors)]  # the one that sees most columns


def _records(file: Path, lines: list[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Read the records, each with the number of its first line."""
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


# --- Parquet and Arrow


def table_rows(table: tables.Table, columns: Columns, prefix: str) -> Rows:
    """Read what the rows of a Parquet or Arrow file say of images.

    Args:
        table: the file.
        columns: those that count.
        prefix: of the names of images: "train.parquet" makes "train.parquet[17]".

    Raises:
        DataError: a column is missing or of an unfit type, or the file is damaged.
    """
    place = shown(str(table.path))
    noted = tables.features(table.schema)
    told: dict[str, Any] = _told(table.schema, noted, columns)
    found = replace(columns, **told).found(table.schema.names, place)
    image, label = found.image or "", found.label or ""
    small = [name for name in (found.label, found.group, found.split) if name is not None]
    cells = table.columns(list(dict.fromkeys(small)))

    def column(name: str | None) -> Texts | None:
        if name is None:
            return None
        try:
            values = texts(cells.column(name))
        except DataError as error:
            raise DataError(f"{place}, column {name!r}: {error}: name another column.") from None
        names = _class_names(noted.get(name, {}))
        return values if names is None else values.mapped(lambda code: _named(code, names))

    labels = column(found.label) or Texts.of([])
    class_names = _class_names(noted.get(label, {}))
    if class_names is not None and len({*class_names}) < len(class_names):
        class_names = None  # two of one name: one class
    if tables.is_encoded(table.schema.field(image).type):
        sources, bad = _cells(table, image, prefix)
        files = None
    else:
        try:
            values = strings(table.columns([image]).column(0))
        except DataError as error:
            raise DataError(f"{place}, column {image!r}: {error}: name another column.") from None
        sources, files, bad = _find([value or "" for value in values], table.path.parent)
    return Rows(
        sources,
        labels,
        bad,
        lambda row: f"row {row}",
        column(found.group),
        column(found.split),
        files,
        class_names,
        lambda: tables.scalars(table, leave_out=image),
    )


def _told(schema: Any, noted: Mapping[str, Mapping[str, Any]], columns: Columns) -> dict[str, str]:
    """Find columns by type and note, where neither the caller nor a usual name tells them."""
    told = {}
    encoded = [name for name in schema.names if tables.is_encoded(schema.field(name).type)]
    classes = [name for name in schema.names if _class_names(noted.get(name, {})) is not None]
    usual = {name.casefold() for name in USUAL_NAMES["label"]}
    if columns.image is None and len(encoded) == 1:
        told["image"] = encoded[0]
    if columns.label is None and len(classes) == 1 and not usual & {*schema.names}:
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
    table: tables.Table, column: str, prefix: str
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
    files, _, missing = _find([paths[row] or "" for row in named], table.path.parent)
    for k, row in enumerate(named):
        if k in missing:
            bad[row] = f"no image, and for its path {paths[row]!r} {missing[k]}"
        else:
            sources[row] = files[k]
            del bad[row]
    return sources, bad


# --- files


def _find(
    paths: Sequence[str], folder: Path
) -> tuple[list[ImageSource], list[str], dict[int, str]]:
    """Look for files: their sources, what tells them apart, and why some cannot be used.

    On bare text: a `Path` for each of a million files takes longer than all the rest.
    """
    inside = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118
    sources: list[ImageSource] = []
    files, bad = [], {}
    for row, path in enumerate(paths):
        whole = path if path.startswith("/") else inside + path
        reason = _missing(whole) if path else "no path"
        if reason is not None:
            others = (p if p.startswith("/") else inside + p for p in _spellings(path))
            found = next((other for other in others if _missing(other) is None), None)
            if found is not None:
                whole = found
            else:
                bad[row] = "an address, not a file: download it first" if "://" in path else reason
        file = os.path.normpath(whole)
        name = file[len(inside) :] if file.startswith(inside) else path
        sources.append(FileSource(whole, name if name.isprintable() else shown(name)))
        files.append(file)
    return sources, files, bad


def _missing(file: str) -> str | None:
    try:
        mode = os.stat(file).st_mode  # noqa: PTH116
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None if stat.S_ISREG(mode) else "no file, but a folder or a device"


def _spellings(path: str) -> Iterator[str]:
    """Give other spellings of a path: spaces around it, Windows' separators, Unicode's forms."""
    others = [path.strip(), path.strip().replace("\\", "/")]
    others += [unicodedata.normalize(form, other) for other in others for form in ("NFC", "NFD")]
    yield from (other for other in dict.fromkeys(others) if other != path)
