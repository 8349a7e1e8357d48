"""Any Keras encoder as an ONNX graph, by way of JAX: slower, larger, for what `layers` cannot."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from twinset.errors import ModelError
from twinset.exporters.onnx_writer import UnwritableError
from twinset.exporters.other_backend import under
from twinset.models.onnx_model import INPUT, OUTPUT

_SCRIPT = """
import sys
from twinset.embed.encoder_file import load_encoder
from twinset.embed.onnx_graph.traced import trace
shape = tuple(int(size) for size in sys.argv[3:])
open(sys.argv[2], "wb").write(trace(load_encoder(sys.argv[1]), shape).SerializeToString())
"""


def trace(encoder: keras.Model, image_shape: Sequence[int]) -> Any:
    """Write an encoder as a graph from uint8 pixels to embeddings, with jax2onnx.

    Under another back end than JAX a second process does it, from the saved encoder.

    Args:
        encoder: takes floats in [0, 1] of shape (n, *image_shape), returns (n, d).
        image_shape: (h, w) or (h, w, 3).

    Returns:
        An `onnx.ModelProto`, weights included.

    Raises:
        UnwritableError: jax2onnx is not installed, or cannot.
    """
    if keras.backend.backend() != "jax":
        try:
            made = under("jax", _SCRIPT, encoder, image_shape, ".onnx")
        except ModelError as error:
            raise UnwritableError(str(error)) from None
        return onnx.load_from_string(made)
    try:
        import jax2onnx  # noqa: F401 - told here; Keras would import it later
    except ImportError:
        raise UnwritableError("jax2onnx is not installed: pip install 'twinset[export]'") from None
    quiet = logging.getLogger("jax2onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path = Path(folder) / "encoder.onnx"
            from_uint8(encoder, image_shape).export(path, format="onnx", verbose=False)
            found = onnx.load(path)  # with the weights that lie in a file beside it
    except Exception as error:
        raise UnwritableError(f"jax2onnx: {type(error).__name__}: {error}") from error
    finally:
        quiet.setLevel(before)
    rewrite_pooling(found.graph)
    _name_output(found.graph)
    return found


def rewrite_pooling(graph: Any) -> None:
    """Turn poolings over four axes, of which two have size 1, into those over two, in place.

    jax2onnx writes a maximum over windows (1, k, k, 1) as Unsqueeze, Unsqueeze, MaxPool, Squeeze,
    and ONNX Runtime takes three axes at most: here as Transpose, MaxPool, Transpose.

    Args:
        graph: an `onnx.GraphProto`.
    """
    made_by = {output: node for node in graph.node for output in node.output}
    read_by = {name: node for node in graph.node for name in node.input}
    nodes: list[Any] = []
    spent: set[str] = set()  # outputs of the nodes that fall away
    for node in graph.node:
        if not _over_four_axes(node):
            nodes.append(node)
            continue
        inner, squeeze = made_by[node.input[0]], read_by[node.output[0]]
        outer = made_by[inner.input[0]]
        kinds = [each.op_type for each in (outer, inner, squeeze)]
        if kinds != ["Unsqueeze", "Unsqueeze", "Squeeze"]:
            raise UnwritableError(f"jax2onnx wrote a pooling among {kinds}")
        spent |= {outer.output[0], inner.output[0], squeeze.output[0]}
        nodes += _over_two_axes(node, outer.input[0], squeeze.output[0])
    kept = [
        node
        for node in nodes
        if node.op_type not in ("Unsqueeze", "Squeeze") or node.output[0] not in spent
    ]
    del graph.node[:]
    graph.node.extend(kept)


def from_uint8(encoder: keras.Model, image_shape: Sequence[int]) -> keras.Model:
    """Put the scaling of uint8 pixels before an encoder.

    Args:
        encoder: takes floats in [0, 1] of shape (n, *image_shape).
        image_shape: (h, w) or (h, w, 3).
    """
    pixels = keras.Input(tuple(image_shape), dtype="uint8", name=INPUT)
    model = keras.Model(pixels, encoder(keras.layers.Rescaling(1 / 255)(pixels)))
    model(np.zeros((1, *image_shape), np.uint8))  # Keras refuses a model that was never called
    return model


def _over_four_axes(node: Any) -> bool:
    windows = [each.ints for each in node.attribute if each.name == "kernel_shape"]
    if node.op_type != "MaxPool" or not windows:
        return False
    (window,) = windows
    return len(window) == 4 and window[0] == window[3] == 1


def _over_two_axes(node: Any, source: str, target: str) -> list[Any]:
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    for name in attributes.keys() & {"kernel_shape", "strides", "dilations"}:
        attributes[name] = list(attributes[name])[1:3]
    if "pads" in attributes:
        pads = list(attributes["pads"])
        attributes["pads"] = [*pads[1:3], *pads[5:7]]
    first, pooled = f"{target}_first", f"{target}_pooled"
    make = onnx.helper.make_node
    return [
        make("Transpose", [source], [first], perm=[0, 3, 1, 2]),
        make("MaxPool", [first], [pooled], **attributes),
        make("Transpose", [pooled], [target], perm=[0, 2, 3, 1]),
    ]


def _name_output(graph: Any) -> None:
    (output,) = graph.output
    graph.node.append(onnx.helper.make_node("Identity", [output.name], [OUTPUT]))
    output.name = OUTPUT
