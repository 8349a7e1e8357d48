"""The table of one index: what is read from it, by which conditions, and exact search over it."""

from __future__ import annotations

import functools
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.candidates import SPARE, Candidates, measure, nearest, rounding, settled
from twinset.search.checked import Kind, Metadata, Scalar, kind
from twinset.search.items import Items, Neighbour
from twinset.search.layout import FLOAT16, Layout
from twinset.search.paging import Column, Page
from twinset.search.postgresql.catalogue import table_name
from twinset.search.store import Request
from twinset.search.where import Condition

if TYPE_CHECKING:
    from psycopg import Cursor

LARGEST_FLOAT16 = 65_504
# Rows that are written in one piece.
_PIECE = 500


def value(cursor: Cursor[Any]) -> Any:
    """Return the one value that a statement found."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


@dataclass(frozen=True)
class Table:
    """A table of items."""

    number: int  # the index's, from the catalogue
    dim: int  # the size of an embedding
    layout: Layout

    @property
    def type(self) -> str:
        """The type of an embedding, in SQL."""
        return f"{'halfvec' if self.layout.vectors == FLOAT16 else 'vector'}({self.dim})"

    @property
    def numbers(self) -> np.dtype[Any]:
        """The numbers of an embedding, most significant byte first."""
        return np.dtype(">f2" if self.layout.vectors == FLOAT16 else ">f4")

    @functools.cached_property
    def columns(self) -> str:
        """What `candidates` takes; an embedding as the bytes that the server sends."""
        return f"position, id, {self.type.partition('(')[0]}_send(embedding), metadata::text"

    @functools.cached_property
    def _sent(self) -> np.dtype[Any]:
        # what the server sends of an embedding: its size and a 0, and its numbers
        return np.dtype([("size", "V4"), ("numbers", self.numbers, (self.dim,))])

    def sql(self, statement: str) -> bytes:
        """Put the names of the table and of its indexes, made of its number, into a statement."""
        return _named(statement, self.number)

    def create(self, cursor: Cursor[Any], name: str) -> None:
        """Make the table, and its parts."""
        from psycopg.sql import SQL, Literal

        column, parts = self.layout.partition_by, self.layout.partitions or 1
        whole = column is None and parts == 1
        keys, key = ("PRIMARY KEY", "UNIQUE") if whole else ("", "")
        by = "" if whole else " PARTITION BY HASH (" + ("id)" if column is None else "(")
        statement = self.sql(
            f'CREATE TABLE {{table}} (position bigserial {keys}, id text COLLATE "C" NOT NULL '
            f"{key}, embedding {self.type} NOT NULL, metadata jsonb NOT NULL){by}"
        )
        if column is not None:
            statement += SQL("metadata -> {}))").format(Literal(column)).as_bytes(cursor)
        cursor.execute(statement)
        for part in range(0 if whole else parts):
            cursor.execute(
                self.sql(
                    f"CREATE TABLE {{table}}_{part} PARTITION OF {{table}} "
                    f"FOR VALUES WITH (MODULUS {parts}, REMAINDER {part})"
                )
            )
        if not whole:
            # Postgres has no unique index over parts that the id does not decide.
            unique = "UNIQUE " if column is None else ""
            cursor.execute(self.sql(f"CREATE {unique}INDEX ON {{table}} (id)"))
            cursor.execute(self.sql("CREATE INDEX ON {table} (position)"))
        comment = Literal(f"twinset index {name}").as_bytes(cursor)
        cursor.execute(self.sql("COMMENT ON TABLE {table} IS ") + comment)

    def check(self, items: Items) -> None:
        """See that the table can hold items."""
        largest = np.abs(items.vectors).max()
        if self.layout.vectors == FLOAT16 and largest > LARGEST_FLOAT16:
            raise StoreError(
                f"Expected vectors within ±{LARGEST_FLOAT16:,}, as this index keeps float16. "
                f"Received {largest:g}. Nothing was put in."
            )

    def put(self, cursor: Cursor[Any], items: Items) -> None:
        """Append items, in the binary format of COPY."""
        from psycopg.copy import QueuedLibpqWriter

        statement = self.sql("COPY {table} (id, embedding, metadata) FROM STDIN (FORMAT BINARY)")
        # a thread sends one piece while the next is made
        with cursor.copy(statement, writer=QueuedLibpqWriter(cursor)) as copy:
            copy.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for start in range(0, len(items), _PIECE):
                copy.write(self._rows(items, slice(start, start + _PIECE)))
            copy.write(b"\xff\xff")

    def _rows(self, items: Items, which: slice) -> bytes:
        # A row is the number of its fields, and each field's size and bytes, most significant
        # first. An embedding: its size, 0, numbers. jsonb: 1 for the version, text.
        vectors = items.vectors[which]
        numbers = vectors.astype(self.numbers)
        width = numbers.itemsize * self.dim
        fields = np.empty((len(vectors), 8 + width), np.uint8)
        fields[:, :8] = np.frombuffer(struct.pack(">ihh", 4 + width, self.dim, 0), np.uint8)
        fields[:, 8:] = numbers.view(np.uint8)
        data = memoryview(fields.tobytes())
        names = [id_.encode() for id_ in items.ids[which]]
        texts = [mapping_json(known).encode() for known in items.metadata[which]]
        head, tail, size = struct.Struct(">hi").pack, struct.Struct(">ib").pack, 8 + width
        return b"".join(
            part
            for at, (name, text) in enumerate(zip(names, texts, strict=True))
            for part in (
                *(head(3, len(name)), name),
                *(data[at * size : (at + 1) * size], tail(len(text) + 1, 1), text),
            )
        )

    def update_metadata(
        self, cursor: Cursor[Any], ids: Sequence[str], metadata: Sequence[Metadata]
    ) -> set[str]:
        """Replace what is known of items; tell which of them are there."""
        cursor.execute(
            self.sql(
                "UPDATE {table} AS items SET metadata = given.known::jsonb "
                "FROM unnest(%s::text[], %s::text[]) AS given (id, known) "
                "WHERE items.id = given.id RETURNING items.id"
            ),
            [list(ids), [mapping_json(known) for known in metadata]],
        )
        return {id_ for (id_,) in cursor}

    def known(self, cursor: Cursor[Any], ids: Sequence[str]) -> set[str]:
        """Tell which of these ids are there."""
        cursor.execute(self.sql("SELECT id FROM {table} WHERE id = ANY(%s)"), [list(ids)])
        return {id_ for (id_,) in cursor}

    def candidates(self, rows: Sequence[Any]) -> Candidates:
        """Turn rows into arrays."""
        sent = np.frombuffer(b"".join([row[2] for row in rows]), self._sent)
        return Candidates(
            np.array([row[0] for row in rows], np.int64),
            [row[1] for row in rows],
            sent["numbers"].astype(np.float32),
            # at once, which takes a fifth of the time
            json.loads(f"[{','.join([row[3] for row in rows])}]"),
        )

    def page(
        self, cursor: Cursor[Any], offset: int, limit: int, where: Sequence[Condition]
    ) -> Page:
        """List some of the items for which conditions hold, and count them."""
        condition, parameters = self._where(where)
        cursor.execute(self.sql(f"SELECT count(*) FROM {{table}}{condition}"), parameters)
        total = int(value(cursor))
        listing = f"SELECT id, metadata FROM {{table}}{condition} ORDER BY position"
        cursor.execute(self.sql(f"{listing} OFFSET %s LIMIT %s"), [*parameters, offset, limit])
        rows = cursor.fetchall()
        return Page(tuple(row[0] for row in rows), tuple(row[1] for row in rows), total)

    def names(self, cursor: Cursor[Any], most: int) -> list[Column]:
        """List names, each with its kinds and different values."""
        cursor.execute(
            self.sql(
                "SELECT name, value FROM (SELECT name, value, row_number() OVER "
                "(PARTITION BY name ORDER BY value = 'null', value) AS place FROM "
                "(SELECT DISTINCT key AS name, value FROM {table}, jsonb_each(metadata)) AS pairs) "
                'AS each WHERE place <= %s ORDER BY name COLLATE "C", place'
            ),
            [max(most, 1)],
        )
        found: dict[str, list[tuple[Kind, Scalar]]] = {}
        for name, each in cursor:
            held = found.setdefault(name, [])
            if each is not None and len(held) < most:
                held.append((kind(each), each))
        return [
            Column(name, tuple(sorted({k for k, _ in held})), tuple(v for _, v in sorted(held)))
            for name, held in found.items()
        ]

    def nearest_statement(
        self,
        query: NDArray[np.float32],
        where: Sequence[Condition],
        limit: int | None,
        reach: float | None = None,
        *,
        approximate: bool = False,
    ) -> tuple[bytes, list[Any]]:
        """Write what finds the items nearest to a query, in the database's arithmetic."""
        distance = "embedding <-> %s"
        if self.layout.vectors == FLOAT16:
            # An index of halves compares halves; what is exact takes the query as it is.
            exact = "embedding::vector <-> %s"
            distance = f"embedding <-> %s::{self.type}" if approximate else exact
        condition, parameters = self._where(where)
        if reach is not None:
            condition += f"{' AND' if where else ' WHERE'} {distance} <= %s"
            parameters += [query, reach]
        statement = f"SELECT {self.columns} FROM {{table}}{condition} ORDER BY {distance}"
        # as text, so that the plan of a statement that is prepared knows it
        statement += "" if limit is None else f" LIMIT {limit}"
        return self.sql(statement), [*parameters, query]

    def _where(self, where: Sequence[Condition]) -> tuple[str, list[Any]]:
        texts: list[str] = []
        parameters: list[Any] = []
        for condition in where:
            text, values = sql_of(condition)
            texts.append(text)
            parameters += values
            if condition.operator == "=" and condition.name == self.layout.partition_by:
                # the same once more, from which Postgres sees which part has it
                texts.append("(metadata -> %s) = %s::jsonb")
                parameters += [condition.name, scalar_json(condition.value)]
        return " WHERE " + " AND ".join(texts) if texts else "", parameters

    def exact(
        self,
        cursor: Cursor[Any],
        query: NDArray[np.float32],
        request: Request,
        *,
        among: bool = False,
    ) -> list[Neighbour]:
        """Find the true neighbours of a query; `among` where there is an HNSW index as well."""
        if among:
            # it serves ORDER BY unless index scans are off
            cursor.connection.execute(
                "SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on"
            )
        k, within = request.k, request.within
        # a little more than asked for, in pgvector's rounding; `nearest` drops what is too far
        reach = None if within is None else (within**2 + rounding(self.dim, within**2)) ** 0.5
        limit = None if k is None else k + SPARE
        while True:
            cursor.execute(*self.nearest_statement(query, request.where, limit, reach))
            found = self.candidates(cursor.fetchall())
            hits = nearest(query, found, k, within)
            if limit is None or len(found) < limit:
                return hits
            farthest = float(measure(query, found).max())
            if settled(farthest, hits, k, within, rounding(self.dim, farthest**2)):
                return hits
            limit *= 4  # so many are equally far that it is open which come first


@functools.lru_cache(1000)
def _named(statement: str, number: int) -> bytes:
    return (
        statement.replace("{table}", table_name(number))
        .replace("{hnsw}", f"twinset_hnsw_{number}")
        .replace("{known}", f"twinset_known_{number}")
        .encode()
    )


# --- Conditions in SQL, over jsonb: what `where.holds` says, to the letter.


def sql_of(condition: Condition) -> tuple[str, list[Any]]:
    """Write a condition as SQL.

    Names and values travel as parameters, never as text of the statement. jsonb keeps the kinds
    apart and compares numbers exactly. It orders texts by the database's collation, though, so
    they are compared as texts, by code points.
    """
    name, symbol, asked = condition.name, condition.operator, condition.value
    if symbol == "!=":  # holds for an item that lacks the name as well
        return "(metadata -> %s) IS DISTINCT FROM %s::jsonb", [name, scalar_json(asked)]
    if symbol == "=":
        # through the whole object, as an index on it can serve (GIN, jsonb_path_ops)
        return "metadata @> %s::jsonb", [mapping_json({name: asked})]
    if kind(asked) == "text":
        alike = "jsonb_typeof(metadata -> %s) = 'string'"
        return f'({alike} AND (metadata ->> %s) COLLATE "C" {symbol} %s)', [name, name, asked]
    alike = "jsonb_typeof(metadata -> %s) = 'number'"
    text = f"({alike} AND (metadata -> %s) {symbol} %s::jsonb)"
    return text, [name, name, scalar_json(asked)]


def mapping_json(metadata: Metadata) -> str:
    """Write metadata as JSON that comes back from jsonb as it was."""
    pairs = [f"{_quoted(name)}: {scalar_json(value)}" for name, value in metadata.items()]
    return "{" + ", ".join(pairs) + "}"


_quoted = functools.lru_cache(4096)(json.dumps)  # names are the same for most items


def scalar_json(value: Scalar) -> str:
    """Write one value as JSON.

    jsonb keeps the decimal digits of a number, and how many. So a whole float keeps its ".0", and
    is written with all its digits, so that it equals the integer that Python says it equals.
    """
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}.0"
    # json.dumps takes two microseconds for a number, and a load has millions
    return str(value) if type(value) is int else json.dumps(value)
