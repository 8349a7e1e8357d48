"""Which images make a batch, in each epoch: index arrays, never pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError

PADDING = -1


def shuffled_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Cut a random order of `count` items into batches, (steps, b), each item in one of them.

    The last row ends in `PADDING` (−1) where the count does not divide.
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
    labels: NDArray[np.integer], batch_size: int, *, per_class: int = 0, seed: int, epoch: int
) -> NDArray[np.int32]:
    """Draw batches of m images of each of k classes, so that every image has partners.

    Classes take turns in a random order, and so do the images of each class: none comes again
    before all others of its class have come. Each epoch begins anew. With k = all classes of
    equal size an epoch visits every image once, up to the remainder; where sizes differ, images
    of small classes come more often, and classes count alike.

    A class of one image takes no part: it has no partner. With `per_class` = m, a class of fewer
    images comes with all it has, some of them again; 0, the default: k = as many classes as leave
    m at 4 or more, and m = batch_size // k. Found are positions of shape (steps, k · m), in each
    row those of a class side by side, with steps = max(1, n // (k · m)).
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
