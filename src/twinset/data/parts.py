"""`divide`: which images fit, tune, calibrate and test a model; what belongs together stays so.

`check` and `train` ask the same question here, so what is called fit for training trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from twinset.data.labelled import Labelled
from twinset.data.pair_parts import divide_pairs
from twinset.data.split import (
    ENOUGH,
    By,
    Turns,
    comparable,
    is_protocol_data,
    protocol_split,
    split,
    take_turns,
    trainable,
    units_of,
)
from twinset.errors import DataError
from twinset.settings import Section, Share

# Pairs of either kind below which a part that is drawn says less than images left out in turn do.
ROOM = 10
# Share of the same pairs of a test within groups, from which on it tests what groups are like.
MOST_INSIDE = 0.5
# In which order parts are given up.
_DISPENSABLE = ("calibration", "tune", "test")
_WORDS = {"calibration": "the threshold", "test": "the report"}


@dataclass(frozen=True, eq=False)
class Division:
    """Where each image goes, and what is left out in turn where a part has no room."""

    place: NDArray[np.str_]  # "fit", "test", "tune", "calibration", or "" for what is not used
    turns: Turns | None = None  # positions among the images of the fit
    notes: tuple[str, ...] = ()
    twofold: bool = False  # whether validation images calibrate too


def division_of(
    images: Labelled,
    wanted: Mapping[str, float],
    *,
    together: NDArray[np.integer] | None = None,
    by: By | None = None,
    crossed: bool = False,
    tested: bool = False,
    seed: int = 0,
) -> Division:
    """Divide images into the parts that are wanted, as far as they have room.

    What the owner put into a part stays there; the rest is drawn. Equal pixels, groups and what
    `together` names as one stay together. `by` says whether whole classes go to the other parts, or
    images of each; None: whatever the sizes of the classes allow. `crossed` leaves images out in
    turn in any case; with `tested` there is a test part elsewhere.
    """
    if sum(wanted.values()) >= 1:
        raise DataError(f"Expected shares that leave images for the fit. Received {dict(wanted)}.")
    wanted = dict(wanted)
    owned = np.full(len(images), "", "<U11") if images.parts is None else images.parts
    place = np.where(np.isin(owned, ("", "train", "fit")), "fit", owned).astype("<U11")
    if images.judged is not None:
        how: Any = {"together": together, "crossed": crossed, "seed": seed}
        return Division(*divide_pairs(images, place, wanted, **how))
    units = units_of(images, together)
    # set aside by the owner for whatever must not be fitted on: the fit gives up none for it
    twofold = (
        "calibration" in wanted
        and not (place == "calibration").any()
        and all(comparable(images.labels[place == "tune"]))
    )
    if twofold:
        wanted.pop("calibration")
    there = [name for name in wanted if (place == name).any()]
    # what the owner set aside for a part that this run has no use for is not fitted on either
    place[~np.isin(place, ("fit", "tune", *wanted))] = ""
    notes = []
    for name in there:
        if not all(comparable(images.labels[place == name])) and name != "tune":
            notes.append(f"the part {name!r} is not used: it has no pairs of both kinds")
            place[place == name] = ""
    drawn, by = _drawn(
        images, place, units, {n: s for n, s in wanted.items() if n not in there}, by, seed
    )
    place[drawn != ""] = drawn[drawn != ""]
    fit = np.flatnonzero(place == "fit")
    if not trainable(images.labels[fit]):
        raise DataError(_too_few(images, fit))
    notes += _within_groups(images, np.flatnonzero(place == "test"))
    notes += _not_tested(images.labels, place) if by == "group" else []
    lacking = [name for name in wanted if not (place == name).any()]
    needed = [name for name in lacking if name in _WORDS and not (name == "test" and tested)]
    if not (needed or crossed):
        return Division(place, None, tuple(notes), twofold)
    try:
        turns = take_turns(images.labels[fit], by=by, units=units[fit], seed=seed)
    except DataError:
        if "test" in needed:
            raise DataError(_too_few(images, fit)) from None
        notes.append(
            "there are too few images to choose a threshold on: it stays at what the recipe says"
        )
        return Division(place, None, tuple(notes), twofold)
    if needed:
        notes.append(
            f"there are too few images for a part {' and a part '.join(map(repr, needed))}: "
            f"{' and '.join(_WORDS[name] for name in needed)} {'are' if needed[1:] else 'is'} "
            f"cross-fitted over {turns.across}, by {len(turns.all)} more trainings"
        )
    notes += [turns.note] if turns.note else []
    return Division(place, turns, tuple(notes), twofold)


def _within_groups(images: Labelled, test: NDArray[np.int64]) -> list[str]:
    # of a class whose test images are all of one film, each same pair is of two frames of it
    if images.groups is None:
        return []
    labels = images.labels
    codes = np.unique(images.groups, return_inverse=True)[1]
    films, film = np.unique(labels * (codes.max() + 1) + codes, return_inverse=True)
    # of a class that is one group there are no others
    several = np.bincount(films // (codes.max() + 1)) > 1
    counted = test[several[labels[test]]]
    grouped = counted[images.groups[counted] != ""]
    sizes = [np.bincount(each) for each in (labels[counted], film[grouped])]
    same, inside = (int((each * (each - 1) // 2).sum()) for each in sizes)
    if inside <= MOST_INSIDE * same:
        return []
    return [
        f"{inside / same:.0%} of the same pairs of the part 'test' are of two images of one group, "
        "such as a film, and easy: scores say little of new groups. Keep an image or two of each "
        "group, or name parts with several groups of each class in the test"
    ]


def _not_tested(labels: NDArray[np.int64], place: NDArray[np.str_]) -> list[str]:
    # whole classes that the owner has set aside for the test are no accident
    tested, every = (np.unique(labels[at]) for at in (place == "test", place != ""))
    if len(tested) == len(every) or not np.isin(tested, labels[place == "fit"]).any():
        return []
    return [
        f"the part 'test' has images of {len(tested):,} of {len(every):,} classes, as groups are "
        "never parted"
    ]


def _too_few(images: Labelled, fit: NDArray[np.int64]) -> str:
    counts = np.bincount(images.labels[fit])
    grouped = "" if images.groups is None else " Groups and copies are never parted."
    return (
        f"Expected images enough to learn from some and to be judged on others: {ENOUGH}. "
        f"Received {len(fit)} images to fit on, with two or more of {(counts > 1).sum()} classes."
        f"{grouped} Add images."
    )


def _drawn(
    images: Labelled,
    place: NDArray[np.str_],
    units: NDArray[np.int64],
    wanted: Mapping[str, float],
    asked: By | None,
    seed: int,
) -> tuple[NDArray[np.str_], By]:
    """Draw the parts that the owner left to us; those without room are given up, one by one."""
    free = np.flatnonzero(place == "fit")
    left = dict(wanted)
    while True:
        grouped = images.groups is not None and bool((images.groups[free] != "").any())
        by = asked or _way(images.labels[free], grouped, list(left.values()))
        found = _draw(images.labels[free], units[free], left, by, seed)
        short = [
            name for name in _DISPENSABLE if name in left and not _room(images, free, found, name)
        ]
        if not short and left and not trainable(images.labels[free][found == "fit"]):
            short = [name for name in _DISPENSABLE if name in left]
        if not short:
            drawn = np.full(len(place), "", place.dtype)
            drawn[free] = found
            return drawn, by
        del left[short[0]]


def _room(images: Labelled, free: NDArray[np.int64], found: NDArray[np.str_], name: str) -> bool:
    chosen = images.labels[free][found == name]
    return bool(len(chosen)) if name == "tune" else min(comparable(chosen)) >= ROOM


def _way(labels: NDArray[np.int64], grouped: bool, shares: Sequence[float]) -> By:
    # By class where most classes are too small to be divided: the test is then on classes that were
    # not seen. Where nothing is drawn, images left out in turn take 4 for two a turn.
    if grouped:
        return "group"
    _, counts = np.unique(labels, return_counts=True)
    least = 1 / min([*shares, 1 - sum(shares)]) if shares else 4
    return "class" if len(counts) and np.median(counts) < least else "image"


def _draw(
    labels: NDArray[np.int64],
    units: NDArray[np.int64],
    wanted: Mapping[str, float],
    by: By,
    seed: int,
) -> NDArray[np.str_]:
    place = np.full(len(labels), "fit", "<U11")
    if not wanted:
        return place
    sizes = {"fit": 1 - sum(wanted.values()), **wanted}
    large = np.arange(len(labels))
    if by == "image":  # classes that are too small go to the fit
        large = large[np.bincount(labels)[labels] >= 1 / min(sizes.values())]
    if not len(large):
        return place
    groups = units if by == "group" else None
    try:
        found = split(labels[large], sizes, by=by, groups=groups, seed=seed)
    except DataError:  # nothing for one of the parts
        return place
    for name, positions in found.items():
        place[large[positions]] = name
    # each unit follows its first image
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    followed: NDArray[np.str_] = place[first][unit]
    return followed


PLACES = ("fit", "test", "tune", "calibration")


@dataclass(frozen=True, eq=False)
class Parts:
    """What each part of the work may see; None where there is none."""

    fit: Labelled  # the weights are learned on these
    test: Labelled | None = None  # judged on these, and on nothing else
    tune: Labelled | None = None  # for the choice of settings
    # thresholds and probabilities are chosen on these, which may be those of `tune`
    calibration: Labelled | None = None
    turns: Turns | None = None  # what of `fit` is left out in turn, where a part has no room
    notes: tuple[str, ...] = ()  # what was done otherwise than asked, without a full stop
    by: By | None = None  # what the recipe is judged on, as `left_out_by` has it

    def named(self) -> dict[str, Labelled]:
        """List the parts that there are."""
        found = {name: getattr(self, name) for name in PLACES}
        return {name: part for name, part in found.items() if part is not None}


class Shares(Section):
    """The shares of the user's own images that make parts, where the data names none itself.

    Args:
        test: share of the images, or groups, that the model is judged on.
        calibration: share that thresholds are chosen on, if the recipe's `holdout` asks for any.
        tune: share kept for the choice of epochs and settings.
    """

    test: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.2
    calibration: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.1
    tune: Share = 0.0


def divide(
    images: Labelled,
    test: Labelled | None = None,
    *,
    holdout: str = "auto",
    shares: Section | None = None,
    together: ArrayLike | None = None,
    by: By | None = None,
    seed: int = 0,
    allow_leaks: bool = False,
) -> Parts:
    """Divide labelled images, or features, into the parts of the work, and prove them disjoint.

    What the data's owner put into a part stays there; validation images are the calibration part
    too, where the owner made none and they have pairs of both kinds. Of the rest, shares are drawn
    at random: by group where there are groups; by class, so that the test is on unseen classes,
    where most classes have too few images to be divided; else by image, each class alike, and a
    class too small for that goes to the fit. Images with equal pixels, and those that `together`
    names as one, go to one part. A part that would be too small is left out, and `turns` says which
    images of the fit are left out in turn instead.

    Images with equal numbers in `together`, such as near duplicates, are not parted. With the
    holdout "none" there is no tune and calibration part, with "auto" one of each if the shares say
    so, or Fashion-MNIST's own; with "cross" all calibration is by turns; "protocol" refuses other
    data than that. `allow_leaks` goes on though the owner put one image or group into two parts.
    """
    chosen = shares or Shares()
    if is_protocol_data(images.labels) and test is not None:
        own = {"fit": np.arange(len(images))}
        return _taken(images, own if holdout == "none" else protocol_split(images.labels), test)
    if holdout == "protocol":
        raise DataError(
            "Expected Fashion-MNIST's training part for holdout = 'protocol'. "
            f"Received {images.name}: take holdout = 'auto'."
        )
    found = division_of(
        images,
        wishes(holdout, chosen, tested=test is not None),
        together=None if together is None else np.asarray(together),
        by=by,
        crossed=holdout == "cross",
        tested=test is not None,
        seed=seed,
    )
    parts = {name: np.flatnonzero(found.place == name) for name in PLACES}
    parts = {name: positions for name, positions in parts.items() if len(positions)}
    if found.twofold:
        parts["calibration"] = parts["tune"]
    taken = _taken(images, parts, test, prove=not allow_leaks)
    return replace(taken, turns=found.turns, notes=found.notes, by=by)


def wishes(
    holdout: str, shares: Section | None = None, *, tested: bool = False
) -> dict[str, float]:
    """List the parts that a recipe's `holdout` and `split` ask for, with their shares."""
    chosen: Any = shares or Shares()
    wanted = {} if tested else {"test": chosen.test}
    if holdout == "auto":
        wanted["calibration"] = chosen.calibration
    if holdout != "none" and chosen.tune:
        wanted["tune"] = chosen.tune
    return wanted


def _taken(
    images: Labelled,
    parts: Mapping[str, NDArray[np.int64]],
    test: Labelled | None,
    *,
    prove: bool = True,
) -> Parts:
    if prove:
        # of fingerprints, which are as good as the images
        prints = images.fingerprints
        once = {positions.tobytes(): name for name, positions in parts.items()}
        prove_disjoint(prints, {name: parts[name] for name in once.values()}, images.groups)
        if test is not None:
            both = np.concatenate([prints, test.fingerprints])
            whole = np.arange(len(both))
            prove_disjoint(both, {"train": whole[: len(images)], "test": whole[len(images) :]})
    undivided = len(parts) == 1 and len(parts["fit"]) == len(images)
    found: dict[str, Any] = {
        name: images if undivided else images.subset(positions, f"{images.name}[{name}]")
        for name, positions in parts.items()
    }
    if test is not None:
        found["test"] = test
    return Parts(**found)


def prove_disjoint(
    prints: NDArray[np.uint8], parts: Mapping[str, ArrayLike], groups: ArrayLike | None = None
) -> None:
    """Prove that no image, by its fingerprint, and no group is in two parts."""
    # not that nothing is alike: what was shifted or compressed again has another fingerprint
    _in_one_part([print_.tobytes() for print_ in prints], parts, "image")
    if groups is not None:
        names = np.asarray(groups)
        # without a name it is no group
        named = {part: np.asarray(at)[names[np.asarray(at)] != ""] for part, at in parts.items()}
        _in_one_part(names.tolist(), named, "group")


def _in_one_part(keys: Sequence[Any], parts: Mapping[str, ArrayLike], what: str) -> None:
    first: dict[Any, tuple[str, int]] = {}
    for name, indices in parts.items():
        for position in np.asarray(indices).tolist():
            owner, earlier = first.setdefault(keys[position], (name, position))
            if owner != name:
                of = f" {keys[position]!r}" if what == "group" else ""
                raise DataError(
                    f"Expected each {what} in one part. Received position {earlier} in {owner!r} "
                    f"and position {position} in {name!r} with the same {what}{of}: remove one, or "
                    "split by group."
                )
