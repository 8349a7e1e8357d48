"""Pairs of which no two share an image, so that each is a piece of evidence of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError


def disjoint_pairs(
    labels: ArrayLike, *, seed: int, count: int | None = None
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]:
    """Draw pairs that share no image, half of them same, half different.

    Same pairs are spread over the classes by size. The other images meet at random; where two of
    one class meet, one is exchanged with a random pair's. All is a function of the seed.

    Args:
        labels: integers of shape (n,).
        seed: of the draw.
        count: number of pairs, even. Defaults to as many as this scheme finds: n / 2 where the
            classes are balanced, fewer where one class has most images.

    Returns:
        Positions `left` and `right`, int32, and `same`, bool, of shape (count,); same pairs first.

    Raises:
        DataError: the count is odd, below 2, or more than there are.

    Example:
        >>> left, right, same = disjoint_pairs([0, 0, 0, 0, 1, 1, 1, 1], seed=0)
        >>> same.tolist(), sorted([*left.tolist(), *right.tolist()])
        ([True, True, False, False], [0, 1, 2, 3, 4, 5, 6, 7])
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise DataError(f"Expected labels of shape (n,). Received shape {values.shape}.")
    if count is not None and (count < 2 or count % 2):
        raise DataError(f"Expected an even count of at least 2 pairs. Received {count}.")
    rng = np.random.default_rng(seed)
    codes = np.unique(values, return_inverse=True)[1]
    sizes = np.bincount(codes)
    order = rng.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]  # by class, random within
    whole = _rank(codes[order]) < (sizes - sizes % 2)[codes[order]]
    couples = order[whole].reshape(-1, 2)
    chosen = _share_out(codes[couples[:, 0]], sizes, count, rng)
    if chosen is None:
        raise DataError(
            f"Expected images for {count or 2} pairs that share none, half same, half different. "
            f"Received {len(codes)} images of {len(sizes)} classes: ask for fewer pairs."
        )
    positives = couples[chosen]  # (half, 2)
    others = rng.permutation(np.setdiff1d(order, positives))
    negatives = _different_pairs(others, codes, len(chosen), rng)  # (half, 2)
    left, right = np.concatenate([positives, negatives]).T.astype(np.int32)
    return left, right, np.repeat([True, False], len(chosen))


def _rank(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the items of each class from 0, in their order."""
    order = np.argsort(codes, kind="stable")
    ranks = np.empty(len(codes), np.int64)
    ranks[order] = np.arange(len(codes)) - np.searchsorted(codes[order], codes[order])
    return ranks


def _share_out(
    kinds: NDArray[np.int64], sizes: NDArray[np.int64], count: int | None, rng: np.random.Generator
) -> NDArray[np.int64] | None:
    """Choose same pairs, of these kinds, so that enough images of many classes are left."""
    # More starts than one: rounding may take the last images of a small class.
    starts = rng.permutation(len(kinds))[:8]
    # A different pair holds at most one image of the largest class.
    others = sizes.sum() - sizes.max(initial=0)
    for half in range(min(len(kinds), sizes.sum() // 4, others), 0, -1):
        for start in starts if count in (None, 2 * half) else ():
            # evenly spaced in the order of the classes: each gives its share
            chosen: NDArray[np.int64] = (np.arange(half) * len(kinds) + start) // half
            spare = sizes - 2 * np.bincount(kinds[chosen], minlength=len(sizes))
            if np.minimum(spare, half).sum() >= 2 * half:
                return chosen
    return None


def _different_pairs(
    images: NDArray[np.int64], codes: NDArray[np.int64], half: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Pair off 2 · half of the images, in their order, each with one of another class."""
    # with more than `half` of one class, two of it would have to meet
    chosen = images[_rank(codes[images]) < half][: 2 * half]
    pairs = chosen.reshape(half, 2)
    kinds = codes[pairs]
    for i in np.flatnonzero(kinds[:, 0] == kinds[:, 1]):
        own = kinds[i, 0]
        if own == kinds[i, 1]:  # not yet exchanged for another's sake
            # there is one: else each pair held one of this class, and this pair two
            j = rng.choice(np.flatnonzero((kinds != own).all(axis=1)))
            for table in (pairs, kinds):
                table[[i, j], 1] = table[[j, i], 1]
    return pairs
