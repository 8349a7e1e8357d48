"""Parquet and Arrow files: their columns as text, and single encoded images, read on demand."""

from __future__ import annotations

import json
import math
import os
import threading
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.data.addresses import is_address, opened
from twinset.data.names import Texts
from twinset.errors import DataError, ImageFileError, reason, require

# Up to OPEN_FILES · KEPT_BLOCKS blocks are in memory at a time, and a page of each open file.
BLOCK_BYTES = 16 * 2**20
KEPT_BLOCKS = 2
OPEN_FILES = 4


def open_table(path: Path | str) -> ParquetTable | ArrowTable:
    """Open a Parquet or Arrow file; the address of a Parquet file is a text."""
    need_arrow()
    with _damage(path):
        if isinstance(path, str) or path.suffix.lower() == ".parquet":
            return ParquetTable(path)
        return ArrowTable(path)


def read_cell(path: str, column: str, row: int, mark: str = "") -> bytes:
    """Read one encoded image, of a file as its mark says; safe to call from several threads."""
    try:
        if is_address(path):
            table, lock = _opened(path, (mark,))
        else:  # a file that was written anew is opened anew
            status = os.stat(path)  # noqa: PTH116 - bare text
            stamp = status.st_size, status.st_mtime_ns, status.st_ino
            table, lock = _opened(Path(path), stamp)
        with lock, _damage(path):
            if column not in table.schema.names or not 0 <= row < table.rows:
                raise DataError(f"no row {row} of a column {column!r}, the file has changed")
            data = table.cell(column, row)
    except (OSError, DataError) as error:
        raise ImageFileError(
            f"{path}[{row}]: expected an encoded image. {reason(error)}."
        ) from None
    if data is None:
        raise ImageFileError(f"{path}[{row}]: expected an encoded image. Received nothing.")
    return data


@lru_cache(maxsize=OPEN_FILES)
def _opened(path: Path | str, stamp: tuple[Any, ...]) -> tuple[Table, threading.Lock]:
    del stamp  # a part of the key
    # with a lock, as a reader goes on where it stopped, which is no work for two threads
    return open_table(path), threading.Lock()


def need_arrow() -> Any:
    """Import pyarrow, or say how to install it."""
    require("pyarrow", "parquet", "Parquet and Arrow files", DataError)
    import pyarrow

    return pyarrow


@contextmanager
def _damage(path: Path | str) -> Iterator[None]:
    """Turn what pyarrow raises on a missing, cut or forged file into one error."""
    try:
        yield
    except (need_arrow().ArrowException, OSError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: expected a whole Parquet or Arrow file. {first}") from None


@dataclass(frozen=True)
class _Block:
    start: int
    cells: Any  # an Arrow array of bytes or of structs

    @property
    def end(self) -> int:
        return self.start + len(self.cells)

    def __getitem__(self, row: int) -> bytes | None:
        value = self.cells[row - self.start]
        if hasattr(value, "keys"):  # a struct
            value = value["bytes"] if value.is_valid else value
        found: bytes | None = value.as_py()
        return found


class ParquetTable:
    """A Parquet file, its encoded images read in blocks of about 16 MiB, however large its groups.

    A page of the file is read whole, and most writers put up to 1,024 rows into one, as far as a
    group has that many: hundreds of MiB for large images. `datasets` writes groups of 100 images.
    """

    def __init__(self, path: Path | str) -> None:
        from pyarrow.parquet import ParquetFile

        self.path = path if isinstance(path, Path) else Path(path.rpartition("/")[2])
        where: Any = path
        if isinstance(path, str):
            where = opened(path)
            weakref.finalize(self, where.close)  # Arrow closes what it has opened itself
        # with a buffer, a column is read as it is decoded, and not whole at first
        self._file = ParquetFile(where, buffer_size=2**20, pre_buffer=False)
        meta = self._file.metadata
        self.rows: int = meta.num_rows
        self.schema = self._file.schema_arrow
        sizes = (meta.row_group(k).num_rows for k in range(meta.num_row_groups))
        self._starts = [0, *accumulate(sizes)]
        self._blocks: list[_Block] = []
        self._reading: tuple[int, Iterator[_Block]] | None = None
        self._column: str | None = None

    def columns(self, names: Sequence[str]) -> Any:
        """Read small columns whole, as one Arrow table."""
        with _damage(self.path):
            return self._file.read(columns=list(names))

    def empty(self, column: str) -> NDArray[np.bool_]:
        """Tell which cells of a column of encoded images hold no bytes, (rows,).

        The file's statistics tell it mostly, so that no image is read.
        """
        found = np.zeros(self.rows, bool)
        leaf = self._leaf(column)
        with _damage(self.path):
            for group in range(len(self._starts) - 1):
                chunk = self._file.metadata.row_group(group).column(leaf)
                known = chunk.statistics
                if known is not None and known.has_null_count and known.null_count == 0:
                    continue
                for block in self._group(column, group):
                    found[block.start : block.end] = _nulls(block.cells)
        return found

    def paths(self, column: str) -> list[str | None]:
        """Read the path of each image in a column of structs; None where there is none."""
        below = f"{column}.path"
        if below not in [self._file.schema.column(k).path for k in range(len(self._file.schema))]:
            return [None] * self.rows
        with _damage(self.path):
            return _paths(self._file.read(columns=[below]).column(0))

    def cell(self, column: str, row: int) -> bytes | None:
        """Read the bytes of one encoded image; None where there are none."""
        if column != self._column:
            self._column, self._blocks, self._reading = column, [], None
        for block in self._blocks:
            if block.start <= row < block.end:
                return block[row]
        group = bisect_right(self._starts, row) - 1
        reading, self._reading = self._reading, None  # what fails is not read on
        if reading is None or reading[0] != group or self._blocks[-1].end > row:
            # else the row is ahead of where the last reading stopped
            reading = (group, self._group(column, group))
        for block in reading[1]:
            if row < block.end:
                self._blocks = [*self._blocks[1 - KEPT_BLOCKS :], block]
                if block.end < self._starts[group + 1]:  # else let go of its pages
                    self._reading = reading
                return block[row]
        raise DataError(f"row {row} is missing from its group")

    def _leaf(self, column: str) -> int:
        schema = self._file.schema
        paths = [schema.column(k).path for k in range(len(schema))]
        return paths.index(column if column in paths else f"{column}.bytes")

    def _group(self, column: str, group: int) -> Iterator[_Block]:
        """Read the images of one group of rows, a block at a time."""
        leaf = self._leaf(column)
        meta = self._file.metadata.row_group(group)
        size = meta.column(leaf).total_uncompressed_size
        some = max(1, meta.num_rows * BLOCK_BYTES // max(size, 1))
        start = self._starts[group]
        for batch in self._file.iter_batches(
            batch_size=min(some, meta.num_rows),
            row_groups=[group],
            columns=[self._file.schema.column(leaf).path],
            use_threads=False,
        ):
            yield _Block(start, batch.column(0))
            start += batch.num_rows


class ArrowTable:
    """An Arrow file, read through a memory map: nothing of it stays in memory.

    A compressed one is unpacked into memory; `save_to_disk` writes none.
    """

    def __init__(self, path: Path) -> None:
        arrow = need_arrow()
        self.path = path
        # a stream, as Hugging Face's `save_to_disk` writes it, or in the format for files;
        # kept open by the batches, which are views into it
        mapped = arrow.memory_map(str(path))
        if mapped.size() >= 6 and mapped.read(6) == b"ARROW1":
            file = arrow.ipc.open_file(mapped)
            self._batches = [file.get_batch(k) for k in range(file.num_record_batches)]
            self.schema = file.schema
        else:
            mapped.seek(0)
            stream = arrow.ipc.open_stream(mapped)
            self._batches = list(stream)
            self.schema = stream.schema
        self._starts = [0, *accumulate(batch.num_rows for batch in self._batches)]
        self.rows = self._starts[-1]

    def columns(self, names: Sequence[str]) -> Any:
        """Read small columns whole, as one Arrow table."""
        return need_arrow().Table.from_batches(self._batches, self.schema).select(list(names))

    def empty(self, column: str) -> NDArray[np.bool_]:
        """Tell which cells of a column of encoded images hold no bytes, (rows,)."""
        nulls = [_nulls(batch.column(column)) for batch in self._batches]
        return np.concatenate([np.empty(0, bool), *nulls])

    def paths(self, column: str) -> list[str | None]:
        """Read the path of each image in a column of structs; None where there is none."""
        return _paths(self.columns([column]).column(0))

    def cell(self, column: str, row: int) -> bytes | None:
        """Read the bytes of one encoded image; None where there are none."""
        k = bisect_right(self._starts, row) - 1
        return _Block(self._starts[k], self._batches[k].column(column))[row]


Table: TypeAlias = ParquetTable | ArrowTable


def _nulls(cells: Any) -> NDArray[np.bool_]:
    if hasattr(cells, "flatten") and need_arrow().types.is_struct(cells.type):
        cells = cells.flatten()[cells.type.get_field_index("bytes")]
    nulls: NDArray[np.bool_] = cells.is_null().to_numpy(zero_copy_only=False)
    return nulls


def is_encoded(kind: Any) -> bool:
    """Tell whether an Arrow type can hold encoded images: bytes, or a struct with "bytes"."""
    types = need_arrow().types
    if types.is_struct(kind):
        place = kind.get_field_index("bytes")
        return place >= 0 and is_encoded(kind.field(place).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def scalars(table: Table, *, leave_out: str) -> dict[str, list[Any]]:
    """Read the columns that hold one text, number or boolean per row; times become text."""
    types = need_arrow().types
    plain = [
        field.name
        for field in table.schema
        if field.name != leave_out
        and not types.is_nested(field.type)
        and "binary" not in str(field.type)
    ]
    cells = table.columns(plain)
    return {name: [_scalar(value) for value in cells.column(name).to_pylist()] for name in plain}


def _scalar(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)  # what indexes hold has 64 bits
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def features(schema: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return what Hugging Face's `datasets` notes of each column; nothing without a note."""
    try:
        noted = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _paths(column: Any) -> list[str | None]:
    """Return the field "path" of a column of structs; None for each row without one."""
    if not need_arrow().types.is_struct(column.type) or column.type.get_field_index("path") < 0:
        return [None] * len(column)
    import pyarrow.compute as pc

    return strings(pc.struct_field(column, "path"))


def texts(column: Any) -> Texts:
    """Turn a column of labels, groups or splits into text.

    Whole numbers in floating point, as tables with gaps have them, lose their ".0"; NaN is a gap.
    """
    import pyarrow.compute as pc

    arrow = need_arrow()

    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if arrow.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
        if pc.all(pc.equal(column, pc.floor(column))).as_py():
            column = column.cast(arrow.int64())
    if arrow.types.is_nested(column.type) or "binary" in str(column.type):
        raise DataError(f"expected text or numbers. Received {column.type}")
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return Texts([], np.empty(0, np.int64))
    codes = [chunk.indices.fill_null(-1).to_numpy(zero_copy_only=False) for chunk in encoded.chunks]
    values = encoded.chunk(0).dictionary.cast(arrow.string()).to_pylist()
    return Texts(values, np.concatenate(codes).astype(np.int64))


def strings(column: Any) -> list[str | None]:
    """Turn a column of text that hardly repeats, such as paths, into a list."""
    arrow = need_arrow()
    if arrow.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = str(column.type)
    if "string" not in kind or arrow.types.is_nested(column.type):
        if not arrow.types.is_null(column.type):
            raise DataError(f"expected paths as text. Received {kind}")
        column = column.cast(arrow.string())
    # by way of numpy it is five times as fast as `to_pylist`
    found: list[str | None] = column.to_numpy(zero_copy_only=False).tolist()
    return found
