"""What an index says for people and for programs: to one query, and of a change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twinset.data.image_sources import Skipped
from twinset.decision import Threshold
from twinset.errors import StoreError
from twinset.files import Plain
from twinset.search.items import Neighbour


@dataclass(frozen=True)
class Answer:
    """The answer of an index to one query: neighbours, nearest first; iterates over them.

    Empty, and so false, says that nothing is similar enough.

    Example:
        >>> from twinset import Neighbour, Threshold
        >>> near, far = Neighbour("a", 0.2, {}), Neighbour("b", 0.9, {})
        >>> found = Answer("query.png", (near, far), Threshold(0.5, "EER"), nearest=near)
        >>> [one.id for one in found], len(found), found[0].distance, found.is_match(far)
        (['a', 'b'], 2, 0.2, False)
        >>> [one.id for one in found.matches], found.known, found.to_dict()["nearest"]["match"]
        (['a'], True, True)
        >>> found.sentence()
        'query.png: 2 nearest, 1 of them matches (distance <= 0.5000, EER)'
    """

    query: str  # what was asked for: the path of a file, "image 3", "vector 3"
    neighbours: tuple[Neighbour, ...]  # within the limit, nearest first
    threshold: Threshold  # the model's: at most this distance is a match
    within: float | None = None  # the largest distance that was asked for; None for any
    nearest: Neighbour | None = None  # however far; None where no item meets the conditions
    decided: frozenset[str] = frozenset()  # ids that people decided to be the same as the query

    def __iter__(self) -> Iterator[Neighbour]:
        return iter(self.neighbours)

    def __len__(self) -> int:
        return len(self.neighbours)

    def __getitem__(self, place: int) -> Neighbour:
        return self.neighbours[place]

    @property
    def matches(self) -> tuple[Neighbour, ...]:
        """Those that the model takes for the same: distance <= threshold."""
        return tuple(one for one in self.neighbours if self.is_match(one))

    @property
    def known(self) -> bool:
        """Whether the model takes anything in the index for the same as the query."""
        return self.nearest is not None and self.is_match(self.nearest)

    @property
    def found(self) -> bool:
        """Whether anything is similar enough: by the limit asked for, else by the threshold."""
        return self.known if self.within is None else bool(self.neighbours)

    def is_match(self, neighbour: Neighbour) -> bool:
        """Tell whether the model takes an item for the same, or people decided so."""
        return neighbour.distance <= self.threshold.value or neighbour.id in self.decided

    def sentence(self) -> str:
        """Say it in one line."""
        if self.nearest is None:
            return f"{self.query}: nothing to compare with: no item, or none that is asked for"
        if not self.neighbours:
            return (
                f"{self.query}: nothing similar enough: the nearest, {self.nearest.id}, is at "
                f"{self.nearest.distance:.4f} > {self.within:.4f}"
            )
        return (
            f"{self.query}: {len(self):,} nearest, {len(self.matches):,} of them matches "
            f"(distance <= {self.threshold.value:.4f}, {self.threshold.origin})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "query": self.query,
            "found": self.found,
            "known": self.known,
            "within": self.within,
            "threshold": {"value": self.threshold.value, "rule": self.threshold.rule},
            "nearest": None if self.nearest is None else self._told(self.nearest),
            "neighbours": [self._told(one) for one in self.neighbours],
        }

    def _told(self, one: Neighbour) -> dict[str, Any]:
        return {
            "id": one.id,
            "distance": one.distance,
            "match": self.is_match(one),
            "metadata": for_people(one.metadata),
        }


def joined(answers: Sequence[Answer], k: int | None) -> Answer:
    """Join the answers to several images of one thing: of each item the smallest distance."""
    if not answers:
        raise StoreError("Expected an image to search for. Received none.")
    first = answers[0]
    best: dict[str, Neighbour] = {}
    for one in (one for answer in answers for one in answer):
        if one.id not in best or one.distance < best[one.id].distance:
            best[one.id] = one
    # whoever is among the k nearest of all is so of the image that it is nearest to
    told = sorted(best.values(), key=lambda one: one.distance)[:k]
    near = [answer.nearest for answer in answers if answer.nearest is not None]
    nearest = min(near, key=lambda one: one.distance, default=None)
    more = f" and {len(answers) - 1:,} more" if len(answers) > 1 else ""
    return replace(first, query=first.query + more, neighbours=tuple(told), nearest=nearest)


def for_people(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what programs keep for themselves: names with a "_" in front.

    Example:
        >>> for_people({"label": "cat", "_stamp": "17-3"})
        {'label': 'cat'}
    """
    return {name: value for name, value in metadata.items() if not name.startswith("_")}


@dataclass(frozen=True)
class Changes(Plain):
    """The numbers of entries by what became of them.

    Example:
        >>> Changes(added=2, removed=1).to_dict()["added"]
        2
    """

    added: int = 0  # with an id that was new
    changed: int = 0  # in the place of another image or embedding with the same id
    relabelled: int = 0  # only what is known of them is new: a label, a path
    unchanged: int = 0  # that were there already
    removed: int = 0  # that were there and are gone
    # what could not be used, with the reasons; an item that was there stays
    skipped: tuple[Skipped, ...] = ()

    def sentence(self) -> str:
        """Say it in one line.

        Example:
            >>> Changes(added=1200, unchanged=3).sentence()
            '1,200 added, 3 unchanged'
        """
        told = [
            f"{getattr(self, name):,} {name}"
            for name in ("added", "changed", "relabelled", "unchanged", "removed")
            if getattr(self, name)
        ]
        if self.skipped:
            told.append(f"{len(self.skipped):,} could not be used")
        return ", ".join(told) or "nothing to do"
