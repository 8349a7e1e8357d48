"""How images with judged pairs are divided: no image, thing or group in two parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.labelled import Labelled
from twinset.data.pairs import (
    Pairs,
    balanced_pairs,
    closed_labels,
    hanging_together,
    known_pairs,
    pairs_to_learn,
    taken,
    tutorial_pairs,
)
from twinset.data.split import FOLDS, Turn, Turns, split, units_of
from twinset.errors import DataError

# Pairs of either kind that a part needs to be judged on, and a fit to learn from.
ROOM, LEAST = 10, 4
# Share of the images with a partner that all have to be known to differ, to be taken for classes.
ENOUGH = 0.75


def pairs_of(images: Labelled, chosen: NDArray[np.integer] | None = None) -> Pairs:
    """List the pairs of which is known whether they are the same: judged, and of classes, drawn."""
    assert images.judged is not None, "of classes alone all pairs are known"
    pairs, labels = images.judged, images.labels
    if chosen is not None:  # without touching a pixel
        pairs, labels = taken(pairs, chosen, len(labels)), labels[chosen]
    return known_pairs(pairs, labels, len(images.class_names))


def pairs_to_show(images: Labelled, *, seed: int) -> Pairs:
    """List the judged pairs, or the tutorial's, or balanced ones where it can draw none.

    Of two classes it would draw each different pair twice, from either side.
    """
    if images.judged is not None:
        return pairs_of(images)
    counts = images.class_counts
    balanced = (counts == 1).any() or len(counts) == 2
    return (balanced_pairs if balanced else tutorial_pairs)(images.labels, seed=seed)


def pairs_to_score(images: Labelled, *, seed: int = 0) -> Pairs:
    """List the pairs to score a model on: those to show, where they say enough.

    The tutorial's are as many of each class as the smallest has images, and are neighbours in the
    file. Balanced ones are drawn where that leaves out more than half of the images, or where the
    neighbour may be the next frame of one film.
    """
    counts = images.class_counts[images.class_counts > 0]
    few = len(counts) * counts.min(initial=len(images)) < len(images) / 2
    if images.judged is None and (few or images.groups is not None):
        return balanced_pairs(images.labels, seed=seed)
    return pairs_to_show(images, seed=seed)


def listed(
    images: Labelled, chosen: NDArray[np.integer] | None = None
) -> tuple[Any, Any, Any] | None:
    """Give left, right and same of the known pairs; None where the classes tell of all."""
    if images.judged is None:
        return None
    known = pairs_of(images, chosen)
    return known.left, known.right, known.same


def pairs_to_fit(images: Labelled, *, seed: int) -> Pairs:
    """List the pairs to learn from: the tutorial's, or judged ones with what follows from them."""
    if images.judged is None:
        return tutorial_pairs(images.labels, seed=seed)
    return pairs_to_learn(images.judged, images.labels, len(images.class_names), seed=seed)


def labels_to_fit(images: Labelled) -> tuple[NDArray[np.int64], int] | None:
    """Give labels of which all that differ are known to be different, and how many count.

    Labels from that number on are of one image each. None where that leaves out more than a quarter
    of the images that were judged the same as another.
    """
    if images.judged is None:
        return images.labels, len(images.class_names)
    labels, count = closed_labels(images.judged, images.labels, len(images.class_names))
    _, code, size = np.unique(images.labels, return_inverse=True, return_counts=True)
    enough = (labels[size[code] > 1] < count).mean() >= ENOUGH if (size > 1).any() else False
    return (labels, count) if enough and count > 1 else None


def kinds_of(images: Labelled, chosen: NDArray[np.integer] | None = None) -> tuple[int, int]:
    """Count the same and the different pairs that are known, of all images or of some."""
    same = pairs_of(images, chosen).same
    return int(same.sum()), int((~same).sum())


def divide_pairs(
    images: Labelled,
    place: NDArray[np.str_],  # "fit", or what the owner wants; what is "fit" is drawn from
    asked: Mapping[str, float],
    *,
    together: NDArray[np.integer] | None,
    crossed: bool,
    seed: int,
) -> tuple[NDArray[np.str_], Turns | None, tuple[str, ...]]:
    """Place each image, and say what is left out in turn where a part has no room."""
    place = place.copy()
    if not (place == "calibration").any():  # validation wants images with classes
        place[place == "tune"] = "calibration"
    place[~np.isin(place, ("fit", *asked))] = ""
    for name in asked:
        if not min(_of(images, place, name)):
            place[place == name] = ""
    wanted = {n: s for n, s in asked.items() if n != "tune" and not (place == n).any()}
    owned, place = place, _dealt(images, place, wanted, together, seed)
    while wanted and not _room(images, place, wanted):
        # what does the least harm is given up first
        del wanted[next(name for name in ("calibration", "test") if name in wanted)]
        place = _dealt(images, owned, wanted, together, seed)
    fit, judged, notes = np.flatnonzero(place == "fit"), images.judged, list[str]()
    assert judged is not None
    if min(kinds_of(images, fit)) < LEAST:
        raise DataError(too_few(images))
    lost = int((place[judged.left] != place[judged.right]).sum())
    if lost:
        notes.append(
            f"{lost:,} pairs join two parts and are not used: too much hangs together by its pairs "
            "to be divided otherwise"
        )
    lacking = [n for n in asked if n != "tune" and not (place == n).any()]
    if not (lacking or crossed):
        return place, None, tuple(notes)
    near = None if together is None else together[fit]
    turns = turns_of_pairs(images.subset(fit), together=near, seed=seed)
    if turns is None and "test" in lacking:
        raise DataError(too_few(images))
    if turns is None:
        notes.append(
            "there are too few pairs to choose a threshold on: it stays at what the recipe says"
        )
    elif lacking:
        notes.append(
            f"there are too few pairs for a part {' and a part '.join(map(repr, lacking))}: what "
            f"is said is cross-fitted over {turns.across}, by {len(turns.all)} more trainings"
        )
    return place, turns, tuple(notes)


def too_few(images: Labelled) -> str:
    """Say that there are too few pairs to learn from some and be judged on others."""
    same, different = kinds_of(images)
    return (
        "Expected pairs enough to learn from some and to be judged on others: about "
        f"{2 * ROOM} of each kind, between images that do not all hang together. Received "
        f"{same:,} same and {different:,} different pairs of {len(images):,} images: judge more, "
        "of other images."
    )


def turns_of_pairs(
    images: Labelled, *, together: NDArray[np.integer] | None = None, seed: int
) -> Turns | None:
    """Deal what hangs together into turns; None where that leaves nothing to learn or to judge."""
    whole, things = (
        _turns(images, ties_of(images, together, level), seed) for level in (True, False)
    )
    if whole is None or (
        things is not None and 2 * _judged(images, whole) < _judged(images, things)
    ):
        return things
    return whole


def _turns(images: Labelled, units: NDArray[np.int64], seed: int) -> Turns | None:
    # the largest first, each to the turn with the fewest pairs, so that all have about as many
    pairs, count = pairs_of(images), int(units.max()) + 1
    weight = np.bincount(units[pairs.left], minlength=count)
    order = np.random.default_rng(seed).permutation(count)
    order = order[np.argsort(-weight[order], kind="stable")]
    home, load = np.zeros(count, np.int64), np.zeros(min(FOLDS, count))
    for unit in order.tolist():
        home[unit] = np.argmin(load)
        load[home[unit]] += weight[unit] + 1e-6  # what has no pairs is dealt as well
    turns, totals = [], np.zeros(2, np.int64)
    for fold in range(len(load)):
        left_out = home[units] == fold
        turn = Turn(np.flatnonzero(left_out), np.flatnonzero(~left_out))
        judged = kinds_of(images, turn.held)
        if min(kinds_of(images, turn.kept)) >= LEAST and any(judged):
            turns.append(turn)
            totals += judged
    if min(totals) < ROOM:
        return None
    held = sum(len(turn.held) for turn in turns)
    told = f"{totals.sum():,} judged pairs of {held:,} images"
    return Turns(tuple(turns), "class", len(np.unique(images.labels)), held, "", told)


def _judged(images: Labelled, turns: Turns) -> int:
    return sum(len(pairs_of(images, turn.held)) for turn in turns.all)


def ties_of(
    images: Labelled, together: NDArray[np.integer] | None = None, whole: bool = True
) -> NDArray[np.int64]:
    """Number what stays in one part: copies, groups, and all that hangs together by its pairs.

    Without `whole` the pairs that were judged the same tie, and the others do not.
    """
    assert images.judged is not None
    units = units_of(images, together)
    edges = images.judged.left, images.judged.right
    if not whole:
        edges = edges[0][images.judged.same], edges[1][images.judged.same]
    _, first, own = np.unique(units, return_index=True, return_inverse=True)
    return hanging_together(len(images), edges, (np.arange(len(images)), first[own]))


def _dealt(
    images: Labelled,
    place: NDArray[np.str_],
    wanted: Mapping[str, float],
    together: NDArray[np.integer] | None,
    seed: int,
) -> NDArray[np.str_]:
    tried = []
    for whole in (True, False):
        found = _drawn(place, ties_of(images, together, whole), wanted, seed)
        # a part with half of its share of the pairs is no reason to give up any pair
        half = len(pairs_of(images)) / 2
        enough = all(sum(_of(images, found, n)) >= half * share for n, share in wanted.items())
        if enough and _room(images, found, wanted):
            return found
        tried.append(found)
    return next((each for each in reversed(tried) if _room(images, each, wanted)), tried[0])


def _drawn(
    place: NDArray[np.str_], units: NDArray[np.int64], wanted: Mapping[str, float], seed: int
) -> NDArray[np.str_]:
    drawn = place.copy()
    # what hangs together with an image of another part is that part's, or torn: it is not drawn
    free = np.flatnonzero((place == "fit") & ~np.isin(units, units[place != "fit"]))
    if not wanted or not len(free):
        return drawn
    sizes = {"fit": 1 - sum(wanted.values()), **wanted}
    try:
        parts = split(units[free], sizes, by="group", groups=units[free], seed=seed)
    except DataError:  # nothing for one of the parts
        return drawn
    for name, positions in parts.items():
        drawn[free[positions]] = name
    return drawn


def _of(images: Labelled, place: NDArray[np.str_], name: str) -> tuple[int, int]:
    return kinds_of(images, np.flatnonzero(place == name))


def _room(images: Labelled, place: NDArray[np.str_], wanted: Mapping[str, float]) -> bool:
    if min(_of(images, place, "fit")) < LEAST:
        return False
    return all(min(_of(images, place, name)) >= ROOM for name in wanted)
