"""How the answers of an index change with another model, on a sample of its own items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from twinset import distance
from twinset.data.image_sources import Skipped
from twinset.decision import Threshold
from twinset.metrics.intervals import Interval, share_interval, t_interval
from twinset.search.store import Store

NEAREST = 10  # neighbours that are compared
_LISTED = 20  # items and labels that are told


@dataclass(frozen=True)
class Switched:
    """How the answers to a sample of an index's items change with another model."""

    items: int  # embedded
    sample: int  # items that were looked for in both
    # mean share of the 10 nearest that are the same, in [0, 1]; None of fewer than 2 items
    neighbours: Interval | None
    # share of pairs of an item and one of its 10 nearest by either model with the same verdict
    verdicts: float | None
    thresholds: tuple[float, float]  # before, after
    column: str  # that tells which items are the same
    labelled: int  # of the sample, with another item of the same value there
    recall_before: Interval | None  # share of these whose nearest other item has it too; or None
    recall_after: Interval | None
    gained: tuple[str, ...]  # ids for which only the new model's nearest has the same value
    lost: tuple[str, ...]  # ids for which only the old model's has
    labels: Mapping[str, tuple[int, int]]  # value → how many of its items gain, and lose
    unlike: tuple[str, ...]  # ids whose 10 nearest change the most
    dropped: tuple[Skipped, ...] = ()  # items that are left out, with the reasons
    switched: bool = False

    def sentence(self) -> str:
        """Say it in one line."""
        told = [f"{self.items:,} items embedded", f"{'' if self.switched else 'not '}switched"]
        if self.neighbours is not None and self.verdicts is not None:
            told.append(f"{self.neighbours.value:.0%} of the {NEAREST} nearest stay")
            told.append(f"{self.verdicts:.1%} of verdicts stay")
        if self.recall_before is not None and self.recall_after is not None:
            told.append(
                f"recall@1 by {self.column} {_told(self.recall_before)} before, "
                f"{_told(self.recall_after)} after: {len(self.gained):,} gain, "
                f"{len(self.lost):,} lose of {self.labelled:,}"
            )
        if self.dropped:
            told.append(f"{len(self.dropped):,} left out")
        return ", ".join(told)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self) | {"labels": {name: list(both) for name, both in self.labels.items()}}


def _told(one: Interval) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def compared(
    old: Store,
    new: Store,
    thresholds: tuple[Threshold, Threshold],
    known: Mapping[str, Mapping[str, Any]],
    column: str,
    sample: int,
) -> Switched:
    """Look for some of the items in both stores."""
    limits = thresholds[0].value, thresholds[1].value
    names = sorted(known)
    rng = np.random.default_rng(0)
    chosen = sorted(rng.choice(len(names), min(sample, len(names)), replace=False).tolist())
    ids = [names[at] for at in chosen] if len(names) > 1 else []
    nearest = [_nearest(store, ids, known) for store in (old, new)]
    shares = [len(set(a) & set(b)) / max(len(a), len(b), 1) for a, b in zip(*nearest, strict=True)]
    verdicts = [
        _verdicts(store, ids, nearest, limit)
        for store, limit in zip((old, new), limits, strict=True)
    ]
    same = np.concatenate(verdicts[0]) == np.concatenate(verdicts[1]) if ids else np.array([])
    values = {own: known[own].get(column) for own in known}
    counts = Counter(value for value in values.values() if value is not None)
    rows = [row for row, own in enumerate(ids) if counts.get(values[own], 0) > 1]
    right = [
        np.array([_right(found[row], values, values[ids[row]]) for row in rows], bool)
        for found in nearest
    ]
    gains, losses = right[1] & ~right[0], right[0] & ~right[1]
    gained, lost = (
        tuple(ids[row] for row, is_so in zip(rows, of, strict=True) if is_so)
        for of in (gains, losses)
    )
    up, down = (Counter(str(values[own]) for own in group) for group in (gained, lost))
    order = sorted({*up, *down}, key=lambda name: (up[name] - down[name], name))
    recall = [share_interval(float(np.mean(each)), len(each)) if rows else None for each in right]
    return Switched(
        items=len(known),
        sample=len(ids),
        neighbours=t_interval(shares) if shares else None,
        verdicts=float(np.mean(same)) if len(same) else None,
        thresholds=limits,
        column=column,
        labelled=len(rows),
        recall_before=recall[0],
        recall_after=recall[1],
        gained=gained,
        lost=lost,
        labels={name: (up[name], down[name]) for name in order},
        unlike=tuple(ids[row] for row in np.argsort(shares, kind="stable")[:_LISTED].tolist()),
    )


def _nearest(store: Store, ids: list[str], known: Mapping[str, Any]) -> list[list[str]]:
    if not ids:
        return []
    # items that are left out are no neighbours before either
    spare = len(store) - len(known) if len(store) > len(known) else 0
    found = store.search(store.get(ids).vectors, k=NEAREST + 1 + spare, exact=True)
    return [
        [hit.id for hit in hits if hit.id != own and hit.id in known][:NEAREST]
        for own, hits in zip(ids, found, strict=True)
    ]


def _verdicts(
    store: Store, ids: list[str], nearest: list[list[list[str]]], limit: float
) -> list[Any]:
    # Per item: whether it and each of its neighbours by either model are a match.
    told = []
    for own, *both in zip(ids, *nearest, strict=True):
        others = sorted({*both[0], *both[1]})
        vectors = store.get([own, *others]).vectors
        right = np.arange(1, len(others) + 1)
        how = store.signature.distance
        far = distance.of_pairs(vectors, np.zeros_like(right), right, distance=how)
        told.append(far <= limit)
    return told


def _right(found: list[str], values: Mapping[str, Any], wanted: Any) -> bool:
    return bool(found) and values[found[0]] == wanted
