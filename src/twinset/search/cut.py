"""What hangs together: pairs joined unless a decision forbids it, groups cut where they chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# Members whose distances to each other are held at once (17 MB).
LARGEST = 2048

Pairs = Sequence[tuple[int, int]]
Thing = TypeVar("Thing", int, str)  # a position, or an id


@dataclass(frozen=True)
class Link:
    """The closest pair of two parts that steps connect, and that are not one group."""

    left: int
    right: int
    distance: float


def joined(
    same: Sequence[tuple[Thing, Thing]], different: Sequence[tuple[Thing, Thing]]
) -> tuple[dict[Thing, set[Thing]], list[int]]:
    """Join pairs in their order, but never two sides of a pair that is different.

    Returns the set of each position that was joined, shared by its members, and the places in
    `same` of the pairs that could not be.
    """
    foes: dict[Thing, set[Thing]] = {}
    for left, right in different:
        foes.setdefault(left, set()).add(right)
        foes.setdefault(right, set()).add(left)
    home: dict[Thing, set[Thing]] = {}
    refused = []
    for place, (left, right) in enumerate(same):
        small, large = (home.setdefault(one, {one}) for one in (left, right))
        if small is large:
            continue
        if len(small) > len(large):
            small, large = large, small
        if any(not foes.get(one, set()).isdisjoint(large) for one in small):
            refused.append(place)
            continue
        large |= small
        home |= dict.fromkeys(small, large)
    return home, refused


def sets_of(home: dict[Thing, set[Thing]]) -> list[list[Thing]]:
    """List what was joined, each set once and in order."""
    return sorted(sorted(one) for one in {id(one): one for one in home.values()}.values())


def cut(
    vectors: NDArray[np.float32], threshold: float, different: Iterable[Sequence[int]]
) -> tuple[NDArray[np.int64], list[Link]]:
    """Number the parts of a group by average linkage, and name the edges that would join them."""
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    # rounded as everywhere else: who is at the threshold itself stays within
    apart = squareform(pdist(vectors.astype(np.float64)).astype(np.float32).astype(np.float64))
    most = min(threshold, float(apart.max()))
    known = apart.copy()
    # The mean with a pair that is different stays beyond the threshold, however many share it.
    for left, right in different:
        known[left, right] = known[right, left] = (most or 1.0) * (len(vectors) ** 2 + 1)
    tree = linkage(squareform(known), "average")
    parts = fcluster(tree, most * (1 + 1e-9), "distance").astype(np.int64)
    # steps within a part cost next to nothing, so that exactly the closest between parts remain
    steps = apart + (most or 1.0)
    steps[parts[:, None] == parts] = (most or 1.0) * 1e-9
    # sparse, as of an array scipy takes what is close to 0 for no step
    left, right = minimum_spanning_tree(csr_array(steps)).nonzero()
    between = np.flatnonzero(parts[left] != parts[right])
    links = [Link(int(left[k]), int(right[k]), float(apart[left[k], right[k]])) for k in between]
    return parts, links


def weakest(vectors: NDArray[np.float32]) -> Link:
    """Find the link of two or more vectors without which they would be two groups.

    That is the longest edge of their minimum spanning tree; of very many, of a sample.
    """
    from scipy.sparse.csgraph import minimum_spanning_tree
    from scipy.spatial.distance import pdist, squareform

    rows = np.arange(0, len(vectors), -(-len(vectors) // LARGEST))
    apart = squareform(pdist(vectors[rows].astype(np.float64)))
    # steps of 0 would be no steps for SciPy
    tree = minimum_spanning_tree(apart + 1.0).tocoo()
    longest = int(tree.data.argmax())
    left, right = sorted((int(rows[tree.row[longest]]), int(rows[tree.col[longest]])))
    return Link(left, right, float(tree.data[longest] - 1.0))
