"""Encoders: networks that turn one image into one embedding."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from twinset.embed.dropout import Dropout
from twinset.errors import RecipeError
from twinset.recipe import EncoderRecipe


def mlp(
    input_shape: Sequence[int],
    *,
    units: Sequence[int] = (128, 128, 128),
    dropout: float = 0.1,
    seed: int | None = None,
) -> keras.Model:
    """Build the tutorial's encoder: Flatten, then Dense layers with ReLU, dropout between them.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, units[-1]). With the defaults
    and 28 × 28 images: 133,504 weights.

    Mind the ReLU of the last layer, kept as the tutorial has it: embeddings live in the corner
    where all coordinates are ≥ 0, and a coordinate can die.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        units: size of each Dense layer. Defaults to (128, 128, 128).
        dropout: share of activations dropped after each layer but the last. Defaults to 0.1.
        seed: of the initial weights (Glorot uniform) and the dropout. Defaults to random.

    Returns:
        An ordinary `keras.Model`.

    Example:
        >>> mlp((28, 28), seed=0).count_params()
        133504
    """
    seeds = [None] * (2 * len(units)) if seed is None else range(2 * seed, 2 * (seed + len(units)))
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    for i, size in enumerate(units):
        x = keras.layers.Dense(
            size,
            activation="relu",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds[2 * i]),
            name=f"dense_{i + 1}",
        )(x)
        if i < len(units) - 1 and dropout:
            x = Dropout(dropout, seed=seeds[2 * i + 1], name=f"dropout_{i + 1}")(x)
    return keras.Model(image, x, name="mlp")


def build(recipe: EncoderRecipe, input_shape: Sequence[int], *, seed: int) -> keras.Model:
    """Build the encoder that a recipe names.

    Raises:
        RecipeError: no encoder has this name.
    """
    if recipe.name == "mlp":
        return mlp(input_shape, units=recipe.units, dropout=recipe.dropout, seed=seed)
    raise RecipeError(f"Expected an encoder out of ['mlp']. Received {recipe.name!r}.")
