"""`Gallery`: the references of an index by identity; who is nearest, exactly, by a short list."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinset.metrics.joining import join, spreads
from twinset.nearest import Matrix
from twinset.search.checked import Scalar, kind
from twinset.search.store import Store
from twinset.search.where import Condition, holds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Distances of queries to references that are held at a time.
HELD = 2**21
_ROWS = 8192


@dataclass(frozen=True, eq=False)
class Ranking:
    """The identities nearest to one query, nearest first, and how far all are."""

    identities: Ints  # numbers of the k nearest, (k,)
    distances: Floats  # their joined distances, exact, (k,)
    references: Ints  # row of the nearest reference of each, (k,)
    nearest: Floats  # how far that is from the nearest image of the query, (k,)
    all: Floats  # joined distances of all m identities, those that are not listed to rounding, (m,)


@dataclass(frozen=True, eq=False)
class Gallery:
    """The n references of m identities, those of one together."""

    names: tuple[Scalar, ...]  # of the identities, in the order in which they were first put in
    ids: tuple[str, ...]  # of the references, (n,)
    matrix: Matrix  # their embeddings, (n, d)
    codes: Ints  # number of each reference's identity, ascending, (n,)

    @classmethod
    def read(cls, store: Store, column: str, where: tuple[Condition, ...] = ()) -> Gallery:
        """Read all items of a store that have a value in a column, and meet the conditions."""
        numbers: dict[tuple[str, Scalar], int] = {}
        ids, codes, parts = list[str](), list[int](), list[NDArray[np.float32]]()
        for batch in store.batches():
            kept = []
            for row, known in enumerate(batch.metadata):
                value = known.get(column)
                if value in (None, "") or not all(holds(each, known) for each in where):
                    continue
                kept.append(row)
                ids.append(batch.ids[row])
                # 1 and True are two identities, as they are two values everywhere
                codes.append(numbers.setdefault((kind(value), value), len(numbers)))
            parts.append(batch.vectors[kept])
        vectors = np.concatenate([np.empty((0, store.signature.dim), np.float32), *parts])
        order = np.argsort(codes, kind="stable")
        return cls(
            tuple(value for _, value in numbers),
            tuple(ids[row] for row in order.tolist()),
            Matrix(vectors[order]),
            np.array(codes, np.int64)[order],
        )

    @cached_property
    def sizes(self) -> Ints:
        """How many references each identity has, (m,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    @cached_property
    def spreads(self) -> Floats:
        """What "mean embedding" needs of each identity, (m,)."""
        return spreads(self.matrix.vectors, self.codes)

    def rank(
        self, queries: NDArray[np.float32], rule: str, k: int, *, together: bool = False
    ) -> Iterator[Ranking]:
        """Rank the identities for each query, or for all of them as one."""
        step = len(queries) if together else max(1, HELD // len(self.codes))
        for start in range(0, len(queries), step):
            part = queries[start : start + step]
            own = spreads(part, np.zeros(len(part), np.int64)) if together else np.zeros(1)
            apart, error = self._apart(part)
            rough = self._joined(apart[None] if together else apart, self.codes, rule, own)
            for row, each in enumerate(rough):
                images = part if together else part[row : row + 1]
                yield self._listed(images, rule, k, each, error, own)

    def _joined(self, apart: NDArray[np.floating], codes: Ints, rule: str, own: Floats) -> Floats:
        spread = self.spreads + own if rule == "mean embedding" else 0.0
        return join(apart, codes, rule, spread=spread)

    def _apart(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        # distances of queries to all references, and by how much each may be off
        matrix = self.matrix
        centred = queries if matrix.centre is None else queries - matrix.centre
        found = np.empty((len(queries), len(matrix)), np.float32)
        for start in range(0, len(matrix), _ROWS):
            rows = matrix.vectors[start : start + _ROWS]
            if matrix.centre is not None:
                rows = rows - matrix.centre
            part = found[:, start : start + len(rows)]
            if len(queries) == 1:  # reads memory faster than BLAS does
                np.einsum("nd,d->n", rows, centred[0], out=part[0])
            else:
                np.matmul(centred, rows.T, out=part)
        squares = np.einsum("qd,qd->q", centred, centred, dtype=np.float64)
        found *= -2
        found += matrix.squares
        found += squares.astype(np.float32)[:, None]
        np.sqrt(np.maximum(found, 0, out=found), out=found)
        # |√a − √b| ≤ √|a − b|; a key is rounded once more where ‖a‖² is added to it
        return found, float(np.sqrt(2 * matrix.slack(squares).max()))

    def _listed(
        self,
        images: NDArray[np.float32],
        rule: str,
        k: int,
        rough: Floats,
        error: float,
        own: Floats,
    ) -> Ranking:
        # No rule moves by more than the distances do. So whoever is among the k nearest is, as
        # roughly measured, no farther than the k-th by twice the error; these are measured exactly.
        kth = np.partition(rough, k - 1)[k - 1] if k < len(rough) else np.inf
        listed = np.flatnonzero(rough <= kth + 2 * error)
        starts = np.searchsorted(self.codes, listed)
        counts = self.sizes[listed]
        ends = np.cumsum(counts)
        rows = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
        of = np.repeat(np.arange(len(images)), len(rows))
        measured = self.matrix.measured(images, of, np.tile(rows, len(images)))
        apart = measured.distances.reshape(len(images), -1)
        codes = np.repeat(np.arange(len(listed)), counts)
        spread = self.spreads[listed] + own if rule == "mean embedding" else 0.0
        exact = join(apart[None], codes, rule, spread=spread)[0]
        everyone = rough.copy()
        everyone[listed] = exact
        order = np.argsort(exact, kind="stable")[:k]
        closest = apart.min(axis=0)
        at = [int(np.argmin(closest[ends[e] - counts[e] : ends[e]])) for e in order]
        rows_at = starts[order] + np.array(at, np.int64)
        nearest = closest[(ends - counts)[order] + np.array(at, np.int64)]
        return Ranking(listed[order], exact[order], rows_at, nearest.astype(float), everyone)
