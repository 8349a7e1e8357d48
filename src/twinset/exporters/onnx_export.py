"""A Keras encoder as an ONNX graph that needs no Keras, checked against Keras before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.features import VectorInput
from twinset.errors import ModelError
from twinset.models.card import Essentials
from twinset.models.embedder import Embedder
from twinset.models.onnx_model import ABOUT, INPUT, OUTPUT, open_session

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel


import math

from twinset.models.embedder import batch_size


def export_graph(model: SiameseModel) -> tuple[bytes, float]:
    """Write a model as an ONNX graph: scaling, encoder and normalisation in one, its card inside.

    The graph takes uint8 `images` of shape (batch, h, w) or (batch, h, w, 3), for any batch, and
    gives float32 `embeddings` of shape (batch, d). Layers are written one by one where each is
    known, which takes milliseconds on any back end; else JAX traces the encoder.

    Args:
        model: a trained model.

    Returns:
        The content of an .onnx file, and how far its embeddings were from Keras' at most.

    Raises:
        ModelError: the encoder cannot be written, or the graph gives other embeddings.

    Example:
        >>> import numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> graph, difference = export_graph(twinset.fit(data, epochs=1, encoder={"units": [8]}))
        >>> len(graph) > 500, difference < 1e-5
        (True, True)
    """
    if isinstance(model.preprocessing, VectorInput):
        raise ModelError(
            "Expected a model of images to export. Received one of vectors that another model "
            "makes: export that one, and use this one with Keras behind it."
        )
    try:
        from twinset.exporters import onnx_layers as layers
        from twinset.exporters import onnx_traced as traced
        from twinset.exporters.onnx_writer import UnwritableError
    except ImportError as error:
        raise ModelError(
            f"Expected the package onnx, to export a model. {error}: `pip install onnx`."
        ) from None
    ways: list[Callable[..., Any]] = [layers.write, traced.trace]
    reasons = []
    for way in ways:
        try:
            graph = described(way(model.encoder, model.preprocessing.shape), model)
            return graph, checked(graph, model)
        except (UnwritableError, ModelError) as error:
            reasons.append(str(error).rstrip("."))
    raise ModelError(f"Expected an encoder that can be written as ONNX. {'; '.join(reasons)}.")


def described(graph: Any, model: Embedder, **other: Any) -> bytes:
    """Put a model's card into a graph.

    Args:
        graph: an `onnx.ModelProto`.
        model: whose encoder it is.
        **other: fields of the card to replace.

    Returns:
        The content of an .onnx file.
    """
    about = Essentials.of(model).to_dict() | other
    kept = [each for each in graph.metadata_props if each.key != ABOUT]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    entry = graph.metadata_props.add()
    entry.key, entry.value = ABOUT, json.dumps(about)
    content: bytes = graph.SerializeToString()
    return content


def checked(graph: bytes, model: Embedder) -> float:
    """Compare a graph's embeddings on ONNX Runtime with those of a model.

    Args:
        graph: the content of an .onnx file.
        model: a trained model.

    Returns:
        The largest difference of a coordinate.

    Raises:
        ModelError: it is too large, or ONNX Runtime cannot run the graph.
    """
    session = open_session(graph)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
        return found

    return agreement(run, model, "ONNX Runtime")


# --- Whether another engine gives a model's embeddings: it is asked before its file is written.

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
