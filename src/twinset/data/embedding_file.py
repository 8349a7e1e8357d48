"""The Parquet file of embeddings that `twinset embed` writes, and what it says of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twinset.data.arrow import need_arrow
from twinset.data.image_sources import TableSource
from twinset.data.listing import OWN, Listing

ID, EMBEDDING = "id", "embedding"
_NOTE = b"twinset"  # under this name a file says which model made it


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
