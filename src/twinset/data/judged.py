"""Judged pairs: what follows from them, what contradicts what, and pairs to learn from."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.pairs import Pairs, balanced_pairs
from twinset.errors import DataError

# Broken chains that are looked for one by one.
CHAINS = 1000
# How often the rarer kind of pairs is repeated at most, for a training to see both alike.
REPEATED = 10


@dataclass(frozen=True, eq=False)
class Settled:
    """What n images are known to show, and where the judgements of their pairs disagree.

    Nothing follows from judgements that disagree: a chain that ends in "different" is cut in all
    its links, though its pairs count as they were judged. What was judged both ways counts for
    nothing.
    """

    pairs: Pairs  # each once, the smaller position first
    labels: NDArray[np.int64]  # (n,): the class; from `classes` on, what was judged one thing
    contradictions: tuple[tuple[int, int], ...]  # judged both ways
    conflicts: tuple[tuple[int, ...], ...]  # a = b = … = c, where a and c were judged different
    against: tuple[int, ...]  # of `pairs`, those that say otherwise than the classes
    repeated: int  # judgements that were there already, or are of an image with itself


def settle(pairs: Pairs, labels: NDArray[np.integer], classes: int = 0) -> Settled:
    """Find what follows from judgements of pairs, for images of which some may have a class (≥ 0).

    What was judged the same is one thing, and so is all that hangs together so (RCA's chunklets:
    Bar-Hillel, Hertz, Shental, Weinshall, 2003). An image without a class has that of its thing.
    """
    count = len(labels)
    low, high = (np.asarray(f(pairs.left, pairs.right), np.int64) for f in (np.minimum, np.maximum))
    if len(high) and int(high.max()) >= count:
        raise DataError(
            f"Expected positions of {count} images in judged pairs. Received {high.max()}."
        )
    codes, which = np.unique(low * max(count, 1) + high, return_inverse=True)
    said = np.zeros((2, len(codes)), bool)
    said[pairs.same.astype(np.int64), which] = True
    left, right = np.divmod(codes, max(count, 1))
    itself = left == right
    both = (said[0] & said[1]) | (itself & said[0])
    kept = ~both & ~itself
    found = Pairs(left[kept], right[kept], said[1][kept])
    numbers = np.asarray(labels, np.int64).copy()
    free = numbers < 0
    # of a part of what was settled before nothing is open
    things, conflicts = _things(found, count) if free.any() else (np.arange(count), ())
    least, most = np.full(count, classes), np.full(count, -1)
    np.minimum.at(least, things[~free], numbers[~free])
    np.maximum.at(most, things[~free], numbers[~free])
    # a thing of two classes says nothing of its images that have none
    told = np.where((least == most)[things], most[things], classes + things)
    numbers[free] = told[free]
    classed = np.asarray(labels)[[found.left, found.right]]
    against = (classed >= 0).all(axis=0) & (classed < classes).all(axis=0)
    against &= (classed[0] == classed[1]) != found.same
    return Settled(
        found,
        numbers,
        tuple(zip(left[both].tolist(), right[both].tolist(), strict=True)),
        conflicts,
        tuple(np.flatnonzero(against).tolist()),
        int((~both[which]).sum()) - len(found),
    )


def hanging_together(count: int, *ties: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
    """Number the connected parts of a graph: of each tie, (m,) and (m,) are joined one by one."""
    # here, as a model in use needs none of it
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rows, columns = (np.concatenate([np.asarray(t[side]) for t in ties]) for side in (0, 1))
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _things(pairs: Pairs, count: int) -> tuple[NDArray[np.int64], tuple[tuple[int, ...], ...]]:
    # One wrong judgement must not cost all that hangs together with it: a chain that ends in
    # "different" is cut, whichever of its links is wrong, until none is left.
    ends = np.stack([pairs.left, pairs.right], axis=1).astype(np.int64)
    holds, chains = pairs.same.copy(), list[tuple[int, ...]]()
    link = {tuple(each): k for k, each in enumerate(ends.tolist())}
    near = defaultdict[int, set[int]](set)
    for one, other in ends[holds].tolist():
        near[one].add(other)
        near[other].add(one)
    while True:
        things = hanging_together(count, (ends[holds, 0], ends[holds, 1]))
        torn = ~pairs.same & (things[ends[:, 0]] == things[ends[:, 1]])
        if not torn.any():
            return things, tuple(chains)
        if len(chains) == CHAINS:  # of so many, nothing that they touch says anything
            broken = np.isin(things, things[ends[torn, 0]])
            alone = np.where(broken, count + np.arange(count), things)
            return np.unique(alone, return_inverse=True)[1], tuple(chains)
        chains.append(_chain(near, *ends[int(np.argmax(torn))].tolist()))
        for one, other in pairwise(chains[-1]):
            holds[link[min(one, other), max(one, other)]] = False
            near[one].discard(other)
            near[other].discard(one)


def _chain(near: Mapping[int, set[int]], start: int, end: int) -> tuple[int, ...]:
    # the shortest way along pairs that were judged the same
    before, waiting = {start: start}, deque([start])
    while end not in before:
        at = waiting.popleft()
        for other in sorted(near[at]):
            if other not in before:
                before[other] = at
                waiting.append(other)
    way = [end]
    while way[-1] != start:
        way.append(before[way[-1]])
    return tuple(reversed(way))


def taken(pairs: Pairs, chosen: NDArray[np.integer], count: int) -> Pairs:
    """Keep the pairs whose images are both among the chosen ones, by position in these."""
    place = np.full(count, -1)
    place[chosen] = np.arange(len(chosen))
    left, right = place[pairs.left], place[pairs.right]
    kept = (left >= 0) & (right >= 0)
    return Pairs(left[kept], right[kept], pairs.same[kept])


def known_pairs(
    pairs: Pairs, labels: NDArray[np.integer], classes: int = 0, *, seed: int = 0
) -> Pairs:
    """List judged pairs, and for each image of a class a same and a different one, drawn."""
    mine = np.flatnonzero(labels < classes)
    kinds = np.unique(labels[mine], return_counts=True)[1]
    if len(kinds) < 2 or kinds.max() < 2:
        return pairs
    drawn = balanced_pairs(labels[mine], seed=seed)
    of_classes: Any = mine[drawn.left], mine[drawn.right], drawn.same
    return joined(pairs, Pairs(*of_classes), len(labels))


def pairs_to_learn(
    pairs: Pairs, labels: NDArray[np.integer], classes: int = 0, *, seed: int = 0
) -> Pairs:
    """List known pairs, some that follow from them, and the rarer kind again and again.

    Of a = b and b = c follows a = c, of a = b and b ≠ c follows a ≠ c; never that what nobody
    judged is different.
    """
    known = known_pairs(pairs, labels, classes, seed=seed)
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")
    values, start, size = np.unique(labels[order], return_index=True, return_counts=True)
    code = np.searchsorted(values, labels)

    def another(images: NDArray[Any]) -> NDArray[Any]:
        # of the same thing: the image itself, where it is the only one
        things = code[images]
        found: NDArray[Any] = order[start[things] + rng.integers(0, size[things])]
        return found

    many = np.flatnonzero(size[code] > 2)
    apart = known.left[~known.same], known.right[~known.same]
    left = np.concatenate([many, another(apart[0])])
    right = np.concatenate([another(many), another(apart[1])])
    same = np.arange(len(left)) < len(many)
    whole = joined(known, Pairs(left, right, same), len(labels))
    both = [np.flatnonzero(whole.same == kind) for kind in (True, False)]
    few, many = sorted(both, key=len)
    again = np.resize(few, min(len(many), REPEATED * len(few)))
    return whole[np.sort(np.concatenate([again, many]))]


def closed_labels(
    pairs: Pairs, labels: NDArray[np.integer], classes: int = 0
) -> tuple[NDArray[np.int64], int]:
    """Number things all of which are known to differ from each other, and count them.

    Numbers from that count on are of one image each: of these nobody knows enough. The largest
    things come first; to find the largest set of all is hard (Karp, 1972).
    """
    values, code, size = np.unique(labels, return_inverse=True, return_counts=True)
    apart = defaultdict[int, set[int]](set)
    for a, b in code[np.stack([pairs.left, pairs.right])[:, ~pairs.same]].T.tolist():
        apart[a].add(b)
        apart[b].add(a)
    # two classes differ, whatever was judged of some of their images
    chosen = [each for each in range(len(values)) if values[each] < classes]
    for each in np.argsort(-size, kind="stable").tolist():
        if size[each] > 1 and values[each] >= classes and apart[each].issuperset(chosen):
            chosen.append(each)
    found = np.full(len(values), -1)
    found[chosen] = np.arange(len(chosen))
    numbers = found[code]
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = len(chosen) + np.arange(len(alone))
    return numbers, len(chosen)


def joined(first: Pairs, more: Pairs, count: int) -> Pairs:
    """Add pairs that were not there: where both speak of the same two images, the first counts."""
    left = np.concatenate([first.left, more.left])
    right = np.concatenate([first.right, more.right])
    same = np.concatenate([first.same, more.same])
    codes = np.minimum(left, right).astype(np.int64) * count + np.maximum(left, right)
    once = np.sort(np.unique(codes, return_index=True)[1])
    once = once[left[once] != right[once]]
    return Pairs(left[once], right[once], same[once])
