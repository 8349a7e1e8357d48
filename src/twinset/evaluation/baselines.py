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
    from twinset.settings import Section

SIDE = 64  # larger images are shrunk to this for raw pixels and principal components
# Pixels of all training images, as numbers of 8 bytes; and of one, for principal components, whose
# time grows with the cube. Beyond these a baseline would outgrow memory or patience.
LARGEST, WIDEST = 10**8, 4096

NEW = "untrained"

Embed: TypeAlias = Callable[[Labelled], Any]


def baseline_of(data: Labelled) -> str:
    """Name what a model has to beat: the rows as they are."""
    return "raw pixels" if data.rows.dtype == np.uint8 else "raw features"


def plain_rows(rows: Any) -> Any:
    """Take rows as they are: flat pixels, of large images few, or features."""
    return raw_pixels(rows, side=SIDE) if rows.dtype == np.uint8 else rows


def untaught(rows: Any) -> Any:
    """Embed rows without having learned anything: as they are, at unit length."""
    return unit_norm(plain_rows(rows))


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

    def pretrained(images: Labelled) -> Any:
        from twinset.training.frozen_trunk import features_of
        from twinset.training.one_step import part_sizes

        recipe = model.recipe
        assert recipe is not None, "asked of before"
        rows = features_of(recipe.encoder, images, lambda _: None)
        cuts = np.cumsum(part_sizes(recipe.encoder))[:-1]
        parts = np.split(rows, cuts, axis=1) if len(cuts) else [rows]
        weights = recipe.head.weights or [1.0] * len(parts)
        used = [unit_norm(part) for part, weight in zip(parts, weights, strict=True) if weight]
        return unit_norm(np.concatenate(used, axis=1))

    def raw(images: Labelled) -> Any:
        return _by_parts(images, untaught)

    @cache
    def projection() -> Any:
        assert fitted is not None, "listed only where there are training images"
        known = plain_rows(fitted.rows[:])
        return fit_pca(known, min(64, *known.shape))

    def components(images: Labelled) -> Any:
        return _by_parts(images, lambda part: unit_norm(projection().transform(plain_rows(part))))

    found = {baseline_of(data): raw}
    found |= {"PCA-64": components} if fitted is not None else {}
    return {**found, **({"pretrained": pretrained} if _pretrained(model) else {NEW: untrained})}


def _learns(encoder: Section) -> bool:
    from twinset.training.one_step import learns

    return learns(encoder)


def _pretrained(model: Embedder) -> bool:
    # a network that others trained is not untrained: what it finds without our head is to be beaten
    if model.recipe is None:
        return False
    from twinset.networks import provenance
    from twinset.training.frozen_trunk import begins_trained

    encoder = model.recipe.encoder
    return begins_trained(encoder) and bool(provenance(encoder))


def left_out(model: Embedder, fitted: Labelled | None, baseline: str) -> dict[str, str]:
    """Name what of the baselines is impossible or would cost too much, and why."""
    recipe, found = model.recipe, {}
    if recipe is None:
        found[NEW] = "a graph does not say how its network began: load it with Keras"
    elif recipe.encoder.name == "own":
        found[NEW] = "a network of your own may have learned before"
    elif not _learns(recipe.encoder):
        found[NEW] = "there is nothing to train in it"
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
