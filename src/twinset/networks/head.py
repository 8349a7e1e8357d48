"""From what a network found in an image to its embedding: the end that all encoders share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.networks.dropout import Dropout
from twinset.networks.initializers import Seeds
from twinset.networks.layers import UnitNorm

# Of the running averages in batch normalisation. Keras' own 0.99 remembers some 500 steps: more
# than a short training has.
MOMENTUM = 0.9


def embed(
    features: Any,
    *,
    embedding: int,
    dropout: float,
    normalize: bool,
    seeds: Seeds,
    seed: int | None,
    units: Sequence[int] = (),
) -> Any:
    """Add the last layers to a graph: batch normalisation, dropout, a linear layer, unit length.

    The normalisation stands before the linear layer: without it a few features of large variance
    make up the whole distance. The linear layer has no ReLU, so embeddings use the whole sphere,
    and no bias where they are normalised: a bias would shift all of them to one side.

    Args:
        features: symbolic, (n, f).
        embedding: size d.
        dropout: share of the features dropped while training.
        normalize: whether embeddings get length 1.
        seeds: of the weights.
        seed: of the dropout.
        units: size of each hidden Dense layer with ReLU before all that. Defaults to none.

    Returns:
        Symbolic embeddings, (n, d).

    Example:
        >>> features = keras.Input((5,))
        >>> embed(features, embedding=2, dropout=0, normalize=True, seeds=Seeds(0), seed=0).shape
        (None, 2)
    """
    x = features
    for i, size in enumerate(units):
        x = keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"norm_{i + 1}")(x)
        x = keras.layers.Dense(
            size, activation="relu", kernel_initializer=seeds.kernel(), name=f"hidden_{i + 1}"
        )(x)
    x = keras.layers.BatchNormalization(momentum=MOMENTUM, name="features_norm")(x)
    if dropout:
        x = Dropout(dropout, seed=seed, name="features_dropout")(x)
    x = keras.layers.Dense(
        embedding, use_bias=not normalize, kernel_initializer=seeds.kernel(), name="embedding"
    )(x)
    return UnitNorm(name="unit")(x) if normalize else x


def head(
    dim_in: int,
    *,
    units: Sequence[int] = (),
    embedding: int = 128,
    dropout: float = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build an encoder of vectors: features that another model made, embedded anew.

    Takes floats of shape (n, dim_in), of any scale, returns (n, embedding). Training it costs next
    to nothing, since the large model ran once over each image, before.

    Args:
        dim_in: size of the features.
        units: size of each hidden Dense layer with ReLU. Defaults to none: a linear map, which
            suits good features and little data.
        embedding: size d. Defaults to 128.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the initial weights and the dropout. Defaults to random.

    Returns:
        An ordinary `keras.Model`.

    Example:
        >>> head(512, embedding=64, seed=0).output_shape
        (None, 64)
    """
    features = keras.Input((dim_in,), name="features")
    x = embed(
        features,
        embedding=embedding,
        dropout=dropout,
        normalize=normalize,
        seeds=Seeds(seed),
        seed=seed,
        units=units,
    )
    return keras.Model(features, x, name="head")
