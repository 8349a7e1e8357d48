"""Keras' own exports: to ONNX by way of JAX, for what `onnx_layers` cannot write, and to LiteRT."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import onnx

from twinset.backbones.onnx_writer import UnwritableError
from twinset.backbones.session import INPUT, OUTPUT

# Keras exports each format on one back end alone.
_BACKENDS = {"onnx": "jax", "litert": "tensorflow"}

_SCRIPT = """
import sys
from twinset.exporters.keras_export import write
from twinset.networks.own import load_encoder
kind, source, target, *shape = sys.argv[1:]
write(load_encoder(source), [int(size) for size in shape], kind, target)
"""


def trace(encoder: keras.Model, image_shape: Sequence[int]) -> Any:
    """Write any encoder as an `onnx.ModelProto` from uint8 pixels to embeddings, with jax2onnx."""
    return onnx.load_from_string(exported(encoder, image_shape, "onnx"))


def exported(
    encoder: keras.Model, image_shape: Sequence[int], kind: Literal["onnx", "litert"]
) -> bytes:
    """Give the content of an exported file; under another back end, a second process makes it."""
    backend = _BACKENDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "encoder.keras", Path(folder) / f"made.{kind}"
        if keras.backend.backend() == backend:
            write(encoder, image_shape, kind, target)
            return target.read_bytes()
        # Keras fixes its back end at its first import, so no second one can run in here
        encoder.save(source)
        command = [sys.executable, "-c", _SCRIPT, kind, str(source), str(target)]
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [*command, *map(str, image_shape)],
            env=environment | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            # the line of a traceback that says what went wrong
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UnwritableError(f"with {backend}, in a process of its own: {last}")
        return target.read_bytes()


def write(encoder: keras.Model, image_shape: Sequence[int], kind: str, target: str | Path) -> None:
    """Export an encoder to a file, under the back end that the format asks for."""
    if kind == "onnx":
        Path(target).write_bytes(_traced(encoder, image_shape).SerializeToString())
    else:
        from_uint8(encoder, image_shape).export(str(target), format=kind, verbose=False)


def from_uint8(encoder: keras.Model, image_shape: Sequence[int]) -> keras.Model:
    """Put the scaling of uint8 pixels before an encoder of floats in [0, 1]."""
    pixels = keras.Input(tuple(image_shape), dtype="uint8", name=INPUT)
    model = keras.Model(pixels, encoder(keras.layers.Rescaling(1 / 255)(pixels)))
    model(np.zeros((1, *image_shape), np.uint8))  # Keras refuses a model that was never called
    return model


def _traced(encoder: keras.Model, image_shape: Sequence[int]) -> Any:
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
    _rewrite_pooling(found.graph)
    (output,) = found.graph.output
    found.graph.node.append(onnx.helper.make_node("Identity", [output.name], [OUTPUT]))
    output.name = OUTPUT
    return found


# jax2onnx writes a maximum over windows (1, k, k, 1) of (1, 1, n, h, w, c), and ONNX Runtime takes
# three axes at most: here as one over windows (k, k) of (n, c, h, w).
def _rewrite_pooling(graph: Any) -> None:
    nodes: list[Any] = []
    for node in graph.node:
        nodes += _over_two_axes(node) if _over_four_axes(node) else [node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([0, 1]), "leading_axes"))


def _over_four_axes(node: Any) -> bool:
    windows = [each.ints for each in node.attribute if each.name == "kernel_shape"]
    if node.op_type != "MaxPool" or not windows:
        return False
    (window,) = windows
    return len(window) == 4 and window[0] == window[3] == 1


def _over_two_axes(node: Any) -> list[Any]:
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    for name in attributes.keys() & {"kernel_shape", "strides", "dilations"}:
        attributes[name] = attributes[name][1:3]
    if "pads" in attributes:
        attributes["pads"] = [*attributes["pads"][1:3], *attributes["pads"][5:7]]
    (source,), (target,) = node.input, node.output
    steps = [f"{target}_{step}" for step in range(4)]
    make = onnx.helper.make_node
    return [
        make("Squeeze", [source, "leading_axes"], [steps[0]]),
        make("Transpose", [steps[0]], [steps[1]], perm=[0, 3, 1, 2]),
        make("MaxPool", [steps[1]], [steps[2]], **attributes),
        make("Transpose", [steps[2]], [steps[3]], perm=[0, 2, 3, 1]),
        make("Unsqueeze", [steps[3], "leading_axes"], [target]),
    ]
