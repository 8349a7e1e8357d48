"""Images decoded in parallel, a batch at a time, for whoever needs each one once."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.features import VectorInput
from twinset.data.image_sources import ImageSource, Skipped
from twinset.errors import DataError

BATCH = 1024
BATCH_BYTES = 32 * 2**20  # twice: one batch is in use while the next is decoded
CHUNK = 16


@dataclass(frozen=True, eq=False)
class Batch:
    """Neighbours of a list of images, decoded.

    Args:
        positions: which of the list could be read, (m,).
        pixels: of these, uint8 of shape (m, *shape).
        skipped: position → what could not be read, with the reason.
    """

    positions: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    skipped: dict[int, Skipped]


def decode_batches(
    sources: Sequence[ImageSource],
    preprocessing: Preprocessing | VectorInput,
    *,
    size: int | None = None,
    workers: int | None = None,
) -> Iterator[Batch]:
    """Decode images in their order; the next batch is under way while one is used.

    Nothing is kept on disk: `decode_all` does that, for who comes back to the same images.
    """
    room = BATCH_BYTES // math.prod(preprocessing.shape)
    per_batch = size or max(CHUNK, min(BATCH, room))

    def work(positions: range) -> list[NDArray[np.uint8] | str]:
        return [_decoded(sources[position], preprocessing) for position in positions]

    def begin(start: int) -> list[Future[list[NDArray[np.uint8] | str]]]:
        end = min(start + per_batch, len(sources))
        chunks = (range(first, min(first + CHUNK, end)) for first in range(start, end, CHUNK))
        return [pool.submit(work, chunk) for chunk in chunks]

    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="decode")
    try:
        ahead = begin(0)
        for start in range(0, len(sources), per_batch):
            current, ahead = ahead, begin(start + per_batch)
            found = [one for future in current for one in future.result()]
            yield _batch(start, found, sources, preprocessing.shape)
    finally:
        # after Ctrl-C the chunks in hand are finished, and no other is begun
        pool.shutdown(cancel_futures=True)


def _decoded(
    source: ImageSource, preprocessing: Preprocessing | VectorInput
) -> NDArray[np.uint8] | str:
    try:
        return preprocessing.pixels(source.encoded())
    except DataError as error:
        return str(error)


def _batch(
    start: int,
    found: Sequence[NDArray[np.uint8] | str],
    sources: Sequence[ImageSource],
    shape: tuple[int, ...],
) -> Batch:
    good = [place for place, one in enumerate(found) if not isinstance(one, str)]
    pixels = np.empty((len(good), *shape), np.uint8)
    for row, place in enumerate(good):
        pixels[row] = found[place]
    skipped = {
        start + place: Skipped(sources[start + place].name, one)
        for place, one in enumerate(found)
        if isinstance(one, str)
    }
    return Batch(start + np.array(good, np.int64), pixels, skipped)
