"""What a model has to beat: the rows as they are, their principal components, no training."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from twinset.data.labelled import Labelled
from twinset.metrics.baselines import fit_pca, raw_pixels, unit_norm

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

SIDE = 64  # larger images are shrunk to this for raw pixels and principal components
# Pixels of all training images, as numbers of 8 bytes; and of one, for principal components, whose
# time grows with the cube. Beyond these a baseline would outgrow memory or patience.
LARGEST, WIDEST = 10**8, 4096

Embed: TypeAlias = Callable[[Labelled], Any]


def baseline_of(data: Labelled) -> str:
    """Name what a model has to beat: the rows as they are."""
    return "raw pixels" if data.rows.dtype == np.uint8 else "raw features"


def plain_rows(rows: Any, *, side: int | None = None) -> Any:
    """Take rows as embeddings that have learned nothing: flat pixels, or features as they are."""
    return raw_pixels(rows, side=side) if rows.dtype == np.uint8 else rows


def baselines_of(model: Embedder, data: Labelled, fitted: Labelled | None) -> dict[str, Embed]:
    """Name the baselines, in the order of all tables, each with what embeds images."""

    @cache
    def network() -> Any:
        from twinset import networks

        recipe = model.recipe
        assert recipe is not None, "left out where it is not known"
        shape = model.preprocessing.shape
        return networks.build(recipe.encoder, shape, seed=recipe.seed)

    def untrained(images: Labelled) -> Any:
        # here, as a graph is evaluated without Keras
        from twinset.models.keras_model import encode

        return _by_parts(images, lambda part: encode(network(), part))

    def raw(images: Labelled) -> Any:
        return _by_parts(images, lambda part: unit_norm(plain_rows(part, side=SIDE)))

    @cache
    def projection() -> Any:
        assert fitted is not None, "listed only where there are training images"
        known = plain_rows(fitted.rows[:], side=SIDE)
        return fit_pca(known, min(64, *known.shape))

    def components(images: Labelled) -> Any:
        return _by_parts(
            images, lambda part: unit_norm(projection().transform(plain_rows(part, side=SIDE)))
        )

    found = {baseline_of(data): raw}
    found |= {"PCA-64": components} if fitted is not None else {}
    return {**found, "untrained": untrained}


def left_out(model: Embedder, fitted: Labelled | None, baseline: str) -> dict[str, str]:
    """Name what of the baselines is impossible or would cost too much, and why."""
    recipe, found = model.recipe, {}
    if recipe is None:
        found["untrained"] = "a graph does not say how its network began: load it with Keras"
    elif recipe.encoder.name == "own":
        found["untrained"] = "a network of your own may have learned before"
    if fitted is None:
        return found
    pixels = math.prod(fitted.row_shape)
    if len(fitted) * pixels > LARGEST:
        reason = f"{len(fitted):,} training images of {pixels:,} pixels are too many"
        found |= {f"votes on {baseline}": reason, "PCA-64": reason}
    elif pixels > WIDEST:
        found |= {"PCA-64": f"{pixels:,} pixels are more than {WIDEST:,}"}
    return found


def _by_parts(images: Labelled, embed: Callable[[Any], Any], size: int = 1024) -> Any:
    # some images at a time: float64 pixels of 50,000 take 0.3 GB, and each step a copy
    first = embed(images.rows[:size])
    result = np.empty((len(images), *first.shape[1:]), first.dtype)
    result[:size] = first
    for start in range(size, len(images), size):
        result[start : start + size] = embed(images.rows[start : start + size])
    return result
