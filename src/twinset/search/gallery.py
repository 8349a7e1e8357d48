"""The references of an index by identity; who is nearest, exactly, by a short list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.metrics.trials import join, joined, spreads
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
    def starts(self) -> Ints:
        """Where the references of each identity begin, (m,)."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def spreads(self) -> Floats:
        """What "mean embedding" needs of each identity, (m,)."""
        return spreads(self.matrix.vectors, self.codes)

    def like(self, other: Gallery) -> Gallery:
        """Return this one with its references in the order of another's, which has the same."""
        row = {own: at for at, own in enumerate(self.ids)}
        missing = [own for own in other.ids if own not in row]
        if missing or len(row) != len(other.ids):
            raise StoreError(
                "Expected two indexes of the same items, made by two models. Received one with "
                f"{len(other.ids):,} references and one with {len(row):,}, of which "
                f"{len(other.ids) - len(missing):,} are in both: index the same images with both."
            )
        order = [row[own] for own in other.ids]
        return Gallery(other.names, other.ids, Matrix(self.matrix.vectors[order]), other.codes)

    def apart(self, queries: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
        """Measure queries against all references, and bound by how much a distance may be off."""
        matrix = self.matrix
        centred = queries if matrix.centre is None else queries - matrix.centre
        found = np.empty((len(queries), len(matrix)), np.float32)
        step = len(matrix) if matrix.centre is None else _ROWS  # rows that are moved are copied
        for start in range(0, len(matrix), step):
            rows = matrix.vectors[start : start + step]
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


@dataclass(frozen=True, eq=False)
class View:
    """A gallery as one model sees it, and queries as it sees them."""

    gallery: Gallery
    rule: str  # how distances to several references are joined
    queries: NDArray[np.float32]  # (q, d)
    share: float = 1.0  # of the joined distance; those of all views sum to 1

    def part(self, of: slice) -> View:
        """Return some of the queries."""
        return View(self.gallery, self.rule, self.queries[of], self.share)

    def joined(
        self, apart: NDArray[np.floating], codes: Ints, which: Ints | slice, together: bool
    ) -> Floats:
        """Join distances of (q, c) to some identities, times the share: (q, m), or (1, m)."""
        spread: Floats | float = 0.0
        if self.rule == "mean embedding":
            one = np.zeros(len(self.queries), np.int64)
            spread = self.gallery.spreads[which] + (spreads(self.queries, one) if together else 0.0)
        if together:
            return self.share * join(apart[None], codes, self.rule, spread=spread)
        # one query waits for this: of whom all are, nothing has to be found out
        return self.share * joined(apart, self.gallery.starts, self.rule, spread)


def rank(views: Sequence[View], k: int, *, together: bool = False) -> Iterator[Ranking]:
    """Rank the identities for each query, or for all of them as one.

    Galleries of several views hold the same references in the same order.
    """
    count, first = len(views[0].queries), views[0].gallery
    step = count if together else max(1, HELD // len(first.codes))
    for start in range(0, count, step):
        parts = [view.part(slice(start, start + step)) for view in views]
        rough, error = np.zeros((1, 1)), 0.0
        for part in parts:
            apart, off = part.gallery.apart(part.queries)
            rough = rough + part.joined(apart, first.codes, slice(None), together)
            error += part.share * off
        for row, each in enumerate(rough):
            own = slice(None) if together else slice(row, row + 1)
            yield _listed([part.part(own) for part in parts], k, each, error)


def _listed(views: Sequence[View], k: int, rough: Floats, error: float) -> Ranking:
    # No rule moves by more than the distances do. So whoever is among the k nearest is, as roughly
    # measured, no farther than the k-th by twice the error; these are measured exactly.
    kth = np.partition(rough, k - 1)[k - 1] if k < len(rough) else np.inf
    listed = np.flatnonzero(rough <= kth + 2 * error)
    first = views[0].gallery
    starts, counts = first.starts[listed], first.sizes[listed]
    ends = np.cumsum(counts)
    rows = np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)
    codes = np.repeat(np.arange(len(listed)), counts)
    exact, closest = np.zeros(len(listed)), np.empty(0)
    for view in reversed(views):  # the first last: which reference is nearest is for it to say
        images = len(view.queries)
        of = np.repeat(np.arange(images), len(rows))
        found = view.gallery.matrix.measured(view.queries, of, np.tile(rows, images))
        apart = found.distances.reshape(images, -1)
        exact = exact + view.joined(apart, codes, listed, True)[0]
        closest = apart.min(axis=0).astype(np.float64)
    everyone = rough.copy()
    everyone[listed] = exact
    order = np.argsort(exact, kind="stable")[:k]
    begins = ends - counts
    at = np.array([begins[e] + np.argmin(closest[begins[e] : ends[e]]) for e in order], np.int64)
    return Ranking(listed[order], exact[order], rows[at], closest[at], everyone)
