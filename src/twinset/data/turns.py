"""What is left out in turn, so that each image serves the fit and what must not be fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.pairs import class_indices
from twinset.data.split import By
from twinset.errors import DataError

Rows: TypeAlias = NDArray[np.int64]

FOLDS = 5
# What leaves room for a turn, for people: of how many classes so many images.
ENOUGH = "4 images of each of 2 classes, 3 of each of 3, or 2 of each of 4"


@dataclass(frozen=True, eq=False)
class Turn:
    """Positions of what is left out and compared, and of what is fitted on meanwhile.

    What is in neither belongs to a group of which a part is left out.
    """

    held: Rows
    kept: Rows


@dataclass(frozen=True, eq=False)
class Turns:
    """The turns of a collection: what was left out, and what people must know of it."""

    all: tuple[Turn, ...]
    by: By
    classes: int  # of which two images were left out together
    images: int  # that were left out at some turn
    note: str = ""
    told: str = ""  # what was left out, where no classes were

    @property
    def across(self) -> str:
        """What was left out in turn, for people."""
        if self.told:
            return self.told
        classes = f"{self.classes:,} class{'es' * (self.classes != 1)}"
        if self.by == "class":
            return f"{classes} ({self.images:,} images)"
        groups = " by group" if self.by == "group" else ""
        return f"{self.images:,} images of {classes}{groups}"


def take_turns(
    labels: ArrayLike,
    *,
    by: By = "class",
    units: ArrayLike | None = None,
    folds: int = FOLDS,
    seed: int,
) -> Turns:
    """Deal classes, or images of each class, into turns that each leave a training possible.

    Rows of one number in `units` (a group, copies of an image) are never parted. What cannot be
    done by classes is done by images, or the other way round, and `note` tells.
    """
    values = np.unique(np.asarray(labels), return_inverse=True)[1]
    whole = np.arange(len(values)) if units is None else np.unique(units, return_inverse=True)[1]
    if folds < 2:
        raise DataError(f"Expected 2 folds or more. Received {folds}.")
    by_class: _Way = ("class", _classes, "")
    by_image: _Way = ("group" if by == "group" else "image", _images, "")
    first, second = (by_class, by_image) if by == "class" else (by_image, by_class)
    instead = (
        "too few classes to leave any out, so images of each were: what is said holds for new "
        "images of these classes"
        if by == "class"
        else "too few images of each class to leave some out, so whole classes were: what is said "
        "holds for classes that were not seen"
    )
    mixed = "one class at a time was left out, and an image of another, as there are so few images"
    for way, deal, note in (first, (*second[:2], instead), ("class", _one_class, mixed)):
        rng = np.random.default_rng(seed)
        turns = [_turn(values, whole, held) for held in deal(values, whole, folds, rng)]
        turns = [turn for turn in turns if _useful(values, turn)]
        if able(values, turns):
            if deal is _classes and _large(values).size:
                note += "; " if note else ""
                note += "the largest class has more than half of the images, and was never left out"
            return turns_of(values, turns, way, note)
    grouped = units is not None and len(np.unique(whole)) < len(whole)
    raise DataError(
        f"Expected images enough to learn from some and leave others out: {ENOUGH}. Received "
        f"{len(values)} images of {len(np.unique(values))} classes"
        f"{', many of them in one group or copies of each other' if grouped else ''}: add images."
    )


def turns_of(labels: NDArray[np.integer], turns: Sequence[Turn], by: By, note: str = "") -> Turns:
    """Count what some turns leave out."""
    held = [turn.held for turn in turns]
    own = [np.unique(labels[rows], return_counts=True) for rows in held]
    paired = np.unique(np.concatenate([kinds[counts > 1] for kinds, counts in own]))
    images = np.unique(np.concatenate(held))
    return Turns(tuple(turns), by, len(paired), len(images), note)


def trainable(labels: NDArray[np.integer]) -> bool:
    """Tell whether there are two classes of two images, which every recipe needs."""
    return bool((np.unique(labels, return_counts=True)[1] > 1).sum() > 1)


def comparable(labels: NDArray[np.integer]) -> tuple[int, int]:
    """Count the same and the different pairs."""
    counts = np.unique(labels, return_counts=True)[1]
    same = int((counts * (counts - 1) // 2).sum())
    return same, len(labels) * (len(labels) - 1) // 2 - same


def able(labels: NDArray[np.integer], turns: Sequence[Turn]) -> bool:
    """Tell whether the turns together have pairs of both kinds."""
    pairs = [comparable(labels[turn.held]) for turn in turns]
    return any(same for same, _ in pairs) and any(different for _, different in pairs)


def _useful(labels: Rows, turn: Turn) -> bool:
    return trainable(labels[turn.kept]) and any(comparable(labels[turn.held]))


def _turn(labels: Rows, units: Rows, held: Rows) -> Turn:
    return Turn(np.sort(held), np.flatnonzero(~np.isin(units, units[held])))


def _large(labels: Rows) -> Rows:
    # a class without which next to nothing is left to learn from
    return np.flatnonzero(np.bincount(labels) > len(labels) / 2)


_Deal: TypeAlias = Callable[[Rows, Rows, int, np.random.Generator], Iterator[Rows]]
_Way: TypeAlias = tuple[By, _Deal, str]


def _classes(labels: Rows, units: Rows, folds: int, rng: np.random.Generator) -> Iterator[Rows]:
    # those that make same pairs first, so that each turn has its share of them
    counts = np.bincount(labels)
    free = np.setdiff1d(np.arange(len(counts)), _large(labels))
    order = rng.permutation(free)
    order = order[np.argsort(counts[order] < 2, kind="stable")]
    # two classes a turn or more, as one makes no different pair
    turns = min(folds, max(2, int((counts[free] > 1).sum()) // 2))
    for start in range(turns):
        yield np.flatnonzero(np.isin(labels, order[start::turns]))


def _images(labels: Rows, units: Rows, folds: int, rng: np.random.Generator) -> Iterator[Rows]:
    # each class in as many shares as hold two images or more, for same pairs; two images or more
    # stay in the fit
    home = np.full(units.max(initial=-1) + 1, -1)
    dealt = 0
    for mine in class_indices(labels):
        own, sizes = np.unique(units[mine], return_counts=True)
        own = rng.permutation(own[home[own] < 0])
        shares = min(folds, len(own) // 2) if len(own) > 3 else len(own)
        if shares < 2 or len(mine) - sizes.max() < 2:
            continue
        dealt += 1
        for place, share in enumerate(np.array_split(own, shares)):
            home[share] = place % folds
    if dealt == 1:  # different pairs are then made with a class of one image, of which none learns
        single = np.flatnonzero(np.bincount(labels)[labels] == 1)
        free = np.unique(units[single])
        home[free[home[free] < 0]] = 0
    for place in range(home.max(initial=-1) + 1):
        yield np.flatnonzero(home[units] == place)


def _one_class(labels: Rows, units: Rows, folds: int, rng: np.random.Generator) -> Iterator[Rows]:
    counts = np.bincount(labels)
    for kind in np.flatnonzero(counts > 1):
        others = np.flatnonzero((counts > 2) & (np.arange(len(counts)) != kind))
        if len(others):
            rows = np.flatnonzero(labels == rng.choice(others))
            whole = np.flatnonzero(np.isin(units, units[rng.choice(rows)]))
            yield np.concatenate([np.flatnonzero(labels == kind), np.intersect1d(rows, whole)])
