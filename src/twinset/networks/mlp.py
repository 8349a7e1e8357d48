"""The tutorial's encoder: Dense layers on all pixels."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from twinset.networks.dropout import Dropout
from twinset.networks.layers import UnitNorm
from twinset.settings import Share, Units, named


@named("mlp")
def mlp(
    input_shape: Sequence[int],
    *,
    units: Units = (128, 128, 128),
    dropout: Share = 0.1,
    linear: bool = False,
    normalize: bool = False,
    seed: int | None = None,
) -> keras.Model:
    """Build the tutorial's encoder: Flatten, then Dense layers with ReLU, dropout between them.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, units[-1]). With the defaults
    and 28 × 28 images: 133,504 weights.

    Mind the ReLU of the last layer, kept as the tutorial has it: embeddings live in the corner
    where all coordinates are ≥ 0, and a coordinate can die. Objectives over all pairs of a batch
    want `linear` and `normalize`.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3), or of one vector, (d,).
        units: size of each Dense layer; the last is the embedding size d. Defaults to
            (128, 128, 128).
        dropout: share of activations dropped after each layer but the last. Defaults to 0.1.
        linear: no ReLU after the last layer. Defaults to False, as in the tutorial.
        normalize: make the embeddings' length 1. Defaults to False, as in the tutorial.
        seed: of the initial weights (Glorot uniform) and the dropout. Defaults to random.

    Returns:
        An ordinary `keras.Model`.

    Raises:
        RecipeError: a value out of range.

    Example:
        >>> mlp((28, 28), seed=0).count_params()
        133504
    """
    seeds = [None] * (2 * len(units)) if seed is None else range(2 * seed, 2 * (seed + len(units)))
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Flatten(name="flatten")(image)
    for i, size in enumerate(units):
        last = i == len(units) - 1
        x = keras.layers.Dense(
            size,
            activation=None if last and linear else "relu",
            kernel_initializer=keras.initializers.GlorotUniform(seed=seeds[2 * i]),
            name=f"dense_{i + 1}",
        )(x)
        if not last and dropout:
            x = Dropout(dropout, seed=seeds[2 * i + 1], name=f"dropout_{i + 1}")(x)
    if normalize:
        x = UnitNorm(name="unit")(x)
    return keras.Model(image, x, name="mlp")
