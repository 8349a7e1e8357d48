"""Layers: pixels as a network wants them, unit length, a distance; and the two-input network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from twinset.distance import euclidean
from twinset.errors import RecipeError
from twinset.losses.batch import unit, wide


class Scaling(NamedTuple):
    """The scaling and shift of each colour channel that a network wants.

    y_c = scale_c · x_π(c) + offset_c, where π reverses the channels if `reverse`, from floats in
    [0, 1], (n, h, w) or (n, h, w, 3), to (n, h, w, 3): gray makes three equal channels.
    """

    scale: list[float]
    offset: list[float]
    reverse: bool = False  # RGB becomes BGR

    def __call__(self, image: Any) -> Any:
        """Add it to a graph."""
        if len(image.shape) == 3:
            gray = keras.layers.Reshape((*image.shape[1:], 1), name="gray")(image)
            image = keras.layers.Concatenate(name="colour")([gray] * 3)
        elif self.reverse:
            image = ops.flip(image, axis=-1)
        return keras.layers.Rescaling(self.scale, self.offset, name="preprocess")(image)


def from_function(function: Callable[[NDArray[np.float64]], Any]) -> Scaling:
    """Find the scaling that does what a family's own preprocessing does, by trying it."""

    # So no table of the families' habits is needed, nor kept up to date. The function takes values
    # of 0 to 255, and may resize the images.
    def tried(colours: NDArray[np.float64]) -> NDArray[np.float64]:
        images = np.broadcast_to(255 * colours[:, None, None], (len(colours), 32, 32, 3))
        # a copy, as some work in place; float64, so that the sums below give the plain numbers
        found = ops.convert_to_numpy(function(images.copy()))
        means: NDArray[np.float64] = np.asarray(found, np.float64).mean(axis=(1, 2))
        return means

    offset = tried(np.zeros((1, 3)))[0]
    slopes = tried(np.eye(3)) - offset  # (from channel, to channel)
    reverse = bool(np.abs(slopes[0, 2]) > np.abs(slopes[0, 0]))
    scale = (slopes[::-1] if reverse else slopes).diagonal()
    found = Scaling(scale.round(9).tolist(), offset.round(9).tolist(), reverse)
    some = np.random.default_rng(0).random((8, 3))
    expected = (some[:, ::-1] if reverse else some) * found.scale + found.offset
    if not np.allclose(expected, tried(some), rtol=1e-3, atol=1e-3 * np.abs(scale).max()):
        raise RecipeError(
            f"Expected a preprocessing that scales and shifts each channel. Received {function!r}, "
            "which does something else: build the encoder yourself, as a keras.Model."
        )
    return found


def expect_images(shape: Sequence[int], name: str) -> None:
    """Refuse to build an encoder of images for vectors."""
    if len(shape) not in (2, 3):
        raise RecipeError(
            f"Expected an encoder of vectors. Received encoder.name = {name!r}, which takes "
            "images: take 'head' or 'mlp'."
        )


@keras.saving.register_keras_serializable("twinset")
class Frozen(keras.layers.Layer):
    """A layer that calls a network at rest, also while what is around it trains.

    `trainable = False` stops its weights and its batch normalisation, but not its dropout; and a
    `training=False` that is written into a graph is overruled by the call of the graph.

    Args:
        network: a built Keras model, whose inputs and outputs are those of the layer.
        **kwargs: as for any Keras layer.

    Example:
        >>> import numpy as np
        >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
        >>> keras.ops.convert_to_numpy(Frozen(network)(np.ones((1, 4)), training=True)).tolist()
        [[1.0, 1.0, 1.0, 1.0]]
    """

    def __init__(self, network: keras.Model, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network
        self.network.trainable = False

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Call the network, at rest."""
        del training
        return self.network(inputs, training=False)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Tell the shape of the result; without it Keras would trace the whole network."""
        return self.network.compute_output_shape(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Frozen:
        """Make the layer that `get_config` described."""
        network = keras.saving.deserialize_keras_object(config["network"])
        return cls(**{**config, "network": network})


@keras.saving.register_keras_serializable("twinset")
class UnitNorm(keras.layers.Layer):
    """A layer that divides each embedding by its length.

    y = x / ‖x‖₂, for rows (n, d); of the inputs' dtype. With `beside`, y = (x, beside) /
    ‖(x, beside)‖₂ of d + 1 numbers: then lengths of x count as well, as distances of y follow those
    of x where `beside` is large against these.

    A zero vector has no direction: it stays zero and gets the gradient 0, where the plain formula
    gives 0/0 = NaN, and `keras.layers.UnitNormalization` a gradient of 10⁶ that throws the weights
    far away. Computes in float32 at least: in float16 squares of 256 overflow.

    Args:
        beside: a coordinate that all rows share; 0 for none.
        **kwargs: of `keras.layers.Layer`.

    Example:
        >>> import numpy as np
        >>> y = UnitNorm()(np.array([[3.0, 4.0], [0.0, 0.0]], "float32"))
        >>> keras.ops.convert_to_numpy(y).round(4).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """

    def __init__(self, beside: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beside = float(beside)

    def call(self, inputs: Any) -> Any:
        """Normalise the rows."""
        x = wide(inputs)
        if self.beside:
            x = ops.concatenate([x, ops.full_like(x[..., :1], self.beside)], axis=-1)
        return ops.cast(unit(x), inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        """Return what makes a layer like this one."""
        return {**super().get_config(), "beside": self.beside}


@keras.saving.register_keras_serializable("twinset")
class Distance(keras.layers.Layer):
    """A layer that measures how far apart rows of two (n, d) are: (n, 1), as in the tutorial.

    Args:
        **kwargs: as for any Keras layer.

    Example:
        >>> import numpy as np
        >>> float(Distance()(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]))[0, 0])
        5.0
    """

    def call(self, left: Any, right: Any) -> Any:
        """Measure the distance of each row."""
        # (n, 1), as Keras hands over labels (n,) with it
        return ops.expand_dims(euclidean(left, right, xp=ops), -1)


def siamese(encoder: keras.Model) -> keras.Model:
    """Join two copies of the input to one shared encoder, and measure the distance.

    The result is an ordinary `keras.Model` of two inputs: `compile`, `fit([left, right], same)`
    and `predict` work, and it saves without Lambda layers.

    Args:
        encoder: maps (n, *image_shape) to (n, d); both branches share its weights.

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
    # one encoder called twice: its weights are shared, and counted once
    apart = Distance(name="distance")(encoder(left), encoder(right))
    return keras.Model([left, right], apart, name="siamese")
