"""`duplicates`: which items of an index are the same thing, in groups, largest first."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.decision import Threshold
from twinset.errors import StoreError
from twinset.progress import Wanted
from twinset.search.answer import for_people
from twinset.search.groups import find_groups
from twinset.search.index import Index
from twinset.search.items import Neighbour
from twinset.search.store import Store


@dataclass(frozen=True)
class DuplicateGroup:
    """A group of items that chains of small steps connect."""

    members: tuple[Neighbour, ...]  # the medoid first, then by their distance to it
    # the largest between two; above the threshold where a chain connects what is not alike
    diameter: float

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True)
class Duplicates:
    """The groups of duplicates in an index."""

    groups: tuple[DuplicateGroup, ...]  # of 2 items or more, largest first
    threshold: Threshold  # two items are connected if their distance is at most this
    items: int  # how many the index holds

    @property
    def chained(self) -> int:
        """How many groups are wider than the threshold."""
        return sum(group.diameter > self.threshold.value for group in self.groups)

    def sentences(self) -> list[str]:
        """Say in sentences how many groups there are, and what to know of them."""
        found = sum(len(group) for group in self.groups)
        told = [
            f"{len(self.groups):,} group{'s' * (len(self.groups) != 1)} with {found:,} of "
            f"{self.items:,} items, each within "
            f"{self.threshold.value:.4g} of another ({self.threshold.origin})"
        ]
        if self.chained:
            told.append(
                f"{self.chained:,} of them wider than that: chains of small steps connect "
                "what is not alike itself; a smaller threshold takes them apart"
            )
        return told

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "items": self.items,
            "threshold": {"value": self.threshold.value, "rule": self.threshold.rule},
            "groups": [
                {
                    "size": len(group),
                    "diameter": group.diameter,
                    "members": [
                        {
                            "id": one.id,
                            "distance": one.distance,
                            "metadata": for_people(one.metadata),
                        }
                        for one in group.members
                    ],
                }
                for group in self.groups
            ],
        }

    def to_csv(self) -> str:
        """Write a table with a row per member: its group, label, path, distance to the middle."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["group", "size", "diameter", "id", "distance", "label", "path"])
        for number, group in enumerate(self.groups, start=1):
            for one in group.members:
                known = (one.metadata.get("label"), one.metadata.get("path"))
                writer.writerow(
                    [number, len(group), f"{group.diameter:.6f}", one.id, f"{one.distance:.6f}"]
                    + ["" if value is None else value for value in known]
                )
        return text.getvalue()


def duplicates(
    index: Index, threshold: float | None = None, *, progress: Wanted = False
) -> Duplicates:
    """Find groups of items within a threshold of each other.

    Two items are connected if their distance is at most the threshold, and a group is all that
    connections reach (single linkage). So a group may be wider than the threshold: its diameter
    tells.

    Args:
        index: of images or embeddings.
        threshold: 0 or more; 0 finds equal embeddings only. Defaults to the model's, which says
            "the same class": for copies and near copies take a smaller one.
        progress: True for a bar, or a function that is told; see `twinset.progress`. Defaults to
            False.

    Raises:
        StoreError: the threshold is below 0 or NaN; or there is none, and no model to ask.
    """
    if threshold is None:
        limit = index.threshold
    elif threshold >= 0:
        limit = Threshold(float(threshold), "as asked for")
    else:
        raise StoreError(f"Expected a threshold of 0 or more. Received {threshold}.")
    ids, vectors = _all(index.store)
    found = find_groups(vectors, limit.value, progress=progress)
    groups = []
    for group in found:
        members = [ids[row] for row in group.members]
        held = index.get(members)
        groups.append(
            DuplicateGroup(
                tuple(map(Neighbour, members, group.distances.tolist(), held.metadata)),
                group.diameter,
            )
        )
    return Duplicates(tuple(groups), limit, len(ids))


def _all(store: Store) -> tuple[list[str], NDArray[np.float32]]:
    ids: list[str] = []
    parts = []
    for batch in store.batches():
        ids += batch.ids
        parts.append(batch.vectors)
    empty = np.empty((0, store.signature.dim), np.float32)
    return ids, np.concatenate([empty, *parts])
