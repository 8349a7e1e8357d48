"""How well an embedding ranks: for each item, are the others of its class the nearest?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    # float64 of shape (queries,); for intervals and paired comparison
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
    names = [*map(recall_key, depths), "r_precision", "map_at_r", "map_at_10"]
    per_query = dict(zip([*names, "mean_average_precision"], values.T.copy(), strict=True))
    means = {name: float(column.mean()) for name, column in per_query.items()}
    recall_at = {k: means.pop(recall_key(k)) for k in depths}
    lone = np.flatnonzero(sizes == 1)
    return RetrievalScores(recall_at, **means, queries=len(values), lone=lone, per_query=per_query)


def recall_key(k: int) -> str:
    """Name recall@k among all metrics."""
    return f"recall_at_{k}"


def bootstrap_interval(
    per_query: ArrayLike, *, level: float = 0.95, samples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Bound the mean over queries by the percentiles of a bootstrap."""
    # Draws as many queries as there are, with replacement, while the gallery stays as it is. For
    # two models, pass the difference of their values for the same queries.
    # Do not read it as the spread over trainings or over galleries: those are held fixed.
    # Efron (1979), Bootstrap Methods: Another Look at the Jackknife.
    values = np.asarray(per_query, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(len(values), size=len(values))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
) -> list[Found]:
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
        return list(pool.map(one, blocks))


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


# --- How far recall@1 and MAP@R can be trusted: what each image pulls, as query and as neighbour.

NAMES = (recall_key(1), "map_at_r")


def retrieval_estimates(
    embeddings: ArrayLike, labels: ArrayLike, *, block: int = 256
) -> dict[str, Estimate]:
    """Estimate recall@1 and MAP@R, with the pull of each image from the jackknife."""
    # With θ₋ᵢ the number where image i is not in the set, and θ₋ the mean of these, the variance is
    # (n − 1) / n · Σ (θ₋ᵢ − θ₋)². No ranking is made twice: one image less moves those behind it up
    # by one, so all θ₋ᵢ come out of one pass, exactly.
    # Returns those of `NAMES`, with the values that `retrieve` gives. The pulls'
    # squares sum to the variance. It errs to the large side: hardly for MAP@R; for recall@1, which
    # a single neighbour decides, the error came out 1.3 to 1.6 times too large in simulations.
    # Efron, Stein (1981), The Jackknife Estimate of Variance; Musgrave, Belongie, Lim (2020), A
    # Metric Learning Reality Check.
    vectors, y, sizes = _classified(embeddings, labels)

    def change(rows: NDArray[np.intp], keys: NDArray[np.float64]) -> _Changes:
        changes = _Changes(y)
        for query, key in zip(rows, keys, strict=True):
            changes.add(query, key)
        return changes

    parts = _walk(vectors, sizes > 1, block, change)
    values = np.sum([part.values for part in parts], axis=0)  # (2, n), of each query
    without = np.sum([part.without() for part in parts], axis=0)  # (2, n), change of the sums
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
        for name, mean, pull in zip(NAMES, means, pulls, strict=True)
    }


class _Changes:
    """The values of some queries, and how their sum changes where an image is left out."""

    def __init__(self, y: NDArray[np.intp]) -> None:
        self._y = y
        self.values = np.zeros((len(NAMES), len(y)))
        self._single = np.zeros((len(NAMES), len(y)))
        # what the loss of any image of a class changes, wherever it ranks
        self._of_class = np.zeros(int(y.max()) + 1)

    def add(self, query: np.intp, key: NDArray[np.float64]) -> None:
        """Score one query, and score it again without each of its neighbours."""
        relevant = self._y == self._y[query]
        relevant[query] = False
        r = int(relevant.sum())
        near = _nearest(key, r + 1)
        hit = relevant[near].astype(np.float64)
        # By rank k from 1: c_k relevant so far, precision c_k / k. Where an image in front goes,
        # the item moves to k − 1, and c_k goes down with it if that image was relevant.
        k, c = np.arange(1, len(near) + 1), np.cumsum(hit)
        gain = hit * c / k
        value = gain[:r].sum() / r
        before = np.cumsum(gain) - gain
        moved = hit / np.maximum(k - 1, 1)
        moved[0] = 0.0
        behind = _behind(moved * c)
        behind_relevant = _behind((moved * (c - 1))[:r])
        # without a relevant image R is one less, too; a query that had no other is out
        fewer = 1 / (r - 1) if r > 1 else 0.0
        anywhere = gain[: r - 1].sum() * fewer - value
        inside = np.where(
            hit[:r] > 0,
            (before[:r] + behind_relevant) * fewer - value - anywhere,
            (before[:r] + behind[:r]) / r - value,
        )
        self._single[1, near[:r]] += inside
        self._single[1, query] -= anywhere
        self._of_class[self._y[query]] += anywhere
        second = 0.0 if r == 1 and hit[0] else hit[1]
        self._single[0, near[0]] += second - hit[0]
        self.values[:, query] = hit[0], value

    def without(self) -> NDArray[np.float64]:
        """Return the change of each sum where an image is left out of the gallery, (2, n)."""
        found = self._single.copy()
        found[1] += self._of_class[self._y]
        return found


def _nearest(key: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """List the images with the smallest keys in order; equal ones by position."""
    count = min(count, len(key) - 1)
    near = np.flatnonzero(key <= np.partition(key, count - 1)[count - 1])
    return near[np.argsort(key[near], kind="stable")][:count]


def _behind(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the terms behind each place."""
    found: NDArray[np.float64] = terms.sum() - np.cumsum(terms)
    return found
