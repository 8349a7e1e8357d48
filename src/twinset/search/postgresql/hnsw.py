"""pgvector's HNSW: approximate search, with a recall that was measured.

Malkov, Yashunin (2018), Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
Navigable Small World Graphs.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.search.candidates import SPARE, nearest
from twinset.search.items import Approximation, Neighbour
from twinset.search.postgresql.table import Table, value
from twinset.search.store import Request

if TYPE_CHECKING:
    from psycopg import Cursor

# What pgvector's HNSW takes.
LARGEST_DIM = 2_000
# How many candidates it keeps while it looks: tried in this order until the recall is reached.
EFFORTS = (40, 80, 160, 320, 640, 1000)
SAMPLE, NEAREST = 100, 10


def build(cursor: Cursor[Any], table: Table, recall: float) -> Approximation:
    """Build the index, and find out how much effort the recall takes."""
    from psycopg.types.json import Jsonb

    if table.dim > LARGEST_DIM:
        raise StoreError(
            f"pgvector's HNSW takes embeddings of size {LARGEST_DIM:,} or less, and these have "
            f"{table.dim:,}. Exact search remains."
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
    megabytes = min(count * (4 * table.dim + 512) // 2**20 + 64, 2047)
    cursor.connection.execute(f"SET LOCAL maintenance_work_mem = '{megabytes}MB'".encode())
    cursor.execute(table.sql("DROP INDEX IF EXISTS {hnsw}"))
    cursor.execute(table.sql("CREATE INDEX {hnsw} ON {table} USING hnsw (embedding vector_l2_ops)"))
    effort, found, queries = _tune(cursor, table, recall)
    made = Approximation(f"pgvector HNSW, ef_search {effort}", count, found, queries)
    # JSON has no NaN
    kept = dataclasses.asdict(made) | {"recall": None if math.isnan(found) else found}
    cursor.execute(
        "UPDATE twinset_indexes SET approximation = %s WHERE id = %s",
        [Jsonb(kept | {"effort": effort}), table.number],
    )
    return made


def read(cursor: Cursor[Any], table: Table) -> tuple[Approximation, int] | None:
    """Read what was built, and the effort it takes; None where nothing was."""
    cursor.execute("SELECT approximation FROM twinset_indexes WHERE id = %s", [table.number])
    kept = value(cursor)
    if kept is None:
        return None
    effort = int(kept.pop("effort"))
    recall = math.nan if kept["recall"] is None else kept["recall"]
    return Approximation(**kept | {"recall": recall}), effort


def search(
    cursor: Cursor[Any], table: Table, query: NDArray[np.float32], request: Request, effort: int
) -> list[Neighbour] | None:
    """Find neighbours by the index; None where so few items meet the conditions that it may err."""
    assert request.k is not None
    limit = request.k + SPARE
    cursor.connection.execute(
        "SET LOCAL enable_indexscan = on; SET LOCAL enable_seqscan = off; "
        "SET LOCAL hnsw.iterative_scan = strict_order; "
        f"SET LOCAL hnsw.ef_search = {min(max(effort, limit), EFFORTS[-1])}".encode()
    )
    found = table.nearest(cursor, query, request.where, limit)
    if len(found) < limit and request.where:
        return None
    return nearest(query, found, request.k, request.within)


def _tune(cursor: Cursor[Any], table: Table, wanted: float) -> tuple[int, float, int]:
    cursor.execute(
        table.sql("SELECT embedding FROM {table} ORDER BY hashint8(position) LIMIT %s"), [SAMPLE]
    )
    queries = np.array([row[0].to_numpy() for row in cursor], np.float32)
    if not len(queries):
        return EFFORTS[0], math.nan, 0
    request = Request(queries, NEAREST, None, (), exact=False)
    exact = [{hit.id for hit in table.exact(cursor, query, request)} for query in queries]
    recall = 0.0
    for effort in EFFORTS:
        found = [search(cursor, table, query, request, effort) or [] for query in queries]
        pairs = zip(exact, found, strict=True)
        recall = sum(hit.id in true for true, hits in pairs for hit in hits)
        recall /= sum(map(len, exact))
        if recall >= wanted:
            return effort, recall, len(queries)
    raise StoreError(
        f"HNSW finds {recall:.1%} of the true {NEAREST} nearest at its best, and not {wanted:.1%}. "
        "Ask for less, or keep to exact search. Nothing was changed."
    )
