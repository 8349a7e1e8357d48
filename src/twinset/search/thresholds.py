"""The thresholds of an index: named ones, the one that decisions move, and what each leaves."""

from __future__ import annotations

import getpass
import re
import threading
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Calibrator, Threshold
from twinset.errors import StoreError
from twinset.files import Plain
from twinset.nearest import Matrix
from twinset.search.checked import is_number
from twinset.search.decisions import NEAR, Decision
from twinset.search.store import Store

if TYPE_CHECKING:
    from twinset.metrics.calibration import Recalibration
    from twinset.models.embedder import Embedder


KIND = "points"  # of the store's records; of each name the last one counts
CALIBRATION = "calibration"  # likewise; the last one counts
_NAME = re.compile(r"\w[\w .-]{0,59}")


@dataclass(frozen=True)
class Point(Plain):
    """A threshold with a name.

    Example:
        >>> Point("strict", 0.2, "Ann", "2026-11-28T21:30:00+00:00", "").to_dict()["threshold"]
        0.2
    """

    name: str
    threshold: float | None  # None: the point was taken away
    who: str  # saved it; "" where nobody is named
    when: str  # UTC, ISO 8601
    model: str  # digest of the model whose distances it is about


class Judging:
    """The part of `Index` that is about its thresholds, on which the other parts rest.

    Example:
        >>> import numpy as np, twinset
        >>> rows = np.array([[1, 0.1], [1, 0.2], [0.1, 1], [0.2, 1]])
        >>> points = twinset.LabelledFeatures(rows, list("aabb"), name="points")
        >>> model = twinset.fit(points, "head", head={"kind": "plain"})
        >>> other = twinset.fit(points, "head", head={"kind": "centred"})
        >>> with twinset.Index.build(model, points) as index:
        ...     _ = index.save_point("strict", 0.1)
        ...     rule, known = index.threshold_at("strict").rule, list(index.points())
        ...     index.remove_point("strict")
        ...     told = index.decide([("points/0", "points/1", True)], who="Ann").sentence()
        ...     pairs = [one.pair for one in index.decisions()]
        ...     asked = [(one.left, one.right) for one in index.review(5).questions]
        ...     like = index.similar("points/2", k=1)[0].id
        ...     index.put(twinset.Items(["fifth"], np.array([[0, 1]]), [{"label": "b"}]))
        ...     count = index.identify_by("label").identities
        ...     best = index.identify(np.array([0.1, 1.2])).best
        ...     index.remove(["fifth"])  # which came from no file that could be embedded anew
        ...     switched = index.switch(other, source=points).switched
        ...     index.roll_back()
        >>> rule, known, told, pairs
        ('operating point strict', ['strict'], '1 new', [('points/0', 'points/1')])
        >>> asked, like
        ([('points/2', 'points/3')], 'points/3')
        >>> switched, count, best.name, best.references
        (True, 2, 'b', 3)
    """

    store: Store
    url: str
    _embedder: Embedder | None
    _given: Any  # the model, or its folder; None for the copy that a folder keeps
    _turn: threading.RLock  # of threads that write
    _keeping: threading.RLock  # guards what is read once; held last, and never while writing
    # read once: what others decide meanwhile is seen when the index is opened again
    _calibration: dict[str, Any] | None = None

    @property
    @abstractmethod
    def model(self) -> Embedder:
        """The model."""

    def points(self) -> dict[str, Point]:
        """List the operating points by name; those of another model are left out."""
        found = dict[str, Point]()
        known = {each.name for each in fields(Point)}
        for record in self.store.records(KIND):
            one = Point(**{name: value for name, value in record.items() if name in known})
            found.pop(one.name, None)
            if one.threshold is not None and one.model == self.store.signature.model:
                found[one.name] = one
        return found

    def threshold_at(self, point: str | None) -> Threshold:
        """Return the threshold of an operating point; the index's own for None.

        Raises:
            StoreError: no such point; the message lists those there are.
        """
        if point is None:
            return self.threshold
        found = self.points()
        if point not in found:
            known = ", ".join(map(repr, found)) or "none yet"
            raise StoreError(
                f"Expected the name of an operating point ({known}). Received {point!r}: leave it "
                "out for the threshold of the index, or save a point of this name."
            )
        return Threshold(float(found[point].threshold or 0.0), f"operating point {point}")

    def save_point(self, name: str, threshold: float, *, who: str | None = None) -> Point:
        """Name a threshold, so that later questions can ask by it; one of the name is replaced.

        Args:
            name: up to 60 letters, digits, spaces, dots, "-" and "_"; a letter or digit first.
            threshold: the largest distance that is a match there, 0 or more.
            who: saves it. Defaults to the name of the user who runs this.

        Raises:
            StoreError: another kind of name or number, or the store keeps no records.

        Example:
            >>> import numpy as np, twinset
            >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
            >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
            >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
            >>> with twinset.Index.build(model, grays) as index:
            ...     _ = index.save_point("strict", 0.25, who="anna")
            ...     answer = index.search(pixels[2], k=1, point="strict")
            >>> answer.threshold.value, answer.threshold.rule
            (0.25, 'operating point strict')
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name != name.strip():
            raise StoreError(
                "Expected a name of 1 to 60 letters, digits, spaces, dots, hyphens and "
                f"underscores, a letter or digit first. Received {name!r}."
            )
        if not (is_number(threshold) and 0 <= threshold < float("inf")):
            raise StoreError(f"Expected a threshold of 0 or more. Received {threshold!r}.")
        return self._record_point(name, float(threshold), who)

    def remove_point(self, name: str, *, who: str | None = None) -> None:
        """Take an operating point away.

        Raises:
            StoreError: no such point.
        """
        self.threshold_at(name)
        self._record_point(name, None, who)

    def _record_point(self, name: str, threshold: float | None, who: str | None) -> Point:
        when = datetime.now(UTC).isoformat(timespec="seconds")
        own = self.store.signature.model
        made = Point(name, threshold, of_whom(who), when, own)
        with self._turn:
            self.store.record(KIND, [made.to_dict()])
        return made

    @property
    def threshold(self) -> Threshold:
        """At most this distance is a match: the model's, or as decisions have moved it."""
        own, found = self.model.threshold, self._recalibrated()
        if found is None:
            return own
        rule = f"{own.rule}, moved by {found.pairs:,} decisions"
        # what was promised was promised of the model's own
        return Threshold(found.threshold, rule, data=own.data)

    @property
    def calibrator(self) -> Calibrator | None:
        """Distance to probability of "same": the model's, or as decisions have moved it.

        None without a calibration.
        """
        own, found = self.model.calibrator, self._recalibrated()
        if found is None:
            return own
        return Calibrator(found.slope, found.intercept, f"moved by {found.pairs:,} decisions")

    def _recalibrated(self) -> Recalibration | None:
        held = self._calibration
        if held is None:
            with self._keeping:
                self._calibration = held = (self.store.records(CALIBRATION) or [{}])[-1]
        if not held.get("better") or held["own"] != self._own():
            return None
        from twinset.metrics.calibration import Recalibration

        return Recalibration(**{each.name: held[each.name] for each in fields(Recalibration)})

    def _own(self) -> str:
        # a model that is calibrated anew keeps its digest
        return repr((self.model.digest, self.model.threshold.value, self.model.calibrator))

    def _recalibrate(self, decisions: Sequence[Decision]) -> str:
        # Keep what the decisions make of the threshold, and say it in a sentence.
        model = self.store.signature.model
        near = [one for one in decisions if one.why == NEAR and one.model == model]
        held = self.store.records(CALIBRATION)[-1:]
        if not near and not held:
            return ""
        try:
            own = self.model.calibrator
        except StoreError:
            if self._given is not None:
                raise
            return "the threshold stays: pass the model for the decisions to move it"
        if own is None:
            return "the threshold stays: the model has no calibration that decisions could move"
        from twinset.metrics.calibration import recalibrate

        at = self.model.threshold.value
        answers = [one.same for one in near]
        found = recalibrate(own, at, [one.distance for one in near], answers)
        told = {"better": False} if found is None else asdict(found)
        self.store.record(CALIBRATION, [told | {"own": self._own()}])
        with self._keeping:  # who read the records before this has kept them by now
            self._calibration = None
        if found is None:
            return f"the threshold is the model's, {at:.4f}: no decision near it stands"
        gain = (
            f"by {found.pairs:,} decision{'s' * (found.pairs != 1)} near it: "
            f"{found.wrong_before:,} contradict the model's and {found.wrong_after:,} theirs, at "
            f"{found.before:.2f} and {found.after:.2f} bits each, a tenth left out in turn"
        )
        if found.better:
            return f"the threshold moves from {at:.4f} to {found.threshold:.4f} {gain}"
        return f"the threshold stays at {at:.4f}, as no other is clearly better {gain}"


def of_whom(who: str | None) -> str:
    """Name who decides: where nobody is named the user who runs this, "" where there is none."""
    if who is not None and not isinstance(who, str):
        raise StoreError(f"Expected the name of who decides, a text. Received {who!r}.")
    if who is not None:
        return who
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a container without users, Windows without a name
        return ""


NEIGHBOURS = 5  # of each item that are looked at
QUERIES = 60_000  # items whose neighbours are looked for, at most


@dataclass(frozen=True)
class Reach(Plain):
    """Counts at b thresholds, by the nearest neighbours of each item."""

    distance: tuple[float, ...]  # thresholds, ascending
    matches: tuple[int, ...]  # items that have another one within it
    # groups of two or more that steps between neighbours of at most this connect; () for a sample
    groups: tuple[int, ...]
    items: int
    # False: matches were counted for every so-manieth item, and scaled up
    whole: bool = True


def reach(store: Store, end: float | None = None, *, steps: int = 200) -> Reach:
    """Count what thresholds from 0 to `end` leave; to the farthest nearest neighbour by default.

    Groups are those of single linkage along the five nearest neighbours of each item: what
    `duplicates` finds are these, cut where they chain.
    """
    parts = [batch.vectors for batch in store.batches()]
    empty = np.empty((0, store.signature.dim), np.float32)
    return reach_of(np.concatenate([empty, *parts]), end, steps)


def reach_of(vectors: NDArray[np.float32], end: float | None, steps: int) -> Reach:
    """Count what thresholds leave of n vectors of shape (n, d)."""
    n = len(vectors)
    step = -(-n // QUERIES) or 1
    queries = np.arange(0, n, step)
    hits = Matrix(vectors).search(vectors[queries], k=NEIGHBOURS + 1)
    left = np.repeat(queries, np.diff(hits.starts))
    others = left != hits.positions
    left, right = left[others], hits.positions[others]
    far = hits.distances[others].astype(np.float64)
    nearest = np.full(n, np.inf)
    np.minimum.at(nearest, left, far)
    nearest = np.sort(nearest[np.isfinite(nearest)])
    top = end if end is not None else (float(nearest[-1]) if len(nearest) else 1.0)
    grid = np.linspace(0, top or 1.0, steps)
    matches = np.searchsorted(nearest, grid, "right") * step
    groups = _groups(n, left, right, far, grid) if step == 1 else np.empty(0, int)
    matches = np.minimum(matches, n)
    return Reach(
        tuple(grid.tolist()), tuple(matches.tolist()), tuple(groups.tolist()), n, step == 1
    )


def _groups(
    n: int,
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    far: NDArray[np.float64],
    grid: NDArray[np.float64],
) -> NDArray[np.int64]:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    # a step of 0 would be no step for SciPy, and one that two items have would count twice
    ends = np.sort(np.stack([left, right]), axis=0)
    _, once = np.unique(ends[0] * n + ends[1], return_index=True)
    links = coo_array((far[once] + 1.0, (ends[0][once], ends[1][once])), shape=(n, n))
    tree = minimum_spanning_tree(links).tocoo()
    order = np.argsort(tree.data, kind="stable")
    home, size = np.arange(n), np.ones(n, np.int64)

    def root(one: int) -> int:
        while home[one] != one:
            home[one] = home[home[one]]
            one = int(home[one])
        return one

    # a group begins where two single items meet, and one ends where two groups do
    change = np.zeros(len(order), np.int64)
    for at, edge in enumerate(order.tolist()):
        a, b = root(int(tree.row[edge])), root(int(tree.col[edge]))
        change[at] = 1 - (size[a] > 1) - (size[b] > 1)
        home[a], size[b] = b, size[a] + size[b]
    so_far = np.concatenate([[0], np.cumsum(change)])
    found: NDArray[np.int64] = so_far[
        np.searchsorted(tree.data[order] - 1.0, grid + 1e-12, "right")
    ]
    return found
