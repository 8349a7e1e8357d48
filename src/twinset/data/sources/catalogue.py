"""`Catalogue`: images to be found again, with labels or without, before a pixel is read."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinset.data.read_listing import read_listing
from twinset.data.skipped import Skipped
from twinset.data.sources.folder import read_unlabelled
from twinset.data.sources.hugging_face import is_hugging_face
from twinset.data.sources.listing import TABLES, FileSource, ImageSource, TableSource
from twinset.data.sources.manifest import Columns, read_rows
from twinset.data.sources.names import class_name, shown
from twinset.data.sources.rows import Rows
from twinset.errors import DataError

# What a catalogue itself says of an item; a table's columns of these names give way.
OWN = ("path", "_row", "_column", "_source", "_stamp")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", re.ASCII)
_TRUTHS = {"true": True, "false": False}


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Names n images, each with an id, and what is known of each.

    Args:
        sources: where each image comes from.
        ids: n different texts, none empty.
        columns: name → n texts, numbers, truths or None: the label, and a table's other columns.
        name: the absolute path of what was read; "" for a list of paths.
        skipped: what cannot be used, with the reasons. Defaults to nothing.
    """

    sources: tuple[ImageSource, ...]
    ids: tuple[str, ...]
    columns: Mapping[str, Sequence[Any]]
    name: str
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def metadata(self, position: int) -> dict[str, Any]:
        """Tell what is known of an image: the columns that have a value, and where it is.

        `path` is the file; `_row` and `_column` the place within a table; `_source` what was
        read. Names with a "_" in front are for programs.

        Args:
            position: from 0.
        """
        known = {name: values[position] for name, values in self.columns.items()}
        told = {name: value for name, value in known.items() if value is not None}
        source = self.sources[position]
        if isinstance(source, FileSource | TableSource):
            told["path"] = shown(os.path.abspath(source.path))  # noqa: PTH100 - bare text
        if isinstance(source, TableSource):
            told |= {"_row": source.row, "_column": source.column}
        if self.name:
            told["_source"] = self.name
        return told


def picture_of(metadata: Mapping[str, Any]) -> FileSource | TableSource | None:
    """Find the image that metadata of a catalogue tells of; None where it tells none.

    Args:
        metadata: as `Catalogue.metadata` makes it; the file may be gone since.

    Example:
        >>> picture_of({"path": "/photos/a.png", "label": "cat"})
        FileSource(path='/photos/a.png', name='/photos/a.png')
    """
    path, row, column = (metadata.get(name) for name in ("path", "_row", "_column"))
    if not isinstance(path, str):
        return None
    if isinstance(row, int) and isinstance(column, str):
        return TableSource(path, row, column, f"{path}[{row}]")
    return FileSource(path, path)


def read_catalogue(path: str | os.PathLike[str]) -> Catalogue:
    r"""List the images of a folder or a table, labelled or not.

    - A folder: every image below it. Its id is its path from there, its label the folder that it
      is in, if any, as `read_folder` names classes.
    - A table (.csv, .tsv, .parquet) with a column of paths or encoded images, as `read_manifest`
      reads it. The id is that in a column `id`, else the path; every other column is kept. In
      text, a column of numbers or of true and false becomes such.
    - A Hugging Face data set on disk, with its labels.

    Skipped are files that are missing, rows without an id, and ids that were there already.

    Args:
        path: the folder or table.

    Raises:
        DataError: nothing there, or nothing that can be used.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     table = Path(folder, "shop.csv")
        ...     _ = table.write_text("path,price,sold\na.png,3.5,true\nb.png,12,false\n")
        ...     for name in "ab":
        ...         Path(folder, f"{name}.png").touch()
        ...     catalogue = read_catalogue(table)
        >>> catalogue.ids, catalogue.columns["price"], catalogue.columns["sold"]
        (('a.png', 'b.png'), [3.5, 12], [True, False])
    """
    place = Path(path)
    name = shown(os.path.abspath(place))  # noqa: PTH100 - links stay as they are
    if place.is_dir() and is_hugging_face(place):
        listing = read_listing(place)
        labels = [listing.class_names[label] for label in listing.labels.tolist()]
        ids = [source.name for source in listing.sources]
        return _catalogue(name, listing.sources, ids, {"label": labels}, listing.skipped)
    if place.is_dir():
        sources, classes, bad = read_unlabelled(place)
        ids = [source.name for source in sources]
        return _catalogue(name, sources, ids, {"label": classes}, bad)
    if place.is_file() and place.suffix.lower() in TABLES:
        rows = read_rows(place, Columns(optional=("label", "group", "split")))
        return _from_rows(name, rows, is_text=place.suffix.lower() != ".parquet")
    received = "a file of another kind" if place.exists() else "nothing: no such file or folder"
    raise DataError(
        f"{place}: expected a folder of images or a table of them ({', '.join(TABLES)}). "
        f"Received {received}."
    )


def catalogue_of(paths: Sequence[str | os.PathLike[str]]) -> Catalogue:
    """List the images in single files; the id of each is its path as given.

    Args:
        paths: of image files.

    Raises:
        DataError: there are none.

    Example:
        >>> catalogue_of(["b.png", "a.png"]).ids
        ('b.png', 'a.png')
    """
    texts = [os.fspath(path) for path in paths]
    sources = tuple(FileSource(text, shown(text)) for text in texts)
    return _catalogue("", sources, [source.name for source in sources], {}, ())


def _from_rows(name: str, rows: Rows, *, is_text: bool) -> Catalogue:
    columns = {key.strip(): values for key, values in rows.others().items()}
    named = next((key for key in columns if key.casefold() == "id"), None)
    ids = [source.name for source in rows.sources]
    if named is not None:
        ids = ["" if value is None else shown(str(value)) for value in columns.pop(named)]
    if is_text:
        columns = {key: _typed(values) for key, values in columns.items()}
    # no store holds NUL
    columns = {key: [_held(value) for value in values] for key, values in columns.items()}
    if len(rows.labels.codes):
        labels = rows.labels.mapped(lambda text: class_name(text.strip())).each
        columns["label"] = [label or None for label in labels]
    columns = {key: values for key, values in columns.items() if key and key not in OWN}
    bad = {row: f"{rows.where(row)}: {reason}" for row, reason in rows.bad.items()}
    return _catalogue(name, rows.sources, ids, columns, (), bad, rows.where)


def _catalogue(
    name: str,
    sources: Sequence[ImageSource],
    ids: Sequence[str],
    columns: Mapping[str, Sequence[Any]],
    skipped: Sequence[Skipped],
    bad: Mapping[int, str] | None = None,
    where: Callable[[int], str] | None = None,
) -> Catalogue:
    """Keep what can be used: an image that is there, with an id that no other has."""
    refused = dict(bad or {})
    first: dict[str, int] = {}
    for row, own in enumerate(ids):
        if row in refused:
            continue
        if not own.strip():
            refused[row] = f"{where(row)}: no id" if where else "no id"
        elif first.setdefault(own, row) != row:
            again = f"the id {own!r} is taken" + (f" by {where(first[own])}" if where else "")
            refused[row] = f"{where(row)}: {again}" if where else again
    kept = [row for row in range(len(sources)) if row not in refused]
    aside = [Skipped(sources[row].name, refused[row]) for row in sorted(refused)]
    if not kept:
        first_one = f" The first is {aside[0].name!r}: {aside[0].reason}." if aside else ""
        raise DataError(
            f"{name or 'the list of paths'}: expected images. Received {len(sources)}, "
            f"none of use.{first_one}"
        )
    return Catalogue(
        tuple(sources[row] for row in kept),
        tuple(ids[row] for row in kept),
        {key: [values[row] for row in kept] for key, values in columns.items()},
        name,
        (*skipped, *aside),
    )


def _held(value: Any) -> Any:
    return value.replace("\0", "\\x00") if isinstance(value, str) else value


def _typed(cells: Sequence[str]) -> list[Any]:
    """Turn a column of text into numbers or truths, if all of it can be; empty cells into None.

    "007" stays text, as whoever wrote the zeros meant them.
    """
    texts = [cell.strip() for cell in cells]
    filled = [text for text in texts if text]
    read: Callable[[str], Any] = str
    if all(_NUMBER.fullmatch(text) and math.isfinite(float(text)) for text in filled):
        read = _number
    elif all(text.casefold() in _TRUTHS for text in filled):
        read = _truth
    return [read(text) if text else None for text in texts]


def _number(text: str) -> int | float:
    # beyond 2^53 not every whole number is a float, and not every store keeps it
    return int(text) if text.lstrip("-").isdigit() and len(text) < 16 else float(text)


def _truth(text: str) -> bool:
    return _TRUTHS[text.casefold()]
