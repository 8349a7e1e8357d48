"""A small convolutional encoder, shaped for a good answer after a few minutes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.embed.networks.convolution_layer import Convolution
from twinset.embed.networks.drawn import Seeds
from twinset.embed.networks.embedding import MOMENTUM, embed
from twinset.errors import RecipeError

# The last stage is averaged down to at most so many cells each way. Each cell keeps its place in
# the embedding: on aligned pictures that is worth more than the few weights it takes.
GRID = 4


def conv(
    input_shape: Sequence[int],
    *,
    widths: Sequence[int] = (32, 64, 128),
    blocks: Sequence[int] = (),
    embedding: int = 64,
    dropout: float = 0.0,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build a small residual network for images of 16 × 16 to 128 × 128 pixels.

    Each width is a stage: a convolution of stride 2 (5 × 5 in the first stage, 3 × 3 in the
    others), then residual ones of 3 × 3, one but in the first stage; each with batch normalisation
    and ReLU. Then a mean over blocks to a grid of 4 × 4 at most, batch normalisation, dropout, and
    a linear layer to the embedding.

    With the defaults and 28 × 28 images: 418,208 weights, 6.5 million multiplications each.
    Nothing works at the image's whole resolution, where normalisation and ReLU would cost more
    than the products.

    Takes floats in [0, 1] of shape (n, *input_shape), returns (n, embedding). No layer pools by
    maximum, which ONNX exports from JAX do not survive.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        widths: channels of each stage; add one for large images. Defaults to (32, 64, 128).
        blocks: residual convolutions of each stage. Defaults to (0, 1, 1, …).
        embedding: size d. Defaults to 64.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the initial weights, the same on every back end, and the dropout. Defaults to
            random.

    Returns:
        An ordinary `keras.Model`.

    Raises:
        RecipeError: the images are too small for so many stages, or `blocks` are of other stages.

    Reference:
        He et al. (2016), Deep Residual Learning for Image Recognition.

    Example:
        >>> conv((28, 28), seed=0).count_params()
        418208
    """
    shape = tuple(input_shape)
    if min(shape[:2]) < 2 ** len(widths):
        raise RecipeError(
            f"Expected images of at least {2 ** len(widths)} pixels each way for {len(widths)} "
            f"stages, each of which halves them. Received {shape[0]} × {shape[1]}: take fewer "
            "`widths`, or larger images."
        )
    blocks = tuple(blocks) or (0, *(1 for _ in widths[1:]))
    if len(blocks) != len(widths):
        raise RecipeError(
            f"Expected a number of blocks for each of the {len(widths)} widths. Received "
            f"{len(blocks)}: {list(blocks)}."
        )
    image = keras.Input(shape, name="image")
    x = keras.layers.Reshape((*shape, 1), name="channel")(image) if len(shape) == 2 else image
    seeds = Seeds(seed)
    for i, width in enumerate(widths):
        stage = f"stage_{i + 1}"
        x = _convolution(x, width, 3 if i else 5, 2, seeds, name=f"{stage}_down")
        x = keras.layers.ReLU(name=f"{stage}_down_relu")(x)
        for block in range(blocks[i]):
            name = f"{stage}_{block + 1}" if block else stage
            inner = _convolution(x, width, 3, 1, seeds, name=f"{name}_inner")
            x = keras.layers.Add(name=f"{name}_add")([x, inner])
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = _grid(x)
    x = embed(x, embedding=embedding, dropout=dropout, normalize=normalize, seeds=seeds, seed=seed)
    return keras.Model(image, x, name="conv")


def _convolution(x: Any, width: int, size: int, stride: int, seeds: Seeds, *, name: str) -> Any:
    layer = Convolution(
        width,
        size,
        strides=stride,
        padding="same",
        use_bias=False,  # the normalisation would take it away
        kernel_initializer=seeds.kernel(),
        name=name,
    )
    return keras.layers.BatchNormalization(momentum=MOMENTUM, name=f"{name}_norm")(layer(x))


def _grid(x: Any) -> Any:
    blocks = tuple(-(-size // GRID) for size in x.shape[1:3])
    if max(blocks) > 1:
        x = keras.layers.AveragePooling2D(blocks, padding="same", name="grid")(x)
    return keras.layers.Flatten(name="flatten")(x)
