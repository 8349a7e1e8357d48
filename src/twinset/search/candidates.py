"""What a database found, measured anew: its own rounding decides no order, no limit and no tie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset import distance
from twinset.search.checked import Metadata
from twinset.search.items import Items, Neighbour
from twinset.search.store import unknown_ids
from twinset.search.where import Condition, holds

# Asked for beyond k, so that what the database put behind the k-th for its rounding is there too.
SPARE = 8


@dataclass(frozen=True, eq=False)
class Candidates:
    """Rows of a database that may be neighbours."""

    # numbers that grow in the order in which the items were put in, (n,)
    positions: NDArray[np.int64]
    ids: Sequence[str]  # n ids
    vectors: NDArray[np.float32]  # float32 of shape (n, d)
    metadata: Sequence[Metadata]  # what is known of each

    def __len__(self) -> int:
        return len(self.ids)

    def items(self) -> Items:
        """Return them as items."""
        return Items(self.ids, self.vectors, self.metadata)

    def named(self, ids: Sequence[str]) -> Items:
        """Return the items with these ids, in this order; one that is missing is an error."""
        at = {id_: index for index, id_ in enumerate(self.ids)}
        if missing := [id_ for id_ in ids if id_ not in at]:
            raise unknown_ids(missing, "read")
        return self.take([at[id_] for id_ in ids]).items()

    def that_hold(self, where: Sequence[Condition]) -> Candidates:
        """Return those for which all conditions hold."""
        if not where:
            return self
        held = [all(holds(each, known) for each in where) for known in self.metadata]
        return self.take(np.flatnonzero(held))

    def joined(self, others: Candidates) -> Candidates:
        """Return these and others."""
        return Candidates(
            np.concatenate([self.positions, others.positions]),
            [*self.ids, *others.ids],
            np.concatenate([self.vectors, others.vectors]),
            [*self.metadata, *others.metadata],
        )

    def take(self, which: Sequence[int] | NDArray[np.integer]) -> Candidates:
        """Pick some."""
        return Candidates(
            self.positions[which],
            [self.ids[at] for at in which],
            self.vectors[which],
            [self.metadata[at] for at in which],
        )


def measure(query: NDArray[np.float32], candidates: Candidates) -> NDArray[np.float32]:
    """Measure the distance of each candidate, by the formula that all stages use."""
    found: NDArray[np.float32] = distance.euclidean(query, candidates.vectors)
    return found


def nearest(
    query: NDArray[np.float32], candidates: Candidates, k: int | None, within: float | None
) -> list[Neighbour]:
    """Make the neighbours of a query out of candidates."""
    distances = measure(query, candidates)
    order = best(distances, candidates.positions, k, within)
    return [
        Neighbour(candidates.ids[at], far, candidates.metadata[at])
        for at, far in zip(order.tolist(), distances[order].tolist(), strict=True)
    ]


def best(
    distances: NDArray[np.float32],
    positions: NDArray[np.int64],
    k: int | None,
    within: float | None,
) -> NDArray[np.intp]:
    """Order candidates by distance, those at the same distance by position, and cut them off."""
    order = np.lexsort((positions, distances))
    if within is not None:
        # in float64: NumPy would round the limit to the distances' float32
        order = order[distances[order].astype(np.float64) <= within]
    return order[:k]


def settled(
    farthest: float, hits: Sequence[Neighbour], k: int | None, within: float | None, slack: float
) -> bool:
    """Tell whether what a database left out, having returned its nearest, can be no neighbour.

    An item that was left out is, in the database's arithmetic, no nearer than each that came: so
    its d² is at least farthest² − slack, where the slack is twice the error of one d².
    """
    limits = [within] if within is not None else []
    if k is not None and len(hits) >= k:
        limits.append(hits[k - 1].distance)
    return any(farthest**2 - slack > limit**2 for limit in limits)


def rounding(dim: int, scale: float) -> float:
    """Bound by how much two d² may seem to be in the wrong order, for `settled`.

    That is four errors: of both d², as the database and as `measure` compute them in float32. A sum
    of n products is off by at most n + 1 units of rounding, 2⁻²⁴, of the sum of their absolute
    values (Higham, 2002, Accuracy and Stability of Numerical Algorithms, section 3.1); squares
    below float32's range are lost.
    """
    return 4 * ((dim + 8) * 2.0**-24 * scale + dim * 2.0**-126)
