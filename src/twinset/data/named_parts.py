"""`split`: labelled images divided into parts of one's own names and shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from twinset.data.checks.near_duplicates import find_duplicates
from twinset.data.labelled import Labelled, LabelledImages
from twinset.data.pair_parts import ties_of
from twinset.data.pairs import class_indices
from twinset.data.split import By, cut_points, units_of
from twinset.data.split import split as positions_of
from twinset.errors import DataError

Data = TypeVar("Data", bound=Labelled)


def split(
    images: Data,
    shares: Mapping[str, float],
    *,
    by: By | None = None,
    near_duplicates: bool = False,
    seed: int = 0,
) -> dict[str, Data]:
    """Divide labelled images at random into named parts, nothing in two of them.

    - "image": of each class with n images, part k has n · shareₖ, rounded, so all parts have the
      same mix of classes. A class too small for every part is drawn: each part has its share of
      such images on average. Equal images stay together.
    - "group": whole groups go to one part, say all photographs of one object, and so do equal
      images. Shares are of images, and off by less than one group.
    - "class": whole classes go to one part, for a test on classes that were not seen. Shares are
      of classes.

    Parts that the data's owner made (`parts`) are not looked at; `train` keeps those.

    Args:
        images: `LabelledImages` or `LabelledFeatures`.
        shares: name of a part → its share, in (0, 1]; they add up to 1 at most, and what they
            leave over is in no part.
        by: "image", "group" or "class". Defaults to "group" where the data has groups, else to
            "image". Where pairs were judged, all that hangs together by them goes to one part.
        near_duplicates: keep images together that are nearly equal, as `twinset check` finds them;
            not by class, where all of a class is together. Defaults to False.
        seed: of the random choice. Defaults to 0.

    Returns:
        Part → its images, in their order; named "whole[part]".

    Raises:
        DataError: no such shares, no groups, near duplicates of what are no images, or a part
            would be empty.

    Example:
        >>> from twinset import LabelledImages
        >>> pixels = np.arange(40, dtype=np.uint8)[:, None, None]
        >>> data = LabelledImages(pixels, np.arange(40) % 4, tuple("abcd"))
        >>> parts = split(data, {"train": 0.7, "calibration": 0.1, "test": 0.2})
        >>> {name: part.class_counts.tolist() for name, part in parts.items()}
        {'train': [7, 7, 7, 7], 'calibration': [1, 1, 1, 1], 'test': [2, 2, 2, 2]}
        >>> unseen = split(data, {"train": 0.5, "test": 0.5}, by="class")
        >>> [len(set(part.labels)) for part in unseen.values()]
        [2, 2]
    """
    _check(images, shares, by)
    grouped = images.groups is not None and bool((images.groups != "").any())
    chosen: By = by or ("group" if grouped else "image")
    if chosen == "group" and not grouped:
        raise DataError(f"{images.name}: expected groups to split by. It has none.")
    together = None
    if near_duplicates and chosen != "class":
        if not isinstance(images, LabelledImages):
            raise DataError(
                f"Expected images to find near duplicates of. Received {images!r}: leave "
                "near_duplicates out, or name what belongs together in `groups`."
            )
        found = find_duplicates(images.images, fingerprints=images.fingerprints)
        together = found.together()
    if images.judged is not None:  # two images of a pair in two parts would lose it
        units = ties_of(images, together)
        places = positions_of(units, shares, by="group", groups=units, seed=seed)
    elif chosen == "image":
        units = units_of(images, together, grouped=False)
        places = _by_image(images.labels, units, shares, seed)
    elif chosen == "group":
        units = units_of(images, together)
        places = positions_of(images.labels, shares, by="group", groups=units, seed=seed)
    else:
        places = positions_of(images.labels, shares, by="class", seed=seed)
    empty = [name for name, positions in places.items() if not len(positions)]
    if empty:
        raise DataError(
            f"Expected images for every part. Received none for {empty[0]!r} from {len(images)} "
            f"images of {len(np.unique(images.labels))} classes: take a larger share, or fewer "
            "parts."
        )
    return {
        name: images.subset(positions, f"{images.name}[{name}]")
        for name, positions in places.items()
    }


def _check(images: Labelled, shares: Mapping[str, float], by: str | None) -> None:
    if not isinstance(images, Labelled):
        raise DataError(
            f"Expected LabelledImages to split. Received {type(images).__name__}: wrap arrays as "
            "`LabelledImages(images, labels, class_names)`."
        )
    if by not in (None, "image", "group", "class"):
        raise DataError(f"Expected by 'image', 'group' or 'class'. Received {by!r}.")
    # the tiny term: ten tenths are a hair above 1
    valid = shares and all(0 < share <= 1 for share in shares.values())
    if not valid or sum(shares.values()) > 1 + 1e-9:
        raise DataError(
            "Expected shares above 0 that add up to 1 at most, such as {'train': 0.8, 'test': 0.2}."
            f" Received {dict(shares)}."
        )


def _by_image(
    labels: NDArray[np.int64], units: NDArray[np.int64], shares: Mapping[str, float], seed: int
) -> dict[str, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    home = np.full(units.max(initial=-1) + 1, -1)
    for mine in class_indices(labels):
        own = np.unique(units[mine])
        # equal images of another class, whose turn it was before, have their part
        own = rng.permutation(own[home[own] < 0])
        bounds = cut_points(shares, len(own))
        if (np.diff(bounds) == 0).any():
            # too small for every part: which of them go without is drawn
            bounds = cut_points(shares, len(own), halves=rng.random())
        for place in range(len(shares)):
            home[own[bounds[place] : bounds[place + 1]]] = place
    return {name: np.flatnonzero(home[units] == place) for place, name in enumerate(shares)}
