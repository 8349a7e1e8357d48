"""Groups of vectors that are close to each other: what is there twice, or nearly so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset import distance
from twinset.cores import cores, in_order
from twinset.data.pairs import hanging_together
from twinset.errors import StoreError
from twinset.nearest import Matrix, one_blas_thread
from twinset.progress import Progress, Wanted, reporting
from twinset.search.checked import checked_vectors
from twinset.search.cut import LARGEST, Link, Pairs, cut, joined, sets_of

# A tile of 1024 × 1024 keys (4 MB) stays near one core.
TILE = 1024
# Distances within a group that are held at a time (16 MB).
ROOM = 2**22
# Groups up to so many are measured by differences, all pairs at once.
SMALL = 64
# Edges of a tile beyond which those within a group are left out before they are listed.
_MANY = 2**16

_Edges = tuple[NDArray[np.int64], NDArray[np.int64]]


# By how much the reach of a step shrinks where a group is too large for its distances to be held.
_FINER = 0.8


@dataclass(frozen=True, eq=False)
class Group:
    """Vectors that belong together."""

    # their positions, 2 or more: the medoid, whose distances to the others have the smallest sum,
    # then the others by their distance to it
    members: NDArray[np.int64]
    distances: NDArray[np.float32]  # of each to the medoid, float32, ascending from 0
    diameter: float  # the largest distance between two of them

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, eq=False)
class Grouping:
    """Groups, the tightest and smallest first, and what is between those that steps connect."""

    groups: list[Group]
    links: list[Link]  # the shortest first


def find_groups(
    vectors: ArrayLike,
    threshold: float,
    *,
    same: Pairs = (),  # decided: are in one group, however far apart, with all that is in theirs
    different: Pairs = (),  # are never in one group; before `same` where the two contradict
    progress: Wanted = False,
) -> Grouping:
    """Find groups within a threshold: single linkage, cut by average linkage where it chains.

    Two vectors are connected if ‖a − b‖ ≤ threshold. What connections reach is one group if it is
    no wider than the threshold; else its closest parts are joined as long as the mean distance
    between two parts is at most the threshold. The closest pair of two parts that are connected,
    and yet no group, is a link. Above 2,048 connected vectors, steps are made smaller first until
    fewer hang together, and between what they leave no link is told.

    Time grows with n², memory with n: keys exist a tile at a time.

    Reference:
        Sneath (1957), The Application of Computers to Taxonomy; Sokal, Michener (1958), A
        Statistical Method for Evaluating Systematic Relationships (average linkage).
    """
    rows = checked_vectors(vectors, "vectors")
    if not threshold >= 0:
        raise StoreError(f"Expected a threshold of 0 or more. Received {threshold!r}.")
    home = joined(same, different)[0]
    foes: dict[int, set[int]] = {}  # of each position those that differ, by way of others too
    for left, right in different:
        for one in home.get(left, (left,)):
            foes.setdefault(one, set()).update(home.get(right, (right,)))
    labels = _Components(rows, float(threshold)).labels(progress)
    found = Grouping([], [])
    with one_blas_thread():
        for part in _split(labels):
            _cut_down(rows, part, float(threshold), threshold, foes, found)
        if home:
            found = _agreed(rows, found, same, different)
    found.groups.sort(key=_tightness)
    found.links.sort(key=lambda link: (link.distance, link.left, link.right))
    return found


def _agreed(rows: NDArray[np.float32], found: Grouping, same: Pairs, different: Pairs) -> Grouping:
    # Join whole groups by what is decided; who then would be with what differs leaves his.
    decided = {one for pair in same for one in pair}
    kept = [group for group in found.groups if decided.isdisjoint(group.members.tolist())]
    touched = (group.members.tolist() for group in found.groups)
    stars = [(own[0], one) for own in touched if not decided.isdisjoint(own) for one in own[1:]]
    home = joined([*same, *stars], different)[0]
    groups = kept + described(rows, [own for own in sets_of(home) if len(own) > 1])
    links = [link for link in found.links if link.right not in home.get(link.left, ())]
    return Grouping(groups, links)


def described(vectors: NDArray[np.float32], sets: Iterable[Sequence[int]]) -> list[Group]:
    """Describe groups that others found, the tightest and smallest first."""
    return sorted((_described(vectors, np.array(own)) for own in sets), key=_tightness)


def _tightness(group: Group) -> tuple[float, int, int]:
    return group.diameter, len(group), int(group.members.min())


def _split(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    # positions of each label that is there twice or more
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=labels.min(initial=0) - 1))
    return [part for part in np.split(order, starts[1:]) if len(part) > 1]


def _cut_down(
    rows: NDArray[np.float32],
    members: NDArray[np.int64],
    threshold: float,
    reach: float,
    foes: Mapping[int, Set[int]],
    found: Grouping,
) -> None:
    # Put what connections of at most the reach join into the grouping, cut where it must be.
    place = {int(row): k for k, row in enumerate(members)}
    pairs = ((one, foe) for one in place if one in foes for foe in foes[one] if foe in place)
    different = [(place[one], place[foe]) for one, foe in pairs]
    many = len(members) > SMALL
    whole = None if many and _wider(rows[members], threshold) else _described(rows, members)
    if whole is not None and whole.diameter <= threshold and not different:
        found.groups.append(whole)
    elif len(members) <= LARGEST:
        parts, links = cut(rows[members], threshold, different)
        found.groups.extend(_described(rows, members[part]) for part in _split(parts))
        for link in links:
            ends = int(members[link.left]), int(members[link.right])
            found.links.append(Link(*ends, link.distance))
    elif reach < threshold / 1000 or not threshold:
        # too many equal ones to be told apart: who differs from another is left out
        out = {right for _, right in different}
        rest = np.array([one for k, one in enumerate(members) if k not in out])
        found.groups.append(_described(rows, rest))
    else:
        finer = reach * _FINER
        for part in _split(_Components(rows[members], finer).labels(False)):
            _cut_down(rows, members[part], threshold, finer, foes, found)


def _wider(own: NDArray[np.float32], threshold: float) -> bool:
    # Whether one look tells that a set is wider than the threshold: from the vector that is the
    # farthest from the first. To measure all pairs of a whole class takes longer than to cut it.
    first = np.zeros(len(own), np.int64)
    for _ in range(2):
        far = distance.of_pairs(own, first, np.arange(len(own)))
        first = np.full(len(own), far.argmax())
    return float(far.max()) > threshold


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
        with reporting(progress) as tell, one_blas_thread(), ThreadPoolExecutor(cores()) as pool:
            for start, edges in zip(starts, in_order(pool, self._of_strip, starts), strict=True):
                self._connect(edges)
                strip = min(TILE, n - start)
                done += strip * (n - start) - strip * (strip - 1) // 2
                tell(Progress("compare", done, n * (n + 1) // 2, "pairs"))
        return self._labels

    def _connect(self, edges: _Edges) -> None:
        if len(edges[0]):
            left, right = (self._labels[end] for end in edges)
            self._labels = hanging_together(len(self._labels), (left, right))[self._labels]

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
    of = hanging_together(len(nodes), np.split(codes, [len(left)]))
    first = np.full(int(of.max()) + 1, -1)
    first[of[::-1]] = nodes[::-1]
    return nodes, first[of]


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


def _sums_and_farthest(own: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
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
