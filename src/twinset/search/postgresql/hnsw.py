"""pgvector's HNSW: approximate search, with a recall that was measured.

Malkov, Yashunin (2018), Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
Navigable Small World Graphs.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.candidates import Candidates, nearest
from twinset.search.items import Approximation, Neighbour
from twinset.search.layout import FLOAT16, FLOAT32
from twinset.search.postgresql.table import Table, value
from twinset.search.store import Request

if TYPE_CHECKING:
    from psycopg import Cursor

# What pgvector's HNSW takes, of each kind of vectors.
LARGEST_DIM = {FLOAT32: 2_000, FLOAT16: 4_000}
# How many candidates it keeps while it looks: tried in this order until the recall is reached.
EFFORTS = (40, 80, 160, 320, 640, 1000)
SAMPLE, NEAREST = 100, 10
# Candidates for the links of a new item; more where the recall is not reached by any effort. By
# pgvector's own 64, a tight class may have no link from outside: of 200,000 items in 200 of them,
# 1 query in 100 found none at any effort, and of a million 0.947 of the nearest are found at most.
# It is worst where items come class by class, as from folders.
BREADTHS = 256, 1000


def build(cursor: Cursor[Any], table: Table, recall: float) -> Approximation:
    """Build the index, and find out how much effort the recall takes."""
    from psycopg.types.json import Jsonb

    most = LARGEST_DIM[table.layout.vectors or FLOAT32]
    if table.dim > most:
        raise StoreError(
            f"pgvector's HNSW takes embeddings of size {most:,} or less, and these have "
            f"{table.dim:,}. Exact search remains; vectors=float16 takes {LARGEST_DIM[FLOAT16]:,}."
        )
    cursor.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
    version = str(value(cursor))
    if tuple(int(part) for part in version.split(".")[:2]) < (0, 8):  # has no iterative scan
        raise StoreError(
            f"HNSW needs pgvector 0.8 or newer, and this is {version}. Let a superuser run ALTER "
            "EXTENSION vector UPDATE, or keep to exact search."
        )
    cursor.execute(table.sql("SELECT count(*) FROM {table}"))
    count = int(value(cursor))
    # The graph is built far faster where it fits into memory: the vectors, and 16 links twice.
    each = (2 if table.layout.vectors == FLOAT16 else 4) * table.dim + 512
    megabytes = min(count * each // 2**20 + 64, 2047)
    cursor.connection.execute(f"SET LOCAL maintenance_work_mem = '{megabytes}MB'".encode())
    cursor.execute(table.sql("DROP INDEX IF EXISTS {known}"))
    # for conditions on equality; earlier it would slow loads down
    cursor.execute(table.sql("CREATE INDEX {known} ON {table} USING gin (metadata jsonb_path_ops)"))
    operators = f"{table.type.partition('(')[0]}_l2_ops"
    truth = _truth(cursor, table)
    for breadth in BREADTHS:
        cursor.execute(table.sql("DROP INDEX IF EXISTS {hnsw}"))
        cursor.execute(
            table.sql(
                f"CREATE INDEX {{hnsw}} ON {{table}} USING hnsw (embedding {operators}) "
                f"WITH (ef_construction = {breadth})"
            )
        )
        effort, found = _tune(cursor, table, truth, recall)
        if not found < recall:  # of no items it is NaN
            break
    else:
        raise StoreError(
            f"HNSW finds {found:.1%} of the true {NEAREST} nearest at its best, and not "
            f"{recall:.1%}. Ask for less, or keep to exact search. Nothing was changed."
        )
    made = Approximation(f"pgvector HNSW, ef_search {effort}", count, found, len(truth))
    # JSON has no NaN
    kept = dataclasses.asdict(made) | {"recall": None if math.isnan(found) else found}
    cursor.execute(
        "UPDATE twinset_indexes SET approximation = %s WHERE id = %s",
        [Jsonb(kept | {"effort": effort}), table.number],
    )
    return made


def told(kept: Any) -> Approximation | None:
    """Say what the catalogue keeps of an index; None where there is none."""
    if kept is None:
        return None
    kept = {name: value for name, value in kept.items() if name != "effort"}
    return Approximation(
        **kept | {"recall": math.nan if kept["recall"] is None else kept["recall"]}
    )


@functools.lru_cache(1000)
def settings(k: int, effort: int, *, iterative: bool) -> str:
    """Write what makes Postgres use the index, for one transaction: what a SELECT is to ask for.

    `iterative` lets it look on where conditions, or deletions, leave fewer than k, for which it
    keeps in mind what was passed over.
    """
    given = {
        "enable_indexscan": "on",
        "enable_seqscan": "off",
        "hnsw.iterative_scan": "strict_order" if iterative else "off",
        "hnsw.ef_search": min(max(effort, k), EFFORTS[-1]),
    }
    return ", ".join(f"set_config('{name}', '{value}', true)" for name, value in given.items())


def statement(
    table: Table, query: NDArray[np.float32], request: Request
) -> tuple[bytes, list[Any]]:
    """Write what finds rows for `neighbours`, with its parameters."""
    assert request.k is not None
    return table.nearest_statement(query, request.where, request.k, approximate=True)


def iterates(request: Request) -> bool:
    """Whether a search has to iterate at once: the index's own candidates cannot be enough."""
    return bool(request.where) or (request.k or 0) > EFFORTS[-1]


def neighbours(
    found: Candidates, query: NDArray[np.float32], request: Request
) -> list[Neighbour] | None:
    """Find neighbours among those of the index; None where there are so few that it may err."""
    assert request.k is not None
    if len(found) < request.k:
        return None
    return nearest(query, found, request.k, request.within)


def look(
    cursor: Cursor[Any], table: Table, query: NDArray[np.float32], request: Request
) -> Candidates:
    """Ask the index for what is nearest to a query."""
    cursor.execute(*statement(table, query, request))
    return table.candidates(cursor.fetchall())


# An item of the sample: its id, its embedding, and the ids of its true nearest.
_Asked: TypeAlias = tuple[str, NDArray[np.float32], set[str]]
# Each item finds itself, which says nothing: one more is looked for, and that one left out.
_REQUEST = Request(np.empty((0, 0), np.float32), NEAREST + 1, None, (), exact=False)


def _truth(cursor: Cursor[Any], table: Table) -> list[_Asked]:
    cursor.execute(
        table.sql(f"SELECT {table.columns} FROM {{table}} ORDER BY hashint8(position) LIMIT %s"),
        [SAMPLE],
    )
    sample = table.candidates(cursor.fetchall())
    return [
        (own, query, _others(own, table.exact(cursor, query, _REQUEST, among=True)))
        for own, query in zip(sample.ids, sample.vectors, strict=True)
    ]


def _tune(
    cursor: Cursor[Any], table: Table, truth: list[_Asked], wanted: float
) -> tuple[int, float]:
    if not truth:
        return EFFORTS[0], math.nan
    count = sum(len(true) for _, _, true in truth)
    for effort in EFFORTS:
        told = settings(NEAREST + 1, effort, iterative=True)
        cursor.connection.execute(f"SELECT {told}".encode())
        hits = sum(
            len(true & _others(own, _nearest(cursor, table, query))) for own, query, true in truth
        )
        recall = hits / count if count else 1.0
        if recall >= wanted:
            break
    return effort, recall


def _nearest(cursor: Cursor[Any], table: Table, query: NDArray[np.float32]) -> list[Neighbour]:
    return nearest(query, look(cursor, table, query, _REQUEST), _REQUEST.k, None)


def _others(own: str, hits: list[Neighbour]) -> set[str]:
    return set([hit.id for hit in hits if hit.id != own][:NEAREST])
