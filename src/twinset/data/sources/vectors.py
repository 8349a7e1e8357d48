"""Vectors that another model made of images (.npy, .npz, .parquet), and what each belongs to."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.arrow import open_table, scalars, texts
from twinset.data.embedding_file import EMBEDDING, ID, noted
from twinset.data.image_sources import HeldSource, picture_of
from twinset.data.labelled import finite
from twinset.data.listing import Listing
from twinset.data.names import shown
from twinset.data.sources import Asked, Source
from twinset.data.sources.table import Columns, assembled
from twinset.data.text_tables import TEXT_TABLES, Texts, read_csv
from twinset.errors import DataError

TABLES = (".parquet", ".arrow")
SUFFIXES = (".npy", ".npz", *TABLES)
# What files call the two; where none of these is there, the only array that can be meant is taken.
VECTORS = (EMBEDDING, "embeddings", "features", "vectors", "vector", "x")
IDS = (ID, "ids", "names", "name", "paths", "path", "files", "file", "file_name")


@dataclass(frozen=True)
class _Table:
    # What a file says of its vectors: the names of the columns, and a reader of each.
    place: Path
    names: Sequence[str]
    column: Callable[[str], Texts]


def read_vectors(place: str, asked: Asked) -> Listing:
    """List vectors, with what they show where the file says so.

    `twinset.read_features` tells the formats. Nothing is unpickled.
    """
    asked.refuse(place, SOURCE.takes, "classes")
    file = Path(place)
    in_table = file.suffix.lower() in TABLES
    note = noted(open_table(file).schema) if in_table else {}
    vectors, ids = _from_table(file) if in_table else _from_numpy(file)
    vectors = _checked(vectors, file)
    known = _checked_ids(ids, len(vectors), file)
    table = _table(file, len(vectors), asked)
    told: dict[str, Texts | None] = dict.fromkeys(("label", "group", "split"))
    if table is not None:
        image = _vector_column(file) if in_table else None
        place = shown(str(table.place))
        found = Columns.found(table.names, place, replace(asked, image=image), "image")
        for what in told:
            if name := getattr(found, what):
                told[what] = table.column(name)
        if known is None and found.image not in (None, image):
            known = [shown(name) for name in table.column(found.image).each]
    names = known or [""] * len(vectors)
    # arrays of a .npz are not further columns: nobody can tell which belong to the rows
    others = {}
    cells = scalars(open_table(file), leave_out="") if in_table else {}
    if not asked.labelled:
        aside = (ID,) if note else IDS
        others = {name: values for name, values in cells.items() if name not in aside}
    sources = [HeldSource(vectors, row, name) for row, name in enumerate(names)]
    if note:  # it knows what the images were, so that an index of them goes on from here
        columns = {name: cells[name] for name in ("path", "_row", "_column") if name in cells}
        rows = zip(*columns.values(), strict=True)
        pictures = (picture_of(dict(zip(columns, row, strict=True))) for row in rows)
        sources = [
            each._replace(mark=mark or "", picture=picture)
            for each, mark, picture in zip(sources, cells["_stamp"], pictures, strict=True)
        ]
    return assembled(
        sources,
        told,
        others,
        file,
        asked,
        where=lambda row: f"row {row}",
        ids=known or [f"{shown(file.name)}[{row}]" for row in range(len(vectors))],
        rows=vectors,
        model=note.get("model", ""),
    )


def _from_numpy(source: Path) -> tuple[Any, Any]:
    try:
        # a pickle runs whatever its writer wants
        loaded = np.load(source, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None
        with loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: expected arrays of numbers or text. {error}") from None
    plain = [name for name, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiu"]
    ids = next((arrays[name] for name in IDS if name in arrays), None)
    return arrays[_choose(list(arrays), plain, source)], ids


def _from_table(source: Path) -> tuple[Any, Any]:
    table = open_table(source)
    kinds = {field.name: str(field.type) for field in table.schema}
    chosen = _vector_column(source)
    named = next((name for name in IDS if name in kinds), None)
    columns = table.columns([chosen, *([named] if named else [])])
    rows = columns[chosen].combine_chunks()
    if rows.null_count:
        raise DataError(f"{source}: expected a list in each row of {chosen!r}. Received none.")
    sizes = _lengths(rows)
    if len(sizes) != 1:
        raise DataError(
            f"{source}: expected rows of one length in {chosen!r}. Received "
            f"{min(sizes, default=0)} to {max(sizes, default=0)} numbers."
        )
    vectors = rows.flatten().to_numpy(zero_copy_only=False).reshape(len(rows), *sizes)
    return vectors, columns[named].to_pylist() if named else None


def _vector_column(source: Path) -> str:
    """Find the column of a table that holds the vectors."""
    kinds = {field.name: str(field.type) for field in open_table(source).schema}
    lists = [name for name, kind in kinds.items() if "list<" in kind]
    chosen = _choose(list(kinds), lists, source)
    if chosen not in lists:
        raise DataError(
            f"{source}: expected lists of numbers in {chosen!r}. Received {kinds[chosen]}."
        )
    return chosen


def _lengths(rows: Any) -> set[int]:
    # lists of fixed size know it from their type
    size = getattr(rows.type, "list_size", None)
    return set(np.asarray(rows.value_lengths()).tolist()) if size is None else {size}


def _choose(found: list[str], possible: list[str], source: Path) -> str:
    named = [name for name in VECTORS if name in found]
    if named:
        return named[0]
    if len(possible) == 1:
        return possible[0]
    raise DataError(
        f"{source}: expected rows of numbers called one of {list(VECTORS)}, or nothing else that "
        f"could be meant. Received {found}: rename one."
    )


def _checked(values: Any, source: Path) -> NDArray[np.float32]:
    vectors = np.asarray(values)
    if vectors.dtype.kind not in "fiu" or vectors.ndim != 2 or 0 in vectors.shape:
        raise DataError(
            f"{source}: expected numbers of shape (n, d). Received {vectors.dtype} of shape "
            f"{vectors.shape}."
        )
    try:
        return finite(vectors)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None


def _checked_ids(values: Any, count: int, source: Path) -> list[str] | None:
    if values is None:
        return None
    ids = [shown(str(value)) for value in np.asarray(values).ravel().tolist()]
    if len(ids) != count:
        raise DataError(f"{source}: expected {count} ids, one per row. Received {len(ids)}.")
    # the second of two would take the first one's place in an index
    names, times = np.unique(ids, return_counts=True)
    if times.max() > 1:
        raise DataError(
            f"{source}: expected ids that name one row each. Received {str(names[times > 1][0])!r} "
            f"{times.max()} times."
        )
    return ids


def _table(source: Path, count: int, asked: Asked) -> _Table | None:
    """Find what says what the vectors show; None where nothing does, and nobody asks."""
    kind = source.suffix.lower()
    if kind in TABLES:
        table = open_table(source)
        return _Table(
            source, table.schema.names, lambda name: texts(table.columns([name]).column(name))
        )
    if kind == ".npz":
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if file[name].ndim == 1}
        return _aligned({n: map(str, each.tolist()) for n, each in arrays.items()}, count, source)
    beside = [source.with_suffix(suffix) for suffix in TEXT_TABLES]
    place = next((path for path in beside if path.is_file()), None)
    if place is not None:
        cells, _ = read_csv(place, list)
        return _aligned({name: cells.column(name) for name in cells.header}, count, place)
    if not asked.labelled:
        return None
    raise DataError(
        f"{shown(str(source))}: expected labels in a table beside it. Received no file "
        f"{beside[0].name!r}: write one with a column `label` and a line for each row."
    )


def _aligned(columns: dict[str, Any], count: int, place: Path) -> _Table:
    cells = {name: list(values) for name, values in columns.items()}
    for name, values in cells.items():
        if len(values) != count:
            raise DataError(
                f"{shown(str(place))}: expected {count} rows, one per vector. Received "
                f"{len(values)} in {name!r}."
            )
    return _Table(place, list(cells), lambda name: Texts.of(cells[name]))


def _claims(place: str) -> bool:
    # a Parquet file may be a table of images: its columns tell, called as vectors are called
    source = Path(place)
    kind = source.suffix.lower()
    if kind not in SUFFIXES or not source.is_file():
        return False
    return kind not in TABLES or any(
        field.name in VECTORS and "list<" in str(field.type) for field in open_table(source).schema
    )


SOURCE = Source("a file of vectors (.npy, .npz, .parquet, .arrow)", _claims, read_vectors)
