"""Encoders: networks that turn one image into one embedding.

In: floats in [0, 1] of shape (n, h, w) or (n, h, w, 3). Out: (n, d). All are ordinary
`keras.Model`s, and any other one that passes `check_encoder` will do (`own`). `head` embeds
vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras

from twinset.errors import RecipeError
from twinset.networks.conv import Convolution, conv
from twinset.networks.head import head
from twinset.networks.layers import Frozen, Mirror, Preprocess, SquareRoot, UnitNorm
from twinset.networks.mlp import mlp
from twinset.networks.own import check_encoder, own
from twinset.networks.pretrained import pretrained
from twinset.recipe_sections import (
    ConvRecipe,
    HeadRecipe,
    MlpRecipe,
    OwnRecipe,
    PretrainedRecipe,
)
from twinset.settings import Section

__all__ = [
    "Convolution",
    "Frozen",
    "Mirror",
    "Preprocess",
    "SquareRoot",
    "UnitNorm",
    "build",
    "check_encoder",
    "conv",
    "head",
    "mlp",
    "own",
    "pretrained",
]


def build(
    recipe: Section,
    input_shape: Sequence[int],
    *,
    seed: int,
    network: keras.Model | None = None,
) -> keras.Model:
    """Build the encoder that a recipe describes.

    Args:
        recipe: one of the sections `MlpRecipe`, `ConvRecipe`, `PretrainedRecipe`, `HeadRecipe`,
            `OwnRecipe`.
        input_shape: shape of one image, (h, w) or (h, w, 3), or of one vector, (d,).
        seed: of the initial weights and the dropout.
        network: for an `OwnRecipe` without a path. Defaults to none.

    Raises:
        RecipeError: not for rows of this shape, or no such network.
        ModelError: a file of weights or of a network is missing or holds others.
        DownloadError: weights are not there and cannot be downloaded.

    Example:
        >>> build(ConvRecipe(embedding=16), (28, 28), seed=0).output_shape
        (None, 16)
    """
    if isinstance(recipe, MlpRecipe):
        return mlp(
            input_shape,
            units=recipe.units,
            dropout=recipe.dropout,
            linear=recipe.linear,
            normalize=recipe.normalize,
            seed=seed,
        )
    if isinstance(recipe, OwnRecipe):
        return own(recipe.path or network, input_shape, normalize=recipe.normalize)
    vectors = len(input_shape) == 1
    if vectors != isinstance(recipe, HeadRecipe):
        raise RecipeError(
            f"Expected an encoder of {'vectors' if vectors else 'images'}. Received "
            f"{recipe.name!r}: take {'head' if vectors else 'mlp, conv, pretrained or own'}."
        )
    if isinstance(recipe, HeadRecipe):
        return head(
            input_shape[0],
            units=recipe.units,
            embedding=recipe.embedding,
            dropout=recipe.dropout,
            normalize=recipe.normalize,
            seed=seed,
        )
    if isinstance(recipe, ConvRecipe):
        return conv(
            input_shape,
            widths=recipe.widths,
            blocks=recipe.blocks,
            embedding=recipe.embedding,
            dropout=recipe.dropout,
            normalize=recipe.normalize,
            seed=seed,
        )
    assert isinstance(recipe, PretrainedRecipe)
    return pretrained(
        recipe.model,
        input_shape,
        weights=None if recipe.weights == "none" else recipe.weights,
        embedding=recipe.embedding,
        freeze=recipe.freeze,
        pooling=recipe.pooling,
        units=recipe.units,
        dropout=recipe.dropout,
        normalize=recipe.normalize,
        seed=seed,
    )
