"""Which images train, tune, calibrate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.pairs import class_indices
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
      images. Large groups go first, each to the part that lacks most, so that no part gets over
      its size by as much as one group; which group goes where is random among groups of about
      one size. Classes are not balanced.
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
    for group in order:
        home[group] = np.argmax(lacking)
        lacking[home[group]] -= counts[group]
    parts = {name: np.flatnonzero(home[codes] == k) for k, name in enumerate(sizes)}
    for name, indices in parts.items():
        if not len(indices):
            raise DataError(
                f"Expected groups enough for every part. Received none for part {name!r} from "
                f"{len(counts)} groups of up to {counts.max()} images: take larger parts."
            )
    return parts
