"""What duplicates mean for labelled images: copies, contradictions, leaks between parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.data.checks.near_duplicates import Duplicates
from twinset.data.images import LabelledImages
from twinset.data.sources.names import shown


@dataclass(frozen=True)
class Alike:
    """Names images that are alike: all with the same pixels, or two that are nearly the same.

    Args:
        positions: in the data, ascending.
        names: of the images, as people know them.
        classes: the class of each.
        parts: the part of each, "" for none.
        exact: whether the pixels are the same.
        distance: 0 if they are; see `Duplicates`.
    """

    positions: tuple[int, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]
    parts: tuple[str, ...]
    exact: bool
    distance: float


@dataclass(frozen=True)
class Judged:
    """Sorts duplicates by what they do; an entry may be both a conflict and a leak.

    Args:
        copies: in one class and one part: they count twice, and contradict nothing.
        conflicts: under two labels or more.
        leaks: in two parts or more.
    """

    copies: tuple[Alike, ...]
    conflicts: tuple[Alike, ...]
    leaks: tuple[Alike, ...]


def image_name(data: LabelledImages, position: int) -> str:
    """Return what people know an image by: its file's name, or "image 17", counted from 0.

    Args:
        data: the images.
        position: of the image.
    """
    return f"image {position}" if data.names is None else shown(str(data.names[position]))


def judge_duplicates(
    data: LabelledImages, found: Duplicates, parts: Sequence[str] | NDArray[np.str_]
) -> Judged:
    """Sort duplicates into copies, label conflicts and leaks.

    Args:
        data: the images.
        found: their duplicates.
        parts: the part of each image, "" for none, n of them.

    Example:
        >>> import numpy as np
        >>> from twinset.data.checks.near_duplicates import find_duplicates
        >>> pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 8), np.uint8)
        >>> pixels[2] = pixels[0]
        >>> data = LabelledImages(pixels, [0, 0, 1], ("cat", "dog"))
        >>> judged = judge_duplicates(data, find_duplicates(data.images), ["", "", ""])
        >>> judged.conflicts[0].names, judged.conflicts[0].classes
        (('image 0', 'image 2'), ('cat', 'dog'))
    """
    labels = data.labels.tolist()
    owners = [str(part) for part in parts]

    def alike(positions: Iterable[int], distance: float, exact: bool) -> Alike:
        members = tuple(sorted(positions))
        return Alike(
            members,
            tuple(image_name(data, i) for i in members),
            tuple(shown(data.class_names[labels[i]]) for i in members),
            tuple(owners[i] for i in members),
            exact,
            distance,
        )

    families = _families(found)
    copies, conflicts, leaks = [], [], []
    for family in families.values():
        group = alike(family, 0.0, exact=True)
        contradicts = len({labels[i] for i in family}) > 1
        leaking = len({owners[i] for i in family} - {""}) > 1
        conflicts += [group] * contradicts
        leaks += [group] * leaking
        copies += [group] * (not contradicts and not leaking)
    near = np.flatnonzero(~found.exact)
    for (i, j), distance in zip(
        found.pairs[near].tolist(), found.distances[near].tolist(), strict=True
    ):
        # of images that are there several times the first was compared, for all of them
        left, right = families.get(i, [i]), families.get(j, [j])
        contradiction = _different(left, right, labels)
        leak = _different(left, right, owners)
        if contradiction:
            conflicts.append(alike(contradiction, distance, exact=False))
        if leak:
            leaks.append(alike(leak, distance, exact=False))
        if not contradiction and not leak:
            copies.append(alike((i, j), distance, exact=False))
    return Judged(tuple(copies), tuple(conflicts), tuple(leaks))


def _families(found: Duplicates) -> dict[int, list[int]]:
    """First position → all positions with its pixels, where there are several."""
    families: dict[int, list[int]] = {}
    for again in np.flatnonzero(found.first != np.arange(len(found.first))).tolist():
        first = int(found.first[again])
        families.setdefault(first, [first]).append(again)
    return families


def _different(
    left: Sequence[int], right: Sequence[int], values: Sequence[int] | Sequence[str]
) -> tuple[int, int] | None:
    """Find one of each side whose values differ; "" is no value."""
    first_left = {values[i]: i for i in reversed(left) if values[i] != ""}
    first_right = {values[j]: j for j in reversed(right) if values[j] != ""}
    for a, i in first_left.items():
        for b, j in first_right.items():
            if a != b:
                return i, j
    return None
