"""Which indices make a batch: a pure function of seed and epoch, so any process can draw it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError

PADDING = -1


def shuffled_batches(count: int, batch_size: int, *, seed: int, epoch: int) -> NDArray[np.int32]:
    """Cut a random order of `count` items into batches.

    Args:
        count: number of items, at least 1.
        batch_size: items per batch, at least 1.
        seed: of the run.
        epoch: counted from 0; each epoch has its own order.

    Returns:
        Item indices of shape (⌈count / batch_size⌉, min(batch_size, count)), int32. Each item
        occurs once; the last row ends in `PADDING` (−1) where the count does not divide.

    Raises:
        DataError: nothing to draw from.

    Example:
        >>> batches = shuffled_batches(5, 2, seed=0, epoch=0)
        >>> batches.shape, int(batches[-1, -1]), sorted(batches.ravel().tolist())
        ((3, 2), -1, [-1, 0, 1, 2, 3, 4])
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
