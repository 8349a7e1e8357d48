"""Pixels as features: no network at all, the baseline that every other has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from twinset.networks.layers import expect_images
from twinset.settings import Count, named


@named("pixels")
def pixels(input_shape: Sequence[int], *, side: Count = 32, freeze: bool = True) -> keras.Model:
    """Average an image down to a few cells, and take their values as features.

    Takes floats in [0, 1] of shape (n, h, w) or (n, h, w, 3), returns (n, cells): values of at
    most side × side cells, for each channel. It has no weights, and wants a head in closed form.

    Args:
        input_shape: shape of one image, (h, w) or (h, w, 3).
        side: most cells each way. Smaller images are taken as they are. Defaults to 32.
        freeze: always true: there is nothing to train.

    Raises:
        RecipeError: a shape that is not of images.

    Example:
        >>> pixels((64, 48, 3), side=16).output_shape
        (None, 768)
    """
    expect_images(input_shape, "pixels")
    image = keras.Input(tuple(input_shape), name="image")
    return keras.Model(image, keras.layers.Flatten(name="flatten")(cells(image, side)), name="pixels")
