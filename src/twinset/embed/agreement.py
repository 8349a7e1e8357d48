"""Whether another engine gives a model's embeddings: it is asked before its file is written."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from twinset.embed.embedder import Embedder, batch_size
from twinset.errors import ModelError

# Largest difference of one coordinate, of embeddings whose coordinates are at most 1; beyond, in
# proportion. What is seen of a true graph is 10⁻⁶.
TOLERANCE = 1e-4
BATCHES = (1, 3, 64)


def agreement(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], model: Embedder, engine: str
) -> float:
    """Compare an engine's embeddings with those of a model, on batches of 1, 3 and 64 images.

    Args:
        run: embeds uint8 images of shape (n, h, w[, 3]) with that engine.
        model: a trained model.
        engine: its name, for messages.

    Returns:
        The largest difference of a coordinate.

    Raises:
        ModelError: it is above `TOLERANCE`, or the engine fails.
    """
    images = some_images(model.preprocessing.shape)
    expected = model.encode(images)
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    worst = 0.0
    for size in BATCHES:
        try:
            found = run(images[-size:])
        except Exception as error:  # noqa: BLE001 - a dozen classes, without a common one
            raise ModelError(f"{engine} cannot run the graph: {error}") from None
        difference = np.abs(found - expected[-size:]).max()
        if found.shape != (min(size, len(images)), model.dim) or not difference <= limit:
            raise ModelError(
                f"Expected a graph whose embeddings are those of Keras, within {limit:.1e}. "
                f"Received a difference of {difference:.1e} for {size} images."
            )
        worst = max(worst, float(difference))
    return worst


def some_images(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw images for such a check: half of them noise, half of them smooth; none is flat.

    Args:
        shape: of one image.

    Returns:
        uint8 of shape (n, *shape), n = 64 or as many as an encoder can take at once.

    Example:
        >>> some_images((28, 28)).shape
        (64, 28, 28)
    """
    count = min(max(BATCHES), max(4, batch_size(shape)))
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    height, width = shape[:2]
    rows = np.linspace(0, math.pi, height)[:, None]
    columns = np.linspace(0, math.pi, width)
    for image in images[::2]:
        a, b, c = rng.uniform(0.5, 4, 3)
        wave = 127.5 + 127.5 * np.sin(a * rows + b * columns + c)
        image[...] = wave[..., None] if len(shape) == 3 else wave
    return images
