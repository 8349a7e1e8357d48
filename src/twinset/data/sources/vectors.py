"""Arrays: images in a .npz, or vectors that another model made (.npy, .npz, .parquet, .arrow)."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.arrow import need_arrow, open_table, scalars, texts
from twinset.data.image_sources import HeldSource, TableSource, picture_of
from twinset.data.labelled import finite
from twinset.data.listing import OWN, Listing
from twinset.data.names import TEXT_TABLES, Texts, read_csv, shown
from twinset.data.sources import Asked, Source
from twinset.data.sources.table import Columns, assembled
from twinset.errors import DataError, reason

ID, EMBEDDING = "id", "embedding"
_NOTE = b"twinset"  # under this name a file of ours says which model made it

PARTS = (("train", "train"), ("val", "tune"), ("test", "test"))
TABLES = (".parquet", ".arrow")
SUFFIXES = (".npy", ".npz", *TABLES)
# What files call the two; where none of these is there, the only array that can be meant is taken.
VECTORS = (EMBEDDING, "embeddings", "features", "vectors", "vector", "x")
# (images, labels, part), as files call them: one pair alone, Keras' names, and MedMNIST's
IMAGES = (
    ("images", "labels", ""),
    ("x", "y", ""),
    *((f"x_{name}", f"y_{name}", part) for name, part in PARTS),
    *((f"{name}_images", f"{name}_labels", part) for name, part in PARTS),
)
IDS = (ID, "ids", "names", "name", "paths", "path", "files", "file", "file_name")


@dataclass(frozen=True)
class _Table:
    # What a file says of its vectors: the names of the columns, and a reader of each.
    place: Path
    names: Sequence[str]
    column: Callable[[str], Texts]


def read_arrays(place: str, asked: Asked) -> Listing:
    """List images or vectors, with what they show where the file says so.

    Images are of uint8, (n, h, w) or (n, h, w, 3), their labels (n,) or (n, 1), in a `.npz`;
    `twinset.load_features` tells the formats of vectors. Nothing is unpickled.
    """
    asked.refuse(place, SOURCE.takes, "classes")
    file = Path(place)
    in_table = file.suffix.lower() in TABLES
    arrays = {} if in_table else _arrays(file)
    # "x" may also be vectors
    images = [each for each in IMAGES if each[0] in arrays and arrays[each[0]].ndim > 2]
    if images:
        asked.refuse(place, "images as arrays", "image", "label", "group", "split")
        return _images(arrays, images, file, asked)
    note = noted(open_table(file).schema) if in_table else {}
    vectors, ids = _from_table(file) if in_table else _from_arrays(arrays, file)
    vectors = _checked(vectors, file)
    known = _checked_ids(ids, len(vectors), file)
    table = _table(file, arrays, len(vectors), asked)
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


def _images(
    arrays: Mapping[str, NDArray[Any]], found: Sequence[tuple[str, ...]], file: Path, asked: Asked
) -> Listing:
    try:
        pixels = np.concatenate([_pixels(arrays[name], name, file) for name, _, _ in found])
    except ValueError as error:
        raise DataError(
            f"{shown(str(file))}: expected arrays of images of one size. {error}"
        ) from None
    labels = [_labels(arrays, images, name, file, asked) for images, name, _ in found]
    parts = [part for (_, _, part), each in zip(found, labels, strict=True) for _ in each]
    told = {"label": [text for each in labels for text in each], "group": [], "split": parts}
    return assembled(
        [HeldSource(pixels, row) for row in range(len(pixels))],
        {what: Texts.of(texts) if any(texts) else None for what, texts in told.items()},
        {},
        file,
        asked,
        where=lambda row: f"row {row}",
        ids=[f"{shown(file.name)}[{row}]" for row in range(len(pixels))],
        rows=pixels,
    )


def _pixels(array: NDArray[Any], name: str, file: Path) -> NDArray[np.uint8]:
    shape = array.shape[:3] if array.ndim == 4 and array.shape[3] == 1 else array.shape
    fits = array.dtype == np.uint8 and len(shape) in (3, 4) and shape[3:] in ((), (3,))
    if not fits or 0 in shape:
        raise DataError(
            f"{shown(str(file))}: expected pixels of type uint8, of shape (n, h, w) or "
            f"(n, h, w, 3), in {name!r}. Received {array.dtype} of shape {array.shape}: save them "
            "so."
        )
    return array.reshape(shape)


def _labels(
    arrays: Mapping[str, NDArray[Any]], images: str, name: str, file: Path, asked: Asked
) -> list[str]:
    count = len(arrays[images])
    if name not in arrays:
        if asked.labelled:
            raise DataError(
                f"{shown(str(file))}: expected labels in {name!r} beside {images!r}. Received "
                f"{sorted(arrays)}."
            )
        return [""] * count
    labels = arrays[name]
    if labels.shape not in ((count,), (count, 1)) or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{shown(str(file))}: expected {count} labels, whole numbers or texts, in {name!r}. "
            f"Received {labels.dtype} of shape {labels.shape}."
        )
    return [str(label) for label in labels.ravel().tolist()]


def _arrays(file: Path) -> dict[str, NDArray[Any]]:
    # by name; that of a `.npy` is ""
    try:
        # a pickle runs whatever its writer wants
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: expected arrays of numbers or text. {reason(error)}") from None


def _from_arrays(arrays: Mapping[str, NDArray[Any]], source: Path) -> tuple[Any, Any]:
    if "" in arrays:
        return arrays[""], None
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


def _table(
    source: Path, arrays: Mapping[str, NDArray[Any]], count: int, asked: Asked
) -> _Table | None:
    """Find what says what the vectors show; None where nothing does, and nobody asks."""
    kind = source.suffix.lower()
    if kind in TABLES:
        table = open_table(source)
        return _Table(
            source, table.schema.names, lambda name: texts(table.columns([name]).column(name))
        )
    if kind == ".npz":
        texts_ = {n: map(str, each.tolist()) for n, each in arrays.items() if each.ndim == 1}
        return _aligned(texts_, count, source)
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


# --- The Parquet file of embeddings that `twinset embed` writes, and what it says of itself.


def noted(schema: Any) -> Mapping[str, Any]:
    """Read what a file says of its embeddings; nothing of a file that others wrote."""
    try:
        found = json.loads((schema.metadata or {})[_NOTE])
    except (KeyError, ValueError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("model"), str) else {}


@contextmanager
def embedding_writer(
    path: Path, listing: Listing, note: Mapping[str, Any]
) -> Iterator[Callable[[NDArray[Any], Sequence[int], Sequence[str]], None]]:
    """Write a file: what this gives takes embeddings, their positions and the images' stamps."""
    pa = need_arrow()
    from pyarrow.parquet import ParquetWriter

    # the whole listing tells the types, as a shard may have none of a column's values
    types = {name: _type(values) for name, values in _columns(listing).items()}
    texts = [name for name, kind in types.items() if pa.types.is_string(kind)]
    known = pa.schema(types.items())
    vector = pa.field(EMBEDDING, pa.list_(pa.float32(), note["dim"]))
    schema = known.insert(1, vector).with_metadata({_NOTE: json.dumps(note)})

    def write(vectors: NDArray[Any], positions: Sequence[int], stamps: Sequence[str]) -> None:
        rows = [_row(listing, at) for at in positions]
        for row, stamp in zip(rows, stamps, strict=True):
            row["_stamp"] = stamp
            row |= {name: str(row[name]) for name in texts if row.get(name) is not None}
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), note["dim"])
        table = pa.Table.from_pylist(rows, known).add_column(1, vector, column)
        writer.write_table(table.replace_schema_metadata(schema.metadata))

    with path.open("wb") as file:
        # numbers that never repeat are no words for a dictionary
        with ParquetWriter(file, schema, use_dictionary=texts) as writer:
            yield write
        file.flush()
        os.fsync(file.fileno())


def _columns(listing: Listing) -> dict[str, Sequence[Any]]:
    own: dict[str, Sequence[Any]] = {ID: listing.ids, "path": (), "_stamp": ()}
    if (listing.labels >= 0).any():
        own["label"] = listing.class_names
    if any(isinstance(source, TableSource) for source in listing.sources):
        own |= {"_row": (0,), "_column": ()}
    own |= {name: () for name, values in _beside(listing).items() if values is not None}
    others = {name: values for name, values in listing.columns.items() if name not in OWN}
    return {**own, **{name: others[name] for name in others if name not in (*own, EMBEDDING)}}


def _type(values: Sequence[Any]) -> Any:
    pa = need_arrow()
    try:
        kind = pa.infer_type(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()  # texts among numbers
    return pa.string() if pa.types.is_null(kind) else kind


def _beside(listing: Listing) -> dict[str, Any]:
    return {"group": listing.groups, "split": listing.parts}


def _row(listing: Listing, at: int) -> dict[str, Any]:
    beside = {name: str(v[at]) for name, v in _beside(listing).items() if v is not None}
    return {**listing.metadata(at), **beside, ID: listing.ids[at]}


def _claims(place: str) -> bool:
    # a Parquet file may be a table of images: its columns tell, called as vectors are called
    source = Path(place)
    kind = source.suffix.lower()
    if kind not in SUFFIXES or not source.is_file():
        return False
    return kind not in TABLES or any(
        field.name in VECTORS and "list<" in str(field.type) for field in open_table(source).schema
    )


SOURCE = Source(
    "images as arrays (.npz), a file of vectors (.npy, .npz, .parquet, .arrow)",
    _claims,
    read_arrays,
)
