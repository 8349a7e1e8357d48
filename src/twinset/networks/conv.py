"""A small convolutional encoder, shaped for a good answer after a few minutes on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from twinset.errors import RecipeError
from twinset.networks.dense import MOMENTUM, embed
from twinset.networks.layers import expect_images
from twinset.networks.seeded import Seeds
from twinset.settings import Count, CountOrNone, Share, Units, named

# The last stage is averaged down to at most so many cells each way. Each cell keeps its place in
# the embedding: on aligned pictures that is worth more than the few weights it takes.
GRID = 4


@named("conv")
def conv(
    input_shape: Sequence[int],
    *,
    widths: Units = (32, 64, 128),
    blocks: tuple[CountOrNone, ...] = (),
    embedding: Count = 64,
    dropout: Share = 0.0,
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
        blocks: residual convolutions of each stage. Defaults to (), which stands for
            (0, 1, 1, …).
        embedding: size d. Defaults to 64.
        dropout: share of the last features dropped while training. Defaults to 0.
        normalize: make the embeddings' length 1. Defaults to True.
        seed: of the initial weights, the same on every back end, and the dropout. Defaults to
            random.

    Raises:
        RecipeError: a value out of range, the images are too small for so many stages, or
            `blocks` are of other stages.

    Reference:
        He et al. (2016), Deep Residual Learning for Image Recognition.

    Example:
        >>> conv((28, 28), seed=0).count_params()
        418208
    """
    expect_images(input_shape, "conv")
    shape = tuple(input_shape)
    if min(shape[:2]) < 2 ** len(widths):
        raise RecipeError(
            f"Expected images of at least {2 ** len(widths)} pixels each way for {len(widths)} "
            f"stages, each of which halves them. Received {shape[0]} × {shape[1]}: take fewer "
            "`widths`, or larger images."
        )
    blocks = blocks or (0, *(1 for _ in widths[1:]))
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
    x = embed(x, seeds, embedding=embedding, dropout=dropout, normalize=normalize)
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


@keras.saving.register_keras_serializable("twinset")
class Convolution(keras.layers.Conv2D):
    """A `keras.layers.Conv2D` that trains by one matrix product, where that is faster.

    y[n, i, j] = Σ_{u, v} x[n, s i + u, s j + v] · K[u, v], as P · K with the patches P in rows

    XLA's gradient of a convolution on a CPU takes 10 to 40 times as long within a loop as on its
    own: a step of the encoder `conv` 4 s. Its matrix products are as fast in a loop as elsewhere:
    0.21 s, where one direct step at a time takes 0.24. At rest, where nothing loops and no gradient
    is asked for, Keras' way is the faster one.

    Args:
        *args: as for `keras.layers.Conv2D`; only channels last, without dilation or groups.
        **kwargs: likewise.

    Reference:
        Chellapilla, Puri, Simard (2006), High Performance Convolutional Neural Networks for
        Document Processing.

    Example:
        >>> import numpy as np
        >>> layer = Convolution(1, 3, padding="same", kernel_initializer="ones", use_bias=False)
        >>> x = np.ones((1, 3, 3, 1), "float32")
        >>> found = layer(x, training=True)  # corners see four pixels, the middle nine
        >>> keras.ops.convert_to_numpy(found)[0, ..., 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Convolve a batch (b, h, w, c)."""
        if training and self.groups == 1 and _quicker(self):
            return _finished(self, by_product(inputs, self.kernel, self.strides, self.padding))
        return super().call(inputs)


@keras.saving.register_keras_serializable("twinset")
class DepthwiseConvolution(keras.layers.DepthwiseConv2D):
    """A `keras.layers.DepthwiseConv2D` that trains as a sum of shifts, where that is faster.

    y[n, i, j, c] = Σ_{u, v} x[n, s i + u, s j + v, c] · K[u, v, c]

    XLA's gradient of it on a CPU takes five times as long: a step of EfficientNet-Lite0 on 16
    images of 96 × 96 4.8 s of a processor, as sums 1.0 s. At rest it is Keras' own.

    Args:
        *args: as for `keras.layers.DepthwiseConv2D`; only channels last, without dilation, one
            output a channel.
        **kwargs: likewise.

    Example:
        >>> import numpy as np
        >>> layer = DepthwiseConvolution(3, padding="same", depthwise_initializer="ones")
        >>> x = np.ones((1, 3, 3, 1), "float32")
        >>> found = layer(x, training=True)  # corners see four pixels, the middle nine
        >>> keras.ops.convert_to_numpy(found)[0, ..., 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Convolve a batch (b, h, w, c)."""
        if training and self.depth_multiplier == 1 and _quicker(self):
            return _finished(self, by_shifts(inputs, self.kernel, self.strides, self.padding))
        return super().call(inputs)


def by_shifts(x: Any, kernel: Any, strides: tuple[int, int], padding: str) -> Any:
    """Convolve each channel of images (b, h, w, c) with its own kernel, (u, v, c, 1)."""
    shifted, _ = _shifted(x, kernel, strides, padding)
    factors = ops.reshape(kernel, (len(shifted), -1))  # (u v, c)
    return sum(each * factors[at] for at, each in enumerate(shifted))


def by_product(x: Any, kernel: Any, strides: tuple[int, int], padding: str) -> Any:
    """Convolve images (b, h, w, c) with a kernel (u, v, c, d) to (b, h', w', d)."""
    shifted, (high, wide) = _shifted(x, kernel, strides, padding)
    patches = ops.concatenate(shifted, axis=-1)  # (b, h', w', u v c)
    width = kernel.shape[3]
    flat = ops.reshape(patches, (-1, patches.shape[-1]))
    return ops.reshape(ops.matmul(flat, ops.reshape(kernel, (-1, width))), (-1, high, wide, width))


def _shifted(
    x: Any, kernel: Any, strides: tuple[int, int], padding: str
) -> tuple[list[Any], tuple[int, int]]:
    # what each place of the kernel sees, (b, h', w', c), and how large that is
    rows, columns = kernel.shape[:2]
    (down, high, above), (right, wide, left) = (
        _places(length, size, stride, padding)
        for length, size, stride in zip(x.shape[1:3], (rows, columns), strides, strict=True)
    )
    x = ops.pad(x, ((0, 0), above, left, (0, 0)))
    seen = [
        x[:, u : u + down : strides[0], v : v + right : strides[1], :]
        for u in range(rows)
        for v in range(columns)
    ]
    return seen, (high, wide)


def _places(length: int, size: int, stride: int, padding: str) -> tuple[int, int, tuple[int, int]]:
    # how far patches reach, how many there are, and what is padded before and after; "same" and
    # "valid" as TensorFlow means them
    if padding == "valid":
        count, extra = (length - size) // stride + 1, 0
    else:
        count = -(-length // stride)
        extra = max((count - 1) * stride + size - length, 0)
    return (count - 1) * stride + 1, count, (extra // 2, extra - extra // 2)


def _quicker(layer: Any) -> bool:
    # of the kind that is written here
    plain = layer.data_format == "channels_last" and tuple(layer.dilation_rate) == (1, 1)
    return plain and _on_cpu_by_jax()


def _on_cpu_by_jax() -> bool:
    if keras.backend.backend() != "jax":
        return False
    import jax

    return bool(jax.default_backend() == "cpu")


def _finished(layer: Any, found: Any) -> Any:
    found = found + layer.bias if layer.use_bias else found
    return found if layer.activation is None else layer.activation(found)
