"""`divide`: which images fit, tune, calibrate and test a model; what belongs together stays so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from twinset.data.labelled import Labelled
from twinset.data.possible import division_of
from twinset.data.split import By, is_protocol_data, protocol_split
from twinset.data.turns import Turns
from twinset.errors import DataError
from twinset.settings import Section, Share

PLACES = ("fit", "test", "tune", "calibration")


@dataclass(frozen=True, eq=False)
class Parts:
    """What each part of the work may see.

    Args:
        fit: the weights are learned on these.
        test: judged on these, and on nothing else; None where only a training part is at hand.
        tune: for the choice of settings; None without one.
        calibration: thresholds and probabilities are chosen on these, which may be those of `tune`;
            None without any.
        turns: positions in `fit` that are left out in turn, where a part has no room; or None.
        notes: what was done otherwise than asked, as sentences without a full stop.
    """

    fit: Labelled
    test: Labelled | None = None
    tune: Labelled | None = None
    calibration: Labelled | None = None
    turns: Turns | None = None
    notes: tuple[str, ...] = ()

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
    return replace(taken, turns=found.turns, notes=found.notes)


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
