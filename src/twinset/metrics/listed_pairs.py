"""Pairs that can be listed: judged ones, where nobody knows the others, and the hardest of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.errors import DataError
from twinset.metrics.all_pairs import AllPairs, PerImage, Tile
from twinset.metrics.pairs import Curve, checked_pairs

# Things below which their spread is hardly known: images are the sample then.
MANY = 20


class ListedPairs:
    """Some pairs of a set of embeddings, by position; with blocks, those within one block.

    What counts as an observation is a thing: images that hang together by same pairs. A pair pulls
    at both of its things, so that neither ten pairs of one image nor of one thing are ten
    observations. (With images as the sample, 95% intervals held 87 to 94% in a simulation of 40 to
    300 things of four images; with things 92 to 98%.)
    """

    def __init__(
        self,
        embeddings: NDArray[Any],
        left: NDArray[np.integer],
        right: NDArray[np.integer],
        same: NDArray[np.bool_],
        blocks: NDArray[np.integer] | None = None,
    ) -> None:
        kept = np.ones(len(same), bool) if blocks is None else blocks[left] == blocks[right]
        self.embeddings = embeddings
        self.left, self.right, self.same = left[kept], right[kept], same[kept]
        self._blocks = None if blocks is None else np.unique(blocks, return_inverse=True)[1]
        self.apart = distances.of_pairs(embeddings, self.left, self.right)
        checked_pairs(self.apart, self.same)

    def __len__(self) -> int:
        return len(self.embeddings)

    def curve(self, without: int | None = None) -> Curve:
        """Count the pairs at each distance that occurs; those of one block can be left out."""
        kept = np.ones(len(self.same), bool)
        if without is not None and self._blocks is not None:
            kept = self._blocks[self.left] != without
        values, where = np.unique(self.apart[kept].astype(np.float64), return_inverse=True)
        same = self.same[kept]
        below = np.nextafter(values[:1], -np.inf) if len(values) else np.zeros(1)
        counts = (np.bincount(where[kind], minlength=len(values)) for kind in (same, ~same))
        true, false = (np.concatenate([[0], np.cumsum(each)]) for each in counts)
        return Curve(np.concatenate([below, values]), true, false)

    def per_image(self, thresholds: Sequence[float]) -> PerImage:
        """Count, for each image, the pairs it takes part in that match."""
        wanted = np.asarray(thresholds, np.float64)
        if np.isnan(wanted).any():
            raise DataError("Expected numbers as thresholds. Received NaN.")
        # as everywhere, distances and thresholds are compared in 32 bits
        match = self.apart <= wanted.astype(np.float32)[:, None]
        return PerImage(
            thresholds=wanted,
            positives=self._at_images(self.same),
            negatives=self._at_images(~self.same),
            true_matches=self._each(match & self.same),
            false_matches=self._each(match & ~self.same),
            clusters=self.clusters,
        )

    def placements(self) -> tuple[NDArray[np.float64], float]:
        """Sum, for each image, how far its pairs pull the AUC from its value; and the squares."""
        near, far = (np.sort(self.apart[kind]) for kind in (self.same, ~self.same))
        # P(d⁻ > d) + ½ P(d⁻ = d) of a same pair, P(d⁺ < d) + ½ P(d⁺ = d) of a different one
        above, below = 1 - _rank(far, self.apart), _rank(near, self.apart)
        area = float(above[self.same].mean())
        pulls = np.where(self.same, (above - area) / len(near), (below - area) / len(far))
        if self.clusters is None:
            return self._at_images(pulls), float(np.square(pulls).sum())
        one, other = self.clusters[self.left], self.clusters[self.right]
        apart, count = one != other, int(self.clusters.max()) + 1
        sums = np.bincount(one, pulls, count) + np.bincount(other[apart], pulls[apart], count)
        return sums.astype(np.float64), float(np.square(pulls[apart]).sum())

    @cached_property
    def clusters(self) -> NDArray[np.int64] | None:
        """The thing that each image shows, (n,); None where there are too few."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ends = self.left[self.same], self.right[self.same]
        links = coo_array((np.ones(len(ends[0]), bool), ends), shape=(len(self), len(self)))
        found = np.asarray(connected_components(links, directed=False)[1], np.int64)
        return found if len(np.unique(found)) >= MANY else None

    @cached_property
    def couples(self) -> NDArray[np.int64]:
        """The pairs, the smaller position first, (p, 2)."""
        return np.sort(np.stack([self.left, self.right], axis=1).astype(np.int64), axis=1)

    def _each(self, counted: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.array([self._at_images(row) for row in counted]).reshape(-1, len(self))

    def _at_images(self, values: NDArray[Any]) -> Any:
        # of each pair a value, at both of its images
        count = len(self)
        found = np.bincount(self.left, values, count) + np.bincount(self.right, values, count)
        return found if values.dtype.kind == "f" else found.astype(np.int64)


def _rank(values: NDArray[np.float32], at: NDArray[np.float32]) -> NDArray[np.float64]:
    # the share of ascending values that is below, ties half
    ends = np.searchsorted(values, at, "left"), np.searchsorted(values, at, "right")
    found: NDArray[np.float64] = (ends[0] + ends[1]) / (2 * len(values))
    return found


@dataclass(frozen=True, eq=False)
class HardestPairs:
    """The pairs that a threshold is most likely to get wrong, out of all of a set.

    Do not read them as mistakes: those on the wrong side of the threshold are. A different pair
    is one if its distance is at most the threshold, a same pair if it is above.
    """

    # positions of the different pairs that lie closest, closest first, int64 of shape (k, 2), the
    # smaller position first
    closest_different: NDArray[np.int64]
    closest_distances: NDArray[np.float32]  # their distances, float32 of shape (k,), ascending
    # positions of the same pairs that lie farthest, farthest first, (k, 2)
    farthest_same: NDArray[np.int64]
    farthest_distances: NDArray[np.float32]

    def to_dict(self) -> dict[str, list[list[Any]]]:
        """List [i, j, distance]: "false_matches" are different, "false_non_matches" same pairs."""
        # They bear the names of what they are to a threshold that gets them wrong.
        return {
            "false_matches": _listed(self.closest_different, self.closest_distances),
            "false_non_matches": _listed(self.farthest_same, self.farthest_distances),
        }


def hardest_pairs(walk: AllPairs | ListedPairs, count: int = 10) -> HardestPairs:
    """Find the hardest pairs of both kinds, over all pairs and exactly."""
    if isinstance(walk, ListedPairs):
        return HardestPairs(*_listed_best(walk, count, False), *_listed_best(walk, count, True))
    # Distances are those of `distance.of_pairs`. A walk's tiles round differently where images lie
    # close, so they only tell which pairs may be among the hardest; these are measured anew. Equal
    # distances rank by position, of the first image and then of the second. Memory does not grow
    # with the number of pairs, even if all distances are equal.
    at_most, at_least = _limits(walk, count)
    close, far = _Best(walk, count), _Best(walk, count, sign=-1)
    for tile in walk.tiles():
        near = tile.values <= at_most
        for rows, columns in tile.same:
            near[rows, columns] = False
            part = tile.values[rows, columns]
            far.add(tile, (part >= at_least) & (part < np.inf), rows.start, columns.start)
        close.add(tile, near)
    return HardestPairs(*close.result(), *far.result())


def _listed_best(
    walk: ListedPairs, count: int, same: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rows = np.flatnonzero(walk.same == same)
    scores = walk.apart[rows] * (-1 if same else 1)
    rows = rows[np.lexsort((*walk.couples[rows].T[::-1], scores))[:count]]
    return walk.couples[rows], walk.apart[rows]


@dataclass
class _Best:
    """The best pairs seen so far: the closest, or with sign −1 the farthest."""

    walk: AllPairs
    count: int
    sign: int = 1
    codes: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    scores: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))

    def add(self, tile: Tile, may_be: NDArray[np.bool_], top: int = 0, left: int = 0) -> None:
        """Measure the marked pairs of a tile, or of its rectangle that starts at (top, left)."""
        n = len(self.walk)
        rows, columns = np.nonzero(may_be)
        first = self.walk.order[rows + (tile.rows.start + top)]
        second = self.walk.order[columns + (tile.columns.start + left)]
        codes = np.minimum(first, second) * n + np.maximum(first, second)
        if self.sign == 1 and len(self.codes) == self.count and self.scores[-1] == 0:
            # nothing is closer than 0: only an earlier position is better. Spares a collapsed
            # network, whose pairs all tie, from measuring every one.
            codes = codes[codes < self.codes[-1]]
        if not len(codes):
            return
        scores = self.sign * distances.of_pairs(self.walk.embeddings, codes // n, codes % n)
        scores, codes = np.append(self.scores, scores), np.append(self.codes, codes)
        if len(scores) > self.count:  # all that are as good as the last: positions break the tie
            kept = np.flatnonzero(scores <= np.partition(scores, self.count - 1)[self.count - 1])
            scores, codes = scores[kept], codes[kept]
        order = np.lexsort((codes, scores))[: self.count]
        self.scores, self.codes = scores[order], codes[order]

    def result(self) -> Iterator[NDArray[Any]]:
        """Give positions and distances."""
        n = len(self.walk)
        yield np.stack([self.codes // n, self.codes % n], axis=1)
        yield self.sign * self.scores


def _limits(walk: AllPairs, count: int) -> tuple[np.float32, np.float32]:
    """Bound the tiles' distances of the hardest pairs: at most of different, at least of same."""
    # At least `count` pairs of the walk are within the bin in which the `count`-th falls. With
    # squares off by ε at most, these are truly within its edge² + ε, so the hardest are, and the
    # walk has them within edge² + 2 ε.
    same, different = walk.histograms
    edges, slack = walk.edges, 2 * walk.rounding
    # count beyond all pairs: every one is among the hardest
    near = int(np.searchsorted(np.cumsum(different), min(count, different.sum())))
    far = len(same) - 1 - int(np.searchsorted(np.cumsum(same[::-1]), min(count, same.sum())))
    at_most = np.float32(np.sqrt(edges[near + 1] ** 2 + slack))
    at_least = np.float32(np.sqrt(max(max(edges[far], 0.0) ** 2 - slack, 0.0)))
    return np.nextafter(at_most, np.float32(np.inf)), np.nextafter(at_least, np.float32(-np.inf))


def _listed(pairs: NDArray[np.int64], lengths: NDArray[np.float32]) -> list[list[Any]]:
    return [[int(i), int(j), float(d)] for (i, j), d in zip(pairs, lengths, strict=True)]
