"""What each threshold leaves of a collection: items with a match, and groups; for a slider."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.nearest import Matrix
from twinset.search.store import Store

NEIGHBOURS = 5  # of each item that are looked at
QUERIES = 60_000  # items whose neighbours are looked for, at most


@dataclass(frozen=True)
class Reach:
    """Counts at b thresholds, by the nearest neighbours of each item."""

    distance: tuple[float, ...]  # thresholds, ascending
    matches: tuple[int, ...]  # items that have another one within it
    # groups of two or more that steps between neighbours of at most this connect; () for a sample
    groups: tuple[int, ...]
    items: int
    # False: matches were counted for every so-manieth item, and scaled up
    whole: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


def reach(store: Store, end: float | None = None, *, steps: int = 200) -> Reach:
    """Count what thresholds from 0 to `end` leave; to the farthest nearest neighbour by default.

    Groups are those of single linkage along the five nearest neighbours of each item: what
    `duplicates` finds are these, cut where they chain.
    """
    parts = [batch.vectors for batch in store.batches()]
    empty = np.empty((0, store.signature.dim), np.float32)
    return reach_of(np.concatenate([empty, *parts]), end, steps)


def reach_of(vectors: NDArray[np.float32], end: float | None, steps: int) -> Reach:
    """Count what thresholds leave of n vectors of shape (n, d)."""
    n = len(vectors)
    step = -(-n // QUERIES) or 1
    queries = np.arange(0, n, step)
    hits = Matrix(vectors).search(vectors[queries], k=NEIGHBOURS + 1)
    left = np.repeat(queries, np.diff(hits.starts))
    others = left != hits.positions
    left, right = left[others], hits.positions[others]
    far = hits.distances[others].astype(np.float64)
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, left, far)
    nearest = np.sort(nearest[np.isfinite(nearest)])
    top = end if end is not None else (float(nearest[-1]) if len(nearest) else 1.0)
    grid = np.linspace(0, top or 1.0, steps)
    matches = np.searchsorted(nearest, grid, "right") * step
    groups = _groups(n, left, right, far, grid) if step == 1 else np.empty(0, int)
    matches = np.minimum(matches, n)
    return Reach(
        tuple(grid.tolist()), tuple(matches.tolist()), tuple(groups.tolist()), n, step == 1
    )


def _groups(
    n: int,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    far: NDArray[np.float64],
    grid: NDArray[np.float64],
) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    # a step of 0 would be no step for SciPy, and one that two items have would count twice
    ends = np.sort(np.stack([left, right]), axis=0)
    _, once = np.unique(ends[0] * n + ends[1], return_index=True)
    links = coo_array((far[once] + 1.0, (ends[0][once], ends[1][once])), shape=(n, n))
    tree = minimum_spanning_tree(links).tocoo()
    order = np.argsort(tree.data, kind="stable")
    home, size = np.arange(n), np.ones(n, np.int64)

    def root(one: int) -> int:
        while home[one] != one:
            home[one] = home[home[one]]
            one = int(home[one])
        return one

    # a group begins where two single items meet, and one ends where two groups do
    change = np.zeros(len(order), np.int64)
    for at, edge in enumerate(order.tolist()):
        a, b = root(int(tree.row[edge])), root(int(tree.col[edge]))
        change[at] = 1 - (size[a] > 1) - (size[b] > 1)
        home[a], size[b] = b, size[a] + size[b]
    so_far = np.concatenate([[0], np.cumsum(change)])
    found: NDArray[np.int64] = so_far[
        np.searchsorted(tree.data[order] - 1.0, grid + 1e-12, "right")
    ]
    return found
