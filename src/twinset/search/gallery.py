"""The references of an index by identity: who is nearest, exactly, and how they are told apart."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinset.errors import StoreError
from twinset.metrics.fusion import fit_posterior
from twinset.metrics.measure import RULES
from twinset.metrics.open_set import choose_rule
from twinset.metrics.pairs import choose_threshold, curve_of_pairs, parse_rule
from twinset.metrics.trials import join, leave_out, spreads
from twinset.models.embedder import Embedder
from twinset.nearest import Matrix
from twinset.search.checked import Scalar, kind
from twinset.search.identification import IdentitySettings
from twinset.search.items import Since
from twinset.search.layers import Layers
from twinset.search.store import Store
from twinset.search.where import Condition, holds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Distances of queries to references that are held at a time.
HELD = 2**21
_ROWS = 8192
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Ranking:
    """The identities nearest to one query, nearest first, and how far all are."""

    identities: Ints  # numbers of the k nearest, (k,)
    distances: Floats  # their joined distances, exact, (k,)
    references: Ints  # row of the matrix of the nearest reference of each, (k,)
    nearest: Floats  # how far that is from the nearest image of the query, (k,)
    all: Floats  # joined distances of all m identities, those that are not listed to rounding, (m,)


class Gallery:
    """The n references of m identities, which follows the items that it was read from.

    Rows of the matrix keep their place while the gallery follows: new ones come behind, and those
    of items that were removed, or changed, are dead.
    """

    def __init__(
        self,
        version: str,  # of the items
        matrix: Matrix,  # embeddings of the references, and of the dead
        ids: list[str],  # of each row of the matrix
        numbers: Ints,  # of each row's identity, as `known` has it; −1 for the dead
        places: Ints,  # of each row's item in the order of the store
        known: dict[tuple[str, Scalar], int],  # each identity there ever was
    ) -> None:
        self.version, self.matrix, self.ids = version, matrix, ids
        self._numbers, self._places, self._known = numbers, places, known
        self._room = matrix.vectors  # may reach beyond the rows
        # rows of references, those of one identity together, and each one's identity, (n,) each
        self._present, self.rows, self.codes = _grouped(numbers, places, len(known))
        values = list(known)
        self.names: tuple[Scalar, ...] = tuple(values[at][1] for at in self._present.tolist())

    @classmethod
    def read(cls, store: Store, column: str, where: tuple[Condition, ...] = ()) -> Gallery:
        """Read all items of a store that have a value in a column, and meet the conditions."""
        known: dict[tuple[str, Scalar], int] = {}
        since = store.since("")
        dim = store.signature.dim
        ids, vectors, numbers, places = _references(since, column, where, known, dim)
        # as distances are joined, so that those of a query need not be put in that order
        _, rows, codes = _grouped(numbers, places, len(known))
        order = rows[Layers(codes).order]
        ids = [ids[at] for at in order.tolist()]
        return cls(since.version, Matrix(vectors[order]), ids, numbers[order], places[order], known)

    def follow(self, store: Store, column: str, where: tuple[Condition, ...] = ()) -> Gallery:
        """Return what this gallery became, of which only what has changed is read."""
        since = store.since(self.version)
        if since.version == self.version:
            return self
        if since.changed is None:
            return Gallery.read(store, column, where)
        n, known = len(self.ids), self._known
        ids, new, more, places = _references(since, column, where, known, store.signature.dim)
        gone = np.isin(self._places, since.changed) | (self._places >= since.first)
        numbers = np.concatenate([np.where(gone, -1, self._numbers), more])
        dead = np.flatnonzero(numbers < 0)
        if 2 * len(dead) > len(numbers):
            return Gallery.read(store, column, where)
        # The room beyond our rows goes to the first who follows: whoever does so again needs other.
        room, self._room = self._room, self.matrix.vectors
        if len(room) < n + len(new):
            room = np.empty((2 * (n + len(new)), new.shape[1]), np.float32)
            room[:n] = self.matrix.vectors
        room[n : n + len(new)] = new
        found = Gallery(
            since.version,
            self.matrix.follow(room[: n + len(new)], dead),
            [*self.ids, *ids],
            numbers,
            np.concatenate([self._places, places]),
            known,
        )
        found._room = room
        if "spreads" in self.__dict__:
            found.spreads = self._spreads_after(found, np.concatenate([self._numbers[gone], more]))
        return found

    def _spreads_after(self, found: Gallery, touched: Ints) -> Floats:
        every = np.full(len(found._known), np.nan)
        every[self._present] = self.spreads
        every[touched] = np.nan  # of the dead, too, whose −1 is the last
        kept = every[found._present]
        rows = np.isnan(kept)[found.codes]
        if rows.any():
            numbers, codes = np.unique(found.codes[rows], return_inverse=True)
            kept[numbers] = spreads(found.matrix.vectors[found.rows[rows]], codes)
        return kept

    @property
    def vectors(self) -> NDArray[np.float32]:
        """The embeddings of the references, those of one identity together, (n, d)."""
        return self.matrix.vectors[self.rows]

    @cached_property
    def sizes(self) -> Ints:
        """How many references each identity has, (m,)."""
        return np.bincount(self.codes, minlength=len(self.names))

    @cached_property
    def starts(self) -> Ints:
        """Where the references of each identity begin, (m,)."""
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def layers(self) -> Layers:
        """In which order distances are joined."""
        return Layers(self.codes)

    @cached_property
    def layered(self) -> Ints | None:
        """Rows of the matrix in this order, (n,); None where they lie so."""
        order = self.rows[self.layers.order]
        return None if np.array_equal(order, np.arange(len(self.ids))) else order

    @cached_property
    def spreads(self) -> Floats:
        """What "mean embedding" needs of each identity, (m,)."""
        return spreads(self.vectors, self.codes)

    def like(self, other: Gallery) -> Gallery:
        """Return this one with its references in the rows of another, which has the same."""
        row = dict(
            zip((self.ids[at] for at in self.rows.tolist()), self.rows.tolist(), strict=True)
        )
        wanted = [other.ids[at] for at in other.rows.tolist()]
        there = sum(own in row for own in wanted)
        if not there == len(row) == len(wanted):
            raise StoreError(
                "Expected two indexes of the same items, made by two models. Received one with "
                f"{len(wanted):,} references and one with {len(row):,}, of which "
                f"{there:,} are in both: index the same images with both."
            )
        vectors = np.zeros((len(other.ids), self.matrix.vectors.shape[1]), np.float32)
        vectors[other.rows] = self.matrix.vectors[[row[own] for own in wanted]]
        new = copy.copy(other)
        new.__dict__.pop("spreads", None)
        new.matrix = Matrix(vectors, other.matrix.dead)
        return new

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


def _grouped(numbers: Ints, places: Ints, known: int) -> tuple[Ints, Ints, Ints]:
    # identities in the order in which they were first put in, rows by identity, and its place there
    alive = np.flatnonzero(numbers >= 0)
    first = np.full(known, _NEVER)
    np.minimum.at(first, numbers[alive], places[alive])
    present = np.argsort(first, kind="stable")[: np.count_nonzero(first < _NEVER)]
    codes = np.empty(known, np.int64)
    codes[present] = np.arange(len(present))
    codes = codes[numbers[alive]]
    order = np.lexsort((places[alive], codes))
    return present, alive[order], codes[order]


def _references(
    since: Since,
    column: str,
    where: tuple[Condition, ...],
    known: dict[tuple[str, Scalar], int],  # which learns
    dim: int,
) -> tuple[list[str], NDArray[np.float32], Ints, Ints]:
    # ids, embeddings, identities and places of those items that are references
    ids, numbers, at = list[str](), list[int](), list[int]()
    parts = [np.empty((0, dim), np.float32)]
    for places, batch in since.batches:
        kept = []
        for row, metadata in enumerate(batch.metadata):
            value = metadata.get(column)
            if value in (None, "") or not all(holds(each, metadata) for each in where):
                continue
            kept.append(row)
            # 1 and True are two identities, as they are two values everywhere
            numbers.append(known.setdefault((kind(value), value), len(known)))
        ids += [batch.ids[row] for row in kept]
        at += [places[row] for row in kept]
        parts.append(batch.vectors[kept])
    return ids, np.concatenate(parts), np.array(numbers, np.int64), np.array(at, np.int64)


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
        return self.share * self.gallery.layers.join(apart, self.rule, spread)


def rank(views: Sequence[View], k: int, *, together: bool = False) -> Iterator[Ranking]:
    """Rank the identities for each query, or for all of them as one.

    Galleries of several views hold the same references in the same order.
    """
    count, first = len(views[0].queries), views[0].gallery
    step = count if together else max(1, HELD // len(first.ids))
    order = first.rows if together else first.layered
    for start in range(0, count, step):
        parts = [view.part(slice(start, start + step)) for view in views]
        rough, error = np.zeros((1, 1)), 0.0
        for part in parts:
            apart, off = part.gallery.apart(part.queries)
            if order is not None:
                apart = np.take(apart, order, axis=1)
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
    rows = first.rows[np.arange(ends[-1]) + np.repeat(starts - ends + counts, counts)]
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


# Strangers who may be taken for somebody where no identity has a reference to be found by.
STRANGERS = 0.05


def choose_settings(
    galleries: Sequence[Gallery],
    column: str,
    models: Sequence[Embedder],
    together: int = 1,
    strangers: float | None = None,
) -> IdentitySettings:
    """Choose by which rule, threshold and weights identities are told apart."""
    first, model = galleries[0], models[0]
    if not first.names:
        raise StoreError(f"Expected items with a value of {column!r}. Received none.")
    m, n = len(first.names), len(first.codes)
    learned = len({*map(str, first.names)} & {*model.class_names})
    choices = [choose_rule(each.vectors, each.codes, together=together) for each in galleries]
    about = column, choices[0].chosen, choices[0].reason
    if not choices[0].rows:
        if len(models) > 1:
            raise StoreError(
                "Expected identities with several references, by which two models can be weighed. "
                f"Received {n:,} references of {m:,} identities."
            )
        limit, rule, fpir = _for_strangers(first, model, strangers)
        known = model.calibrator  # of pairs; an identity is as likely as its share
        slope = None if known is None else known.slope
        start = None if known is None else known.intercept - float(np.log(m))
        found = (*about, limit, rule, n, m, model.digest, slope, start, fpir)
        return IdentitySettings(*found, strangers=strangers, learned=learned)
    trials = [
        leave_out(gallery.vectors, gallery.codes, choice.chosen, together=together)
        for gallery, choice in zip(galleries, choices, strict=True)
    ]
    shares, weight = fit_posterior(trials)
    own = np.einsum("k,kp->p", shares, [each.own[each.known] for each in trials])
    rival = np.einsum("k,kpm->pm", shares, [each.others for each in trials]).min(axis=1)
    same = np.repeat([True, False], [len(own), len(rival)])
    rule = _rule(model, strangers)
    limit = choose_threshold(curve_of_pairs(np.concatenate([own, rival]), same), rule).value
    size = f" of {together:,} images" if together > 1 else ""
    missed = (own > limit) | (own >= rival[trials[0].known])
    return IdentitySettings(
        *about,
        limit,
        f"{rule.replace('FPR', 'FPIR')} on {len(rival):,} queries{size} left out",
        n,
        m,
        model.digest,
        weight.slope,
        weight.intercept,
        float((rival <= limit).mean()),
        float(missed.mean()),
        *((models[1].digest, choices[1].chosen) if len(models) > 1 else ("", "")),
        float(shares[0]),
        together,
        strangers,
        learned,
    )


def _for_strangers(
    gallery: Gallery, model: Embedder, strangers: float | None
) -> tuple[float, str, float | None]:
    # Nothing can be left out to be found, but each reference can be looked for as a stranger. The
    # more there are, the nearer is the nearest, and the threshold for pairs calls all somebody.
    pairs = model.threshold
    if len(gallery.names) < 2:
        return pairs.value, f"the model's, for pairs: {pairs.origin}", None
    rival = np.sort(leave_out(gallery.vectors, gallery.codes, "nearest").rival)
    wanted = parse_rule(_rule(model, strangers))
    share = wanted.limit if wanted.kind == "FPR" else STRANGERS
    limit = float(np.nextafter(rival[int(share * len(rival))], 0))
    rule = f"FPIR <= {share:g} on {len(rival):,} references looked for without their own identity"
    if strangers is None and pairs.value <= limit:
        limit, rule = pairs.value, f"the model's, for pairs: {pairs.origin}"
    return limit, rule, float((rival <= limit).mean())


def _rule(model: Embedder, strangers: float | None) -> str:
    if strangers is not None:
        return f"FPR <= {strangers:g}"
    # the model's own, as what its owner wants of pairs is wanted of strangers, too
    return parse_rule(model.threshold.rule).name if model.threshold.calibrated else RULES[0]
