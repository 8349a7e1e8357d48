"""The two-input Keras model of the tutorial: one shared encoder, and its outputs' distance."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from twinset import distance as distances


@keras.saving.register_keras_serializable("twinset")
class Distance(keras.layers.Layer):
    """A layer that measures how far apart rows of two (n, d) are: (n, 1), as in the tutorial.

    Args:
        distance: a name from `twinset.distance.DISTANCES`. Defaults to "euclidean".
        **kwargs: as for any Keras layer.

    Raises:
        RecipeError: no distance has this name.

    Example:
        >>> import numpy as np
        >>> float(Distance()(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]))[0, 0])
        5.0
    """

    def __init__(self, distance: str = "euclidean", **kwargs: Any) -> None:
        distances.by_name(distance)
        super().__init__(**kwargs)
        self.distance = distance

    def call(self, left: Any, right: Any) -> Any:
        """Measure the distance of each row."""
        return ops.expand_dims(distances.by_name(self.distance)(left, right, xp=ops), -1)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return {**super().get_config(), "distance": self.distance}


def siamese(encoder: keras.Model, distance: str = "euclidean") -> keras.Model:
    """Join two copies of the input to one shared encoder, and measure the distance.

    The result is an ordinary `keras.Model` of two inputs: `compile`, `fit([left, right], same)`
    and `predict` work, and it saves without Lambda layers.

    Args:
        encoder: maps (n, *image_shape) to (n, d); both branches share its weights.
        distance: a name from `twinset.distance.DISTANCES`. Defaults to "euclidean".

    Returns:
        A model from [left, right] to distances of shape (n, 1).

    Example:
        >>> from twinset.networks import mlp
        >>> model = siamese(mlp((28, 28)))
        >>> model.count_params(), model.output_shape
        (133504, (None, 1))
    """
    shape = encoder.input_shape[1:]
    left = keras.Input(shape, name="left")
    right = keras.Input(shape, name="right")
    apart = Distance(distance, name="distance")(encoder(left), encoder(right))
    return keras.Model([left, right], apart, name="siamese")
