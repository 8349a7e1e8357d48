"""Which images make a pair, and which indices a batch: index arrays, never pixels."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class Pairs:
    """p pairs of images by position.

    Args:
        left: int32 positions of shape (p,).
        right: int32 positions of shape (p,).
        same: bool of shape (p,); True (1) where both images belong to one class.

    Example:
        >>> pairs = tutorial_pairs([0, 0, 1, 1], seed=0)
        >>> len(pairs), pairs.same.astype(int).tolist()
        (4, [1, 0, 1, 0])
    """

    left: NDArray[np.int32]
    right: NDArray[np.int32]
    same: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, which: slice | NDArray[np.integer]) -> Pairs:
        return Pairs(self.left[which], self.right[which], self.same[which])


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

    Do not read a score on these pairs as a score on the data: they are a thin, correlated sample
    (Fashion-MNIST: 119,980 of 1.8 · 10⁹ training pairs) in which each image meets its neighbour
    in the file.

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
    """Draw a same and a different pair for each image that has a partner.

    Any classes of any sizes will do: a random other image of the class, then a random image of the
    other classes.
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
    right = np.stack([order[within], order[beyond % len(values)]], axis=1).ravel()
    same = np.tile([True, False], len(chosen))
    return Pairs(np.repeat(chosen, 2).astype(np.int32), right.astype(np.int32), same)


PADDING = -1


def shuffled_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Cut a random order of `count` items into batches.

    Returns:
        Item indices of shape (⌈count / batch_size⌉, min(batch_size, count)), int32. Each item
        occurs once; the last row ends in `PADDING` (−1) where the count does not divide.
    """
    if count < 1 or batch_size < 1:
        raise DataError(
            "Expected at least 1 item and a batch of at least 1. "
            f"Received {count} items and a batch of {batch_size}."
        )
    # Two words: (seed, epoch) never meets (seed + 1, epoch − 1), as seed + epoch would.
    order = np.random.default_rng([seed, epoch]).permutation(count).astype(np.int32)
    width = min(batch_size, count)
    steps = -(-count // width)
    padded = np.full(steps * width, PADDING, np.int32)
    padded[:count] = order
    return padded.reshape(steps, width)


def class_batches(
    labels: NDArray[np.integer],
    batch_size: int,
    *,
    per_class: int = 0,
    seed: int,
    epoch: int,
) -> NDArray[np.int32]:
    """Draw batches of m images of each of k classes, so that every image has partners.

    Classes take turns in a random order, and so do the images of each class: none comes again
    before all others of its class have come. Each epoch begins anew. With k = all classes of
    equal size an epoch visits every image once, up to the remainder; where sizes differ, images
    of small classes come more often, and classes count alike.

    A class of one image takes no part: it has no partner. With `per_class` = m, a class of fewer
    images comes with all it has, some of them again; 0, the default: k = as many classes as leave
    m at 4 or more, and m = batch_size // k.

    Returns:
        Positions of shape (steps, k · m), int32; steps = max(1, n // (k · m)). In a row, the
        images of a class are neighbours.
    """
    order = np.argsort(labels, kind="stable").astype(np.int32)
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    starts, counts = starts[counts > 1], counts[counts > 1]
    if not len(counts):
        raise DataError("Expected a class of two images or more. Received none.")
    m = per_class or max(2, batch_size // min(len(counts), max(1, batch_size // 4)))
    k = min(len(counts), batch_size // m)
    if m < 2 or k < 1:
        raise DataError(
            "Expected batches that hold two images of a class or more. Received a batch of "
            f"{batch_size} with {m} images per class."
        )
    steps = max(1, int(counts.sum()) // (k * m))
    # the third word: other draws than those of `shuffled_batches`
    rng = np.random.default_rng([seed, epoch, 1])
    turns = _shuffled_rounds(rng, np.arange(len(counts)), steps * k, apart=k).reshape(steps, k)
    turns.sort(axis=1)
    rows = np.empty((steps * k, m), np.int32)
    places = np.split(
        np.argsort(turns.ravel(), kind="stable"),
        np.cumsum(np.bincount(turns.ravel(), minlength=len(counts)))[:-1],
    )
    for start, count, mine in zip(starts, counts, places, strict=True):
        images, times = order[start : start + count], -(-m // count)
        if times > 1:  # each batch needs all of them, and some again
            drawn = rng.permuted(np.tile(images, (len(mine) * times, 1)), axis=1)
            rows[mine] = drawn.reshape(len(mine), times * count)[:, :m]
        else:
            drawn = _shuffled_rounds(rng, images, len(mine) * m, apart=m)
            rows[mine] = drawn.reshape(-1, m)
    return rows.reshape(steps, k * m)


def _shuffled_rounds(
    rng: np.random.Generator, items: NDArray[Any], count: int, *, apart: int
) -> NDArray[Any]:
    """Draw `count` items in rounds; windows of `apart` that begin at its multiples repeat none."""
    rounds = -(-count // len(items)) if count else 0
    drawn = rng.permuted(np.tile(items, (rounds, 1)), axis=1)
    for i in range(1, rounds):
        # a window over the seam of two rounds must not meet an item of the old one again
        seam = i * len(items) % apart
        if seam:
            recent = drawn[i - 1, len(items) - seam :]
            again = np.isin(drawn[i], recent)
            drawn[i] = np.concatenate([drawn[i][~again], drawn[i][again]])
    return drawn.ravel()[:count]
