"""Pixels as a network of another family saw them when it was trained, as a layer of its graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from twinset.errors import RecipeError


@keras.saving.register_keras_serializable("twinset")
class Preprocess(keras.layers.Layer):
    """Scales and shifts each colour channel, and turns gray into three equal channels.

    y_c = scale_c · x_π(c) + offset_c, where π reverses the channels if `reverse`.

    Args:
        scale: of each channel of the result, (3,).
        offset: likewise.
        reverse: whether RGB becomes BGR. Defaults to False.
        **kwargs: as for any Keras layer.

    Call arguments:
        inputs: floats in [0, 1], (n, h, w) or (n, h, w, 3).

    Returns:
        (n, h, w, 3).

    Example:
        >>> import numpy as np
        >>> layer = Preprocess([2.0, 2.0, 2.0], [-1.0, -1.0, -1.0])
        >>> keras.ops.convert_to_numpy(layer(np.ones((1, 1, 1), "float32"))).tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """

    def __init__(
        self, scale: Sequence[float], offset: Sequence[float], reverse: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.scale = [float(value) for value in scale]
        self.offset = [float(value) for value in offset]
        self.reverse = bool(reverse)

    def call(self, inputs: Any) -> Any:
        """Transform the pixels."""
        gray = len(inputs.shape) == 3
        x = ops.expand_dims(inputs, -1) if gray else inputs
        if self.reverse and not gray:
            x = ops.flip(x, axis=-1)
        return x * self._row(self.scale, x) + self._row(self.offset, x)  # gray is broadcast

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, ...]:
        """Put three channels last."""
        return (*input_shape[:3], 3)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config = {"scale": self.scale, "offset": self.offset, "reverse": self.reverse}
        return {**super().get_config(), **config}

    def _row(self, values: list[float], like: Any) -> Any:
        return ops.convert_to_tensor(np.array(values), dtype=like.dtype)


def from_function(function: Callable[[NDArray[np.float64]], Any], **kwargs: Any) -> Preprocess:
    """Find the layer that does what a family's own preprocessing does, by trying it on colours.

    So no table of the families' habits is needed, nor kept up to date.

    Args:
        function: of images with values 0 to 255, (n, 32, 32, 3), one colour each; may resize them.
        **kwargs: for the layer.

    Returns:
        A layer that takes values in [0, 1].

    Raises:
        RecipeError: the function is no scaling and shifting of channels.

    Example:
        >>> layer = from_function(lambda x: x[..., ::-1] / 127.5 - 1)
        >>> layer.scale, layer.offset, layer.reverse
        ([2.0, 2.0, 2.0], [-1.0, -1.0, -1.0], True)
    """

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
    layer = Preprocess(scale.round(9).tolist(), offset.round(9).tolist(), reverse, **kwargs)
    some = np.random.default_rng(0).random((8, 3))
    expected = (some[:, ::-1] if reverse else some) * layer.scale + layer.offset
    if not np.allclose(expected, tried(some), rtol=1e-3, atol=1e-3 * np.abs(scale).max()):
        raise RecipeError(
            f"Expected a preprocessing that scales and shifts each channel. Received {function!r}, "
            "which does something else: build the encoder yourself, as a keras.Model."
        )
    return layer
