"""Whether a model of the user's own can be an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.errors import ModelError


def check_encoder(model: keras.Model, image_shape: Sequence[int]) -> int:
    """Check that a model embeds images: floats in [0, 1], (n, *image_shape), to floats (n, d).

    It is called twice, on black images and on random ones, with the network at rest.

    Args:
        model: any Keras model.
        image_shape: shape of one image, (h, w) or (h, w, 3).

    Returns:
        The size d of its embeddings.

    Raises:
        ModelError: it takes something else, or returns something else.

    Example:
        >>> from twinset.embed.networks import mlp
        >>> check_encoder(mlp((4, 4), units=(3,)), (4, 4))
        3
    """
    if not isinstance(model, keras.Model):
        raise ModelError(f"Expected a keras.Model as encoder. Received {type(model).__name__}.")
    shape = tuple(image_shape)
    given = _input_shape(model)
    if given is not None and not _fits(given, shape):
        raise ModelError(
            f"Expected an encoder of images of shape {shape}. Received one whose input has the "
            f"shape {given}: change the size of the images, or put a layer such as "
            "keras.layers.Reshape in front."
        )
    random = np.random.default_rng(0).random((2, *shape), np.float32)
    black, other = (_embed(model, x) for x in (np.zeros((2, *shape), np.float32), random))
    for found, what in ((black, "black images"), (other, "random images")):
        if not np.isfinite(found).all():
            raise ModelError(
                f"Expected finite embeddings. Received {found[~np.isfinite(found)][0]} for {what}: "
                "look for a division or logarithm of 0."
            )
    return int(other.shape[1])


def _input_shape(model: keras.Model) -> tuple[int | None, ...] | None:
    try:
        inputs = model.inputs
    except AttributeError:  # a subclassed model that was never called
        return None
    if not inputs:
        return None
    if len(inputs) != 1:
        raise ModelError(
            f"Expected an encoder with one input. Received one with {len(inputs)}: "
            f"{[tensor.name for tensor in inputs]}. Of a siamese model, give the shared encoder."
        )
    return tuple(inputs[0].shape)


def _fits(given: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    sizes = given[1:]
    return len(sizes) == len(shape) and all(
        size in (None, wanted) for size, wanted in zip(sizes, shape, strict=True)
    )


def _embed(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.floating]:
    try:
        # one compiled program: JAX would compile each operation of an eager call on its own
        found = model.predict_on_batch(images)
    except Exception as error:
        raise ModelError(
            f"Expected an encoder that can be called on floats of shape {images.shape}. "
            f"{type(error).__name__}: {error}"
        ) from error
    kind = str(getattr(found, "dtype", type(found).__name__))
    size = tuple(getattr(found, "shape", ()))
    if "float" not in kind or len(size) != 2 or size[0] != len(images) or size[1] < 1:
        raise ModelError(
            f"Expected embeddings of shape ({len(images)}, d), floats. Received "
            f"{kind} of shape {size}: end with a pooling or Flatten layer, and a Dense layer."
        )
    return np.asarray(found, np.float32)
