"""Which images make a pair: drawn, or judged by people, and then what follows from them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import truth
from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class Pairs:
    """p pairs of images by position.

    Args:
        left: int32 positions of shape (p,).
        right: int32 positions of shape (p,).
        same: bool of shape (p,), or 1 and 0; True (1) where both images belong to one class.

    Raises:
        DataError: lengths differ, or values are no positions or no labels of pairs.

    Example:
        >>> pairs = tutorial_pairs([0, 0, 1, 1], seed=0)
        >>> len(pairs), pairs.same.astype(int).tolist()
        (4, [1, 0, 1, 0])
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: NDArray[np.bool_]

    def __post_init__(self) -> None:
        left, right, same = _positions(self.left), _positions(self.right), truth(self.same)
        if left.ndim != 1 or not left.shape == right.shape == same.shape:
            raise DataError(
                "Expected left, right and `same` of one shape (p,). "
                f"Received {left.shape}, {right.shape} and {same.shape}."
            )
        # frozen: set past the dataclass
        self.__dict__.update(left=left, right=right, same=same)

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Pairs:
        return Pairs(self.left[which], self.right[which], self.same[which])


MOST = np.iinfo(np.int32).max


def _positions(values: Any) -> NDArray[Any]:
    found = np.asarray(values)
    whole = found.dtype.kind in "iu"
    if found.size and not (whole and found.min() >= 0 and found.max() <= MOST):
        told = f"{found.min()} to {found.max()}" if whole else f"such as {found.flat[0]!r}"
        raise DataError(
            f"Expected positions of images, whole numbers from 0 to {MOST:,}. "
            f"Received {found.dtype}, {told}."
        )
    return found.astype(np.int32, copy=False)


def class_indices(labels: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """List the positions of each class that occurs, in the order of the labels."""
    order = np.argsort(labels, kind="stable")
    _, starts = np.unique(labels[order], return_index=True)
    return np.split(order, starts[1:]) if len(starts) else []


def tutorial_pairs(labels: NDArray[np.integer] | list[int], *, seed: int = 0) -> Pairs:
    """Draw the pairs of the classic Keras tutorial.

    With g_d the positions of class d and n = min_d |g_d| − 1, for each class d and each i < n:

    - a positive pair (g_d[i], g_d[i+1]), then
    - a negative pair (g_d[i], g_e[i]) with e a random other class,

    so `same` alternates 1, 0, 1, 0, … The other class is drawn as the tutorial draws it, by
    `random.randrange(1, classes)` steps from d, hence `seed` gives the very pairs that
    `random.seed(seed)` gives there.

    Do not read a score on these pairs as a score on the data: they are few (Fashion-MNIST: 119,980
    of 1.8 · 10⁹ training pairs), and each image meets its neighbour in the file.

    Args:
        labels: integers of shape (n,).
        seed: of the choice of the other classes. Defaults to 0.

    Returns:
        2 · classes · n pairs; 119,980 for Fashion-MNIST's training set, 19,980 for its test set.

    Raises:
        DataError: fewer than two classes, or a class of a single image.

    Reference:
        Keras examples, mnist_siamese.py (2015), `create_pairs`; pairs after Hadsell, Chopra,
        LeCun (2006).

    Example:
        >>> pairs = tutorial_pairs([0, 0, 1, 1, 1], seed=0)
        >>> list(zip(pairs.left.tolist(), pairs.right.tolist()))
        [(0, 1), (0, 2), (2, 3), (2, 0)]
    """
    groups = class_indices(np.asarray(labels))
    sizes = [len(group) for group in groups]
    if len(groups) < 2:
        raise DataError(f"Expected labels of at least 2 classes. Received {len(groups)}.")
    n = min(sizes) - 1
    if n < 1:
        label = np.asarray(labels)[groups[int(np.argmin(sizes))][0]]
        raise DataError(
            f"Expected at least 2 images of every class. Received 1 with label {label}: "
            "add images, or leave that class out with `LabelledImages.subset`."
        )
    table = np.stack([group[: n + 1] for group in groups])  # (classes, n + 1)
    draw = random.Random(seed)
    steps = [draw.randrange(1, len(groups)) for _ in range(len(groups) * n)]
    own = np.repeat(np.arange(len(groups)), n)  # (classes * n,)
    other = (own + np.array(steps)) % len(groups)
    i = np.tile(np.arange(n), len(groups))
    left = np.repeat(table[own, i], 2)  # (2 * classes * n,)
    right = np.stack([table[own, i + 1], table[other, i]], axis=1).ravel()
    same = np.tile([True, False], len(own))
    return Pairs(left.astype(np.int32), right.astype(np.int32), same)


def balanced_pairs(labels: NDArray[np.integer] | list[int], *, seed: int = 0) -> Pairs:
    """Draw as many same as different pairs, each once, of classes of any sizes.

    One of each for every image with a partner, as far as there are so many: of two images of a
    class, each is the other's only partner.
    """
    values = np.asarray(labels)
    order = np.argsort(values, kind="stable")
    _, code, counts = np.unique(values, return_inverse=True, return_counts=True)
    if len(counts) < 2 or counts.max() < 2:
        raise DataError(
            "Expected labels of at least 2 classes, one of them with 2 images. "
            f"Received {len(counts)} classes, the largest of {counts.max(initial=0)}."
        )
    rank = np.empty(len(values), np.int64)  # of each image in `order`
    rank[order] = np.arange(len(values))
    start, size = (np.cumsum(counts) - counts)[code], counts[code]
    chosen = np.flatnonzero(size > 1)
    rng = np.random.default_rng(seed)
    # another place within the class, and a place outside it, both counted around
    step = rng.integers(1, size[chosen])
    within = start[chosen] + (rank[chosen] - start[chosen] + step) % size[chosen]
    beyond = start[chosen] + size[chosen] + rng.integers(0, len(values) - size[chosen])
    drawn = [(chosen, order[within]), (chosen, order[beyond % len(values)])]
    once = [
        np.unique(np.minimum(*pair) * len(values) + np.maximum(*pair), return_index=True)[1]
        for pair in drawn
    ]
    count = min(map(len, once))
    rows = [np.sort(rng.permutation(kept)[:count]) for kept in once]
    left, right = (
        np.stack([pair[side][row] for pair, row in zip(drawn, rows, strict=True)], axis=1).ravel()
        for side in (0, 1)
    )
    same = np.tile([True, False], count)
    return Pairs(left.astype(np.int32), right.astype(np.int32), same)


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


def hanging_together(count: int, *ties: Sequence[NDArray[Any]] | NDArray[Any]) -> NDArray[np.int64]:
    """Number the connected parts of a graph: of each tie, (m,) and (m,) are joined one by one."""
    # here, as a model in use needs none of it
    from scipy.sparse.csgraph import connected_components

    graph = _graph(count, *(np.concatenate([np.asarray(t[side]) for t in ties]) for side in (0, 1)))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _graph(count: int, rows: NDArray[Any], columns: NDArray[Any]) -> Any:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count))


def _things(pairs: Pairs, count: int) -> tuple[NDArray[np.int64], tuple[tuple[int, ...], ...]]:
    # One wrong judgement must not cost all that hangs together with it: a chain that ends in
    # "different" is cut, whichever of its links is wrong, until none is left.
    ends = np.stack([pairs.left, pairs.right], axis=1).astype(np.int64)
    holds, chains = pairs.same.copy(), list[tuple[int, ...]]()
    while True:
        things = hanging_together(count, ends[holds].T)
        torn = ~pairs.same & (things[ends[:, 0]] == things[ends[:, 1]])
        if not torn.any():
            return things, tuple(chains)
        if len(chains) == CHAINS:  # of so many, nothing that they touch says anything
            broken = np.isin(things, things[ends[torn, 0]])
            alone = np.where(broken, count + np.arange(count), things)
            return np.unique(alone, return_inverse=True)[1], tuple(chains)
        chains.append(_chain(_graph(count, *ends[holds].T), *ends[int(np.argmax(torn))].tolist()))
        for link in pairwise(chains[-1]):
            holds &= (ends != sorted(link)).any(axis=1)


def _chain(graph: Any, start: int, end: int) -> tuple[int, ...]:
    # the shortest way along pairs that were judged the same
    from scipy.sparse.csgraph import breadth_first_order

    before = breadth_first_order(graph, start, directed=False)[1]
    way = [end]
    while way[-1] != start:
        way.append(int(before[way[-1]]))
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
