"""Brings images to the device: all of them once, or a few steps ahead where there are too many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from twinset.embed.tasks import Batches

# Kept whole on the device up to here; a GPU says itself how much it has.
RESIDENT = 512 * 2**20
CHUNK = 32 * 2**20


@dataclass(frozen=True, eq=False)
class Fed:
    """A run of steps and the images that they need, on the device.

    Args:
        rows: pixels or vectors, (m, ...).
        positions: in `rows`, of each batch, (s, w).
        targets: (s, t).
        first: the step of the epoch that row 0 belongs to.
        steps: how many rows count.
    """

    rows: jax.Array
    positions: jax.Array
    targets: jax.Array
    first: int
    steps: int


class Feed:
    """Feeds epoch after epoch from one set of images or vectors.

    Args:
        rows: an array or `StoredPixels`.
        resident: bytes up to which all rows are kept on the device. Defaults to 512 MiB, or a
            quarter of an accelerator's memory.
        chunk: bytes of rows at a time, where they are not. Defaults to 32 MiB; about three
            times as much is in use.
    """

    def __init__(self, rows: Any, *, resident: int | None = None, chunk: int = CHUNK) -> None:
        limit = _resident() if resident is None else resident
        self._rows = rows
        self._chunk = chunk
        self._held = jnp.asarray(rows[:]) if rows.nbytes <= limit else None

    def epoch(self, batches: Batches, first: int = 0) -> Iterator[Fed]:
        """Feed the steps of an epoch.

        Args:
            batches: of the epoch.
            first: begin with this step. Defaults to 0.
        """
        steps, width = batches.positions.shape
        if self._held is not None:
            # whole epochs at every call: one shape, one compiled program
            positions, targets = jnp.asarray(batches.positions), jnp.asarray(batches.targets)
            yield Fed(self._held, positions, targets, 0, steps)
            return
        size = width * int(np.prod(self._rows.shape[1:])) * self._rows.dtype.itemsize
        length = max(1, min(steps, self._chunk // size))
        with ThreadPoolExecutor(1, thread_name_prefix="feed") as reader:
            ahead: Future[Any] = reader.submit(self._read, batches, first, length)
            while first < steps:
                gathered, targets = ahead.result()
                if first + length < steps:  # read the next while the device works on this
                    ahead = reader.submit(self._read, batches, first + length, length)
                yield Fed(
                    jnp.asarray(gathered),
                    jnp.arange(length * width, dtype=jnp.int32).reshape(length, width),
                    jnp.asarray(targets),
                    first,
                    min(length, steps - first),
                )
                first += length

    def _read(self, batches: Batches, first: int, length: int) -> tuple[Any, Any]:
        rows = batches.positions[first : first + length]
        targets = np.zeros((length, batches.targets.shape[1]), np.int32)
        targets[: len(rows)] = batches.targets[first : first + length]
        gathered = np.zeros((length * rows.shape[1], *self._rows.shape[1:]), self._rows.dtype)
        gathered[: rows.size] = self._rows[rows.ravel()]
        return gathered, targets


def _resident() -> int:
    device: Any = jax.devices()[0]
    stats: Callable[[], Any] = getattr(device, "memory_stats", lambda: None)
    limit = (stats() or {}).get("bytes_limit")
    return RESIDENT if limit is None else int(limit) // 4
