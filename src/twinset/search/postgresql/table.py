"""The table of one index: what is read from it, by which conditions, and exact search over it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.search.candidates import SPARE, Candidates, measure, nearest, rounding, settled
from twinset.search.checked import Metadata, Scalar, kind
from twinset.search.items import Neighbour
from twinset.search.postgresql.catalogue import table_name
from twinset.search.store import Request
from twinset.search.where import Condition

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.sql import Composed

COLUMNS = "position, id, embedding, metadata"


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

    def sql(self, statement: str) -> Composed:
        """Put the names of the table and of its HNSW index into a statement."""
        from psycopg import sql

        return sql.SQL(statement).format(
            table=sql.Identifier(table_name(self.number)),
            hnsw=sql.Identifier(f"twinset_hnsw_{self.number}"),
        )

    def create(self, cursor: Cursor[Any], name: str) -> None:
        """Make the table."""
        from psycopg import sql

        cursor.execute(
            self.sql(
                'CREATE TABLE {table} (position bigint PRIMARY KEY, id text COLLATE "C" NOT NULL '
                f"UNIQUE, embedding vector({self.dim}) NOT NULL, metadata jsonb NOT NULL)"
            )
        )
        comment = sql.Literal(f"twinset index {name}")
        cursor.execute(self.sql("COMMENT ON TABLE {table} IS ") + comment)

    def known(self, cursor: Cursor[Any], ids: Sequence[str]) -> set[str]:
        """Tell which of these ids are there."""
        cursor.execute(self.sql("SELECT id FROM {table} WHERE id = ANY(%s)"), [list(ids)])
        return {id_ for (id_,) in cursor}

    def candidates(self, rows: Sequence[Any]) -> Candidates:
        """Turn rows into arrays."""
        vectors = np.empty((len(rows), self.dim), np.float32)
        for at, row in enumerate(rows):
            vectors[at] = row[2].to_numpy()
        positions = np.array([row[0] for row in rows], np.int64)
        return Candidates(positions, [row[1] for row in rows], vectors, [row[3] for row in rows])

    def nearest(
        self,
        cursor: Cursor[Any],
        query: NDArray[np.float32],
        where: Sequence[Condition],
        limit: int | None,
        reach: float | None = None,
    ) -> Candidates:
        """Let the database find the items nearest to a query, in its arithmetic."""
        from psycopg import sql

        texts, parameters = [], []
        for condition in where:
            text, values = sql_of(condition)
            texts.append(text)
            parameters += values
        if reach is not None:
            texts.append(sql.SQL("embedding <-> %s <= %s").format())
            parameters += [query, reach]
        statement = self.sql(f"SELECT {COLUMNS} FROM {{table}}")
        if texts:
            statement += sql.SQL(" WHERE ") + sql.SQL(" AND ").join(texts)
        statement += sql.SQL(" ORDER BY embedding <-> %s LIMIT %s").format()
        cursor.execute(statement, [*parameters, query, limit])
        return self.candidates(cursor.fetchall())

    def exact(
        self, cursor: Cursor[Any], query: NDArray[np.float32], request: Request
    ) -> list[Neighbour]:
        """Find the true neighbours of a query."""
        # Where there is an HNSW index, it serves ORDER BY unless index scans are off.
        cursor.connection.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_seqscan = on")
        k, within = request.k, request.within
        # a little more than asked for, in pgvector's rounding; `nearest` drops what is too far
        reach = None if within is None else (within**2 + rounding(self.dim, within**2)) ** 0.5
        limit = None if k is None else k + SPARE
        while True:
            found = self.nearest(cursor, query, request.where, limit, reach)
            hits = nearest(query, found, k, within)
            if limit is None or len(found) < limit:
                return hits
            farthest = float(measure(query, found).max())
            if settled(farthest, hits, k, within, rounding(self.dim, farthest**2)):
                return hits
            limit *= 4  # so many are equally far that it is open which come first


# --- Conditions in SQL, over jsonb: what `where.holds` says, to the letter.


def sql_of(condition: Condition) -> tuple[Composed, list[Any]]:
    """Write a condition as SQL.

    Names and values travel as parameters, never as text of the statement. jsonb keeps the kinds
    apart and compares numbers exactly. It orders texts by the database's collation, though, so
    they are compared as texts, by code points.
    """
    from psycopg import sql

    value = sql.SQL("(metadata -> %s)")
    if condition.operator == "!=":  # holds for an item that lacks the name as well
        return value + sql.SQL(" IS DISTINCT FROM %s::jsonb"), [
            condition.name,
            scalar_json(condition.value),
        ]
    if condition.operator == "=":
        # through the whole object, as an index on it can serve (GIN, jsonb_path_ops)
        return sql.SQL("metadata @> %s::jsonb").format(), [
            mapping_json({condition.name: condition.value})
        ]
    symbol = sql.SQL(condition.operator)
    if kind(condition.value) == "text":
        text = sql.SQL(
            "(jsonb_typeof({value}) = 'string' AND (metadata ->> %s) COLLATE \"C\" {} %s)"
        )
        return text.format(symbol, value=value), [condition.name, condition.name, condition.value]
    number = sql.SQL("(jsonb_typeof({value}) = 'number' AND {value} {} %s::jsonb)")
    return number.format(symbol, value=value), [
        condition.name,
        condition.name,
        scalar_json(condition.value),
    ]


def mapping_json(metadata: Metadata) -> str:
    """Write metadata as JSON that comes back from jsonb as it was."""
    pairs = (f"{json.dumps(name)}: {scalar_json(value)}" for name, value in metadata.items())
    return "{" + ", ".join(pairs) + "}"


def scalar_json(value: Scalar) -> str:
    """Write one value as JSON.

    jsonb keeps the decimal digits of a number, and how many. So a whole float keeps its ".0", and
    is written with all its digits, so that it equals the integer that Python says it equals.
    """
    if isinstance(value, float) and value.is_integer():
        return f"{int(value)}.0"
    return json.dumps(value)
