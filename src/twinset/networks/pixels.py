"""Pixels as features: no network at all, the baseline that every other has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.networks.layers import expect_images
from twinset.settings import Count, named


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
