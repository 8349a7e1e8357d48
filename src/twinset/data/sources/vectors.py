"""Embeddings that another model made, from a file: rows of numbers, and what each belongs to."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.features import LabelledFeatures, finite
from twinset.data.sources.manifest import Columns
from twinset.data.sources.names import shown
from twinset.data.sources.rows import Rows
from twinset.data.sources.tables import open_table
from twinset.data.sources.texts import Texts, texts
from twinset.errors import DataError

# What files call the two; where none of these is there, the only array that can be meant is taken.
VECTORS = ("embeddings", "embedding", "features", "vectors", "vector", "x")
IDS = ("ids", "id", "names", "name", "paths", "path", "files", "file", "file_name")


@dataclass(frozen=True, eq=False)
class Features:
    """Holds n rows of d numbers that some model found in n images.

    Args:
        vectors: finite, float32 of shape (n, d).
        ids: what each row belongs to, strings of shape (n,); None if the file does not say.
    """

    vectors: NDArray[np.float32]
    ids: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """The number of coordinates d."""
        return int(self.vectors.shape[1])


def load_features(path: str | Path) -> Features:
    """Read rows of numbers from a file of numpy or Parquet.

    Args:
        path: `.npy` with an array (n, d); `.npz` with such an array, called one of `VECTORS` or
            the only one of two axes, and ids called one of `IDS`, if any; `.parquet` or `.arrow`
            with a column of lists, and one of ids, if any, of such names. Nothing is unpickled.

    Returns:
        The rows, in the order of the file.

    Raises:
        DataError: the file is missing, damaged or of another kind; it holds no such array, or
            several; rows of unequal length, or a value that is not finite; ids that are too few or
            repeated; pyarrow is not installed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/a.npz", embeddings=np.eye(3), ids=["a", "b", "c"])
        ...     found = load_features(f"{folder}/a.npz")
        >>> found.vectors.shape, found.ids.tolist()
        ((3, 3), ['a', 'b', 'c'])
    """
    source = Path(path)
    if not source.is_file():
        raise DataError(f"Expected a file of features. Received {str(path)!r}: no such file.")
    kind = source.suffix.lower()
    if kind in (".npy", ".npz"):
        vectors, ids = _from_numpy(source)
    elif kind in (".parquet", ".arrow"):
        vectors, ids = _from_table(source)
    else:
        raise DataError(
            f"{source}: expected .npy, .npz, .parquet or .arrow. Received {kind or 'no suffix'!r}."
        )
    return Features(_checked(vectors, source), _checked_ids(ids, len(vectors), source))


def _from_numpy(source: Path) -> tuple[Any, Any]:
    try:
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
    chosen = vector_column(table.schema, source)
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


def vector_column(schema: Any, source: Path) -> str:
    """Find the column of a table that holds the vectors.

    Args:
        schema: of the table.
        source: its file, for messages.

    Raises:
        DataError: there is none, there are several, or it holds no lists.
    """
    kinds = {field.name: str(field.type) for field in schema}
    lists = [name for name, kind in kinds.items() if "list<" in kind]
    chosen = _choose(list(kinds), lists, source)
    if chosen not in lists:
        raise DataError(
            f"{source}: expected lists of numbers in {chosen!r}. Received {kinds[chosen]}."
        )
    return chosen


def is_features(path: str | Path) -> bool:
    """Tell a file of features from a table of images, by its suffix and its columns.

    Args:
        path: any file or folder.

    Raises:
        DataError: the file is damaged, or pyarrow is not installed.

    Example:
        >>> is_features("nowhere.npy"), is_features("photos")
        (False, False)
    """
    source = Path(path)
    kind = source.suffix.lower()
    if kind not in (".npy", ".npz", ".parquet", ".arrow") or not source.is_file():
        return False
    if kind in (".npy", ".npz"):
        return True
    return any(
        field.name in VECTORS and "list<" in str(field.type) for field in open_table(source).schema
    )


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


def _checked_ids(values: Any, count: int, source: Path) -> NDArray[np.str_] | None:
    if values is None:
        return None
    ids = np.asarray([str(value) for value in np.asarray(values).ravel().tolist()])
    if len(ids) != count:
        raise DataError(f"{source}: expected {count} ids, one per row. Received {len(ids)}.")
    names, times = np.unique(ids, return_counts=True)
    if times.max() > 1:
        raise DataError(
            f"{source}: expected ids that name one row each. Received {str(names[times > 1][0])!r} "
            f"{times.max()} times."
        )
    return ids


# --- `read_features`: a file of vectors that another model made, with labels → `LabelledFeatures`.

BESIDE = (".csv", ".tsv")


@dataclass(frozen=True)
class _Row:
    """Stands for an image where rows are judged; of it only the name is asked."""

    name: str
    position: int


def read_features(path: str | Path) -> LabelledFeatures:
    r"""Read vectors and what they show.

    - `.parquet`, `.arrow`: a column of lists called "embedding" or the like, a column "label", and
      "group", "split" and "path" if there are any; the usual names, as for tables of images.
    - `.npz`: arrays of these names.
    - `.npy`: the vectors; a table of the same name beside it, `.csv` or `.tsv`, has a line for
      each row with the other columns.

    Rows without a label are skipped.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read, or does not say what the rows show.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/pets.npy", np.eye(3))
        ...     _ = Path(folder, "pets.csv").write_text("label,group\ncat,a\ndog,b\ndog,b\n")
        ...     found = read_features(f"{folder}/pets.npy")
        >>> found, found.groups.tolist()
        (LabelledFeatures('pets.npy', 3 vectors of 3 numbers, 2 classes), ['a', 'b', 'b'])
    """
    source = Path(path)
    found = load_features(source)
    names, column, place = _columns(source, len(found))
    vectors = ""
    if source.suffix.lower() in (".parquet", ".arrow"):
        vectors = vector_column(open_table(source).schema, source)
    told = Columns(vectors or None, optional=("image", "group", "split")).found(names, place)
    given = {
        what: None if name is None else column(name)
        for what, name in (("label", told.label), ("group", told.group), ("split", told.split))
    }
    known = found.ids
    if known is None and told.image not in (None, vectors):
        known = np.array(column(told.image or "").each, np.str_)
    called = [f"row {i}" for i in range(len(found))] if known is None else known.tolist()
    sources: Any = [_Row(shown(name), i) for i, name in enumerate(called)]
    labels = given["label"]
    assert labels is not None, "not optional"
    rows = Rows(
        sources,
        labels,
        {},
        lambda row: f"row {row}",
        given["group"],
        given["split"],
    )
    judged = rows.listing(shown(source.name), place)
    kept: Any = judged.sources
    return LabelledFeatures(
        found.vectors[[row.position for row in kept]],
        judged.labels,
        judged.class_names,
        name=judged.name,
        groups=judged.groups,
        parts=judged.parts,
        names=None if known is None else np.array([row.name for row in kept], np.str_),
        skipped=judged.skipped,
    )


def _columns(source: Path, count: int) -> tuple[list[str], Callable[[str], Texts], str]:
    """Find where the columns are: their names, a reader of one, and what errors call the place."""
    kind = source.suffix.lower()
    if kind in (".parquet", ".arrow"):
        table = open_table(source)
        return (
            list(table.schema.names),
            lambda name: texts(table.columns([name]).column(name)),
            shown(str(source)),
        )
    if kind == ".npz":
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if file[name].ndim == 1}
        return _assembled(arrays, count, source)
    beside = [source.with_suffix(suffix) for suffix in BESIDE]
    place = next((path for path in beside if path.is_file()), None)
    if place is None:
        raise DataError(
            f"{shown(str(source))}: expected labels in a table beside it. Received no file "
            f"{beside[0].name!r}: write one with a column `label` and a line for each row."
        )
    return _assembled(_text_columns(place), count, place)


def _assembled(
    columns: dict[str, Any], count: int, place: Path
) -> tuple[list[str], Callable[[str], Texts], str]:
    for name, values in columns.items():
        if len(values) != count:
            raise DataError(
                f"{shown(str(place))}: expected {count} rows, one per vector. Received "
                f"{len(values)} in {name!r}."
            )
    return (
        list(columns),
        lambda name: Texts.of(map(str, np.asarray(columns[name]).tolist())),
        shown(str(place)),
    )


def _text_columns(place: Path) -> dict[str, Sequence[str]]:
    try:
        text = place.read_text("utf-8-sig")
        delimiter = "\t" if place.suffix.lower() == ".tsv" else ","
        records = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{shown(str(place))}: expected a table in UTF-8. {error}.") from None
    header, *lines = records or [[]]
    wrong = next((i for i, line in enumerate(lines) if len(line) != len(header)), None)
    if not header or wrong is not None:
        raise DataError(
            f"{shown(str(place))}: expected as many cells in each line as the header has. "
            + ("Received nothing." if wrong is None else f"Row {wrong} has {len(lines[wrong])}.")
        )
    return {name: [line[i] for line in lines] for i, name in enumerate(header)}
