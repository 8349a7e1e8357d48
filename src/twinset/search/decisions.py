"""What people decided about pairs of items: which decisions stand, and what contradicts what."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from twinset import tables
from twinset.data.names import shown
from twinset.data.pair_tables import read_pair_table
from twinset.errors import StoreError
from twinset.files import Plain
from twinset.search.cut import joined

KIND = "decisions"  # of the store's records
# Why a pair is asked about that was chosen by its distance alone: only such calibrate.
NEAR = "near the threshold"


@dataclass(frozen=True)
class Decision:
    """What somebody decided about two items.

    Example:
        >>> Decision("b", "a", True, "Ann", "2026-11-28T21:30:00+00:00", "", 0.5).pair
        ('a', 'b')
    """

    left: str
    right: str
    same: bool
    who: str  # "" where nobody is named
    when: str  # UTC, ISO 8601
    model: str  # digest of the model whose index was asked
    distance: float  # then
    why: str = ""  # the pair was asked about; "" where it was not
    undone: bool = False  # it takes the latest decision on this pair back

    @property
    def pair(self) -> tuple[str, str]:
        """Both ids in order, whichever was left."""
        return min(self.left, self.right), max(self.left, self.right)

    def sentence(self) -> str:
        """Say it for people.

        Example:
            >>> Decision("a", "b", False, "anna", "2026-11-28T21:30:00+00:00", "", 0.5).sentence()
            'a and b are different (anna, 2026-11-28)'
        """
        who = ", ".join(str(each) for each in (self.who, self.when[:10]) if each)
        return f"{self.left} and {self.right} are {_word(self.same)} ({who})"


def _word(same: bool) -> str:
    return "the same" if same else "different"


@dataclass(frozen=True)
class Decided(Plain):
    """What became of a table of decisions.

    Example:
        >>> Decided(new=12, open=3).to_dict()["open"]
        3
    """

    new: int = 0  # recorded
    known: int = 0  # that stood already, and were not recorded again
    open: int = 0  # rows that nobody has decided
    undone: int = 0
    contradictions: tuple[str, ...] = ()  # of those that stand now, as sentences
    threshold: str = ""  # what the decisions make of it, as a sentence; "" where nothing

    def sentence(self) -> str:
        """Say it in one line.

        Example:
            >>> Decided(new=12, open=3).sentence()
            '12 new, 3 open'
        """
        told = [f"{getattr(self, n):,} {n}" for n in ("new", "known", "open", "undone")]
        return ", ".join(each for each in told if not each.startswith("0 ")) or "nothing to do"


class Judged(NamedTuple):
    """One pair as it is handed in."""

    left: str
    right: str
    same: bool
    why: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """Both ids in order, whichever was left."""
        return min(self.left, self.right), max(self.left, self.right)


Judgements: TypeAlias = "str | os.PathLike[str] | Iterable[Sequence[Any]]"


def of_record(row: Mapping[str, Any]) -> Decision:
    """Read a decision from the store's records; what a later version adds is let pass."""
    known = {each.name for each in fields(Decision)}
    return Decision(**{name: value for name, value in row.items() if name in known})


def standing(log: Iterable[Decision]) -> list[Decision]:
    """Find the decisions that stand: of each pair the latest that nobody took back, in order."""
    stacks: dict[tuple[str, str], list[tuple[int, Decision]]] = {}
    for at, one in enumerate(log):
        stack = stacks.setdefault(one.pair, [])
        if not one.undone:
            stack.append((at, one))
        elif stack:
            stack.pop()
    return [one for _, one in sorted((s[-1] for s in stacks.values() if s), key=lambda s: s[0])]


class Settled:
    """What follows from the decisions that stand: which items are the same, which different."""

    # A "same" that would bring two together that are different is left out, and told: of the two
    # the "different" is the more careful.

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.decisions = tuple(decisions)
        self.same = [one.pair for one in decisions if one.same]
        self.different = [one.pair for one in decisions if not one.same]
        self.home, refused = joined(self.same, self.different)
        self._refused = [[one for one in decisions if one.same][at] for at in refused]
        self._foes: dict[str, set[str]] = {}
        for left, right in self.different:
            self._foes.setdefault(left, set()).add(right)
            self._foes.setdefault(right, set()).add(left)

    def says(self, left: str, right: str) -> bool | None:
        """Tell whether two items are the same, as far as it follows from the decisions."""
        here, there = (self.home.get(one, {one}) for one in (left, right))
        if right in here:
            return True
        return None if self._between(here, there) is None else False

    def differs_from(self, item: str) -> set[str]:
        """Find the items that are different from one, by decision or as the same as such."""
        foes = {foe for one in self.home.get(item, {item}) for foe in self._foes.get(one, ())}
        return {one for foe in foes for one in self.home.get(foe, {foe})}

    def same_as(self, item: str) -> set[str]:
        """Find the items that are the same as one, itself left out."""
        return self.home.get(item, {item}) - {item}

    def among(self, ids: Sequence[str]) -> dict[str, list[tuple[int, int]]]:
        """Return what is settled as positions in a list of ids, for `find_groups`."""
        place = {own: at for at, own in enumerate(ids)}
        # by way of an item that is gone two others may be the same still, or different
        there = {
            one: [place[own] for own in sorted(self.home.get(one, {one})) if own in place]
            for pair in (*self.same, *self.different)
            for one in pair
        }
        chains = {pair for own in there.values() for pair in pairwise(own)}
        pairs = [
            (place.get(left, there[left][0]), place.get(right, there[right][0]))
            for left, right in self.different
            if there[left] and there[right]
        ]
        return {"same": sorted(chains), "different": pairs}

    def contradictions(self) -> tuple[str, ...]:
        """Say which decisions cannot all be right."""
        told = []
        for one in self._refused:
            foes = self._between(*(self.home.get(end, {end}) for end in one.pair)) or one.pair
            by_pair = {other.pair: other for other in self.decisions}
            told.append(
                f"{one.sentence()}, but by way of others that would make the same what is not: "
                f"{by_pair[min(foes), max(foes)].sentence()}. The first is left out until one of "
                "them is undone."
            )
        return tuple(told)

    def _between(self, here: set[str], there: set[str]) -> tuple[str, str] | None:
        pairs = ((one, foe) for one in here for foe in self._foes.get(one, set()) & there)
        return min(pairs, default=None)


# (left, right, same, why) of a pair that is handed in; None is what is still open
Row: TypeAlias = "tuple[str, str, bool | None, str]"
Handed: TypeAlias = "str | os.PathLike[str] | Sequence[Row]"


def read_judgements(
    given: Handed, ids: Mapping[str, str], *, undo: bool = False
) -> tuple[list[Judged], int]:
    """Read a table, or rows as `row_of` makes them, and count what is still open.

    `ids` has the id of each id, and of each path. To `undo` rows, whether they are the same, or
    open, does not matter; what is open in a table is left out.
    """
    any_answer = undo and not isinstance(given, str | os.PathLike)
    if isinstance(given, str | os.PathLike):
        table = read_pair_table(Path(given))
        why = table.why or [""] * len(table)
        same = [None if each < 0 else bool(each) for each in table.same.tolist()]
        rows = list(zip(table.left, table.right, same, why, strict=True))
        name, where, home = table.name, table.where, Path(given).absolute().parent
    else:
        rows = list(given)
        name, where, home = "decisions", "row {}".format, Path.cwd()
    found: dict[tuple[str, str], tuple[Judged, int]] = {}
    for at, (left, right, answer, reason) in enumerate(rows):
        if answer is None and not any_answer:
            continue
        place = f"{name}, {where(at)}"
        ends = (_id_of(end, ids, home, place) for end in (left, right))
        one = Judged(next(ends), next(ends), bool(answer), reason)
        before = found.setdefault(one.pair, (one, at))
        twice = one.left == one.right
        if twice or (before[0].same != one.same and not undo):
            both = f"{_word(one.same)} here and {_word(before[0].same)} at {where(before[1])}"
            wrong = "the same item twice" if twice else both
            raise StoreError(
                f"{place}: expected one answer for two items. Received {shown(left)} "
                f"and {shown(right)}, {wrong}. Nothing was recorded."
            )
    still_open = 0 if any_answer else sum(row[2] is None for row in rows)
    return [one for one, _ in found.values()], still_open


def row_of(given: Any) -> Row:
    """Read a row (left, right, same), or one with a why behind."""
    row = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else ()
    left, right, same, *why = row if len(row) > 2 else (None, None, None)
    whole = isinstance(same, int | float | np.number | np.bool_) and same in (0, 1)
    ends = all(isinstance(each, str | os.PathLike) for each in (left, right))
    if not (ends and (same is None or whole)):
        raise StoreError(
            "Expected decisions as rows (left, right, same): two ids or paths, and True, False or "
            f"None. Received {given!r}. Nothing was recorded."
        )
    reason = str(why[0]) if why else ""
    return os.fspath(left), os.fspath(right), None if same is None else bool(same), reason


def _id_of(name: str, ids: Mapping[str, str], home: Path, where: str) -> str:
    for each in (name, str(home / name), os.path.normpath(home / name)):
        if each in ids:
            return ids[each]
    raise StoreError(
        f"{where}: expected the id of an item, or its path. This index has no {shown(name)!r}. "
        "Nothing was recorded."
    )


def pairs_csv(decisions: Iterable[Decision], paths: Mapping[str, Any]) -> str:
    """Write decisions as a table of pairs, as `twinset train --pairs` reads it."""
    rows = [
        (
            *(paths.get(end) or end for end in (one.left, one.right)),
            *(int(one.same), one.who, one.when, one.model, f"{one.distance:.6f}", one.why),
        )
        for one in decisions
    ]
    names = ["left", "right", "same", "who", "when", "model", "distance", "why"]
    return tables.csv(names, rows)
