"""`review`: the pairs of an index that are worth asking a person about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset import tables
from twinset.decision import Calibrator
from twinset.errors import StoreError
from twinset.nearest import Matrix
from twinset.progress import Wanted
from twinset.search.checked import Metadata, is_whole
from twinset.search.cut import LARGEST
from twinset.search.decisions import NEAR, Settled
from twinset.search.groups import find_groups
from twinset.search.store import Store

# Shares of the questions: does a group hold together, do two belong together, the threshold itself.
SHARES = (0.7, 0.15, 0.15)
# Neighbours of an item that are looked at, of so many items at most.
NEIGHBOURS, ITEMS = 5, 20_000
# A group is asked about at its weakest links, so many at most, each worth less than the one before.
LINKS, AGAIN = 5, 0.25
# An item is in so many questions at most.
OFTEN = 2


@dataclass(frozen=True)
class Question:
    """A pair of items to ask a person about: are they the same?"""

    left: str
    right: str
    distance: float
    probability: float | None  # that they are the same; None without a calibration
    why: str  # they are asked about
    # the probability that the answer is another than the index's, times the root of how many items
    # it moves then: of one large group no more is asked than of several small ones
    gain: float


@dataclass(frozen=True)
class Review:
    """Questions about an index, those first that are likely to set most right.

    Example:
        >>> asked = Question("a", "b", 0.4, 0.5, "near the threshold", 0.1)
        >>> found = Review((asked,), {"a": {}, "b": {}}, "groups")
        >>> found.sentence(), found.to_csv().splitlines()[1]
        ('1 question: 1 near the threshold', 'a,b,,0.400000,0.5000,near the threshold')
        >>> found.to_dict()["questions"][0]["probability"]
        0.5
    """

    questions: tuple[Question, ...]
    known: Mapping[str, Metadata]  # what is known of each item that is asked about
    claims: str  # the groups that were doubted: "label", or another column, or "groups"

    def __len__(self) -> int:
        return len(self.questions)

    def sentence(self) -> str:
        """Say it in one line."""
        why = Counter(one.why.split(":")[0] for one in self.questions)
        told = ", ".join(f"{times:,} {name}" for name, times in why.most_common())
        return f"{len(self):,} question{'s' * (len(self) != 1)}" + (f": {told}" if told else "")

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {"claims": self.claims, "questions": [asdict(one) for one in self.questions]}

    def to_csv(self) -> str:
        """Write a table of pairs, with nothing in `same`, for people and `Index.decide`."""
        rows = []
        for one in self.questions:
            likely = "" if one.probability is None else f"{one.probability:.4f}"
            rows.append((one.left, one.right, "", f"{one.distance:.6f}", likely, one.why))
        return tables.csv(["left", "right", "same", "distance", "probability", "why"], rows)


def review(
    store: Store,
    threshold: float,
    calibrator: Calibrator | None,
    settled: Settled,
    *,
    count: int,
    column: str | None,
    progress: Wanted,
) -> Review:
    """Choose questions; `Index.review` explains how."""
    if not is_whole(count) or count < 1:
        raise StoreError(f"Expected a number of questions of 1 or more. Received {count!r}.")
    asked = _Asked(store, threshold, calibrator, column)
    groups, links = asked.groups(settled, progress)
    splits = [each for group in groups for each in asked.splits(*group)]
    joins = [*asked.joins(links), *asked.alike()]
    by_gain = [sorted(kind, key=lambda one: -one.gain) for kind in (splits, joins)]
    # without a calibration there is nothing that answers near the threshold could move
    hold, join, near = SHARES if calibrator else (SHARES[0] + SHARES[2], SHARES[1], 0.0)
    shares = {2: near * count, 0: hold * count, 1: join * count}
    chosen = _chosen([*by_gain, asked.near()], shares, count, settled)
    ends = sorted({end for one in chosen for end in (one.left, one.right)})
    known = dict(zip(ends, store.get(ends).metadata, strict=True)) if ends else {}
    return Review(tuple(chosen), known, asked.column or "groups")


def _chosen(
    kinds: Sequence[Sequence[Question]], shares: Mapping[int, float], count: int, settled: Settled
) -> list[Question]:
    # Each kind has its share, as their gains are measured on different scales; what one cannot use
    # goes to the others.
    seen: set[tuple[str, str]] = set()
    times = Counter[str]()
    chosen: list[Question] = []

    def take(waiting: Iterator[Question], wanted: float) -> None:
        for one in waiting:
            if wanted < 1 or len(chosen) == count:
                return
            pair = min(one.left, one.right), max(one.left, one.right)
            if pair in seen or max(times[end] for end in pair) >= OFTEN:
                continue
            if settled.says(*pair) is None:
                seen.add(pair)
                times.update(pair)
                chosen.append(one)
                wanted -= 1

    waiting = [iter(kind) for kind in kinds]
    # those by distance first: what the others take would be missing by more than its distance
    for kind, share in shares.items():
        take(waiting[kind], share)
    for each in waiting:
        take(each, count)
    return sorted(chosen, key=lambda one: -one.gain)


class _Asked:
    """An index as the questions see it: vectors, claims, evidence."""

    def __init__(
        self, store: Store, threshold: float, calibrator: Calibrator | None, column: str | None
    ) -> None:
        batches = list(store.batches())
        self.ids = [own for batch in batches for own in batch.ids]
        known = [each for batch in batches for each in batch.metadata]
        empty = np.empty((0, store.signature.dim), np.float32)
        self.vectors = np.concatenate([empty, *(batch.vectors for batch in batches)])
        self.column = column or _column(store, known)
        if column and not any(column in each for each in known):
            raise StoreError(f"Expected a column of the items' metadata. Received {column!r}.")
        self.claims = [None if self.column is None else each.get(self.column) for each in known]
        self.threshold, self.calibrated = threshold, calibrator is not None
        # without a calibration, an order of what is even at the threshold and clear at 0
        self.calibrator = calibrator or Calibrator(-4 / (threshold or 1.0), 4.0)
        self._around = self._neighbours()

    def groups(
        self, settled: Settled, progress: Wanted
    ) -> tuple[list[tuple[str, Any]], list[tuple[Any, Any]]]:
        """List what is claimed to be one thing, and pairs of parts that are said not to be."""
        if self.column is not None:
            places: dict[Any, list[int]] = {}
            for at, claim in enumerate(self.claims):
                if claim is not None:
                    places.setdefault(claim, []).append(at)
            found = [(f": {name}", np.array(own)) for name, own in places.items() if len(own) > 1]
            return found, []
        made = find_groups(
            self.vectors, self.threshold, **settled.among(self.ids), progress=progress
        )
        home = {int(row): group.members for group in made.groups for row in group.members}
        alone = {link: np.array([link]) for each in made.links for link in (each.left, each.right)}
        sides = {end: home.get(end, own) for end, own in alone.items()}
        links = [(sides[each.left], sides[each.right]) for each in made.links]
        return [("", group.members) for group in made.groups], links

    def splits(self, name: str, members: NDArray[np.int64]) -> Iterator[Question]:
        """Ask at the weakest links of a group: where average linkage joins its parts last."""
        from scipy.cluster.hierarchy import linkage
        from scipy.spatial.distance import pdist, squareform

        members = members[:: -(-len(members) // LARGEST)]
        own = self.vectors[members].astype(np.float64)
        apart = squareform(pdist(own))
        parts = [[row] for row in range(len(own))]
        worth = []
        for left, right, height, _ in linkage(squareform(apart), "average"):
            sides = parts[int(left)], parts[int(right)]
            parts.append(sides[0] + sides[1])
            wrong = 1 - self._probability(height)
            worth.append((wrong * min(map(len, sides)) ** 0.5, sides))
        worth.sort(key=lambda each: -each[0])
        for rank, (gain, sides) in enumerate(worth[:LINKS]):
            # the middle of each part: of an edge both ends may be on one side of the truth
            ends = (side[int(apart[np.ix_(side, side)].sum(0).argmin())] for side in sides)
            left, right = (int(members[end]) for end in ends)
            why = f"weakest link of its group{name}"
            yield self._question(left, right, why, gain * AGAIN**rank)

    def joins(self, links: Sequence[tuple[Any, Any]]) -> Iterator[Question]:
        """Ask whether two groups are one."""
        for sides in links:
            left, right = (side[:64] for side in sides)  # the medoid first
            between = self.vectors[left][:, None] - self.vectors[right][None]
            mean = float(np.sqrt(np.square(between).sum(-1)).mean())
            gain = self._probability(mean) * min(len(left), len(right)) ** 0.5
            yield self._question(int(left[0]), int(right[0]), "would join two groups", gain)

    def alike(self) -> Iterator[Question]:
        """Ask about neighbours that are recorded as different, and look the same."""
        for left, right, far in self._around:
            claims = self.claims[left], self.claims[right]
            if far <= self.threshold and None not in claims and claims[0] != claims[1]:
                why = f"recorded as different: {claims[0]} and {claims[1]}"
                yield self._question(left, right, why, self._probability(far))

    def near(self) -> list[Question]:
        """Ask about the neighbours that are nearest to the threshold, by their distance alone."""
        off = [(abs(far - self.threshold), (left, right, far)) for left, right, far in self._around]
        # beyond half as far again nobody is in doubt
        nearest = [pair for gap, pair in sorted(off) if gap <= self.threshold / 2]
        found = []
        for left, right, far in nearest:
            likely = self._probability(far)
            found.append(
                self._question(left, right, NEAR, 1 - likely if far <= self.threshold else likely)
            )
        return found

    def _neighbours(self) -> list[tuple[int, int, float]]:
        step = -(-len(self.ids) // ITEMS) or 1
        queries = np.arange(0, len(self.ids), step)
        hits = Matrix(self.vectors).search(self.vectors[queries], k=NEIGHBOURS + 1)
        found = {}
        for row, query in enumerate(queries.tolist()):
            for other, far in zip(*(each.tolist() for each in hits.of(row)), strict=True):
                if other != query:
                    found[min(query, other), max(query, other)] = far
        return [(left, right, far) for (left, right), far in found.items()]

    def _probability(self, far: float) -> float:
        return float(self.calibrator.probability(far))

    def _question(self, left: int, right: int, why: str, gain: float) -> Question:
        far = float(np.sqrt(np.square(self.vectors[left] - self.vectors[right]).sum()))
        likely = self._probability(far) if self.calibrated else None
        return Question(self.ids[left], self.ids[right], far, likely, why, gain)


def _column(store: Store, known: Sequence[Metadata]) -> str | None:
    # what the index has as identities, else labels
    settings = store.records("identities")
    column = settings[-1].get("column") if settings else "label"
    return column if any(column in each for each in known) else None
