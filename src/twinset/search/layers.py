"""The references of identities by their rank, in which order distances are joined fastest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset.metrics.trials import two_smallest

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Identities of a layer at least, as each layer costs some microseconds, whatever it holds.
LEAST = 64


class Layers:
    """The first reference of each identity, then the second of each, and so on.

    `np.minimum.reduceat` spends 55 ns on each identity, which for 6,000 of them is a tenth of a
    search. Here identities with more references come first, so that layer j is about the first
    `widths[j]` of them, and whole layers are joined element by element. What the few with very many
    references have left comes last, together for each.
    """

    def __init__(self, codes: Ints) -> None:  # identities of n references, ascending from 0
        sizes = np.bincount(codes)
        m, starts = len(sizes), np.cumsum(sizes) - sizes
        self.identities = np.argsort(-sizes, kind="stable")  # at each place of a layer
        self._sizes = sizes[self.identities]
        more = m - np.cumsum(np.bincount(sizes))  # how many have more than j references
        self._widths = more[more >= LEAST].tolist()
        depth = len(self._widths)
        place = np.empty(m, np.int64)
        place[self.identities] = np.arange(m)
        layer = np.minimum(np.arange(len(codes)) - starts[codes], depth)
        self.order = np.argsort(layer * m + place[codes], kind="stable")
        self._left = self._sizes[self._sizes > depth] - depth

    def join(self, d: NDArray[np.floating], rule: str, spread: Floats | float) -> Floats:
        """Join finite distances (q, n), which lie as `order` says, as `metrics.trials.join` does.

        Of the spread goes in that of each identity, or of each query and identity.
        """
        means = rule.startswith("mean")
        values = np.square(d) if rule == "mean embedding" else d
        found = (
            np.zeros((len(d), len(self._sizes)))
            if means
            else np.full((len(d), len(self._sizes)), np.inf, d.dtype)
        )
        second = np.full(found.shape, np.inf, d.dtype) if rule == "best two" else None
        start = 0
        for width in self._widths:
            part, best = values[:, start : start + width], found[:, :width]
            start += width
            if means:
                best += part
                continue
            if second is not None:
                rest = second[:, :width]
                np.minimum(rest, np.maximum(best, part), out=rest)
            np.minimum(best, part, out=best)
        if len(self._left):
            part, best = values[:, start:], found[:, : len(self._left)]
            begins = np.cumsum(self._left) - self._left
            if means:
                best += np.add.reduceat(part, begins, axis=1, dtype=np.float64)
            else:
                first, next_ = two_smallest(part, begins, self._left)
                if second is not None:
                    rest = second[:, : len(self._left)]
                    np.minimum(rest, next_, out=rest)
                    np.minimum(rest, np.maximum(best, first), out=rest)
                np.minimum(best, first, out=best)
        if second is not None:
            found = np.where(np.isfinite(second), (found + second) / 2, found)
        joined = np.empty(found.shape)
        joined[:, self.identities] = found / self._sizes if means else found
        if rule == "mean embedding":
            joined = np.sqrt(np.maximum(joined - spread, 0.0))
        return joined
