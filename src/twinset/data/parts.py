"""`divide`: which images fit, tune, calibrate and test a model; what belongs together stays so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from twinset.data.labelled import Labelled
from twinset.data.split import is_protocol_data, protocol_split, split
from twinset.data.turns import comparable
from twinset.errors import DataError
from twinset.settings import Section, Share


@dataclass(frozen=True, eq=False)
class Parts:
    """What each part of the work may see.

    Args:
        fit: the weights are learned on these.
        test: judged on these, and on nothing else; None where only a training part is at hand.
        tune: for the choice of settings; None without one.
        calibration: thresholds and probabilities are chosen on these, which may be those of `tune`;
            None without any.
    """

    fit: Labelled
    test: Labelled | None = None
    tune: Labelled | None = None
    calibration: Labelled | None = None

    def named(self) -> dict[str, Labelled]:
        """List the parts that there are."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
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
    seed: int = 0,
    allow_leaks: bool = False,
) -> Parts:
    """Divide labelled images, or features, into the parts of the work, and prove them disjoint.

    What the data's owner put into a part stays there; validation images are the calibration part
    too, where the owner made none and they have pairs of both kinds. Of the rest, shares are drawn
    at random: by
    group where there are groups; by class, so that the test is on unseen classes, where most
    classes have too few images to be divided; else by image, each class alike, and a class too
    small for that goes to the fit. Images with equal pixels, and those that `together` names as
    one, go to one part.

    Images with equal numbers in `together`, such as near duplicates, are not parted. With the
    holdout "none" there is no tune and calibration part, with "auto" one of each if the shares say
    so, or Fashion-MNIST's own; "protocol" refuses other data than that. `allow_leaks` goes on
    though the owner put one image or group into two parts.
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
    wanted = {} if test is not None else {"test": chosen.test}
    if holdout != "none":
        wanted["calibration"] = chosen.calibration
        if chosen.tune:
            wanted["tune"] = chosen.tune
    place = np.full(len(images), "", "<U11")
    if images.parts is not None:
        place[:] = images.parts
    validation = np.flatnonzero(place == "tune")
    # set aside by the owner for whatever must not be fitted on: the fit gives up none for it
    twofold = (
        "calibration" in wanted
        and not (place == "calibration").any()
        and all(comparable(images.labels[validation]))
    )
    if twofold:
        wanted.pop("calibration")
    missing = {name: share for name, share in wanted.items() if not (place == name).any()}
    free = np.flatnonzero(np.isin(place, ("", "train")) if missing else np.zeros(len(place), bool))
    if missing and len(free):
        units = _units(
            images.subset(free), None if together is None else np.asarray(together)[free]
        )
        place[free] = _drawn(images.labels[free], images.groups is not None, units, missing, seed)
    # what the owner set aside for a part that this run has no use for is not fitted on either
    parts = {
        "fit": np.flatnonzero(np.isin(place, ("", "train", "fit"))),
        **{name: np.flatnonzero(place == name) for name in wanted},
        **({"tune": validation} if len(validation) else {}),
        **({"calibration": validation} if twofold else {}),
    }
    return _taken(images, parts, test, prove=not allow_leaks)


def _units(images: Labelled, together: NDArray[np.integer] | None) -> NDArray[np.int64]:
    """Number what must stay whole: by pixels, by group, by `together`, and all that hang on it."""
    ties = [np.unique(images.fingerprints, axis=0, return_inverse=True)[1].ravel()]
    if together is not None:
        ties.append(np.unique(together, return_inverse=True)[1])
    if images.groups is not None:
        ties.append(np.unique(images.groups, return_inverse=True)[1])
    count = len(images)
    first, rows, columns = count, [], []
    for codes in ties:  # images on one side, what ties them on the other
        rows.append(np.arange(count))
        columns.append(codes + first)
        first += int(codes.max()) + 1
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(first, first))
    return np.asarray(connected_components(graph, directed=False)[1][:count], np.int64)


def _drawn(
    labels: NDArray[np.int64],
    grouped: bool,
    units: NDArray[np.int64],
    wanted: Mapping[str, float],
    seed: int,
) -> NDArray[np.str_]:
    rest = 1 - sum(wanted.values())
    if rest <= 0:
        raise DataError(f"Expected shares that leave images for the fit. Received {dict(wanted)}.")
    sizes = {"fit": rest, **wanted}
    place = np.full(len(labels), "fit", "<U11")
    counts = np.bincount(labels)
    enough = counts >= 1 / min(sizes.values())
    if grouped:
        found = split(labels, sizes, by="group", groups=units, seed=seed)
    elif np.median(counts[counts > 0]) < 1 / min(sizes.values()):
        found = split(labels, sizes, by="class", seed=seed)
    else:
        large = np.flatnonzero(enough[labels])
        found = {
            name: large[positions]
            for name, positions in split(labels[large], sizes, seed=seed).items()
        }
    for name, positions in found.items():
        place[positions] = name
    # each unit follows its first image
    _, first, unit = np.unique(units, return_index=True, return_inverse=True)
    followed: NDArray[np.str_] = place[first][unit]
    return followed


def _taken(
    images: Labelled,
    parts: Mapping[str, NDArray[np.int64]],
    test: Labelled | None,
    *,
    prove: bool = True,
) -> Parts:
    for name, positions in parts.items():
        if not len(positions):
            raise DataError(
                f"Expected images for the part {name!r}. Received none of {len(images)} in "
                f"{images.name}: add images, or change the shares of `split`."
            )
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
    found = {
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
        _in_one_part(np.asarray(groups).tolist(), parts, "group")


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
