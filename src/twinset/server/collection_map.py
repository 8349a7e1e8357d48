"""The map of an index: its items as points, what is known of them, and the model's mistakes."""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.cache_folder import cache_folder, in_use, prune, tag
from twinset.errors import StoreError, TwinsetError
from twinset.files import write_bytes
from twinset.search.checked import Metadata
from twinset.search.index import Index
from twinset.server.projection import (
    Axes,
    Mistakes,
    Points,
    Tsne,
    between,
    mistakes_of,
    principal_axes,
    spread,
)
from twinset.server.telling import shown

LOG = logging.getLogger("twinset.server")

# So many items are drawn at most, spread evenly over all; the map says so.
MOST = 500_000
# A column with more different values than this tells items apart, and no kinds.
VALUES = 2_000
# A store that cannot tell whether it changed is read again after so many seconds.
AGE = 60.0
# So many items take half a second of a core: they are charted before anybody asks.
AHEAD = 100_000
# Seconds in which a browser draws what it was told, before t-SNE takes a core.
PAUSE = 3.0
CACHE = "maps"
LEAST = 4  # items that t-SNE needs


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the metadata as numbers: what each item has, by its place among the names."""

    names: tuple[str, ...]  # the most frequent first
    counts: tuple[int, ...]
    codes: NDArray[np.int64]  # (n,); -1 where nothing is known


@dataclass(eq=False)
class Work:
    """Something that a thread computes once: its state, and what came of it."""

    state: str = "computing"  # then "ready" or "failed"
    value: Any = None
    trouble: str = ""
    began: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Chart:
    """The items of an index at one moment, as points."""

    ids: Sequence[str]
    items: int  # in the index, which may be more than are drawn
    columns: Mapping[str, Column]
    axes: Axes
    pca: Points
    # A digest of the vectors: what is computed from them is kept under it. They themselves are read
    # again for that, as a large collection would double the memory.
    content: str
    works: dict[str, Work] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = {own: row for row, own in enumerate(self.ids)}


class CollectionMap:
    """The map of an index as it is now, made on the first question and after each change."""

    def __init__(
        self, index: Index, *, tsne: Tsne | None = None, most: int = MOST, pause: float = PAUSE
    ) -> None:
        self.index = index
        self.tsne = tsne or Tsne()
        self.most = most
        self.pause = pause
        self._lock = threading.Lock()
        self._chart: Chart | None = None
        self._version = ""
        self._read = 0.0

    def now(self) -> Chart:
        """Return the chart of the items that are there now."""
        with self._lock:
            version = self.index.store.version()
            old = not version and time.monotonic() - self._read > AGE
            if self._chart is None or version != self._version or old:
                ids, known, vectors = self._all()
                chosen = spread(len(ids), self.most)
                if len(chosen) < len(ids):
                    ids = [ids[row] for row in chosen.tolist()]
                    known = [known[row] for row in chosen.tolist()]
                    vectors = vectors[chosen]
                self._chart = _chart(ids, known, vectors, len(self.index))
                self._version, self._read = version, time.monotonic()
            return self._chart

    def ahead(self) -> None:
        """Make the chart of few items before anybody asks; who asks is told what goes wrong."""
        with suppress(TwinsetError):
            if len(self.index) <= AHEAD:
                self.now()

    def points(self, chart: Chart, method: str) -> Points | None:
        """Return the points by a method; None where they are not there, or not yet."""
        if method == "pca":
            return chart.pca
        work = self.work(chart)
        points: Points | None = work.value
        return points

    def work(self, chart: Chart) -> Work:
        """Begin to compute t-SNE of a chart, unless that was begun, and tell how far it is."""
        if len(chart.ids) < LEAST:
            return Work("failed", None, f"t-SNE needs {LEAST} items or more.")
        return self._begun(chart, "tsne", lambda: self._kept_tsne(chart))

    def mistakes(self, chart: Chart, column: str) -> Work:
        """Begin to look for the model's mistakes by a column, unless that was begun."""
        kinds = chart.columns[column].codes
        threshold = self.index.threshold.value

        def find() -> Mistakes:
            return mistakes_of(self._vectors(chart), kinds, threshold)

        return self._begun(chart, f"mistakes {threshold} {column}", find)

    def place(
        self, chart: Chart, vector: NDArray[np.float32], near: Sequence[tuple[str, float]]
    ) -> dict[str, tuple[float, float] | None]:
        """Place a new embedding (d,): by PCA exactly, by t-SNE among `near`, (id, distance)."""
        (exact,) = chart.axes.place(vector[None]).tolist()
        placed: dict[str, tuple[float, float] | None] = {"pca": (exact[0], exact[1]), "tsne": None}
        there = [(chart.rows[own], far) for own, far in near if own in chart.rows]
        work = chart.works.get("tsne")
        if there and work is not None and work.state == "ready":
            rows = np.array([row for row, _ in there])
            far = np.array([[each for _, each in there]])
            (x, y) = between(work.value[rows][None], far)[0].tolist()
            placed["tsne"] = (x, y)
        return placed

    def _begun(self, chart: Chart, name: str, compute: Callable[[], Any]) -> Work:
        with self._lock:
            if name in chart.works:
                return chart.works[name]
            work = chart.works[name] = Work()

        def run() -> None:
            try:
                work.value = compute()
                work.state = "ready"
            except Exception as error:
                # whatever it is, who asks is told
                known = isinstance(error, TwinsetError)
                if not known:
                    LOG.exception("map: %s", name)
                work.trouble = str(error) if known else f"{type(error).__name__}: see the log."
                work.state = "failed"

        # a daemon: a server that stops does not wait for it
        threading.Thread(target=run, name=f"twinset-map {name}", daemon=True).start()
        return work

    def _kept_tsne(self, chart: Chart) -> Points:
        base = cache_folder(CACHE)
        folder = base / f"{chart.content}-{self.tsne.most}"
        with in_use(folder):
            kept = folder / "tsne.npy"
            if kept.exists():
                found: Points = np.load(kept)
                return found
            time.sleep(self.pause)
            points = self.tsne.points(self._vectors(chart))
            _save(kept, points)
        tag(base)
        prune(base, keep=folder)
        return points

    def _vectors(self, chart: Chart) -> NDArray[np.float32]:
        ids, _, vectors = self._all()
        vectors = vectors[spread(len(ids), self.most)]
        if _digest(vectors) != chart.content:
            raise StoreError("The index has changed meanwhile.")
        return vectors

    def _all(self) -> tuple[list[str], list[Metadata], NDArray[np.float32]]:
        ids: list[str] = []
        known: list[Metadata] = []
        parts = [np.empty((0, self.index.store.signature.dim), np.float32)]
        for batch in self.index.store.batches():
            ids += batch.ids
            known += batch.metadata
            parts.append(batch.vectors)
        return ids, known, np.concatenate(parts)


def _chart(
    ids: list[str], known: list[Metadata], vectors: NDArray[np.float32], items: int
) -> Chart:
    axes = principal_axes(vectors)
    columns = columns_of(known)
    return Chart(ids, items, columns, axes, axes.place(vectors), _digest(vectors))


def columns_of(known: Sequence[Metadata]) -> dict[str, Column]:
    """Find the columns of the metadata that sort items into kinds: few values, each shared.

    Example:
        >>> known = [{"label": "shoe", "path": "1"}, {"label": "bag"}, {"label": "shoe"}]
        >>> columns_of(known)["label"]
        Column(names=('shoe', 'bag'), counts=(2, 1), codes=array([0, 1, 0]))
    """
    found = {}
    # in order, and each once; a path of the host is no column
    for name in shown(dict.fromkeys(chain.from_iterable(known))):
        values = [each.get(name) for each in known]
        counts = Counter(v for v in values if v is not None)
        shared = len(counts) <= sum(counts.values()) // 2
        kinds = all(isinstance(value, str | bool | int) for value in counts)
        # "label" is one whatever it holds, and of one value there is nothing to tell apart
        if name != "label" and not (kinds and shared and 1 < len(counts) <= VALUES):
            continue
        order = sorted(counts, key=lambda value: (-counts[value], str(value)))
        place: dict[Any, int] = {value: at for at, value in enumerate(order)}
        codes = np.array([place.get(value, -1) for value in values], np.int64)
        found[name] = Column(tuple(map(str, order)), tuple(counts[v] for v in order), codes)
    return found


def _digest(vectors: NDArray[np.float32]) -> str:
    shape = np.array(vectors.shape, np.int64).tobytes()
    text = hashlib.blake2b(np.ascontiguousarray(vectors).data, key=shape, digest_size=16)
    return text.hexdigest()


def _save(path: Path, points: Points) -> None:
    held = io.BytesIO()
    np.save(held, points)
    write_bytes(path, held.getvalue())
