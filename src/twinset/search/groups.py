"""Groups of vectors that chains of small steps connect: what is there twice, or nearly so."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset import distance
from twinset.cores import cores
from twinset.errors import StoreError
from twinset.nearest import Matrix, one_blas_thread
from twinset.progress import Progress, Wanted, reporting
from twinset.search.checked import checked_vectors

# A tile of 1024 × 1024 keys (4 MB) stays near one core.
TILE = 1024
# Distances within a group that are held at a time (16 MB).
ROOM = 2**22
# Groups up to so many are measured by differences, all pairs at once.
SMALL = 64
# Edges of a tile beyond which those within a group are left out before they are listed.
_MANY = 2**16

_Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, eq=False)
class Group:
    """Vectors that are connected."""

    # their positions, 2 or more: the medoid, whose distances to the others have the smallest sum,
    # then the others by their distance to it
    members: NDArray[np.int64]
    distances: NDArray[np.float32]  # of each to the medoid, float32, ascending from 0
    diameter: float  # the largest distance between two of them

    def __len__(self) -> int:
        return len(self.members)


def find_groups(
    vectors: ArrayLike,
    threshold: float,
    *,
    progress: Wanted = False,
) -> list[Group]:
    """Find the groups that steps of at most a threshold connect (single linkage).

    Two vectors are connected if ‖a − b‖ ≤ threshold, and a group is all that connections reach.

    Do not read a group as vectors that are all within the threshold of each other: chains of small
    steps reach far, and where items are dense one group may hold nearly all. The diameter tells;
    where it is far above the threshold, take a smaller one.

    Time grows with n², memory with n: keys exist a tile at a time.

    Reference:
        Sneath (1957), The Application of Computers to Taxonomy.
    """
    rows = checked_vectors(vectors, "vectors")
    if not threshold >= 0:
        raise StoreError(f"Expected a threshold of 0 or more. Received {threshold!r}.")
    labels = _Components(rows, float(threshold)).labels(progress)
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    found = (part for part in np.split(order, starts[1:]) if len(part) > 1)
    # stable: among groups of one size the one with the first member stays first
    by_size = sorted(sorted(found, key=lambda part: int(part[0])), key=len, reverse=True)
    with one_blas_thread():
        return [_described(rows, part) for part in by_size]


class _Components:
    """The connected components of a graph whose edges are looked for a tile at a time."""

    def __init__(self, vectors: NDArray[np.float32], threshold: float) -> None:
        self._vectors = vectors
        self._threshold = threshold
        self._matrix = Matrix(vectors)
        # A key that is off by no more than the slack is sure beyond it; see `Scan`.
        slack = self._matrix.slack(self._matrix.longest)
        self._sure = np.float32(threshold * threshold * (1 - 1e-6) - slack)
        self._possible = np.float32(min(threshold * threshold * (1 + 1e-6) + slack, 3e38))
        self._labels = np.arange(len(vectors))

    def labels(self, progress: Wanted) -> NDArray[np.int64]:
        """Number the component of each vector."""
        n = len(self._vectors)
        starts = range(0, n, TILE)
        done = 0
        with (
            reporting(progress) as tell,
            one_blas_thread(),
            ThreadPoolExecutor(cores()) as pool,
        ):
            for start, edges in zip(starts, pool.map(self._of_strip, starts), strict=True):
                self._connect(edges)
                strip = min(TILE, n - start)
                done += strip * (n - start) - strip * (strip - 1) // 2
                tell(Progress("compare", done, n * (n + 1) // 2, "pairs"))
        return self._labels

    def _connect(self, edges: _Edges) -> None:
        if len(edges[0]):
            left, right = (self._labels[end] for end in edges)
            _, merged = _components(len(self._labels), left, right)
            self._labels = merged[self._labels]

    def _of_strip(self, top: int) -> _Edges:
        # Find edges of a strip of vectors with all from it on: as many as connect the same.
        rows = slice(top, min(top + TILE, len(self._vectors)))
        products = np.ascontiguousarray(-2 * self._centred(rows).T)  # (d, rows)
        room = np.empty((TILE, products.shape[1]), np.float32)
        # Of what other strips connect meanwhile this one need not know.
        labels = self._labels
        parts = [
            self._of_tile(rows, columns, products, room, labels)
            for columns in _slices(top, len(self._vectors))
            # nothing to find where all are in one component already
            if (labels[rows] != labels[top]).any() or (labels[columns] != labels[top]).any()
        ]
        nothing = (np.empty(0, np.int64), np.empty(0, np.int64))
        left, right = (np.concatenate(ends) for ends in zip(nothing, *parts, strict=True))
        return left, right

    def _of_tile(
        self,
        rows: slice,
        columns: slice,
        products: NDArray[np.float32],
        room: NDArray[np.float32],
        labels: NDArray[np.int64],
    ) -> _Edges:
        keys = room[: columns.stop - columns.start]
        np.matmul(self._centred(columns), products, out=keys)
        keys += self._matrix.squares[columns, None]
        keys += self._matrix.squares[rows]
        near = keys <= self._possible
        if np.count_nonzero(near) > _MANY:
            near &= labels[columns, None] != labels[rows]
        flat = np.flatnonzero(near)
        right, left = np.divmod(flat, keys.shape[1])
        left, right = left + rows.start, right + columns.start
        unsure = np.flatnonzero((keys.ravel()[flat] > self._sure) & (left != right))
        far = self._matrix.measured(self._vectors, left[unsure], right[unsure]).distances
        keep = left != right
        keep[unsure[far.astype(np.float64) > self._threshold]] = False
        return _fewest(left[keep], right[keep])

    def _centred(self, part: slice) -> NDArray[np.float32]:
        rows = self._vectors[part]
        return rows if self._matrix.centre is None else rows - self._matrix.centre


def _fewest(left: NDArray[np.int64], right: NDArray[np.int64]) -> _Edges:
    # Leave out edges between vectors that others connect: fewer than nodes remain.
    if len(left) < TILE:
        return left, right
    nodes, codes = np.unique(np.concatenate([left, right]), return_inverse=True)
    count, of = _components(len(nodes), codes[: len(left)], codes[len(left) :])
    first = np.full(count, -1)
    first[of[::-1]] = nodes[::-1]
    return nodes, first[of]


def _components(
    n: int, left: NDArray[np.int64], right: NDArray[np.int64]
) -> tuple[int, NDArray[np.int64]]:
    from scipy.sparse import coo_array, csgraph

    graph = coo_array((np.ones(len(left), bool), (left, right)), (n, n))
    count, labels = csgraph.connected_components(graph, directed=False)
    return int(count), labels.astype(np.int64)


def _slices(start: int, stop: int) -> Iterator[slice]:
    for first in range(start, stop, TILE):
        yield slice(first, min(first + TILE, stop))


def _described(vectors: NDArray[np.float32], members: NDArray[np.int64]) -> Group:
    own = vectors[members]
    m = len(members)
    if m <= SMALL:
        apart = distance.euclidean(own[:, None].astype(np.float64), own[None].astype(np.float64))
        medoid = int(apart.sum(axis=1).argmin())
        ends = np.divmod(np.array([apart.argmax()]), m)
    else:
        sums, farthest = _sums_and_farthest(own)
        medoid = int(sums.argmin())
        ends = np.arange(m), farthest
    diameter = distance.of_pairs(own, *ends).max()
    to_medoid = distance.of_pairs(own, np.full(m, medoid), np.arange(m))
    # the medoid before others at distance 0
    order = np.lexsort((np.arange(m) != medoid, to_medoid))
    return Group(members[order], to_medoid[order], float(diameter))


def _sums_and_farthest(
    own: NDArray[np.float32],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    # Sum the distances of each vector to all, and find the one that is farthest from it.
    rows, squares = distance.centred(own)
    sums = np.empty(len(own))
    farthest = np.empty(len(own), np.int64)
    step = max(1, ROOM // len(own))
    for start in range(0, len(own), step):
        part = slice(start, start + step)
        out = np.empty((len(rows[part]), len(own)), np.float32)
        strip = distance.cross(rows[part], rows, squares[part], squares, out)
        sums[part] = strip.sum(axis=1, dtype=np.float64)
        farthest[part] = strip.argmax(axis=1)
    return sums, farthest
