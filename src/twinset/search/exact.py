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

from twinset.search.hits import Found, Hits, gather, joined, measured, rank_in_group

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


# --- One pass over a matrix for a block of queries: products, bounds, few candidates.

# Keys of a tile, of at least so many rows.
TILE_KEYS = 2**19
TILE_ROWS = 1024
# Vectors of the sample that gives the first bound, and in how many groups they are.
SAMPLE = 2048
GROUPS = 128
# Numbers of a tile, where it is a copy.
COPIED = 2**21
# Candidates held at most before they are measured, which leaves k for each query.
PENDING = 2**20

_Candidates = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]
_LARGEST = np.float32(np.finfo(np.float32).max)


class Scan:
    """The search for the nearest vectors of a block of queries.

    ‖a − b‖² = ‖a‖² + (‖b‖² − 2 a·b): one matrix product gives the keys, in brackets, of a tile of
    vectors. Nearly all are compared once, with their query's bound, and never looked at again: the
    bound is at first the k-th best of a sample, and falls as better ones are found.

    Rounding moves a key by no more than `slack`. So all whose key is within twice that of the k-th
    best are measured by differences, and these distances decide.

    Args:
        matrix: the vectors.
        queries: all queries, (q, d).
        of: which of them are meant, b of them.
        k: nearest that are wanted, fewer than there are vectors; None for all that are within.
        within: the largest distance that counts; None for any.
        rows: ascending positions of the vectors to search among; None for all.
    """

    def __init__(
        self,
        matrix: Matrix,
        queries: NDArray[np.float32],
        of: slice,
        k: int | None,
        within: float | None,
        rows: NDArray[np.int64] | None,
    ) -> None:
        self._matrix = matrix
        self._queries = queries
        self._of = of
        self._k = k
        self._within = within
        self._rows = rows
        self._n = len(matrix) if rows is None else len(rows)
        block = queries[of] if matrix.centre is None else queries[of] - matrix.centre
        self._products = np.ascontiguousarray(-2 * block.T)  # (d, b)
        squares = np.einsum("bd,bd->b", block, block, dtype=np.float64)
        slack = matrix.slack(squares)
        self._two_slacks = (2 * slack).astype(np.float32)  # (b,)
        self._bound = np.full(len(block), _LARGEST)
        if within is not None:
            reach = within * within * (1 + 1e-6) - squares + slack
            limit = np.minimum(reach, float(_LARGEST)).astype(np.float32)
            self._bound = np.nextafter(limit, _LARGEST)
        self._best = np.full((len(block), k or 1), np.inf, np.float32)
        # columns: number in the block, row of the scan; and the key
        self._fresh: list[_Candidates] = []
        self._kept: list[_Candidates] = []  # whose keys the bests know
        self._worth_merging = max(4 * self._best.size, 1024) if k else PENDING

    def found(self) -> Found:
        """Scan, and measure what may be an answer: the k nearest of each query are among it."""
        b = len(self._bound)
        height = min(self._height(), self._n)
        keys = np.empty((height, b), np.float32)
        below = np.empty(keys.shape, bool)
        if self._k is not None and self._n > height:
            step = max(1, self._n // max(SAMPLE, 8 * self._k))
            sample = np.empty((-(-self._n // step), b), np.float32)
            self._bound_by(self._keys(slice(0, self._n, step), sample), self._k)
        settled: list[Found] = []
        for start in range(0, self._n, height):
            stop = min(start + height, self._n)
            tile = self._keys(slice(start, stop), keys[: stop - start])
            if self._k is not None and height == self._n:
                self._bound_by(tile, self._k)
            near = np.less_equal(tile, self._bound, out=below[: stop - start])
            flat = np.flatnonzero(near)
            if not flat.size:
                continue
            rows, of = np.divmod(flat, b)
            self._fresh.append((of, rows + start, tile.ravel()[flat]))
            if _count(self._fresh) > self._worth_merging:
                self._tighten()
            if _count(self._kept) > PENDING:
                settled.append(self._settle())
        self._tighten()
        settled.append(self._settle())
        return joined(settled)

    def _height(self) -> int:
        height: int = max(TILE_ROWS, TILE_KEYS // len(self._bound))
        if self._rows is None and self._matrix.centre is None:
            return height
        # here the vectors of a tile are copied
        dim: int = self._matrix.vectors.shape[1]
        return min(height, max(TILE_ROWS, COPIED // dim))

    def _keys(self, part: slice, out: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute ‖b‖² − 2 a·b of some vectors b, a row each, for all queries."""
        which = part if self._rows is None else self._rows[part]
        vectors = self._matrix.vectors[which]
        if self._matrix.centre is not None:
            vectors = vectors - self._matrix.centre
        if out.shape[1] == 1:  # reads memory faster than BLAS does
            np.einsum("nd,d->n", vectors, self._products[:, 0], out=out[:, 0])
        else:
            np.matmul(vectors, self._products, out=out)
        out += self._matrix.squares[which][:, None]
        return out

    def _bound_by(self, keys: NDArray[np.float32], k: int) -> None:
        """Bound the k-th best key from above by that of some vectors, spread over all.

        The k smallest of the minima of groups belong to k different vectors.
        """
        share = len(keys) // max(GROUPS, 8 * k)
        if share > 1:
            keys = keys[: len(keys) // share * share].reshape(share, -1, keys.shape[1]).min(axis=0)
        if len(keys) >= k:
            self._lower(np.partition(keys.T, k - 1, axis=1)[:, k - 1])

    def _lower(self, kth: NDArray[np.float32]) -> None:
        with np.errstate(over="ignore"):
            bound = np.nextafter(kth + self._two_slacks, np.inf)
        self._bound = np.minimum(self._bound, bound)

    def _tighten(self) -> None:
        """Lower the bounds to the k-th best key so far, and let go of candidates above them."""
        of, rows, keys = _joined(self._fresh)
        if self._k is not None:
            order = np.lexsort((keys, of))
            ranks = rank_in_group(of[order])
            order, ranks = order[ranks < self._k], ranks[ranks < self._k]
            new = np.full(self._best.shape, np.inf, np.float32)
            new[of[order], ranks] = keys[order]
            both = np.concatenate([self._best, new], axis=1)
            self._best = np.partition(both, self._k - 1, axis=1)[:, : self._k]
            self._lower(self._best.max(axis=1))
        of, rows, keys = _joined([*self._kept, (of, rows, keys)])
        still = keys <= self._bound[of]
        self._fresh, self._kept = [], [(of[still], rows[still], keys[still])]

    def _settle(self) -> Found:
        """Measure the candidates, and keep those that may be answers."""
        of, rows, _ = _joined(self._kept)
        self._kept = []
        positions = rows if self._rows is None else self._rows[rows]
        found = measured(self._matrix.vectors, self._queries, of + self._of.start, positions)
        return found.nearest(self._k, self._within)


def _count(candidates: list[_Candidates]) -> int:
    return sum(len(of) for of, _, _ in candidates)


def _joined(candidates: list[_Candidates]) -> _Candidates:
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    of, rows, keys = (np.concatenate(parts) for parts in zip(nothing, *candidates, strict=True))
    return of, rows, keys
