"""Judged pairs, where nobody knows of the others: the counts that `AllPairs` gives."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import distance as distances
from twinset.errors import DataError
from twinset.metrics.all_pairs import PerImage
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
