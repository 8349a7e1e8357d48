"""How well an embedding ranks: for each item, are the others of its class the nearest?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.cores import cores
from twinset.errors import DataError
from twinset.metrics.baselines import checked
from twinset.metrics.intervals import Estimate

# Rows of whole numbers up to 2²⁴: their products add up in float64 without rounding.
GRID_BITS = 24

Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class RetrievalScores:
    """Means over queries; each ranks all other items, and those of its class are relevant.

    With R relevant items for a query, at ranks r₁ < … < r_R counted from 1:
    """

    recall_at: dict[int, float]  # k → share of the queries with r₁ ≤ k, in [0, 1]
    r_precision: float  # share of relevant items among the first R, #{j: r_j ≤ R} / R
    map_at_r: float  # Σ {j / r_j : r_j ≤ R} / R, which also asks for the order within the first R
    # Σ {j / r_j : r_j ≤ 10} / 10, which robrank prints as "mAP@R". The divisor is 10 even where R
    # is less: a class of 4 reaches 0.3 at the most.
    map_at_10: float
    mean_average_precision: float  # Σ j / r_j / R, over the full ranking
    queries: int
    # positions of the items whose class has no other member, ascending. As queries they have no
    # right answer and are in no mean; for others they are in the way.
    lone: NDArray[np.intp]
    # for each of these names (of recall, those of `recall_key`) the values of the scored queries,
    # float64 of shape (queries,)
    per_query: dict[str, NDArray[np.float64]]


def retrieve(
    embeddings: ArrayLike, labels: ArrayLike, *, ks: Sequence[int] = (1, 2, 4, 8), block: int = 512
) -> RetrievalScores:
    """Rank all other items for each item, nearest first, and score the rankings."""
    # A query is left out of its own ranking by identity: an exact duplicate stays in. Equal
    # distances rank by position. Both are exact: coordinates are rounded to 2⁻²⁴ of the longest row
    # (float32's own precision) after centring, and ‖b‖² − 2a·b, which orders as ‖a − b‖ does, is
    # then a sum of integers without rounding. So equal rows tie, pixels tie where they should, and
    # no block size, thread count or BLAS changes a rank. A row that is 10⁵ times longer than the
    # others blurs them.
    # Do not read R@1 as the quality of the whole ranking: whitened pixels beat raw ones in R@1 and
    # lose a third of MAP@R. For cosine, pass `unit_norm(embeddings)`.
    # Musgrave, Belongie, Lim (2020), A Metric Learning Reality Check; MAP@10 as in robrank
    # (github.com/cdluminate/robrank, `metric_get_ap_r`).
    vectors, y, sizes = _classified(embeddings, labels)
    depths = list(dict.fromkeys(ks))

    def score(rows: NDArray[np.intp], keys: NDArray[np.float64]) -> list[list[float]]:
        ranked = (_ranks(key, y == y[row]) for key, row in zip(keys, rows, strict=True))
        return [_of_one_query(ranks, depths) for ranks in ranked]

    values = np.array([row for part in _walk(vectors, sizes > 1, block, score) for row in part])
    per_query = dict(zip(_names(depths), values.T.copy(), strict=True))
    means = {name: float(column.mean()) for name, column in per_query.items()}
    recall_at = {k: means.pop(recall_key(k)) for k in depths}
    lone = np.flatnonzero(sizes == 1)
    return RetrievalScores(recall_at, **means, queries=len(values), lone=lone, per_query=per_query)


def recall_key(k: int) -> str:
    """Name recall@k among all metrics."""
    return f"recall_at_{k}"


def _names(ks: Sequence[int]) -> list[str]:
    return [
        *map(recall_key, ks),
        "r_precision",
        "map_at_r",
        "map_at_10",
        "mean_average_precision",
    ]


def _classified(
    embeddings: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Check what is to be ranked; number each item's class from 0, and count its members."""
    vectors, classes = checked(embeddings, labels)
    _, y, counts = np.unique(classes, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        raise DataError(
            f"Expected a class with two members or more. Received {len(y)} items of {len(counts)} "
            "classes: no query has anything to find."
        )
    return vectors, y, counts[y]


def _walk(
    vectors: NDArray[np.float64],
    asks: NDArray[np.bool_],
    block: int,
    visit: Callable[[NDArray[np.intp], NDArray[np.float64]], Found],
) -> Iterator[Found]:
    """Visit the queries a block at a time, each with keys that order all items as distances do."""
    # Not by `twinset.nearest`: a full ranking needs every key, not the few below a bound.
    grid = on_grid(vectors)
    squares = np.square(grid).sum(axis=1)
    queries = np.flatnonzero(asks)

    def one(rows: NDArray[np.intp]) -> Found:
        keys = (-2 * grid[rows]) @ grid.T
        keys += squares
        keys[np.arange(len(rows)), rows] = np.inf  # self: behind all others
        return visit(rows, keys)

    blocks = (queries[start : start + block] for start in range(0, len(queries), block))
    # numpy sorts outside Python's lock
    with ThreadPoolExecutor(min(4, cores())) as pool:
        yield from pool.map(one, blocks)


def on_grid(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Round coordinates to whole multiples of a power of two, and give the multiples."""
    # Squared distances of such rows are exact sums of whole numbers: equal ones are ties
    # everywhere.
    x = np.ldexp(vectors, -np.frexp(np.abs(vectors).max())[1])  # within ±1: no square overflows
    x = x - (x.min(axis=0) + x.max(axis=0)) / 2  # a far-off centre would waste the grid
    longest = np.sqrt(np.square(x).sum(axis=1).max())
    grid: NDArray[np.float64] = np.rint(np.ldexp(x, GRID_BITS - np.frexp(longest)[1]))
    return grid


def _ranks(keys: NDArray[np.float64], relevant: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rank one query's relevant items from 1, ascending; its own key is ∞, the last of all."""
    ordered, found = np.sort(keys), np.sort(keys[relevant])[:-1]
    ranks = ordered.searchsorted(found) + 1
    # to sort numbers twice costs half of sorting positions once; ties are then settled one by one
    for value in np.unique(found[ordered[ranks] == found]):
        first = ordered.searchsorted(value) + 1
        ranks[found == value] = first + np.flatnonzero(relevant[keys == value])
    return ranks


def _of_one_query(ranks: NDArray[np.intp], ks: Sequence[int]) -> list[float]:
    """Score one ranking: recall at each k, R-precision, MAP@R, MAP@10, average precision."""
    r = len(ranks)
    precision = np.arange(1, r + 1) / ranks  # at each relevant rank
    within_r, within_10 = ranks.searchsorted([r, 10], side="right")
    return [
        *(float(ranks[0] <= k) for k in ks),
        within_r / r,
        precision[:within_r].sum() / r,
        precision[:within_10].sum() / 10,
        precision.sum() / r,
    ]


# --- How far they can be trusted: what each image pulls, as query and as neighbour.


def retrieval_estimates(
    embeddings: ArrayLike, labels: ArrayLike, *, ks: Sequence[int] = (1, 2, 4, 8), block: int = 256
) -> dict[str, Estimate]:
    """Estimate what `retrieve` scores, with the pull of each image from the jackknife."""
    # With θ₋ᵢ the number where image i is not in the set, and θ₋ the mean of these, the variance is
    # (n − 1) / n · Σ (θ₋ᵢ − θ₋)². No ranking is made twice: one image less moves those behind it up
    # by one, so all θ₋ᵢ come out of one pass, exactly. The pulls' squares sum to the variance. It
    # errs to the large side: hardly for sums over many ranks; for recall@k, which single neighbours
    # decide, the error came out 1.3 to 2 times too large in simulations. Do not draw queries anew
    # and leave the gallery as it is: the error is then half of the true one.
    # Efron, Stein (1981), The Jackknife Estimate of Variance; Musgrave, Belongie, Lim (2020), A
    # Metric Learning Reality Check.
    vectors, y, sizes = _classified(embeddings, labels)
    depths = list(dict.fromkeys(ks))

    def change(rows: NDArray[np.intp], keys: NDArray[np.float64]) -> _Changes:
        changes = _Changes(y, depths)
        for query, key in zip(rows, keys, strict=True):
            changes.add(query, key)
        return changes

    whole = _Changes(y, depths)
    for part in _walk(vectors, sizes > 1, block, change):
        whole.join(part)
    values, without = whole.values, whole.without()
    # An image that goes is no query any more, and nor is the only partner it may have had.
    scored = int((sizes > 1).sum())
    left = scored - (sizes > 1) - (sizes == 2)
    sums = values.sum(axis=1, keepdims=True) - values + without
    rest = np.divide(sums, left, out=np.zeros_like(sums), where=left > 0)
    n = len(y)
    pulls = np.sqrt((n - 1) / n) * (rest.mean(axis=1, keepdims=True) - rest)
    means = values.sum(axis=1) / scored
    return {
        name: Estimate(float(mean), pull, 0.0)
        for name, mean, pull in zip(_names(depths), means, pulls, strict=True)
    }


class _Changes:
    """The values of some queries, and how their sum changes where an image is left out."""

    def __init__(self, y: NDArray[np.intp], depths: Sequence[int]) -> None:
        self._y, self._depths = y, depths
        self.values = np.zeros((len(_names(depths)), len(y)))  # of each query
        self._single = np.zeros_like(self.values)
        # what the loss of any image of a class changes, wherever it ranks
        self._of_class = np.zeros((len(self.values), int(y.max()) + 1))

    def add(self, query: np.intp, key: NDArray[np.float64]) -> None:
        """Score one query, and score it again without each of its neighbours."""
        relevant = self._y == self._y[query]
        relevant[query] = False
        near = _in_order(key)
        hit = relevant[near]
        c, ranks = np.cumsum(hit), np.flatnonzero(hit) + 1
        r, every = len(ranks), len(near)
        first, second = ranks[0], ranks[1] if r > 1 else np.inf
        for number, depth in enumerate(self._depths):
            self.values[number, query] = first <= depth
            if first == depth + 1:  # reached where any image in front of it has gone
                self._single[number, near[:depth]] += 1
            elif first <= depth < second - 1:  # lost where it has gone itself
                self._single[number, near[first - 1]] -= 1
        # What the j-th relevant image adds to a score by its rank; what it adds one rank further in
        # front, where an image there has gone that was not relevant; and where one has gone that
        # was, so that it is the (j − 1)-th.
        j, front = np.arange(1, r + 1), np.maximum(ranks - 1, 1)
        share = (np.ones(r),) * 3  # of the first R
        precision = (j / ranks, j / front, (j - 1) / front)
        # depth and divisor, and both where a relevant image has gone, and R is one less
        for number, (terms, depth, divisor, then, by) in enumerate(
            [
                (share, r, r, r - 1, r - 1),
                (precision, r, r, r - 1, r - 1),
                (precision, 10, 10, 10, 10),
                (precision, every, r, every, r - 1),
            ],
            len(self._depths),
        ):
            within, reached, kept, refilled = ranks.searchsorted(
                [depth, depth + 1, then, then + 1], side="right"
            )
            gain, moved, moved_with_one = terms
            value = gain[:within].sum() / divisor
            fewer = 1 / by if by else 0.0  # a query that had no other is out
            anywhere = gain[:kept].sum() * fewer - value
            passed = _sums(gain[:within])
            # by the number of relevant images in front of one that is not
            alone = (passed + _behind(moved[:reached])[: within + 1]) / divisor
            inside = alone[c[:depth]]
            paired = passed[:-1] + _behind(moved_with_one[:refilled])[1 : within + 1]
            inside[ranks[:within] - 1] = paired * fewer - anywhere
            self._single[number, near[:depth]] += inside - value
            self._single[number, query] -= anywhere
            self._of_class[number, self._y[query]] += anywhere
            self.values[number, query] = value

    def join(self, others: _Changes) -> None:
        """Add other queries."""
        self.values += others.values
        self._single += others._single
        self._of_class += others._of_class

    def without(self) -> NDArray[np.float64]:
        """Return the change of each sum where an image is left out of the gallery, (metrics, n)."""
        found: NDArray[np.float64] = self._single + self._of_class[:, self._y]
        return found


def _in_order(key: NDArray[np.float64]) -> NDArray[np.intp]:
    """List all images but the query in order; equal ones by position."""
    near = np.argsort(key)[:-1]  # its own key is ∞
    ordered = key[near]
    if (ordered[1:] == ordered[:-1]).any():  # rare, and to keep equal ones in order takes longer
        near = np.argsort(key, kind="stable")[:-1]
    return near


def _sums(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the terms in front of each place, and all of them."""
    return np.concatenate([[0.0], np.cumsum(terms)])


def _behind(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the terms from each place on, and none."""
    sums = _sums(terms)
    found: NDArray[np.float64] = sums[-1] - sums
    return found
