"""A network: a plain function, which knows nothing of twinset but the types of its arguments."""

from collections.abc import Sequence

import keras

from twinset.settings import Count


def pooled(
    input_shape: Sequence[int],
    *,
    cells: Count = 4,
    embedding: Count = 16,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """Build a linear map of an image's mean gray levels in a few cells.

    Args:
        input_shape: of one image, (h, w).
        cells: each way.
        embedding: size d.
        normalize: make the embeddings' length 1.
        seed: of the weights.
    """
    image = keras.Input(tuple(input_shape), name="image")
    x = keras.layers.Reshape((*input_shape, 1))(image)
    x = keras.layers.AveragePooling2D(tuple(-(-size // cells) for size in input_shape))(x)
    start = keras.initializers.GlorotUniform(seed=seed)
    x = keras.layers.Dense(embedding, kernel_initializer=start)(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.UnitNormalization()(x) if normalize else x)
