"""A Keras encoder as an ONNX graph that needs no Keras, checked against Keras before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from twinset.data.features import VectorInput
from twinset.embed.agreement import agreement
from twinset.embed.card import FORMAT, Essentials
from twinset.embed.embedder import Embedder
from twinset.embed.onnx_model import ABOUT, INPUT, OUTPUT, open_session
from twinset.errors import ModelError

if TYPE_CHECKING:
    from twinset.embed.model import SiameseModel


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
        from twinset.embed.onnx_graph import layers, traced
        from twinset.embed.onnx_graph.writer import UnwritableError
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
    about = {"format": FORMAT, **Essentials.of(model).model_dump(mode="json"), **other}
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
