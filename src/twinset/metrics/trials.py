"""Images left out of their identity in turn and looked for: what identification is judged by."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.metrics.baselines import checked
from twinset.metrics.intervals import Interval, bounded, student

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Simplest first: the nearest is what a search finds.
RULES = ("nearest", "mean embedding", "best two", "mean evidence")


def join(
    distances: ArrayLike, identities: ArrayLike, rule: str, *, spread: ArrayLike = 0.0
) -> Floats:
    """Join the distances of queries to references into one distance for each identity.

    With d the distances between the q images of a query and the n references of an identity:

    - "nearest": min d
    - "mean embedding": ‖mean of the query − mean of the references‖ = √(mean d² − spread)
    - "best two": the mean of the two smallest d; of one, that one
    - "mean evidence": mean d, which has the mean log-likelihood ratio

    Distances are (p, c), or (p, q, c) where q images are one query; infinite ones do not count.
    Identities number the c references from 0; found are distances (p, m), infinite where none
    counts. Of `spreads` goes in that of the references plus that of the query, (m,) or (p, m).

    Reference:
        Kittler, Hatef, Duin, Matas (1998), On Combining Classifiers.
    """
    d, codes = np.asarray(distances, np.float64), np.asarray(identities)
    if rule not in RULES:
        raise DataError(f"Expected a rule out of {', '.join(RULES)}. Received {rule!r}.")
    if d.ndim not in (2, 3) or codes.shape != d.shape[-1:] or not codes.size:
        raise DataError(
            "Expected distances (p, c) or (p, q, c) and an identity for each of the c references. "
            f"Received shapes {d.shape} and {codes.shape}."
        )
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        d, codes = d[..., order], codes[order]
    if d.ndim == 3:  # each pair of an image and a reference is a column of its own
        codes = np.repeat(codes, d.shape[1])
        d = np.moveaxis(d, 1, 2).reshape(len(d), -1)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))  # of a query's time, searching takes most
    if codes[0] or codes[-1] != len(starts) - 1:
        raise DataError("Expected a reference of each identity, numbered from 0 without a gap.")
    return joined(d, starts, rule, np.asarray(spread, np.float64))


def joined(d: NDArray[np.floating], starts: Ints, rule: str, spread: Floats | float) -> Floats:
    """Join distances (p, c) of references that lie together, an identity's from `starts[i]` on."""
    if rule == "nearest":
        return np.asarray(np.minimum.reduceat(d, starts, axis=1), np.float64)
    sizes = np.diff(starts, append=d.shape[1])
    if rule == "best two":
        first, second = two_smallest(d, starts, sizes)
        both = np.where(np.isfinite(second), (first + second) / 2, first)
        return both.astype(np.float64, copy=False)
    counts = np.isfinite(d)
    values = d if rule == "mean evidence" else np.square(d)
    number: Ints = sizes
    if not counts.all():
        values = np.where(counts, values, 0.0)
        number = np.add.reduceat(counts, starts, axis=1, dtype=np.int64)
    means = np.add.reduceat(values, starts, axis=1, dtype=np.float64) / np.maximum(number, 1)
    if rule == "mean embedding":
        means = np.sqrt(np.maximum(means - spread, 0.0))
    return np.where(number > 0, means, np.inf)


def spreads(vectors: ArrayLike, identities: ArrayLike) -> Floats:
    """Compute the mean squared distance of each identity's vectors to their mean.

    It is all that "mean embedding" needs beside distances: ‖q − mean‖² = mean ‖q − r‖² − spread.
    """
    x, codes = np.asarray(vectors, np.float64), np.asarray(identities)
    sizes = np.bincount(codes)
    means = np.zeros((len(sizes), x.shape[1]))
    np.add.at(means, codes, x)
    means /= np.maximum(sizes, 1)[:, None]
    found: Floats = np.bincount(codes, np.square(x - means[codes]).sum(axis=1)) / np.maximum(
        sizes, 1
    )
    return found


def two_smallest(
    d: NDArray[np.floating], starts: Ints, sizes: Ints
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Find the two smallest distances of each identity, (p, m) each; of one, the other is inf."""
    first = np.minimum.reduceat(d, starts, axis=1)
    smallest = d == np.repeat(first, sizes, axis=1)
    second = np.minimum.reduceat(np.where(smallest, np.inf, d), starts, axis=1)
    if np.count_nonzero(smallest) > first.size:  # equal ones count twice
        often = np.add.reduceat(smallest, starts, axis=1, dtype=np.int64) > 1
        second = np.where(often, first, second)
    return first, second


# Identities are left out in so many groups at most: more tell no more of the spread.
GROUPS = 60
# Distances of queries to identities that are held; 32 MB.
HELD = 2**22
QUERIES = 2_000
CHUNK = 2**22  # of queries to references at a time


@dataclass(frozen=True, eq=False)
class Scores:
    """What p queries found: the distance to their own identity, and to the nearest other one."""

    own: Floats  # (p,); infinite where nothing is left of it to find
    rival: Floats  # (p,); as somebody unknown, a query finds this one
    groups: Ints  # of the queries' identities, (p,)

    def __len__(self) -> int:
        return len(self.own)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which queries have an identity to be found."""
        return np.isfinite(self.own)

    def rank_1(self) -> float:
        """Compute the share of queries whose own identity is the nearest."""
        known = self.known
        return float((self.own < self.rival)[known].mean()) if known.any() else math.nan


@dataclass(frozen=True, eq=False)
class Trials(Scores):
    """The same with the distance of each query to every other identity."""

    who: Ints  # identity of each query, (p,)
    others: Floats  # (p, m); infinite at the query's own
    columns: Ints  # group of each identity, (m,)

    @property
    def identities(self) -> int:
        """The number of identities."""
        return len(self.columns)

    @property
    def units(self) -> int:
        """The number of identities that queries look for."""
        return len(np.unique(self.who[self.known]))

    @cached_property
    def _nearest_groups(self) -> tuple[Ints, Floats, Floats]:
        # of each query the nearest group, its distance, and that of the next
        order = np.argsort(self.columns, kind="stable")
        starts = np.searchsorted(self.columns[order], np.arange(self.columns.max() + 1))
        by_group = np.minimum.reduceat(self.others[:, order], starts, axis=1)
        nearest = by_group.argmin(axis=1)
        place = nearest[:, None]
        first = np.take_along_axis(by_group, place, axis=1)[:, 0]
        np.put_along_axis(by_group, place, np.inf, axis=1)
        return nearest, first, by_group.min(axis=1)

    def without(self, group: int) -> Scores:
        """Leave a group of identities out, as queries and from the gallery."""
        nearest, first, second = self._nearest_groups
        kept = self.groups != group
        rival = np.where(nearest == group, second, first)
        return Scores(self.own[kept], rival[kept], self.groups[kept])

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Which queries count: all in row 0, without group g in row g + 1, (groups + 1, p)."""
        groups = int(self.columns.max()) + 1
        rows = np.ones((groups + 1, len(self)), bool)
        rows[1 + self.groups, np.arange(len(self))] = False
        return rows

    def matches(self, reach: Floats | float) -> Ints:
        """Count the others within reach of each query, rows as in `kept`."""
        rows, columns = np.nonzero(self.others <= np.reshape(reach, (-1, 1)))
        groups, queries = len(self.kept) - 1, len(self)
        places = self.columns[columns] * queries + rows
        lost = np.bincount(places, minlength=groups * queries).reshape(groups, queries)
        whole = lost.sum(axis=0)
        return np.concatenate([whole[None], whole - lost])


@dataclass(frozen=True, eq=False)
class Jackknifed:
    """A number, and what it is without each group of identities."""

    value: float
    without: Floats
    units: int  # identities it rests on

    @property
    def error(self) -> float:
        """Standard error over identities."""
        known = self.without[np.isfinite(self.without)]
        count = len(known)
        if count < 2:
            return math.nan
        return math.sqrt((count - 1) / count * float(np.square(known - known.mean()).sum()))

    @property
    def quantile(self) -> float:
        """How many standard errors an interval reaches to either side."""
        # the error itself is known from so many groups only
        return student(len(self.without))

    @staticmethod
    def mean(found: Sequence[Jackknifed]) -> Jackknifed:
        """Average numbers of the same identities, in the same groups."""
        value = float(np.mean([each.value for each in found]))
        without = np.mean([each.without for each in found], axis=0)
        return Jackknifed(value, without, found[0].units)

    def minus(self, other: Jackknifed) -> Jackknifed:
        """Compare with a number of the same identities: what both find hard cancels out."""
        return Jackknifed(self.value - other.value, self.without - other.without, self.units)

    def interval(self, extra_error: float = 0.0) -> Interval:
        """Bound a share by Wilson's interval, for the independent tries that the error is worth."""
        p = self.value
        error = math.hypot(self.error, extra_error)
        if math.isnan(p):
            return Interval(p, p, p, p)
        # where no error was seen, each identity is one try
        return bounded(p, error, quantile=self.quantile, tries=float(self.units))


def jackknifed(trials: Trials, statistic: Callable[[Scores], float]) -> Jackknifed:
    """Compute a statistic of all queries, and without each group of identities."""
    # Efron, Stein (1981), The Jackknife Estimate of Variance. An identity counts as query and as
    # somebody whom others are taken for: it is left out as both.
    groups = range(len(trials.kept) - 1)
    without = np.array([statistic(trials.without(group)) for group in groups])
    return Jackknifed(float(statistic(trials)), without, trials.units)


def leave_out(
    embeddings: ArrayLike,
    labels: ArrayLike,
    rule: str,
    *,
    together: int = 1,  # images of one query
    references: int | None = None,  # of an identity at most; None for all
    seed: int | Sequence[int] = 0,
) -> Trials:
    """Leave images out of their identity in turn, and look for them among all."""
    vectors, y = checked(embeddings, labels)
    rng = np.random.default_rng(seed)
    _, codes, sizes = np.unique(y, return_inverse=True, return_counts=True)
    # in random order within each identity, as a table of files may be sorted by quality
    order = np.lexsort((rng.random(len(y)), codes))
    gallery = _Gallery(vectors[order], codes[order], sizes, references, together)
    m = len(sizes)
    # the same whatever the seed, so that what several draws of references give can be averaged
    columns = np.random.default_rng(m).permutation(np.arange(m) % min(m, GROUPS))
    starts = gallery.queries(rng)
    own, others = np.empty(len(starts)), np.empty((len(starts), m))
    step = max(1, CHUNK // (len(gallery.columns) * together))
    for start in range(0, len(starts), step):
        part = slice(start, start + step)
        own[part], others[part] = gallery.look_for(starts[part], rule)
    who = gallery.codes[starts]
    return Trials(own, others.min(axis=1), columns[who], who, others, columns)


class _Gallery:
    """Vectors sorted by identity; the first few of each are its references."""

    def __init__(
        self, vectors: Floats, codes: Ints, sizes: Ints, references: int | None, together: int
    ) -> None:
        self._x = vectors - vectors.mean(axis=0)  # products of long rows would lose digits
        self._squares = np.square(self._x).sum(axis=1)
        self.codes, self._sizes, self._together = codes, sizes, together
        first = np.cumsum(sizes) - sizes
        self._rank = np.arange(len(codes)) - first[codes]
        self._most = int(sizes.max()) if references is None else references
        # one query's own images are replaced by the next
        self.columns = np.flatnonzero(self._rank < self._most + together)

    def queries(self, rng: np.random.Generator) -> Ints:
        """List where queries begin: each `together` images of one identity, whole identities."""
        starts = self._rank % self._together == 0
        starts &= self._rank + self._together <= self._sizes[self.codes]
        found = np.flatnonzero(starts)
        most = min(QUERIES, max(HELD // len(self._sizes), 1))
        if len(found) > most:
            place = rng.permutation(len(self._sizes))[self.codes[found]]
            # a few of each: another image of one identity says less than another identity
            rank = self._rank[found] // self._together
            found = np.sort(found[np.lexsort((place, rank))[:most]])
        return found

    def look_for(self, starts: Ints, rule: str) -> tuple[Floats, Floats]:
        """Join the distances of some queries to all identities: to their own, and to the others."""
        images = starts[:, None] + np.arange(self._together)  # (p, q)
        columns, codes = self.columns, self.codes[self.columns]
        rows = self._x[images.ravel()]
        squared = self._squares[images.ravel()][:, None] + self._squares[columns]
        squared -= 2 * rows @ self._x[columns].T
        apart = np.sqrt(np.maximum(squared, 0)).reshape(*images.shape, -1)
        mine = codes == self.codes[starts][:, None]  # (p, c)
        place, at = self._rank[columns], self._rank[starts][:, None]
        inside = (place >= at) & (place < at + self._together)
        reach = self._most + self._together * (at < self._most)
        counts = np.where(mine, (place < reach) & ~inside, place < self._most)
        apart[~np.broadcast_to(counts[:, None], apart.shape)] = np.inf
        embedded = rule == "mean embedding"
        spread = self._spreads(counts, mine, images) if embedded else np.zeros(1)
        joined = join(apart, codes, rule, spread=spread)
        own = self.codes[starts][:, None]
        found = np.take_along_axis(joined, own, axis=1)[:, 0]
        np.put_along_axis(joined, own, np.inf, axis=1)
        return found, joined

    def _spreads(self, counts: NDArray[np.bool_], mine: NDArray[np.bool_], images: Ints) -> Floats:
        # of all identities' first references, with the own one's replaced, and of the query itself
        p = len(images)
        kept = self.columns[self._rank[self.columns] < self._most]
        found: Floats = np.tile(spreads(self._x[kept], self.codes[kept]), (p, 1))
        left = counts & mine
        number = np.maximum(left.sum(axis=1), 1)
        means = left @ self._x[self.columns] / number[:, None]
        squares = left @ self._squares[self.columns] / number
        own = self.codes[images[:, 0]]
        found[np.arange(p), own] = np.maximum(squares - np.square(means).sum(axis=1), 0.0)
        middle = self._x[images].mean(axis=1)
        query = self._squares[images].mean(axis=1) - np.square(middle).sum(axis=1)
        found += np.maximum(query, 0.0)[:, None]
        return found
