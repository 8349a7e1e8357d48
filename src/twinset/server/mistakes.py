"""Where a model and the labels of a collection disagree: an item's nearest, by kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.nearest import Matrix
from twinset.server.child import Arrays, as_child, in_child

# Of more items the search takes longer than a process needs to start, up to minutes of all cores.
AT_ONCE = 5_000
SECONDS = 3600
_BLOCK = 8192


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Items that the model would get wrong, by the labels; rows and those they are nearest to.

    `mistaken`: the nearest of all is within the threshold and of another kind, closest first.
    `missed`: the nearest of its own kind is beyond the threshold, farthest first; an item that is
    the only one of its kind is none.
    """

    mistaken: NDArray[np.int64]  # (m, 2): item, and its nearest
    mistaken_distances: NDArray[np.float32]  # (m,)
    missed: NDArray[np.int64]  # (o, 2): item, and the nearest of its own kind
    missed_distances: NDArray[np.float32]  # (o,)


def mistakes_of(
    vectors: NDArray[np.float32],
    kinds: NDArray[np.int64],
    threshold: float,
    *,
    at_once: int = AT_ONCE,
) -> Mistakes:
    """Find mistakes as `find_mistakes` does; of many items in a process of its own."""
    if len(vectors) <= at_once:
        return find_mistakes(vectors, kinds, threshold)
    what = f"The search for mistakes among {len(vectors):,} items"
    given = {"vectors": vectors, "kinds": kinds, "threshold": np.float64(threshold)}
    return Mistakes(**in_child(what, __name__, SECONDS, **given))


def find_mistakes(
    vectors: NDArray[np.float32],  # (n, d)
    kinds: NDArray[np.int64],  # (n,); -1 where it is not known
    threshold: float,
) -> Mistakes:
    """Find what is nearest to each item, exactly, and compare it with the labels."""
    known = np.flatnonzero(kinds >= 0)
    every = Matrix(vectors)
    among = None if len(known) == len(vectors) else known  # none to leave out is the faster search
    nearest = np.full(len(vectors), -1)
    far = np.full(len(vectors), np.inf, np.float32)
    for start in range(0, len(known), _BLOCK):
        rows = known[start : start + _BLOCK]
        # two, as an item finds itself; of equal ones another may come first
        hits = every.search(vectors[rows], k=2, rows=among)
        own = np.repeat(rows, np.diff(hits.starts))
        other = hits.positions != own
        order = np.flatnonzero(other)[::-1]  # the first is written last
        nearest[own[order]] = hits.positions[order]
        far[own[order]] = hits.distances[order]
    found = known[nearest[known] >= 0]
    wrong = found[kinds[nearest[found]] != kinds[found]]
    mistaken = wrong[far[wrong] <= threshold]
    mistaken = mistaken[np.argsort(far[mistaken], kind="stable")]

    # Whose nearest is of its own kind and near is not missed; of the others the own kind is asked.
    own_far, own_near = far.copy(), nearest.copy()
    own_far[wrong], own_near[wrong] = np.inf, -1
    for kind in np.unique(kinds[wrong]):
        asked, members = wrong[kinds[wrong] == kind], np.flatnonzero(kinds == kind)
        if len(members) < 2:
            continue
        hits = every.search(vectors[asked], k=2, rows=members)
        for number, row in enumerate(asked.tolist()):
            positions, distances = hits.of(number)
            at = int(positions[0] == row)
            own_near[row], own_far[row] = positions[at], distances[at]
    missed = found[(own_near[found] >= 0) & (own_far[found] > threshold)]
    missed = missed[np.argsort(-own_far[missed], kind="stable")]
    return Mistakes(
        np.stack([mistaken, nearest[mistaken]], axis=1),
        far[mistaken],
        np.stack([missed, own_near[missed]], axis=1),
        own_far[missed],
    )


def _compute(
    vectors: NDArray[np.float32], kinds: NDArray[np.int64], threshold: NDArray[np.float64]
) -> Arrays:
    return vars(find_mistakes(vectors, kinds, float(threshold)))


if __name__ == "__main__":
    as_child(_compute)
