"""Images → embeddings by Keras, in order, in bounded memory."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from twinset.data.stored import StoredPixels
from twinset.embed.embedder import batch_size


def encode(encoder: keras.Model, images: NDArray[Any] | StoredPixels) -> NDArray[np.float32]:
    """Embed images with the network at rest: no dropout, nothing learned.

    Args:
        encoder: maps floats in [0, 1] of shape (n, *image_shape) to (n, d).
        images: uint8 of shape (n, *image_shape), scaled by 1/255 here, a batch at a time; or
            float32 vectors, taken as they are.

    Returns:
        Embeddings of shape (n, d), float32; row i belongs to image i.

    Example:
        >>> import numpy as np
        >>> from twinset.embed.networks import mlp
        >>> encode(mlp((4, 4), units=(3,)), np.zeros((5, 4, 4), np.uint8)).shape
        (5, 3)
    """
    result = np.empty((len(images), encoder.output_shape[-1]), np.float32)
    batch = batch_size(images.shape[1:])
    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        # Every new batch size is compiled anew: a few sizes serve all.
        room = min(batch, 1 << (len(part) - 1).bit_length())
        pixels = np.zeros((room, *images.shape[1:]), np.float32)
        pixels[: len(part)] = part * np.float32(1 / 255) if part.dtype == np.uint8 else part
        found = keras.ops.convert_to_numpy(encoder.predict_on_batch(pixels))
        result[start : start + len(part)] = found[: len(part)]
    return result
