"""Dense layers: the tutorial's encoder, the head of all others, and pixels as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.errors import RecipeError
from twinset.networks.layers import UnitNorm, expect_images
from twinset.networks.seeded import Dropout, Seeds
from twinset.settings import Count, Share, Units, named

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

    Raises:
        RecipeError: a value out of range, or the shape of an image.

    Example:
        >>> head((512,), embedding=64, seed=0).output_shape
        (None, 64)
    """
    if len(input_shape) != 1:
        raise RecipeError(
            "Expected an encoder of images. Received encoder.name = 'head', which takes vectors: "
            "'efficientnet-lite0' makes them of images, and trains a head."
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

    Raises:
        RecipeError: a value out of range.

    Example:
        >>> mlp((28, 28), seed=0).count_params()
        133504
    """
    # two for each layer: of its weights, and of its dropout
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


@named("pixels", learns=False)
def pixels(input_shape: Sequence[int], *, side: Count = 32) -> keras.Model:
    """Average an image down to a few cells, and take their values as features.

    Takes floats in [0, 1] of shape (n, h, w) or (n, h, w, 3), returns (n, cells): values of at
    most side × side cells, for each channel. It has no weights, and wants a head in closed form.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        side: most cells each way. Smaller images are taken as they are. Defaults to 32.

    Raises:
        RecipeError: a shape that is not of images.

    Example:
        >>> pixels((64, 48, 3), side=16).output_shape
        (None, 768)
    """
    expect_images(input_shape, "pixels")
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Flatten(name="flatten")(cells(image, side))
    return keras.Model(image, x, name="pixels")


def cells(image: Any, side: int, prefix: str = "") -> Any:
    """Average a picture, (n, h, w) or (n, h, w, c), down to side × side cells at most."""
    x = image
    if len(image.shape) == 3:
        x = keras.layers.Reshape((*image.shape[1:], 1), name=f"{prefix}channel")(x)
    sizes = image.shape[1:3]
    blocks = tuple(-(-size // side) for size in sizes)
    if max(blocks) > 1:
        # padded here: where the pooling pads by itself, PyTorch's differs from the others'
        rest = tuple((0, -size % block) for size, block in zip(sizes, blocks, strict=True))
        x = keras.layers.ZeroPadding2D(rest, name=f"{prefix}border")(x)
        x = keras.layers.AveragePooling2D(blocks, name=f"{prefix}cells")(x)
    return x
