"""Which items show the same picture: by their pixels, whatever a model says, and mirrored too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twinset.data.cache import decode_batches
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource, picture_of
from twinset.errors import DataError

# All that is compared are thumbnails of 32 pixels; stretched, as copies have one shape.
_SMALL = Preprocessing((32, 32, 3), "stretch")


def same_pictures(metadata: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Find pairs of items whose images are copies or near copies, the most alike first."""
    # here, as a server that never looks for copies need not load SciPy
    from twinset.data.checks.near_duplicates import LEAST_SIDE, find_duplicates

    found = [
        (at, source)
        for at, each in enumerate(metadata)
        if (source := picture_of(each)) and _shorter_side(source) >= LEAST_SIDE
    ]
    batches = list(decode_batches([source for _, source in found], _SMALL))
    if not batches or not sum(len(batch.pixels) for batch in batches):
        return []
    pixels = np.concatenate([batch.pixels for batch in batches])
    items = [found[row][0] for batch in batches for row in batch.positions]
    n = len(items)
    plain = find_duplicates(pixels)
    # a second pass, as a mirror would pass for the typical look-alike that the threshold is from
    mirrored = np.concatenate([pixels, pixels[:, :, ::-1]])
    turned = find_duplicates(mirrored, threshold=plain.threshold)
    pairs = [*plain.pairs.tolist(), *(pair for pair in turned.pairs.tolist() if pair[1] >= n)]
    # an image of one colour is a copy of any other of that colour, which says nothing
    return [
        (items[left], items[right % n])
        for left, right in pairs
        if left % n != right % n and left < n and not plain.constant[left]
    ]


def _shorter_side(source: ImageSource) -> int:
    try:
        return min(source.probe()[:2])
    except DataError:  # the file is gone since
        return 0
