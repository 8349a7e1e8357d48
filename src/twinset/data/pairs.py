"""Which images make a pair: positions, never pixels."""

from __future__ import annotations

import random
from dataclasses import dataclass
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


def _positions(values: Any) -> NDArray[Any]:
    found = np.asarray(values)
    if found.size and (found.dtype.kind not in "iu" or found.min() < 0):
        raise DataError(
            "Expected positions of images, whole numbers from 0. "
            f"Received {found.dtype} from {found.min()}."
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
    """Draw a same and a different pair for each image with a partner, of classes of any sizes."""
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
