"""Positions cut into parts at random, or left out in turn; and what is never parted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.labelled import Labelled
from twinset.data.pairs import class_indices, hanging_together
from twinset.errors import DataError

By = Literal["image", "group", "class"]
# part → positions of its images
Positions: TypeAlias = dict[str, NDArray[np.int64]]

PROTOCOL_SEED = 20060617
PROTOCOL_SIZES = {"fit": 5000, "tune": 500, "calibration": 500}
_PROTOCOL_FILE = Path(__file__).with_name("protocol_split.npz")
# SHA-256 of the 60,000 training labels of Fashion-MNIST, as little-endian int64
_PROTOCOL_LABELS = "e3245b63f7c40d1c8b652835f19744d970c1613b40ddac6bcfc87b9c46e16a0b"


def split(
    labels: ArrayLike,
    sizes: Mapping[str, float],
    *,
    by: By = "image",
    groups: ArrayLike | None = None,
    seed: int,
) -> Positions:
    """Split a set of labelled images at random.

    - `by="image"`: each class is permuted and cut, so every part has the same mix of classes
      (stratified). `sizes` counts images of each class.
    - `by="group"`: whole groups go to one part, say all photographs of one object. `sizes` counts
      images. Large groups go first, each to the part that has room for it and lacks most of its
      classes, or else to the part that lacks most: no part gets over its size by as much as one
      group. Which group goes where is random among groups of about one size.
    - `by="class"`: whole classes go to one part, for a test on unseen classes. `sizes` counts
      classes.

    Shares round at the cuts: with shares s₁, s₂, … of m items, part k takes the items from
    round(m · (s₁ + … + sₖ₋₁)) to round(m · (s₁ + … + sₖ)), halves upwards. So a part is off by
    less than one item, and shares that add up to 1 use every item.

    `sizes` has counts (ints) or shares (floats that add up to 1 at most) for all parts; what they
    leave over is in no part. The positions are sorted int64.
    """
    values = np.asarray(labels)
    rng = np.random.default_rng(seed)
    if by == "group":
        return _by_group(values, sizes, np.asarray(groups), rng)
    classes = class_indices(values)
    if by == "class":
        chosen = _cut(rng.permutation(len(classes)), sizes, f"the {len(classes)} classes")
        return {k: np.sort(np.concatenate([classes[c] for c in v])) for k, v in chosen.items()}
    cuts = [
        _cut(rng.permutation(mine), sizes, f"class {values[mine[0]]} of {len(mine)} images")
        for mine in classes
    ]
    return {name: np.sort(np.concatenate([cut[name] for cut in cuts])) for name in sizes}


def is_protocol_data(labels: ArrayLike) -> bool:
    """Tell whether labels are those that `protocol_split` divides."""
    values = np.asarray(labels, "<i8")
    return hashlib.sha256(values.tobytes()).hexdigest() == _PROTOCOL_LABELS


def protocol_split(labels: ArrayLike) -> Positions:
    """Return the evaluation protocol's split of Fashion-MNIST's training set.

    "fit" (5,000 images of each class: the weights), "tune" (500: epochs, hyper-parameters, choice
    of model) and "calibration" (500: threshold and calibration). It is `split` by image with seed
    20060617: for each class in label order `rng.permutation` of its positions, of which the first
    5,000, the next 500 and the last 500.

    The positions come from a file beside this module, one byte per image (0, 1, 2), because
    numpy does not promise the same permutations for ever; a test derives them anew.
    """
    if not is_protocol_data(labels):
        raise DataError(
            "Expected the 60,000 training labels of Fashion-MNIST, in the order of their file. "
            f"Received {np.size(labels)} other labels; these have no protocol."
        )
    with np.load(_PROTOCOL_FILE) as file:
        codes = file["codes"]
    return {name: np.flatnonzero(codes == k) for k, name in enumerate(PROTOCOL_SIZES)}


def cut_points(sizes: Mapping[str, float], count: int, *, halves: float = 0.5) -> NDArray[np.int64]:
    """Turn shares into the cuts between the parts of `count` items; counts are taken as they are.

    With `halves` drawn from [0, 1) each part has its share on average, however few items.
    """
    sums = np.cumsum([0, *sizes.values()])
    if np.issubdtype(sums.dtype, np.floating):
        # the tiny term: 0.1 + 0.2 and 0.3 are to round alike
        sums = np.floor(sums * count + halves + 1e-9).astype(np.int64)
    return sums


def _bounds(sizes: Mapping[str, float], count: int, what: str) -> NDArray[np.int64]:
    """Turn sizes into the cuts between the parts of `count` items: parts + 1 numbers from 0."""
    sums = cut_points(sizes, count)
    short = [name for name, taken in zip(sizes, np.diff(sums), strict=True) if not taken]
    if short or sums[-1] > count:
        need = f"nothing for part {short[0]!r}" if short else f"a need of {sums[-1]}"
        raise DataError(
            f"Expected {what} to be enough for {dict(sizes)}. Received {need}: "
            "change the sizes, or leave small classes out."
        )
    return sums


def _cut(items: NDArray[np.int64], sizes: Mapping[str, float], what: str) -> Positions:
    bounds = _bounds(sizes, len(items), what)
    return {name: items[bounds[k] : bounds[k + 1]] for k, name in enumerate(sizes)}


def _by_group(
    labels: NDArray[Any], sizes: Mapping[str, float], groups: NDArray[Any], rng: np.random.Generator
) -> Positions:
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    wanted = np.diff(_bounds(sizes, len(labels), f"the {len(labels)} images"))
    lacking = np.append(wanted, len(labels) - wanted.sum())  # the last: what is in no part
    # by powers of two, random within: the small groups, which come last, even the parts out
    order = rng.permutation(len(counts))
    order = order[np.argsort(-np.floor(np.log2(counts[order])), kind="stable")]
    home = np.empty(len(counts), np.int64)
    _, kinds, of_kind = np.unique(labels, return_inverse=True, return_counts=True)
    lacking_of = np.outer(lacking / len(labels), of_kind)  # of each class
    held, number = np.unique(codes * len(of_kind) + kinds, return_counts=True)
    bounds = np.searchsorted(held, np.arange(len(counts) + 1) * len(of_kind))
    held %= len(of_kind)
    for group in order:
        mine = slice(bounds[group], bounds[group + 1])
        own, many = held[mine], number[mine]
        room = lacking >= min(counts[group], lacking.max())
        wants = np.where(room, lacking_of[:, own] @ many, -np.inf)
        equal = wants >= wants.max() - 1e-6 * counts[group]
        home[group] = np.argmax(np.where(equal, lacking, -np.inf))
        lacking[home[group]] -= counts[group]
        lacking_of[home[group], own] -= many
    parts = {name: np.flatnonzero(home[codes] == k) for k, name in enumerate(sizes)}
    for name, indices in parts.items():
        if not len(indices):
            raise DataError(
                f"Expected groups enough for every part. Received none for part {name!r} from "
                f"{len(counts)} groups of up to {counts.max()} images: take larger parts."
            )
    return parts


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
    # as many classes as groups of one class
    lone = by == "group" and len(np.unique(values)) == len(
        np.unique(values * (len(whole) + 1) + whole)
    )
    what = "each class is one group" if lone else "too few images of each class to leave some out"
    instead = (
        "too few classes to leave any out, so images of each were: what is said holds for new "
        "images of these classes"
        if by == "class"
        else f"{what}, so whole classes were: what is said holds for classes that were not seen"
    )
    mixed = "one class at a time was left out, and an image of another, as there are so few images"
    for way, deal, note in (first, (*second[:2], instead), ("class", _one_class, mixed)):
        rng = np.random.default_rng(seed)
        turns = [_turn(values, whole, held) for held in deal(values, whole, folds, rng)]
        turns = [t for t in turns if trainable(values[t.kept]) and any(comparable(values[t.held]))]
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


def units_of(
    images: Labelled, together: NDArray[np.integer] | None, *, grouped: bool = True
) -> NDArray[np.int64]:
    """Number what must stay whole: by pixels, by group, by `together`, and all that hang on it."""
    ties = [np.unique(images.fingerprints, axis=0, return_inverse=True)[1].ravel()]
    if together is not None:
        ties.append(np.unique(together, return_inverse=True)[1])
    count = len(images)
    if grouped and images.groups is not None:
        names, codes = np.unique(images.groups, return_inverse=True)
        # without a name it is no group
        ties.append(np.where(names[codes] == "", len(names) + np.arange(count), codes))
    first, edges = count, []
    for codes in ties:  # images on one side, what ties them on the other
        edges.append((np.arange(count), codes + first))
        first += int(codes.max(initial=-1)) + 1
    return hanging_together(first, *edges)[:count]
