"""From what a network found in an image to its embedding: the end that all encoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.errors import RecipeError
from twinset.networks.dropout import Dropout
from twinset.networks.initializers import Seeds
from twinset.networks.layers import UnitNorm
from twinset.settings import Count, Share, named

# Of the running averages in batch normalisation. Keras' own 0.99 remembers some 500 steps: more
# than a short training has.
MOMENTUM = 0.9


def embed(
    features: Any,
    seeds: Seeds,
    *,
    embedding: int,
    dropout: float,
    normalize: bool,
    units: Sequence[int] = (),
) -> Any:
    """Add the last layers to a graph, from features (n, f) to embeddings (n, d)."""
    x = features
    for i, size in enumerate(units):
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"norm_{i + 1}")(x)
        x = keras.layers.Dense(
            size, activation="relu", kernel_initializer=seeds.kernel(), name=f"hidden_{i + 1}"
        )(x)
    # Before the linear layer: without it a few features of large variance make up the whole
    # distance.
    x = keras.layers.BatchNormalization(momentum=MOMENTUM, name="features_norm")(x)
    if dropout:
        x = Dropout(dropout, seed=seeds.seed, name="features_dropout")(x)
    # No ReLU, so that embeddings use the whole sphere, and no bias where they are normalised: it
    # would shift all of them to one side.
    x = keras.layers.Dense(
        embedding, use_bias=not normalize, kernel_initializer=seeds.kernel(), name="embedding"
    )(x)
    return UnitNorm(name="unit")(x) if normalize else x


@named("head")
def head(
    input_shape: Sequence[int],
    *,
    units: tuple[Count, ...] = (),
    embedding: Count = 128,
    dropout: Share = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build an encoder of vectors: features that another model made, embedded anew.

    Takes floats of shape (n, f), of any scale, returns (n, embedding). Training it costs next to
    nothing, since the large model ran once over each image, before.

    Args:
        input_shape: shape of one vector, (f,).
        units: size of each hidden Dense layer with ReLU. Defaults to none: a linear map, which
            suits good features and little data.
        embedding: size d. Defaults to 128.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the initial weights and the dropout. Defaults to random.

    Returns:
        An ordinary `keras.Model`.

    Raises:
        RecipeError: a value out of range, or the shape of an image.

    Example:
        >>> head((512,), embedding=64, seed=0).output_shape
        (None, 64)
    """
    if len(input_shape) != 1:
        raise RecipeError(
            "Expected an encoder of images. Received encoder.name = 'head', which takes vectors: "
            "'pretrained' makes them of images, and trains a head."
        )
    features = keras.Input(tuple(input_shape), name="features")
    x = embed(
        features,
        Seeds(seed),
        embedding=embedding,
        dropout=dropout,
        normalize=normalize,
        units=units,
    )
    return keras.Model(features, x, name="head")
