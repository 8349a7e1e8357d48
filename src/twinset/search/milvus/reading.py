"""What is read of one state of an index: neighbours by Milvus' own search, else by reading all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from twinset.search.candidates import SPARE, Candidates, best, measure, nearest, rounding, settled
from twinset.search.items import Neighbour
from twinset.search.milvus.address import told
from twinset.search.milvus.rows import Rows, expressible
from twinset.search.store import Request
from twinset.search.where import Condition


class RowsMissingError(Exception):
    """A reading of all rows that found fewer than there are."""


def answers(rows: Rows, request: Request) -> list[list[Neighbour]]:
    """Find the neighbours of each query."""
    # What Milvus cannot look for at all would be most of what it returns.
    column, built = rows.state.layout.partition_by, rows.state.approximation
    plain = all(expressible(each, column) or each.operator == "!=" for each in request.where)
    if built is not None and (request.exact or request.k is None or "effort" not in built):
        plain = False
    found = [_nearest(rows, query, request) if plain else None for query in request.queries]
    left = [at for at, hits in enumerate(found) if hits is None]
    if left:
        scanned = _scan(rows, request.queries[left], request)
        for at, hits in zip(left, scanned, strict=True):
            found[at] = hits
    return [hits or [] for hits in found]


def pages(rows: Rows, filter_: str = "", *, known: bool = False) -> Iterator[Candidates]:
    """Read all items that a filter lets through, in their order, or what is known of them."""
    wanted = _both(rows.state.visible(), filter_)
    spans = rows.state.spans(rows.at_once)
    if filter_:
        with told(rows.place):
            few = rows.count(wanted, rows.place.consistency) <= rows.at_once
        spans = iter([(0, rows.state.next)]) if few else spans
    seen = 0
    for start, stop in spans:
        with told(rows.place):
            page = rows.page(start, stop, wanted, rows.place.consistency, known=known)
        seen += len(page)
        yield page
    # Milvus Lite while another thread writes; a server that loads a part of them anew
    if not filter_ and seen < rows.state.count:
        raise RowsMissingError


def listing(
    rows: Rows, offset: int, limit: int, where: Sequence[Condition]
) -> tuple[Candidates, int] | None:
    """Let the server find a page of what is known, and count; None where it may miscount."""
    column = rows.state.layout.partition_by
    if rows.place.local or any((each.name, each.operator) != (column, "=") for each in where):
        return None
    wanted, level, state = (
        _both(rows.state.visible(), rows.filter(where)),
        rows.place.consistency,
        rows.state,
    )
    total = rows.count(wanted, level) if where else state.count

    def behind(number: int) -> int:
        # behind which position so many are: by halves, as the server counts in no time
        start, stop = (number, number) if total == state.next else (0, state.next)
        while start < stop and number:
            middle = (start + stop) // 2
            if rows.count(f"{wanted} and position < {middle}", level) < number:
                start = middle + 1
            else:
                stop = middle
        return start

    found, end = rows.candidates([]), min(offset + limit, total)
    cuts = [behind(number) for number in (*range(offset, end, rows.at_once), end)]
    for start, stop in itertools.pairwise(cuts if offset < end else ()):
        page = rows.page(start, stop, wanted, level, known=True)
        found = found.joined(page) if len(found) else page
    return found, total


def _nearest(rows: Rows, query: NDArray[np.float32], request: Request) -> list[Neighbour] | None:
    # Find neighbours by Milvus' own search; None if it returns too few to be sure.
    k, within = request.k, request.within
    limit = (k or 100) + SPARE
    length = float(np.linalg.norm(query.astype(np.float64)))
    filter_ = _both(rows.state.visible(), rows.filter(request.where))
    while limit <= rows.at_once:
        found, all_came = rows.nearest(query, filter_, limit, rows.place.consistency)
        held = found.that_hold(request.where)
        hits = nearest(query, held, k, within)
        if rows.state.approximation is not None:
            # so few meet the conditions that it may err
            return None if all_came and request.where else hits
        if all_came:
            # Milvus Lite may miss rows that another thread is writing: then all are read.
            whole = bool(request.where) or len(found.positions) >= rows.state.count
            return hits if whole else None
        farthest = float(measure(query, found).max())
        # Some of its ways to compute distances cancel digits far from the origin.
        slack = rounding(rows.dim, (2 * length + farthest) ** 2)
        if settled(farthest, hits, k, within, slack):
            return hits
        limit = rows.at_once if limit < rows.at_once < limit * 4 else limit * 4
    return None


def _scan(rows: Rows, queries: NDArray[np.float32], request: Request) -> list[list[Neighbour]]:
    # Find neighbours by reading all items, as Milvus returns no more than 16,384.
    kept = [rows.candidates([]) for _ in queries]
    for page in pages(rows, rows.filter(request.where)):
        held = page.that_hold(request.where)
        for at, query in enumerate(queries):
            joined = kept[at].joined(held)
            chosen = best(measure(query, joined), joined.positions, request.k, request.within)
            kept[at] = joined.take(chosen)
    return [
        nearest(query, each, request.k, request.within)
        for query, each in zip(queries, kept, strict=True)
    ]


def _both(first: str, second: str) -> str:
    return f"{first} and {second}" if second else first
