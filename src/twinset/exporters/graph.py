"""An encoder as a graph for ONNX Runtime or LiteRT, checked against Keras; and in 8 bits."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keras
import numpy as np
import onnx
from numpy.typing import NDArray

from twinset.backbones.onnx_writer import UnwritableError
from twinset.backbones.session import INPUT, OUTPUT, open_session, runtime
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import VectorInput
from twinset.errors import ModelError, require
from twinset.exporters import onnx_layers
from twinset.models.card import Essentials
from twinset.models.embedder import Embedder, batch_size_for
from twinset.models.onnx_model import ABOUT
from twinset.networks.own import encoder_bytes
from twinset.networks.pretrained import OnnxTrunk

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

# Largest difference of one coordinate, of embeddings whose coordinates are at most 1; beyond, in
# proportion. What is seen of a true graph is 10⁻⁶.
TOLERANCE = 1e-4
BATCHES = (1, 3, 64)
# Images to see ranges on: of a few hundred on, more change little.
SAMPLE, BATCH = 256, 32


def export_graph(model: SiameseModel) -> tuple[bytes, float]:
    """Write a model as the content of an .onnx file; how far is it from Keras at most?"""
    if isinstance(model.preprocessing, VectorInput):
        raise ModelError(
            "Expected a model of images to export. Received one of vectors that another model "
            "makes: export that one, and use this one with Keras behind it."
        )
    ways: list[Callable[..., Any]] = [onnx_layers.write, trace]
    reasons = []
    for way in ways:
        try:
            graph = described(way(model.encoder, model.preprocessing.shape), model)
            return graph, checked(graph, model)
        except (UnwritableError, ModelError) as error:
            reasons.append(str(error).rstrip("."))
    raise ModelError(f"Expected an encoder that can be written as ONNX. {'; '.join(reasons)}.")


def export_litert(model: SiameseModel) -> tuple[bytes, float]:
    """Write a model as a .tflite file for LiteRT; it takes and gives what an ONNX graph does."""
    if any(isinstance(layer, OnnxTrunk) for layer in model.encoder.layers):
        raise ModelError(
            "Expected layers that Keras can convert for LiteRT. Received a network out of an ONNX "
            "file: export it as ONNX."
        )
    for package in ("ai_edge_litert", "tensorflow"):
        require(package, "litert", "the format litert", ModelError)
    from ai_edge_litert.interpreter import Interpreter

    try:
        content = exported(model.encoder, model.preprocessing.shape, "litert")
    except UnwritableError as error:
        raise ModelError(f"Expected Keras to convert the encoder. {error}.") from None
    interpreter = Interpreter(model_content=content)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()
        interpreter.resize_tensor_input(taken["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(taken["index"], images)
        interpreter.invoke()
        found: NDArray[np.float32] = interpreter.get_tensor(given["index"])
        return found

    return content, agreement(run, model, "LiteRT")


def described(graph: Any, model: Embedder, **other: Any) -> bytes:
    """Put a model's card into an `onnx.ModelProto`, some fields replaced, and give its content."""
    # quantisation carries the card of the whole graph along
    kept = [each for each in graph.metadata_props if each.key != ABOUT]
    del graph.metadata_props[:]
    graph.metadata_props.extend(kept)
    entry = graph.metadata_props.add()
    entry.key, entry.value = ABOUT, json.dumps(Essentials.of(model).to_dict() | other)
    content: bytes = graph.SerializeToString()
    return content


def checked(graph: bytes, model: Embedder) -> float:
    """Compare a graph's embeddings on ONNX Runtime with those of a model."""
    session = open_session(graph)

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = session.run([OUTPUT], {INPUT: images})[0]
        return found

    return agreement(run, model, "ONNX Runtime")


def agreement(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], model: Embedder, engine: str
) -> float:
    """Find the largest difference of a coordinate; a ModelError tells of one above `TOLERANCE`."""
    images = some_images(model.preprocessing.shape)
    expected = model.encode(images)
    limit = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    worst = 0.0
    for size in BATCHES:
        try:
            found = run(images[-size:])
        except Exception as error:  # noqa: BLE001 - a dozen classes, without a common one
            raise ModelError(f"{engine} cannot run the graph: {error}") from None
        # "not <=" and not ">": a NaN is refused as well
        difference = np.abs(found - expected[-size:]).max()
        if found.shape != (min(size, len(images)), model.dim) or not difference <= limit:
            raise ModelError(
                f"Expected a graph whose embeddings are those of Keras, within {limit:.1e}. "
                f"Received a difference of {difference:.1e} for {size} images."
            )
        worst = max(worst, float(difference))
    return worst


def some_images(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw images for such a check: half of them noise, half of them smooth; none is flat."""
    # 64, or half of what an encoder takes at once: of photos, which take long, eight say it all
    count = min(max(BATCHES), max(4, batch_size_for(shape) // 2))
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


def quantised(graph: bytes, images: NDArray[np.uint8] | StoredPixels) -> Any:
    """Quantise weights for each channel, and activations by what some images give (Jacob 2018)."""
    runtime()  # without its telemetry
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    chosen = np.random.default_rng(0).permutation(len(images))[:SAMPLE]
    sample = images[np.sort(chosen)]

    class Reader(quantization.CalibrationDataReader):
        _parts = iter(np.array_split(sample, range(BATCH, len(sample), BATCH)))

        def get_next(self) -> dict[str, Any] | None:
            part = next(self._parts, None)
            return None if part is None else {INPUT: part}

    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it advises on what was done above already
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain, folded, target = (
                str(Path(folder) / f"{name}.onnx") for name in ("plain", "folded", "int8")
            )
            Path(plain).write_bytes(graph)
            # normalisations go into the convolutions before them, or they would stay floats
            quant_pre_process(plain, folded, skip_symbolic_shape=True)
            quantization.quantize_static(
                folded,
                target,
                Reader(),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "MatMul", "Gemm", "Relu", "Add", "MaxPool"],
                per_channel=True,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                # Weights of 7 bits. Of 8, processors without VNNI instructions get the products
                # of two neighbours that no 16 bits hold, and cut them off without a word: a
                # distance was wrong by up to 0.7. Unsigned weights are safe and take twice as long.
                reduce_range=True,
            )
            return onnx.load(target)
    finally:
        logger.setLevel(before)


# Keras exports each format on one back end alone.
_BACKENDS = {"onnx": "jax", "litert": "tensorflow"}

_SCRIPT = """
import sys
from twinset.exporters.graph import write_export
from twinset.networks.own import load_encoder
kind, source, target, *shape = sys.argv[1:]
write_export(load_encoder(source), [int(size) for size in shape], kind, target)
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
            write_export(encoder, image_shape, kind, target)
            return target.read_bytes()
        # Keras fixes its back end at its first import, so no second one can run in here
        source.write_bytes(encoder_bytes(encoder))
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


def write_export(
    encoder: keras.Model, image_shape: Sequence[int], kind: str, target: str | Path
) -> None:
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
    require("jax2onnx", "export", "layers that twinset does not write itself", UnwritableError)
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
