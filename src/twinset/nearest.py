"""The nearest of many vectors, exactly, in bounded memory: the one kernel of all rooms.

    hits = Matrix(vectors).search(queries, k=10)
    positions, distances = hits.of(0)  # nearest first, equal distances by position

Distances are those of a loop over `distance.euclidean`, to the last bit: in float32 for search, and
in float64 with `Matrix(vectors, precise=True)`, as metrics want them. Rows of whole numbers up to
2²⁴ then have exact distances, so that ties are ties whatever the BLAS. Cosines are d² of rows of
length 1: cos = 1 − d²/2. An item is left out of its own answer by asking for k + 1.

Not for full rankings, which need every key and not the few below a bound, nor for all pairs within
a radius, where half of the products are enough (`search.groups`, `data.checks.near_duplicates`).
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import OpenBLASController, ThreadpoolController

from twinset import distance
from twinset.cores import cores, in_order

Vectors = NDArray[np.float32]
Positions = NDArray[np.int64]

# Pairs whose differences are held at a time.
CHUNK = 8192
# Queries of a scan: its tile of keys (1024 × 512, 2 MB) stays near one core.
BLOCK = 512
_ROWS = 4096


class Matrix:
    """Vectors to search in, and their squared lengths, measured once."""

    def __init__(
        self,
        vectors: Vectors,  # finite (n, d), such as a memory map; never copied whole
        dead: Sequence[int] | Positions = (),  # ascending positions that no search finds
        *,
        precise: bool = False,  # whether distances are float64, as the vectors are not
    ) -> None:
        self.vectors = vectors
        self.precise = precise
        self.dead = np.asarray(dead, np.int64)
        self.centre = _centre(vectors)
        # ‖b‖² of each vector, infinite for the dead: no bound reaches them
        self.squares = np.empty(0, np.float32)
        self.longest = 0.0
        self._measure()

    def __len__(self) -> int:
        return len(self.vectors)

    def follow(self, vectors: Vectors, dead: Positions) -> Matrix:
        """Return what this matrix became, with more vectors behind these and more dead."""
        new = copy.copy(self)  # what was measured is not measured again
        new.vectors, new.dead = vectors, dead
        new._measure()
        return new

    def search(
        self,
        queries: Vectors,  # finite, (q, d)
        *,
        k: int | None = 10,  # at most so many for each; None for all that are within
        within: float | None = None,  # the largest distance that counts; None for any
        rows: Positions | None = None,  # ascending positions to search among; None for all
    ) -> Hits:
        """Find the nearest vectors of each query.

        Memory: some tens of MB for each thread, one number for each vector, and the answer.
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
            found = list(in_order(pool, scan, blocks))
        return gather(found, len(queries), k, within)

    def slack(self, squares: NDArray[np.float64] | float) -> Any:
        """Bound the error of a d² that comes from a key; `squares` are ‖a‖² of centred queries."""
        # With u = 2⁻²⁴ and M the longest row squared: 2d + 14 u M for products and squares, 8 u M
        # for centring, 4d + 12 u M for the formula's own sum of squared differences (less where
        # that is precise); and what is too small for float32 is lost.
        terms = 6 * self.vectors.shape[1] + 40
        return terms * (2.0**-24 * np.maximum(squares, self.longest) + 2.0**-125)

    def measured(self, queries: Vectors, of: Positions, positions: Positions) -> Found:
        """Measure pairs of query `of[i]` and vector `positions[i]` by their differences."""
        # exactly 0 for equal rows, which a product is not
        kind = np.float64 if self.precise else np.float32
        far: NDArray[np.floating] = np.empty(len(of), kind)
        for start in range(0, len(of), CHUNK):
            part = slice(start, start + CHUNK)
            rows = queries[of[part]].astype(kind, copy=False)
            far[part] = distance.euclidean(rows, self.vectors[positions[part]])
        return Found(of, positions, far)

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


def _centre(vectors: Vectors) -> Vectors | None:
    # The products of long vectors that lie close together cancel; after centring they do not. Any
    # centre near them serves: distances do not depend on it. Vectors around 0, such as those of
    # unit length, need no centring, which would cost a copy of each tile.
    if not len(vectors):
        return None
    sample = vectors[:: max(1, len(vectors) // 1024)].astype(np.float64)
    mean = sample.mean(axis=0)
    spread = np.square(sample - mean).sum(axis=1).mean()
    if (mean**2).sum() <= 16 * spread:
        return None
    centre: Vectors = mean.astype(np.float32)
    return centre


# --- What is found: pairs of a query and a vector, and their distances.


@dataclass(frozen=True, eq=False)
class Hits:
    """The answers to q queries: that of query i lies at `starts[i]:starts[i + 1]`."""

    starts: Positions  # (q + 1,), ascending from 0
    positions: Positions  # of the vectors, nearest first for each query; ties by position
    distances: NDArray[np.floating]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, query: int) -> tuple[Positions, NDArray[np.floating]]:
        """Return positions and distances of one query."""
        part = slice(self.starts[query], self.starts[query + 1])
        return self.positions[part], self.distances[part]


@dataclass(frozen=True, eq=False)
class Found:
    """Pairs of a query and a vector that may be an answer, with their distance, in any order."""

    queries: Positions
    positions: Positions
    distances: NDArray[np.floating]

    def nearest(self, k: int | None, within: float | None) -> Found:
        """Order by query, distance and position, and leave out what no answer can hold."""
        order = np.lexsort((self.positions, self.distances, self.queries))
        if within is not None:
            # as numbers of Python compare, and not with the limit rounded to float32
            order = order[self.distances[order].astype(np.float64) <= within]
        if k is not None:
            order = order[rank_in_group(self.queries[order]) < k]
        return Found(self.queries[order], self.positions[order], self.distances[order])


def gather(parts: Sequence[Found], queries: int, k: int | None, within: float | None) -> Hits:
    """Make the answers out of what was found in parts of the vectors or of the queries."""
    found = _joined(parts).nearest(k, within)
    starts = np.searchsorted(found.queries, np.arange(queries + 1))
    return Hits(starts.astype(np.int64), found.positions, found.distances)


def rank_in_group(groups: Positions) -> Positions:
    """Count, for each of ascending numbers, how many equal ones are before it."""
    ranks: Positions = np.arange(len(groups)) - np.searchsorted(groups, groups)
    return ranks


def _joined(parts: Sequence[Found]) -> Found:
    nothing = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    columns = [(part.queries, part.positions, part.distances) for part in parts]
    return Found(*(np.concatenate(each) for each in zip(nothing, *columns, strict=True)))


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

_LARGEST = np.float32(np.finfo(np.float32).max)


class Scan:
    """A search for the k nearest vectors of a block of b queries, k fewer than there are vectors.

    ‖a − b‖² = ‖a‖² + (‖b‖² − 2 a·b): one matrix product gives the keys, in brackets, of a tile of
    vectors. Nearly all are compared once, with their query's bound, and never looked at again: the
    bound is at first the k-th best of a sample, and falls as better ones are found.

    Rounding moves a key by no more than `slack`. So all whose key is within twice that of the k-th
    best are measured by differences, and these distances decide.
    """

    def __init__(
        self,
        matrix: Matrix,
        queries: Vectors,
        of: slice,
        k: int | None,
        within: float | None,
        rows: Positions | None,
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
        # number in the block, row of the scan, and the key in the place of the distance
        self._fresh: list[Found] = []
        self._kept = _joined([])  # whose keys the bests know
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
            self._fresh.append(Found(of, rows + start, tile.ravel()[flat]))
            if sum(len(each.queries) for each in self._fresh) > self._worth_merging:
                self._tighten()
            if len(self._kept.queries) > PENDING:
                settled.append(self._settle())
        self._tighten()
        settled.append(self._settle())
        return _joined(settled)

    def _height(self) -> int:
        height: int = max(TILE_ROWS, TILE_KEYS // len(self._bound))
        if self._rows is None and self._matrix.centre is None:
            return height
        # here the vectors of a tile are copied
        dim: int = self._matrix.vectors.shape[1]
        return min(height, max(TILE_ROWS, COPIED // dim))

    def _keys(self, part: slice, out: Vectors) -> Vectors:
        # ‖b‖² − 2 a·b of some vectors b, a row each, for all queries
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

    def _bound_by(self, keys: Vectors, k: int) -> None:
        # The k-th best key of some vectors, spread over all, is no lower than that of all. The k
        # smallest of the minima of groups belong to k different vectors.
        share = len(keys) // max(GROUPS, 8 * k)
        if share > 1:
            keys = keys[: len(keys) // share * share].reshape(share, -1, keys.shape[1]).min(axis=0)
        if len(keys) >= k:
            self._lower(np.partition(keys.T, k - 1, axis=1)[:, k - 1])

    def _lower(self, kth: Vectors) -> None:
        with np.errstate(over="ignore"):
            bound = np.nextafter(kth + self._two_slacks, np.inf)
        self._bound = np.minimum(self._bound, bound)

    def _tighten(self) -> None:
        # to the k-th best key so far: candidates above are let go
        fresh = _joined(self._fresh)
        if self._k is not None:
            new = fresh.nearest(self._k, None)
            best = np.full(self._best.shape, np.inf, np.float32)
            best[new.queries, rank_in_group(new.queries)] = new.distances
            both = np.concatenate([self._best, best], axis=1)
            self._best = np.partition(both, self._k - 1, axis=1)[:, : self._k]
            self._lower(self._best.max(axis=1))
        every = _joined([self._kept, fresh])
        still = every.distances <= self._bound[every.queries]
        self._kept = Found(every.queries[still], every.positions[still], every.distances[still])
        self._fresh = []

    def _settle(self) -> Found:
        kept, self._kept = self._kept, _joined([])
        positions = kept.positions if self._rows is None else self._rows[kept.positions]
        found = self._matrix.measured(self._queries, kept.queries + self._of.start, positions)
        return found.nearest(self._k, self._within)


# --- How many threads compute: ours, or those of BLAS.

_lock = threading.Lock()
# Of the searches under way, and of one more: what the first found, which the last restores.
_limits: list[Any] = []
_libraries = cache(ThreadpoolController)  # looks through all loaded libraries: 1 ms


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, where the threads are ours."""
    # Its own would wait for one another at each of many small products, and for long where the
    # machine is busy. Most libraries have one number for the process: of two searches that overlap,
    # the second would restore what the first had set, and leave BLAS with one thread for good.
    with _lock:
        own = _libraries().limit(limits=1, user_api="blas")
        _limits.extend([own] if _limits else [own, own])
    try:
        yield
    finally:
        with _lock:
            own.restore_original_limits()
            _limits.pop()
            if len(_limits) == 1:
                # threadpoolctl from 3.7 on heeds only the thread that set a limit first, and
                # ignores all others without a word
                let_go = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
                let_go(force=True)
                _limits.pop().restore_original_limits()
                let_go(force=True)
