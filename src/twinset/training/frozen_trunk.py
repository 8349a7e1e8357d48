"""A frozen network encodes each image once, into a file; a head learns from what it found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset import networks
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import SIZE, as_keys
from twinset.data.labelled import Labelled, LabelledImages
from twinset.errors import DataError, RecipeError
from twinset.files import cache_folder, in_use, prune, tag
from twinset.models.keras_model import encode, identity
from twinset.progress import Progress, Report, Wanted, reporting
from twinset.recipe import AUGMENTATION, ENCODERS, Recipe
from twinset.settings import Section

# What the first layer of a head is called, with hidden layers and without.
FIRST = ("norm_1", "features_norm")


def fitting(recipe: Recipe, data: Labelled) -> Recipe:
    """Make a recipe one for its data, or refuse: images and features want different encoders."""
    augmentation = _augmentation(recipe, data)
    if isinstance(data, LabelledImages):
        if learns_once(recipe) and augmentation:
            raise RecipeError(
                "Expected no augmentation for a frozen network: it sees each image once. Received "
                f"{augmentation}: leave it out, or take encoder.freeze = false."
            )
        return recipe
    if augmentation:
        raise RecipeError(
            f"Expected no augmentation of features. Received {augmentation}: leave it out."
        )
    if recipe.encoder.name != "pretrained":
        return recipe
    # For features that were made elsewhere, the frozen network has done its work: what is left of
    # it is the head.
    if not recipe.encoder.freeze:
        raise RecipeError(
            "Expected images for encoder.freeze = false: the network is to learn. Received "
            "features: take encoder.freeze = true."
        )
    head = ENCODERS.parse("head", _of_the_head(recipe.encoder))
    return recipe.model_copy(update={"encoder": head})


def learns_once(recipe: Recipe) -> bool:
    """Tell whether a recipe's network is frozen, so that images need to be encoded but once."""
    return recipe.encoder.name == "pretrained" and bool(recipe.encoder.freeze)


def _augmentation(recipe: Recipe, data: Labelled) -> str:
    wanted = AUGMENTATION.make(recipe.augment, mirrors=data.mirrors).settings
    return ", ".join(f"augment.{name} = {value}" for name, value in wanted.items())


def _of_the_head(encoder: Section) -> dict[str, Any]:
    names = set(ENCODERS.section("head").model_fields) - {"name"}
    return {name: getattr(encoder, name) for name in names}


def encode_once(
    encoder: keras.Model, data: Labelled, tell: Report, *, folder: Path | None = None
) -> NDArray[np.float32]:
    """Find what the frozen part of an encoder finds in images, (n, f), each of them once."""
    trunk = trunk_of(encoder)
    # one program on one back end: rows made at different times are the same numbers
    name = identity(trunk, Preprocessing(data.row_shape), "euclidean")
    key = f"{name[:32]}-{keras.backend.backend()}"
    return encoded_once(
        lambda positions: encode(trunk, data.rows[positions]),
        data.fingerprints,
        key=key,
        dim=int(trunk.output_shape[-1]),
        folder=folder,
        progress=tell,
    )


def trunk_of(encoder: keras.Model) -> keras.Model:
    """Cut off an encoder's head: from the images to the head's inputs, over the same layers."""
    names = [layer.name for layer in encoder.layers]
    first = next(name for name in FIRST if name in names)
    return keras.Model(encoder.inputs, encoder.get_layer(first).input, name="trunk")


def head_of(encoder: keras.Model, section: Section, seed: int) -> keras.Model:
    """Build the head of an encoder as a model of its own, with the weights it begins with."""
    head = networks.build(
        "head", trunk_of(encoder).output_shape[1:], seed=seed, **_of_the_head(section)
    )
    _copy(encoder, head, head)
    return head


def join(encoder: keras.Model, head: keras.Model) -> None:
    """Put a trained head into its encoder, which then is what `fit` would have trained whole."""
    _copy(head, encoder, head)


def _copy(source: keras.Model, target: keras.Model, named: keras.Model) -> None:
    for layer in named.layers:
        if layer.weights:
            weights = source.get_layer(layer.name).get_weights()
            target.get_layer(layer.name).set_weights(weights)


# images encoded between two writes: what a kill can lose
CHUNK = 256
ROWS, PRINTS = "rows", "fingerprints"


def encoded_once(
    make: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    fingerprints: NDArray[np.uint8],
    *,
    key: str,
    dim: int,
    folder: Path | None = None,
    progress: Wanted = False,
) -> NDArray[np.float32]:
    """Return a row for each image, making only those that no earlier call made.

    Rows are found by the fingerprints of the images, so another split, other labels or more images
    use what is there. Of two processes one waits.

    `make` turns positions (c,), at most 256, into the rows of these images, (c, dim). `key` names
    the network, in letters that a file's name may have.
    """
    base = cache_folder("features") if folder is None else folder
    try:
        tag(base)
        with in_use(base / key), reporting(progress) as tell:
            found = _completed(base / key, make, fingerprints, dim, tell)
        prune(base, keep=base / key)
    except OSError as error:
        raise DataError(
            f"{base}: expected room for {4 * dim * len(fingerprints) / 1e9:.2f} GB of features. "
            f"{error.strerror or error}: free some, or set XDG_CACHE_HOME to another disk."
        ) from None
    return found


def _completed(
    folder: Path,
    make: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    fingerprints: NDArray[np.uint8],
    dim: int,
    tell: Report,
) -> NDArray[np.float32]:
    known = _whole(folder, dim)
    wanted = as_keys(fingerprints)
    unique, first = np.unique(wanted, return_index=True)
    missing = np.sort(first[~np.isin(unique, known)])
    with (folder / ROWS).open("ab") as rows, (folder / PRINTS).open("ab") as prints:
        for start in range(0, len(missing), CHUNK):
            chosen = missing[start : start + CHUNK]
            made = np.ascontiguousarray(make(chosen), np.float32)
            if made.shape != (len(chosen), dim):
                raise ValueError(f"rows of shape {made.shape} for {len(chosen)} images")
            for file, data in ((rows, made), (prints, wanted[chosen])):
                file.write(data.tobytes())
                file.flush()
                os.fsync(file.fileno())  # what only one of the two has is cut off by the next call
            done = len(unique) - len(missing) + start + len(chosen)
            tell(Progress("encode", done, len(unique), "images"))
    known = as_keys(np.fromfile(folder / PRINTS, np.uint8))
    order = np.argsort(known)
    place = order[np.searchsorted(known, wanted, sorter=order)]
    if not len(place):
        return np.empty((0, dim), np.float32)
    # mapped, for the cache may hold many more; nobody shortens it while the lock is held
    stored = np.memmap(folder / ROWS, np.float32, "r", shape=(len(known), dim))
    return np.array(stored[place])


def _whole(folder: Path, dim: int) -> NDArray[np.void]:
    """Cut off what a killed process or a full disk left unfinished, and list what is there."""
    sizes = {ROWS: 4 * dim, PRINTS: SIZE}
    for name in sizes:
        (folder / name).touch()
    count = min((folder / name).stat().st_size // size for name, size in sizes.items())
    for name, size in sizes.items():
        os.truncate(folder / name, count * size)
    return as_keys(np.fromfile(folder / PRINTS, np.uint8))
