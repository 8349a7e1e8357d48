"""The nearest of many vectors, exactly, in bounded memory: no index, nothing but products."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from twinset.search.hits import Found, Hits, gather
from twinset.search.scan import Scan

# Queries of a scan: its tile of keys (1024 × 512, 2 MB) stays near one core.
BLOCK = 512
_ROWS = 4096


class Matrix:
    """Vectors to search in, and their squared lengths, measured once.

    Args:
        vectors: finite float32 of shape (n, d), such as a memory map; never copied whole.
        dead: ascending positions that no search finds. Defaults to none.

    Example:
        >>> import numpy as np
        >>> matrix = Matrix(np.float32([[0, 0], [3, 4], [6, 8], [0, 1]]), dead=[3])
        >>> positions, far = matrix.search(np.float32([[0, 0]]), k=2).of(0)
        >>> positions.tolist(), far.tolist()
        ([0, 1], [0.0, 5.0])
    """

    def __init__(
        self, vectors: NDArray[np.float32], dead: Sequence[int] | NDArray[np.int64] = ()
    ) -> None:
        self.vectors = vectors
        self.dead = np.asarray(dead, np.int64)
        self.centre = _centre(vectors)
        # ‖b‖² of each vector, infinite for the dead: no bound reaches them
        self.squares = np.empty(0, np.float32)
        self.longest = 0.0
        self._measure()

    def __len__(self) -> int:
        return len(self.vectors)

    def follow(self, vectors: NDArray[np.float32], dead: NDArray[np.int64]) -> Matrix:
        """Return what this matrix became: what was measured is not measured again.

        Args:
            vectors: these vectors, and perhaps others behind them.
            dead: these positions, and perhaps others.
        """
        new = object.__new__(Matrix)
        new.vectors, new.dead, new.centre = vectors, dead, self.centre
        new.squares, new.longest = self.squares, self.longest
        new._measure()
        return new

    def search(
        self,
        queries: NDArray[np.float32],
        *,
        k: int | None = 10,
        within: float | None = None,
        rows: NDArray[np.int64] | None = None,
    ) -> Hits:
        """Find the nearest vectors of each query.

        The same answer as a loop over `distance.euclidean`, to the last bit; see `scan.Scan`.
        Memory: some tens of MB for each thread, one number for each vector, and the answer.

        Args:
            queries: finite float32 of shape (q, d).
            k: at most so many for each; None for all that are within. Defaults to 10.
            within: the largest distance that counts; None for any. Defaults to None.
            rows: ascending positions to search among. Defaults to all.
        """
        n = len(self) if rows is None else len(rows)
        if not n or not len(queries):
            return gather([], len(queries), k, within)
        wanted = None if k is None or k >= n else k

        def scan(block: slice) -> Found:
            return Scan(self, queries, block, wanted, within, rows).found()

        if len(queries) == 1:
            # One thread: a second, where the machine is busy, comes late, and is waited for.
            return gather([scan(slice(0, 1))], 1, k, within)
        threads = cores()
        # A large k needs room for each query's bests: fewer queries at a time.
        largest = min(BLOCK, max(1, 2**20 // (wanted or n)))
        count = threads * -(-len(queries) // (largest * threads))
        size = -(-len(queries) // count)
        blocks = [slice(start, start + size) for start in range(0, len(queries), size)]
        with one_blas_thread(), ThreadPoolExecutor(threads) as pool:
            found = list(pool.map(scan, blocks))
        return gather(found, len(queries), k, within)

    def slack(self, squares: NDArray[np.float64] | float) -> Any:
        """Bound the error of a d² that is computed from a key, against that of the formula.

        With u = 2⁻²⁴ and M the longest row squared: 2d + 14 u M for products and squares, 8 u M
        for centring, 4d + 12 u M for the sum of squared differences; and what is too small for
        float32 is lost.

        Args:
            squares: ‖a‖² of centred queries.

        Returns:
            A bound for each.
        """
        terms = 6 * self.vectors.shape[1] + 40
        return terms * (2.0**-24 * np.maximum(squares, self.longest) + 2.0**-125)

    def _measure(self) -> None:
        known = len(self.squares)
        squares = np.concatenate([self.squares, np.empty(len(self) - known, np.float32)])
        for start in range(known, len(self), _ROWS):
            part = self.vectors[start : start + _ROWS]
            if self.centre is not None:
                part = part - self.centre
            squares[start : start + len(part)] = np.einsum("nd,nd->n", part, part)
        if known < len(self):
            self.longest = max(self.longest, float(squares[known:].max()))
        squares[self.dead] = np.inf
        self.squares = squares


def _centre(vectors: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Find where the vectors are, if that is far from 0 for their spread; None if near.

    The products of long vectors that lie close together cancel; after centring they do not. Any
    centre near them serves: distances do not depend on it. Vectors around 0, such as those of
    unit length, need no centring, which would cost a copy of each tile.
    """
    if not len(vectors):
        return None
    sample = vectors[:: max(1, len(vectors) // 1024)].astype(np.float64)
    mean = sample.mean(axis=0)
    spread = np.square(sample - mean).sum(axis=1).mean()
    if (mean**2).sum() <= 16 * spread:
        return None
    centre: NDArray[np.float32] = mean.astype(np.float32)
    return centre


@cache
def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, where the threads are ours.

    Its own would wait for one another at each of many small products, and for long where the
    machine is busy.
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> Any:
    return ThreadpoolController()  # looks through all loaded libraries: 1 ms
