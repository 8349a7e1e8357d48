"""Any encoder in an ONNX file, with the preprocessing that it was trained with in front."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import onnx
from onnx import TensorProto, helper, version_converter

from twinset.backbones.backbone import Backbone
from twinset.backbones.onnx_writer import OPSET, Tensor, Writer
from twinset.backbones.session import Provenance, open_session
from twinset.errors import ModelError, RecipeError
from twinset.settings import CountOrNone, NotNegative, Number, Positive

Layout: TypeAlias = Literal["auto", "NCHW", "NHWC"]
Pooling: TypeAlias = Literal["auto", "cls", "mean"]

# Outputs that are one vector an image, as exporters of Hugging Face's models name them; the first
# that is there is taken where nobody says which.
VECTORS = ("image_embeds", "pooler_output", "sentence_embedding")
# what protobuf can hold
LARGEST = 2**31 - 2**20
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE}


def backbone(
    image_shape: Sequence[int],
    *,
    file: str,
    size: CountOrNone = 0,
    mean: tuple[Number, ...] = (),
    std: tuple[Positive, ...] = (),
    rescale: NotNegative = 0.0,
    layout: Layout = "auto",
    output: str = "",
    pooling: Pooling = "auto",
) -> Backbone:
    """Make a frozen network of an ONNX file: uint8 images in, features (n, d) out.

    The arguments, their defaults and the errors are those of `twinset.networks.onnx`, which puts
    an embedding on it.
    """
    path = Path(file)
    about = [each for each in (path, *configurations(path)) if each.is_file()]
    stamps = tuple((each, each.stat().st_mtime_ns, each.stat().st_size) for each in about)
    settings = (size, tuple(mean), tuple(std), rescale, layout, output, pooling)
    return _backbone(tuple(image_shape), path, stamps, settings)


@lru_cache(maxsize=1)  # a large one is in memory once, however often it is asked for
def _backbone(
    image_shape: tuple[int, ...], path: Path, stamps: tuple[Any, ...], settings: tuple[Any, ...]
) -> Backbone:
    del stamps  # only part of the key: another file under the same name is another network
    size, mean, std, rescale, layout, output, pooling = settings
    model, told = _read(path), configured(path)
    graph_input = _input(model, path)
    dims = [d.dim_value or None for d in graph_input.type.tensor_type.shape.dim]
    layout = _layout(graph_input, layout, path, bool(told))
    height, width, channels = (dims[i] for i in ((2, 3, 1) if layout == "NCHW" else (1, 2, 3)))
    kind = graph_input.type.tensor_type.elem_type
    seen = size_of(path, told, (height, width), size)
    normal = normalisation_of(path, told, mean, std, rescale, raw=kind not in _FLOATS)
    writer = Writer()
    x = writer.resized(writer.pixels(image_shape), seen)
    x = _coloured(writer, x, channels or 3, path)
    x = writer.scale_shift(x, *normal)
    x = writer.channels_first(x) if layout == "NCHW" else writer.channels_last(x)
    if kind not in _FLOATS:  # it scales by itself, and takes whole numbers
        x = Tensor(writer.node("Round", x.name), x.shape, x.first)
    model, fixed = _any_batch(_current(model, path))
    chosen = _output(model, output, path)
    found = writer.insert(model, writer.node("Cast", x.name, to=kind), chosen.name)
    found = writer.node("Cast", found, to=TensorProto.FLOAT)
    result = _pooled(writer, found, _shape_of(model, chosen, kind, x, path), pooling, layout)
    content = _content(writer.model(image_shape, result), path)
    made = Backbone(path.name, content, tuple(image_shape), result.shape[0], seen[0] * seen[1])
    if fixed:
        _check_batches(made, path)
    return made


def provenance(section: Any) -> Provenance:
    """Tell which file an encoder was read from; its licence is not in it."""
    path = Path(section.file)
    return Provenance(path.stem, path.name, "", hashlib.sha256(path.read_bytes()).hexdigest())


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(
            f"Expected the path of an .onnx file as encoder.file. Received {str(path)!r}, and "
            "there is no such file."
        )
    try:
        model = onnx.load(path)  # with the weights that lie in files beside it
    except Exception as error:  # noqa: BLE001 - protobuf and onnx each raise their own
        raise ModelError(
            f"{path}: expected an ONNX graph. {type(error).__name__}: {error}"
        ) from None
    if not model.graph.node:
        raise ModelError(f"{path}: expected an ONNX graph. Received one without nodes.")
    return model


def _input(model: Any, path: Path) -> Any:
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    images = [each for each in inputs if len(each.type.tensor_type.shape.dim) == 4]
    if len(inputs) != 1 or len(images) != 1:
        names = ", ".join(each.name for each in inputs)
        raise ModelError(
            f"{path}: expected a graph whose one input is images, of four axes. Received the "
            f"inputs {names}: of a model of images and texts, export the part for images alone."
        )
    return images[0]


def _layout(graph_input: Any, wanted: Layout, path: Path, theirs: bool) -> Layout:
    if wanted != "auto":
        return wanted
    dims = graph_input.type.tensor_type.shape.dim
    first, last = (dims[i].dim_value in (1, 3) or "channel" in dims[i].dim_param for i in (1, 3))
    if first != last:
        return "NCHW" if first else "NHWC"
    if theirs:  # Hugging Face's networks have them first
        return "NCHW"
    shape = [each.dim_param or each.dim_value for each in dims]
    raise RecipeError(
        f"{path}: expected to see from the shape {shape} whether channels come first. It does not "
        "say: give encoder.layout as NCHW or NHWC."
    )


def _coloured(writer: Writer, x: Tensor, channels: int, path: Path) -> Tensor:
    if channels == 3:
        return writer.colour(x)
    if len(x.shape) == 3 and x.shape[2] == 3:
        raise RecipeError(
            f"{path}: expected gray images, as the graph takes one channel. Received colour: "
            'take images.colour = "gray".'
        )
    return writer.reshaped(x, (*x.shape[:2], 1))


def _current(model: Any, path: Path) -> Any:
    # graphs of one opset can be joined; what this library writes is of 17
    versions = {each.domain: each.version for each in model.opset_import}
    if versions.get("", versions.get("ai.onnx", 1)) >= OPSET:
        return model
    try:
        return version_converter.convert_version(model, OPSET)
    except Exception as error:  # noqa: BLE001 - onnx raises what its C++ code throws
        raise ModelError(
            f"{path}: expected a graph of opset {OPSET} or later. Received {versions}, which "
            f"cannot be converted: {error}. Export it again."
        ) from None


def _any_batch(model: Any) -> tuple[Any, bool]:
    # many exporters write the batch that they tried with, though the graph would take any
    del model.graph.value_info[:]
    fixed = False
    weights = {each.name for each in model.graph.initializer}
    for each in (*model.graph.input, *model.graph.output):
        dims = each.type.tensor_type.shape.dim
        if each.name not in weights and dims and dims[0].dim_value:
            dims[0].dim_param = "batch"
            fixed = True
    return model, fixed


def _check_batches(made: Backbone, path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, *made.image_shape), np.uint8)
    try:
        single = np.concatenate([made.encode(images[i : i + 1]) for i in range(3)])
        agrees = np.allclose(made.encode(images), single, atol=1e-3 * np.abs(single).max())
    except Exception:  # noqa: BLE001 - ONNX Runtime has a dozen classes without a common one
        agrees = False
    if not agrees:
        raise ModelError(
            f"{path}: expected a graph for any number of images at once. Received one for a fixed "
            "number: export it with a dynamic batch axis."
        )


def _output(model: Any, wanted: str, path: Path) -> Any:
    outputs = {each.name: each for each in model.graph.output}
    if wanted:
        if wanted not in outputs:
            raise RecipeError(
                f"{path}: expected encoder.output to be one of {list(outputs)}. Received "
                f"{wanted!r}."
            )
        return outputs[wanted]
    usual = next((name for name in VECTORS if name in outputs), next(iter(outputs)))
    return outputs[usual]


def _shape_of(model: Any, output: Any, kind: int, x: Tensor, path: Path) -> tuple[int, ...]:
    dims = [each.dim_value for each in output.type.tensor_type.shape.dim][1:]
    if dims and all(dims):
        return tuple(dims)
    # told by one black image where the file does not say
    shape = (1, x.shape[2], *x.shape[:2]) if x.first else (1, *x.shape)
    black = np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind))
    weights = {each.name for each in model.graph.initializer}
    (name,) = (each.name for each in model.graph.input if each.name not in weights)
    session = open_session(_content(model, path))
    try:
        (found,) = session.run([output.name], {name: black})
    except Exception as error:  # noqa: BLE001 - as above
        raise ModelError(
            f"{path}: expected a graph of images of shape {shape}. ONNX Runtime says: {error}"
        ) from None
    return tuple(found.shape[1:])


def _pooled(
    writer: Writer, name: str, shape: tuple[int, ...], pooling: Pooling, layout: Layout
) -> Tensor:
    if len(shape) == 1:
        return Tensor(name, shape)
    if len(shape) == 2 and pooling != "mean":  # (tokens, d), the first stands for the image
        first = writer.node("Gather", name, writer.constant([0], np.int64), axis=1)
        return writer.reshaped(Tensor(first, (1, shape[1])), shape[1:])
    if len(shape) in (2, 3):
        last = len(shape) == 2 or layout == "NHWC"
        axes = [2, 3] if not last else list(range(1, len(shape)))
        size = shape[-1] if last else shape[0]
        return Tensor(writer.node("ReduceMean", name, axes=axes, keepdims=0), (size,))
    raise RecipeError(
        f"Expected an output of vectors (n, d), tokens (n, t, d) or maps of four axes. Received "
        f"{len(shape) + 1} axes: choose another as encoder.output."
    )


def _content(model: Any, path: Path) -> bytes:
    if model.ByteSize() > LARGEST:
        raise ModelError(
            f"{path}: expected a graph of less than 2 GB, which is all that a file of ONNX can "
            "hold. Take a smaller network, or one in float16."
        )
    content: bytes = model.SerializeToString()
    return content


# as Hugging Face names it
CONFIG = "preprocessor_config.json"


def configurations(path: Path) -> list[Path]:
    """Name the files that may say how the images of a graph are prepared."""
    # exporters put the graph into a folder "onnx" below the configuration
    return [path.parent / CONFIG, path.absolute().parent.parent / CONFIG]


def configured(path: Path) -> Mapping[str, Any]:
    """Read the first configuration that is there; empty where there is none."""
    for config in configurations(path):
        if config.is_file():
            try:
                values = json.loads(config.read_text("utf-8"))
            except ValueError as error:
                raise ModelError(f"{config}: expected JSON. {error}.") from None
            if not isinstance(values, dict):
                raise ModelError(f"{config}: expected an object. Received {values!r}.")
            return values
    return {}


def size_of(
    path: Path, told: Mapping[str, Any], fixed: tuple[int | None, int | None], wanted: int
) -> tuple[int, int]:
    """Choose the size (h, w) that a graph sees: its own, the one that is asked for, or told of."""
    height, width = fixed
    if height and width:
        if wanted and (wanted, wanted) != (height, width):
            raise RecipeError(
                f"{path}: expected encoder.size = 0, as it takes {height} × {width} pixels and no "
                f"others. Received {wanted}."
            )
        return height, width
    if wanted:
        return wanted, wanted
    crops = told.get("do_center_crop", "crop_size" in told) and told.get("crop_size")
    size = crops or (told.get("size") if told.get("do_resize", True) else None)
    if isinstance(size, Mapping):
        side = size.get("shortest_edge")
        size = (size.get("height", side), size.get("width", side))
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) == 2 and all(isinstance(n, int) and n > 0 for n in sides):
        return int(sides[0]), int(sides[1])
    raise RecipeError(
        f"{path}: expected a size of images in the graph or in a {CONFIG} beside it. Received "
        f"neither: give encoder.size, such as 224."
    )


def normalisation_of(
    path: Path,
    told: Mapping[str, Any],
    mean: Sequence[float],
    std: Sequence[float],
    rescale: float,
    *,
    raw: bool,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give scale and offset for pixels from 0 to 1, of all channels or of each.

    `raw` tells that the graph takes whole numbers, and so scales them itself.
    """
    known = bool(mean or std or rescale)
    if raw and not known:
        return (255.0,), (0.0,)
    if not told and not known:
        raise RecipeError(
            f"{path}: expected to know how pixels are scaled. Received no {CONFIG} beside it and "
            "no settings: give encoder.mean and encoder.std, for pixels from 0 to 1, as the "
            "network was trained with."
        )
    factor = rescale
    if not factor:
        factor = told.get("rescale_factor", 1 / 255) if told.get("do_rescale", True) else 1.0
    normal = told.get("do_normalize", True)
    means = tuple(mean) or (_numbers(told.get("image_mean"), path) if normal else ()) or (0.0,)
    stds = tuple(std) or (_numbers(told.get("image_std"), path) if normal else ()) or (1.0,)
    if {len(means), len(stds)} - {1, 3}:
        raise RecipeError(
            f"{path}: expected one number or three for encoder.mean and encoder.std. Received "
            f"{list(means)} and {list(stds)}."
        )
    a, b = np.broadcast_arrays(np.asarray(means), np.asarray(stds))
    return tuple((255 * factor / b).tolist()), tuple((-a / b).tolist())


def _numbers(values: Any, path: Path) -> tuple[float, ...]:
    found = values if isinstance(values, list) else [] if values is None else [values]
    if not all(isinstance(value, int | float) for value in found):
        raise ModelError(f"{path.parent / CONFIG}: expected numbers. Received {values!r}.")
    return tuple(map(float, found))
