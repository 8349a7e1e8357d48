"""A layer that mirrors images left and right."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("twinset")
class Mirror(keras.layers.Layer):
    """Mirrors each image left and right.

    y[i, j] = x[i, w − 1 − j]

    Args:
        **kwargs: as for any Keras layer.

    Call arguments:
        inputs: (n, h, w) or (n, h, w, channels).

    Returns:
        The inputs' shape and dtype.

    Example:
        >>> import numpy as np
        >>> keras.ops.convert_to_numpy(Mirror()(np.array([[[1.0, 2.0, 3.0]]], "float32"))).tolist()
        [[[3.0, 2.0, 1.0]]]
    """

    def call(self, inputs: Any) -> Any:
        """Mirror the images."""
        return ops.flip(inputs, axis=2)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Keep the shape."""
        return tuple(input_shape)
