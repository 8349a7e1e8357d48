"""`read_features`: a file of vectors that another model made, with labels → `LabelledFeatures`."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinset.data.features import LabelledFeatures
from twinset.data.sources.features import load_features, vector_column
from twinset.data.sources.manifest import Columns
from twinset.data.sources.names import shown
from twinset.data.sources.rows import Rows
from twinset.data.sources.tables import open_table
from twinset.data.sources.texts import Texts, texts
from twinset.errors import DataError

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

    Rows without a label are quarantined.

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
        quarantined=judged.quarantined,
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
        return _checked(arrays, count, source)
    beside = [source.with_suffix(suffix) for suffix in BESIDE]
    place = next((path for path in beside if path.is_file()), None)
    if place is None:
        raise DataError(
            f"{shown(str(source))}: expected labels in a table beside it. Received no file "
            f"{beside[0].name!r}: write one with a column `label` and a line for each row."
        )
    return _checked(_text_columns(place), count, place)


def _checked(
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
