"""The proof that no image and no group is in two parts of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset.data.fingerprint import fingerprints as fingerprint_all
from twinset.data.split import Split, checked_groups
from twinset.data.stored import StoredPixels
from twinset.errors import DataError


@dataclass(frozen=True)
class Proof:
    """Tells what was compared when nothing was found in two parts.

    Args:
        images: name of each part → number of its images.
        groups: name of each part → number of its groups; None where no groups were given.
        duplicates: name of each part → (position, position of its first copy) of each image that
            occurs again *within* the part. They leak nothing, but count twice.
    """

    images: Mapping[str, int]
    groups: Mapping[str, int] | None
    duplicates: Mapping[str, tuple[tuple[int, int], ...]]


def prove_disjoint(
    images: NDArray[np.uint8] | StoredPixels,
    parts: Mapping[str, ArrayLike],
    groups: ArrayLike | None = None,
    *,
    fingerprints: NDArray[np.uint8] | None = None,
) -> Proof:
    """Prove that no image, and no group, is in two parts.

    Compares BLAKE2b digests of 128 bits of the pixels. Do not read it as "nothing alike": an image
    that was shifted, cropped or compressed again has another digest.

    Args:
        images: uint8 pixels of shape (n, ...); to prove a test set apart from the others,
            concatenate them.
        parts: name → positions, as in `Split.parts`.
        groups: the group of each image, numbers or names of shape (n,).
        fingerprints: of the images, (n, 16), where they are known. Defaults to computing them.

    Raises:
        DataError: two parts share an image or a group; the message names the first two positions,
            in the order of the parts.

    Example:
        >>> import numpy as np
        >>> pixels = np.uint8([[1, 2], [3, 4], [1, 2], [5, 6]])
        >>> prove_disjoint(pixels, {"fit": [0, 2], "test": [1, 3]}).duplicates
        {'fit': ((2, 0),), 'test': ()}
    """
    if images.dtype != np.uint8 or images.ndim < 2:
        raise DataError(
            "Expected images as uint8 pixels of shape (n, ...). "
            f"Received {images.dtype} of shape {images.shape}."
        )
    prints = fingerprint_all(images) if fingerprints is None else fingerprints
    checked = Split({k: np.asarray(v) for k, v in parts.items()}).parts  # no position in two
    for name, indices in checked.items():
        if indices[-1] >= len(images):
            raise DataError(
                f"Expected positions below {len(images)}, the number of images. "
                f"Received {indices[-1]} in {name!r}."
            )
    copies = _first_seen(
        {name: [prints[i].tobytes() for i in indices] for name, indices in checked.items()},
        checked,
        "image",
    )
    counts = None
    if groups is not None:
        values = checked_groups(groups, len(images)).tolist()
        families = {name: [values[i] for i in indices] for name, indices in checked.items()}
        _first_seen(families, checked, "group")
        counts = {name: len(set(family)) for name, family in families.items()}
    return Proof({name: len(indices) for name, indices in checked.items()}, counts, copies)


def _first_seen(
    keys: Mapping[str, list[Any]], positions: Mapping[str, NDArray[np.int64]], what: str
) -> dict[str, tuple[tuple[int, int], ...]]:
    """Find the repeated keys of each part as (position, first position); refuse two parts."""
    first: dict[Any, tuple[str, int]] = {}
    repeated: dict[str, tuple[tuple[int, int], ...]] = {}
    for name, indices in positions.items():
        again = []
        for key, position in zip(keys[name], indices.tolist(), strict=True):
            owner, earlier = first.setdefault(key, (name, position))
            if owner != name:
                raise DataError(
                    f"Expected each {what} in one part. Received position {earlier} in {owner!r} "
                    f"and position {position} in {name!r} with the same {what}"
                    f"{f' {key!r}' if what == 'group' else ''}: remove one, or split by group."
                )
            if earlier != position:
                again.append((position, earlier))
        repeated[name] = tuple(again)
    return repeated
