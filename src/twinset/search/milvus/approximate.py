"""Milvus' approximate indexes, with a measured recall: HNSW, or IVF_SQ8 for `vectors=int8`.

Malkov, Yashunin (2018), Efficient and Robust Approximate Nearest Neighbor Search Using Hierarchical
Navigable Small World Graphs; Jégou, Douze, Schmid (2011), Product Quantization for Nearest Neighbor
Search, on inverted files. IVF_SQ8 holds a byte for each number in memory. Of both, what they find
is measured anew by embeddings in full precision.

A collection has one index. So the exact one goes, and exact answers come from reading all items.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from twinset.errors import StoreError
from twinset.search.items import Approximation
from twinset.search.layout import INT8
from twinset.search.milvus.catalogue import State, make_index
from twinset.search.milvus.lease import Lease
from twinset.search.milvus.reading import answers
from twinset.search.milvus.rows import Rows
from twinset.search.store import Request

SAMPLE, NEAREST = 100, 10


@dataclass(frozen=True)
class Kind:
    """A kind of index that Milvus has."""

    name: str  # Milvus' own
    effort: str  # what its searches may spend more of to find more
    efforts: tuple[int, ...]  # tried in this order until the recall is reached
    made: Callable[[int], dict[str, int]]  # parameters for a number of items


HNSW = Kind(
    "HNSW",
    "ef",
    (40, 80, 160, 320, 640, 1280),
    lambda _: {"M": 16, "efConstruction": 200},
)
# as many lists as its authors advise, of which some are looked through
IVF_SQ8 = Kind(
    "IVF_SQ8",
    "nprobe",
    (8, 16, 32, 64, 128, 256),
    lambda count: {"nlist": max(1, min(65_536, 4 * math.isqrt(count)))},
)


def build(
    rows: Rows, recall: float, lease: Lease, known: Callable[[State], None]
) -> tuple[State, Approximation]:
    """Put an approximate index in the place of what is there, and find the effort that it takes.

    `known` makes a state known to all: first one by which all answers come from reading, so that
    one that is killed leaves right answers, if slow ones.
    """
    if rows.place.local:
        raise StoreError(
            f"{rows.place.shown} has exact search only, as a file of Milvus Lite. A server of "
            "Milvus has HNSW."
        )
    state = rows.state
    kind = IVF_SQ8 if state.layout.vectors == INT8 else HNSW
    queries = _sample(rows)
    request = Request(queries, NEAREST, None, (), exact=True)
    exact = [{hit.id for hit in hits} for hits in answers(rows, request)] if len(queries) else []
    lease.renew()
    state = replace(state, version=state.version + 1, approximation={"kind": kind.name})
    known(state)
    _exchange(rows, lease, kind.name, kind.made(state.count))
    kept, made, found = dict[str, Any](), math.nan, False
    for effort in kind.efforts:
        told = f"Milvus {kind.name}, {kind.effort} {effort}"
        kept = {"kind": told, "items": state.count, "queries": len(queries), "recall": None}
        kept["effort"] = {kind.effort: effort}
        lease.renew()
        if not exact:
            found = True
            break
        tried = Rows(rows.client, rows.place, replace(state, approximation=kept))
        hits = answers(tried, replace(request, exact=False))
        right = sum(hit.id in true for true, each in zip(exact, hits, strict=True) for hit in each)
        made = kept["recall"] = right / sum(map(len, exact))
        if made >= recall:
            found = True
            break
    if not found:
        _exchange(rows, lease, "FLAT", {})
        known(replace(state, version=state.version + 1, approximation=None))
        raise StoreError(
            f"{kind.name} finds {made:.1%} of the true {NEAREST} nearest at its best, and not "
            f"{recall:.1%}. Ask for less, or keep to exact search. Nothing was changed."
        )
    state = replace(state, version=state.version + 1, approximation=kept)
    known(state)
    approximation = read(state)
    assert approximation is not None
    return state, approximation


def read(state: State) -> Approximation | None:
    """Read what was built; None where nothing was, or not to its end."""
    kept = state.approximation
    if kept is None or "effort" not in kept:
        return None
    recall = math.nan if kept["recall"] is None else kept["recall"]
    return Approximation(kept["kind"], kept["items"], recall, kept["queries"])


def _sample(rows: Rows) -> Any:
    # some of the items, spread over all
    spans = list(rows.state.spans(2**40))
    places = np.concatenate([np.arange(*span) for span in spans]) if spans else np.arange(0)
    chosen = np.random.default_rng(0).permutation(places)[: 2 * SAMPLE]  # some are gone
    if not len(chosen):
        return np.empty((0, rows.dim), np.float32)
    return rows.numbered(chosen.tolist()).vectors[:SAMPLE]


def _exchange(rows: Rows, lease: Lease, name: str, parameters: dict[str, int]) -> None:
    client, collection = rows.client, rows.collection
    client.flush(collection)  # an index is made of what is on the server's disk
    lease.renew()
    client.release_collection(collection, timeout=rows.place.timeout)
    for old in client.list_indexes(collection):
        client.drop_index(collection, old, timeout=rows.place.timeout)
    make_index(client, collection, name, parameters)
    while True:
        told = client.describe_index(collection, client.list_indexes(collection)[0])
        if told.get("state", "Finished") == "Finished" and not told.get("pending_index_rows"):
            break
        lease.renew()
        time.sleep(0.5)
    client.load_collection(collection)
    lease.renew()
