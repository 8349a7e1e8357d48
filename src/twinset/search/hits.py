"""What a search over a matrix finds: positions and distances, measured by the one formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset import distance

# Pairs whose differences are held at a time.
CHUNK = 8192


@dataclass(frozen=True, eq=False)
class Hits:
    """What was found for q queries: that of query i lies at `starts[i]:starts[i + 1]`.

    Args:
        starts: (q + 1,), ascending from 0.
        positions: of the vectors found, nearest first for each query; ties by position.
        distances: theirs, float32, by the formula of `distance.euclidean`.
    """

    starts: NDArray[np.int64]
    positions: NDArray[np.int64]
    distances: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return positions and distances of one query.

        Args:
            query: its number.
        """
        part = slice(self.starts[query], self.starts[query + 1])
        return self.positions[part], self.distances[part]


@dataclass(frozen=True, eq=False)
class Found:
    """Pairs of a query and a vector that may be an answer, with their distance, in any order.

    Args:
        queries: numbers of the queries, (m,).
        positions: of the vectors, (m,).
        distances: float32, (m,).
    """

    queries: NDArray[np.int64]
    positions: NDArray[np.int64]
    distances: NDArray[np.float32]

    def nearest(self, k: int | None, within: float | None) -> Found:
        """Order by query, distance and position, and leave out what no answer can hold.

        Args:
            k: at most so many for each query; None for all.
            within: the largest distance that counts; None for any.
        """
        order = np.lexsort((self.positions, self.distances, self.queries))
        if within is not None:
            # as numbers of Python compare, and not with the limit rounded to float32
            order = order[self.distances[order].astype(np.float64) <= within]
        if k is not None:
            order = order[rank_in_group(self.queries[order]) < k]
        return Found(self.queries[order], self.positions[order], self.distances[order])


def measured(
    vectors: NDArray[np.float32],
    queries: NDArray[np.float32],
    of: NDArray[np.int64],
    positions: NDArray[np.int64],
) -> Found:
    """Measure pairs of a query and a vector by their differences: exactly 0 for equal ones.

    Args:
        vectors: (n, d).
        queries: (q, d).
        of: number of the query of each pair, (m,).
        positions: of the vector of each pair, (m,).
    """
    far = np.empty(len(of), np.float32)
    for start in range(0, len(of), CHUNK):
        part = slice(start, start + CHUNK)
        far[part] = distance.euclidean(queries[of[part]], vectors[positions[part]])
    return Found(of, positions, far)


def joined(parts: Sequence[Found]) -> Found:
    """Put what was found in parts together.

    Args:
        parts: any number of them.
    """
    nothing = Found(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    every = (nothing, *parts)
    return Found(
        np.concatenate([part.queries for part in every]),
        np.concatenate([part.positions for part in every]),
        np.concatenate([part.distances for part in every]),
    )


def gather(parts: Sequence[Found], queries: int, k: int | None, within: float | None) -> Hits:
    """Make the answer out of what was found in parts.

    Args:
        parts: each holds at least those answers that lie in what it looked at.
        queries: how many there are.
        k: at most so many for each; None for all.
        within: the largest distance that counts; None for any.

    Example:
        >>> import numpy as np
        >>> far = np.float32([2, 1, 3])
        >>> hits = gather([Found(np.array([0, 0, 2]), np.array([7, 8, 9]), far)], 3, 5, None)
        >>> hits.starts.tolist(), hits.positions.tolist()
        ([0, 2, 2, 3], [8, 7, 9])
    """
    found = joined(parts).nearest(k, within)
    starts = np.searchsorted(found.queries, np.arange(queries + 1))
    return Hits(starts.astype(np.int64), found.positions, found.distances)


def rank_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count, for each of ascending numbers, how many equal ones are before it.

    Args:
        groups: ascending, (m,).

    Example:
        >>> import numpy as np
        >>> rank_in_group(np.array([0, 0, 0, 3, 3, 7])).tolist()
        [0, 1, 2, 0, 1, 0]
    """
    ranks: NDArray[np.int64] = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return ranks
