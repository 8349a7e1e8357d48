"""Which images train, tune, calibrate and test."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.pairs import class_indices
from twinset.errors import DataError

By = Literal["image", "group", "class"]

PROTOCOL_SEED = 20060617
PROTOCOL_SIZES = {"fit": 5000, "tune": 500, "calibration": 500}
_PROTOCOL_FILE = Path(__file__).with_name("protocol_split.npz")
# SHA-256 of the 60,000 training labels of Fashion-MNIST, as little-endian int64
_PROTOCOL_LABELS = "e3245b63f7c40d1c8b652835f19744d970c1613b40ddac6bcfc87b9c46e16a0b"


@dataclass(frozen=True, eq=False)
class Split:
    """Parts of a set of images by position; no position is in two parts.

    Args:
        parts: name → positions, integers of shape (m,), kept as sorted int64. Positions that no
            part has are left out of the work.

    Raises:
        DataError: a part is empty, is no list of positions, has a position twice, or shares one
            with another part.

    Example:
        >>> parts = Split({"fit": [2, 0], "test": [1]})
        >>> parts.parts["fit"].tolist(), parts.digest[:8]
        ([0, 2], '869ed125')
    """

    parts: Mapping[str, NDArray[np.int64]]

    def __post_init__(self) -> None:
        parts = {name: _positions(name, indices) for name, indices in self.parts.items()}
        names = list(parts)
        every = np.concatenate([np.empty(0, np.int64), *parts.values()])
        owner = np.repeat(np.arange(len(names)), [len(indices) for indices in parts.values()])
        order = np.argsort(every, kind="stable")
        twice = np.flatnonzero(np.diff(every[order]) == 0)
        if twice.size:
            first, second = (names[owner[order[i]]] for i in (twice[0], twice[0] + 1))
            raise DataError(
                "Expected each position in one part, once. "
                f"Received {every[order[twice[0]]]} in {first!r} and again in {second!r}."
            )
        # frozen: the checked arrays replace whatever sequences the caller passed
        object.__setattr__(self, "parts", parts)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and positions, whatever the order of the names."""
        sha = hashlib.sha256()
        for name, indices in sorted(self.parts.items()):
            sha.update(repr((name, len(indices))).encode())
            sha.update(indices.astype("<i8").tobytes())
        return sha.hexdigest()


def split(
    labels: ArrayLike,
    sizes: Mapping[str, float],
    *,
    by: By = "image",
    groups: ArrayLike | None = None,
    seed: int,
) -> Split:
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

    Args:
        labels: integers of shape (n,).
        sizes: name of each part → count (an int, at least 1) or share (a float in (0, 1]); all
            of one kind. What they leave over is in no part.
        by: what must not be torn apart. Defaults to "image".
        groups: for `by="group"`, the group of each image, numbers or names of shape (n,).
        seed: of the permutations; one generator, classes in label order.
    """
    values = _integers("labels", labels)
    if by not in get_args(By):
        raise DataError(f"Expected by='image', by='group' or by='class'. Received by={by!r}.")
    if (by == "group") != (groups is not None):
        what = "no groups: pass the group of each image" if groups is None else "groups as well"
        raise DataError(
            "Expected `groups` with by='group', and only there: other splits tear groups apart. "
            f"Received by={by!r} and {what}."
        )
    _check_sizes(sizes)
    rng = np.random.default_rng(seed)
    if groups is not None:
        return Split(_by_group(values, sizes, np.asarray(groups), rng))
    classes = class_indices(values)
    if by == "class":
        chosen = _cut(rng.permutation(len(classes)), sizes, f"the {len(classes)} classes")
        return Split({k: np.concatenate([classes[c] for c in v]) for k, v in chosen.items()})
    cuts = [
        _cut(rng.permutation(mine), sizes, f"class {values[mine[0]]} of {len(mine)} images")
        for mine in classes
    ]
    return Split({name: np.concatenate([cut[name] for cut in cuts]) for name in sizes})


def is_protocol_data(labels: ArrayLike) -> bool:
    """Tell whether labels are those that `protocol_split` divides."""
    values = np.asarray(labels).astype("<i8")
    return hashlib.sha256(values.tobytes()).hexdigest() == _PROTOCOL_LABELS


def protocol_split(labels: ArrayLike) -> Split:
    """Return the evaluation protocol's split of Fashion-MNIST's training set.

    "fit" (5,000 images of each class: the weights), "tune" (500: epochs, hyper-parameters, choice
    of model) and "calibration" (500: threshold and calibration). It is `split` by image with seed
    20060617: for each class in label order `rng.permutation` of its positions, of which the first
    5,000, the next 500 and the last 500.

    The positions come from a file beside this module, one byte per image (0, 1, 2), because
    numpy does not promise the same permutations for ever; a test derives them anew.
    """
    values = _integers("labels", labels)
    if not is_protocol_data(values):
        raise DataError(
            "Expected the 60,000 training labels of Fashion-MNIST, in the order of their file. "
            f"Received {values.size} other labels; split those with `split(labels, sizes, seed=…)`."
        )
    with np.load(_PROTOCOL_FILE) as file:
        codes = file["codes"]
    return Split({name: np.flatnonzero(codes == k) for k, name in enumerate(PROTOCOL_SIZES)})


def checked_groups(groups: ArrayLike, count: int) -> NDArray[Any]:
    """Return groups as an array, one per image."""
    values = np.asarray(groups)
    if values.shape != (count,):
        raise DataError(
            f"Expected one group per image, shape ({count},). Received shape {values.shape}."
        )
    return values


def _positions(name: str, indices: Any) -> NDArray[np.int64]:
    positions = np.sort(_integers(f"positions of part {name!r}", indices))
    if positions[0] < 0:
        raise DataError(f"Expected positions from 0. Received {positions[0]} in {name!r}.")
    return positions


def _integers(what: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu":
        raise DataError(
            f"Expected {what} as integers of shape (n,), at least one. "
            f"Received {array.dtype} of shape {array.shape}."
        )
    return array.astype(np.int64)


def _check_sizes(sizes: Mapping[str, float]) -> None:
    counts = [isinstance(size, int | np.integer) for size in sizes.values()]
    numbers = all(
        isinstance(size, int | float | np.integer | np.floating) and not isinstance(size, bool)
        for size in sizes.values()
    )
    if not sizes or not numbers or len(set(counts)) > 1:
        raise DataError(
            "Expected a size for each part, all counts (ints) or all shares (floats). "
            f"Received {dict(sizes)}."
        )
    for name, size in sizes.items():
        if not (size >= 1 if counts[0] else 0 < size <= 1):
            raise DataError(
                f"Expected {'counts of at least 1' if counts[0] else 'shares above 0, up to 1'}. "
                f"Received {size} for part {name!r}."
            )
    if not counts[0] and sum(sizes.values()) > 1 + 1e-9:
        raise DataError(
            f"Expected shares that add up to 1 at most. Received {sum(sizes.values()):g} "
            f"from {dict(sizes)}."
        )


def _bounds(sizes: Mapping[str, float], count: int, what: str) -> NDArray[np.int64]:
    """Turn sizes into the cuts between the parts of `count` items: parts + 1 numbers from 0."""
    sums = np.cumsum([0, *sizes.values()])
    if np.issubdtype(sums.dtype, np.floating):
        # the tiny term: 0.1 + 0.2 and 0.3 are to round alike
        sums = np.floor(sums * count + 0.5 + 1e-9).astype(np.int64)
    short = [name for name, taken in zip(sizes, np.diff(sums), strict=True) if not taken]
    if short or sums[-1] > count:
        need = f"nothing for part {short[0]!r}" if short else f"a need of {sums[-1]}"
        raise DataError(
            f"Expected {what} to be enough for {dict(sizes)}. Received {need}: "
            "change the sizes, or leave small classes out."
        )
    return sums


def _cut(
    items: NDArray[np.int64], sizes: Mapping[str, float], what: str
) -> dict[str, NDArray[np.int64]]:
    bounds = _bounds(sizes, len(items), what)
    return {name: items[bounds[k] : bounds[k + 1]] for k, name in enumerate(sizes)}


def _by_group(
    labels: NDArray[Any], sizes: Mapping[str, float], groups: NDArray[Any], rng: np.random.Generator
) -> dict[str, NDArray[np.int64]]:
    values = checked_groups(groups, len(labels))
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
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
