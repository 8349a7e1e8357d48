"""A layer that takes square roots of pixels: their directions compare as shares of light."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("twinset")
class SquareRoot(keras.layers.Layer):
    """Takes the square root of each number.

    y = √max(x, 0)

    The cosine of two images' roots is the Bhattacharyya coefficient of where they are bright: a
    few very bright pixels do not decide it alone. Not for training through: the slope at 0 is
    infinite.

    Args:
        **kwargs: as for any Keras layer.

    Call arguments:
        inputs: of any shape.

    Returns:
        The inputs' shape and dtype.

    Reference:
        Arandjelović, Zisserman (2012), Three Things Everyone Should Know to Improve Object
        Retrieval.

    Example:
        >>> import numpy as np
        >>> keras.ops.convert_to_numpy(SquareRoot()(np.array([[4.0, 0.0]], "float32"))).tolist()
        [[2.0, 0.0]]
    """

    def call(self, inputs: Any) -> Any:
        """Take the roots."""
        return ops.sqrt(ops.maximum(inputs, 0))

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Keep the shape."""
        return tuple(input_shape)
