"""The last layer of encoders whose embeddings lie on the unit sphere."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from twinset.embed.losses.batch import unit


@keras.saving.register_keras_serializable("twinset")
class UnitNorm(keras.layers.Layer):
    """Divides each embedding by its length.

    y = x / ‖x‖₂

    A zero vector has no direction: it stays zero and gets the gradient 0, where the plain formula
    gives 0/0 = NaN, and `keras.layers.UnitNormalization` a gradient of 10⁶ that throws the weights
    far away. Computes in float32 whatever the float type: in float16 squares of 256 overflow.

    Args:
        **kwargs: as for any Keras layer.

    Call arguments:
        inputs: (n, d).

    Returns:
        (n, d), of the inputs' dtype, each row of length 1 or 0.

    Example:
        >>> import numpy as np
        >>> y = UnitNorm()(np.array([[3.0, 4.0], [0.0, 0.0]], "float32"))
        >>> keras.ops.convert_to_numpy(y).round(4).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """

    def call(self, inputs: Any) -> Any:
        """Normalise the rows."""
        return ops.cast(unit(ops.cast(inputs, "float32")), inputs.dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Keep the shape."""
        return tuple(input_shape)
