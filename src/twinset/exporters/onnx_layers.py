"""Keras layers as ONNX nodes: those of this library's encoders and of most of keras.applications.

A layer's writer takes the `Writer`, the layer, and the tensors it was called on. What is not
listed, or is used in another way, is an `UnwritableError`; nothing is written approximately.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from twinset.backbones.onnx_writer import Layer, Tensor, UnwritableError, Writer, same_padding
from twinset.backbones.session import OUTPUT

Write: TypeAlias = Callable[[Writer, Layer, list[Tensor]], Tensor]


def write(encoder: keras.Model, image_shape: Sequence[int]) -> Any:
    """Write an encoder of floats in [0, 1] as an `onnx.ModelProto` from uint8 pixels."""
    writer = Writer()
    try:
        result = _model(writer, encoder, writer.pixels(image_shape))
        return writer.model(image_shape, writer.channels_last(result))
    except UnwritableError:
        raise
    except Exception as error:
        # what layers know of themselves differs between versions of Keras
        raise UnwritableError(f"{type(error).__name__}: {error}") from error


def numbers(variable: Any) -> NDArray[np.float32]:
    """Read a variable of any back end."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _model(writer: Writer, model: Layer, given: Tensor) -> Tensor:
    model = getattr(model, "_functional", None) or model  # of a Sequential
    if not isinstance(model, keras.Model) or not getattr(model, "operations", None):
        raise UnwritableError(f"{type(model).__name__}, which is no graph of layers")
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnwritableError("several inputs or outputs")
    known = {id(model.inputs[0]): given}
    # The calls of this very graph, from the image on: a layer may have been called twice in it,
    # and in other graphs as well.
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for call in model._nodes_by_depth[depth]:
            operation = call.operation
            if isinstance(operation, keras.layers.InputLayer):
                continue
            if getattr(operation, "compute_dtype", "float32") != "float32":
                raise UnwritableError(f"{operation.name} in {operation.compute_dtype}")
            tensors = [known[id(each)] for each in call.input_tensors]
            known[id(call.outputs[0])] = _call(writer, operation, call, tensors)
    return known[id(model.outputs[0])]


def _call(writer: Writer, layer: Layer, call: Any, tensors: list[Tensor]) -> Tensor:
    kind = type(layer)
    name = f"{kind.__module__.split('.')[0]}.{kind.__name__}"
    if isinstance(layer, keras.Model):
        (given,) = tensors
        return _model(writer, layer, given)
    if name in _ARITHMETIC:
        return _arithmetic(writer, _ARITHMETIC[name], call, tensors)
    if name not in _WRITERS:
        raise UnwritableError(f"the layer {name} ({layer.name})")
    if getattr(layer, "data_format", None) == "channels_first":
        raise UnwritableError(f"{layer.name}: channels_first")
    found = _WRITERS[name](writer, layer, tensors)
    # A slip would show in the comparison with Keras as well, but not where.
    expected = tuple(call.outputs[0].shape[1:])
    if found.shape != expected:
        raise UnwritableError(f"{layer.name}: {found.shape} where Keras has {expected}")
    return found


_ARITHMETIC = {
    "keras.Add": "Add",
    "keras.Subtract": "Sub",
    "keras.Multiply": "Mul",
    "keras.Divide": "Div",
    "keras.Maximum": "Max",
    "keras.TrueDivide": "Div",
}


def _arithmetic(writer: Writer, kind: str, call: Any, tensors: list[Tensor]) -> Tensor:
    tensors = writer.alike(tensors)
    left = iter(tensors)
    names = []
    for argument in keras.tree.flatten((call.arguments.args, call.arguments.kwargs)):
        if isinstance(argument, keras.KerasTensor):
            names.append(next(left).name)
        elif isinstance(argument, int | float) and not isinstance(argument, bool):
            names.append(writer.constant(argument))
        else:
            raise UnwritableError(f"{kind} with {type(argument).__name__}")
    result = names[0]
    for name in names[1:]:
        result = writer.node(kind, result, name)
    shape = tuple(np.broadcast_shapes(*(tensor.shape for tensor in tensors)))
    return Tensor(result, shape, tensors[0].first)


def _simple(kind: str, **attributes: Any) -> Callable[[Writer, str], str]:
    return lambda writer, x: writer.node(kind, x, **attributes)


def _silu(writer: Writer, x: str) -> str:
    return writer.node("Mul", x, writer.node("Sigmoid", x))


def _gelu(writer: Writer, x: str) -> str:
    # x · (1 + erf(x / √2)) / 2
    error = writer.node("Erf", writer.node("Mul", x, writer.constant(1 / math.sqrt(2))))
    half = writer.node("Mul", x, writer.constant(0.5))
    return writer.node("Mul", half, writer.node("Add", error, writer.constant(1)))


_ACTIVATIONS: dict[str, Callable[[Writer, str], str]] = {
    "linear": lambda writer, x: x,
    "relu": _simple("Relu"),
    "relu6": lambda writer, x: writer.node("Clip", x, writer.constant(0), writer.constant(6)),
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("Tanh"),
    "silu": _silu,
    "gelu": _gelu,
    "elu": _simple("Elu"),
    "softplus": _simple("Softplus"),
    "hard_sigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _simple("HardSwish"),
}


def _activated(writer: Writer, tensor: Tensor, function: Any) -> Tensor:
    # by a function of `keras.activations`, or none
    if function is None:
        return tensor
    name = getattr(function, "__name__", type(function).__name__)
    if name not in _ACTIVATIONS or function.__module__.split(".")[0] != "keras":
        raise UnwritableError(f"the activation {name}")
    return Tensor(_ACTIVATIONS[name](writer, tensor.name), tensor.shape, tensor.first)


def _dense(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_last(tensors[0])
    kernel = numbers(layer.kernel)  # (inputs, units)
    weights = writer.constant(kernel)
    # Gemm is one node, for inputs of two axes alone
    if len(x.shape) == 1 and layer.use_bias:
        name = writer.node("Gemm", x.name, weights, writer.constant(numbers(layer.bias)))
    else:
        name = writer.node("MatMul", x.name, weights)
        if layer.use_bias:
            name = writer.node("Add", name, writer.constant(numbers(layer.bias)))
    return _activated(writer, Tensor(name, (*x.shape[:-1], kernel.shape[1])), layer.activation)


def _slide(
    layer: Layer, shape: tuple[int, ...], windows: Sequence[int]
) -> tuple[dict[str, Any], tuple[int, int]]:
    # strides and padding as ONNX names them, and how many windows there are each way
    if layer.padding not in ("same", "valid"):
        raise UnwritableError(f"{layer.name}: padding {layer.padding}")
    strides = [int(stride) for stride in layer.strides]
    pads = [(0, 0), (0, 0)]
    if layer.padding == "same":
        pads = [same_padding(*each) for each in zip(shape, windows, strides, strict=False)]
    high, wide = ((shape[i] + sum(pads[i]) - windows[i]) // strides[i] + 1 for i in range(2))
    return {"strides": strides, "pads": [each[i] for i in (0, 1) for each in pads]}, (high, wide)


def _convolution(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_first(tensors[0])
    kernel = numbers(layer.kernel)  # (height, width, inputs / groups, outputs)
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # (height, width, inputs, multiplier): output c · multiplier + m sees input c alone
        groups = x.shape[-1]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    dilations = [int(rate) for rate in layer.dilation_rate]
    reach = [(k - 1) * rate + 1 for k, rate in zip(kernel.shape[:2], dilations, strict=True)]
    sizes, places = _slide(layer, x.shape, reach)
    inputs = [x.name, writer.constant(kernel.transpose(3, 2, 0, 1))]
    if layer.use_bias:
        inputs.append(writer.constant(numbers(layer.bias)))
    name = writer.node("Conv", *inputs, **sizes, dilations=dilations, group=int(groups))
    result = Tensor(name, (*places, kernel.shape[3]), first=True)
    return _activated(writer, result, layer.activation)


def _pooling(kind: str, **attributes: Any) -> Write:
    def written(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
        x = writer.channels_first(tensors[0])
        windows = [int(size) for size in layer.pool_size]
        sizes, places = _slide(layer, x.shape, windows)
        name = writer.node(kind, x.name, kernel_shape=windows, **sizes, **attributes)
        return Tensor(name, (*places, x.shape[-1]), first=True)

    return written


def _over_places(kind: str) -> Write:
    # a reduction over height and width, by a layer or by `keras.ops`
    def written(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
        x = writer.channels_first(tensors[0])
        axes = getattr(layer, "axis", (1, 2))
        if axes not in ((1, 2), [1, 2]):
            raise UnwritableError(f"{layer.name}: a reduction along {axes}")
        keep = bool(layer.keepdims)
        name = writer.node(kind, x.name, axes=[2, 3], keepdims=int(keep))
        channels = x.shape[-1]
        return Tensor(name, (1, 1, channels) if keep else (channels,), first=keep)

    return written


def _zero_padding(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_first(tensors[0])
    (top, bottom), (left, right) = layer.padding
    pads = writer.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    height, width, channels = x.shape
    shape = (height + top + bottom, width + left + right, channels)
    return Tensor(writer.node("Pad", x.name, pads), shape, first=True)


def _last_axis(layer: Layer, tensor: Tensor) -> None:
    axes = layer.axis if isinstance(layer.axis, tuple | list) else (layer.axis,)
    if tuple(axes) not in ((-1,), (len(tensor.shape),)):
        raise UnwritableError(f"{layer.name}: along axis {layer.axis}")


def _gamma_beta(writer: Writer, layer: Layer, size: int) -> list[str]:
    gamma = numbers(layer.gamma) if layer.scale else np.ones(size)
    beta = numbers(layer.beta) if layer.center else np.zeros(size)
    return [writer.constant(gamma), writer.constant(beta)]


def _batch_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    (x,) = tensors
    _last_axis(layer, x)
    if len(x.shape) != 1:
        x = writer.channels_first(x)
    moving = (layer.moving_mean, layer.moving_variance)
    constants = _gamma_beta(writer, layer, x.shape[-1])
    constants += [writer.constant(numbers(each)) for each in moving]
    name = writer.node("BatchNormalization", x.name, *constants, epsilon=float(layer.epsilon))
    return Tensor(name, x.shape, x.first)


def _layer_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_last(tensors[0])
    _last_axis(layer, x)
    if getattr(layer, "rms_scaling", False):
        raise UnwritableError(f"{layer.name}: scaling without a mean")
    constants = _gamma_beta(writer, layer, x.shape[-1])
    epsilon = float(layer.epsilon)
    name = writer.node("LayerNormalization", x.name, *constants, axis=-1, epsilon=epsilon)
    return Tensor(name, x.shape)


def _normalization(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    _last_axis(layer, tensors[0])
    if layer.invert:
        raise UnwritableError(f"{layer.name}: an inverse")
    mean, variance = (numbers(each).astype(np.float64) for each in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return writer.scale_shift(tensors[0], scale, -mean * scale)


def _unit_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    (x,) = tensors
    beside = getattr(layer, "beside", 0.0)  # Keras' own has none
    if beside:
        pads = writer.constant([0] * (2 * len(x.shape) + 1) + [1], np.int64)  # after the last axis
        wider = (*x.shape[:-1], x.shape[-1] + 1)
        x = Tensor(writer.node("Pad", x.name, pads, writer.constant(beside)), wider)
    # x / √Σx², and 0 where Σx² is no more than 10⁻²⁴, as `losses.batch.unit` has it
    squared = writer.node("ReduceSumSquare", x.name, axes=[-1], keepdims=1)
    alive = writer.node("Greater", squared, writer.constant(1e-24))
    safe = writer.node("Where", alive, squared, writer.constant(1))
    unit = writer.node("Div", x.name, writer.node("Sqrt", safe))
    return Tensor(writer.node("Where", alive, unit, writer.constant(0)), x.shape)


def _concatenate(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    _last_axis(layer, tensors[0])
    tensors = writer.alike(tensors)
    first = tensors[0].first
    name = writer.node("Concat", *(tensor.name for tensor in tensors), axis=1 if first else -1)
    channels = sum(tensor.shape[-1] for tensor in tensors)
    return Tensor(name, (*tensors[0].shape[:-1], channels), first)


def _relu(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    if layer.negative_slope or layer.threshold:
        raise UnwritableError("a ReLU with a slope or a threshold")
    (x,) = tensors
    # Relu is among what is quantised, Clip is not
    if layer.max_value is None:
        name = writer.node("Relu", x.name)
    else:
        name = writer.node("Clip", x.name, writer.constant(0), writer.constant(layer.max_value))
    return Tensor(name, x.shape, x.first)


def _flip(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_last(tensors[0])
    if not isinstance(layer.axis, int):
        raise UnwritableError(f"{layer.name}: along {layer.axis}")
    axis = layer.axis % (len(x.shape) + 1)
    bounds = ([-1], [np.iinfo(np.int64).min], [axis], [-1])  # from the last place to the first
    name = writer.node("Slice", x.name, *(writer.constant(each, np.int64) for each in bounds))
    return Tensor(name, x.shape)


def _reshape(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    return writer.reshaped(tensors[0], layer.compute_output_shape((None, *tensors[0].shape))[1:])


def _onnx_trunk(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_last(tensors[0])
    # the pixels that the layer itself rounds to
    pixels = writer.node("Round", writer.scale_shift(x, 255).name)
    given = writer.node("Cast", pixels, to=TensorProto.UINT8)
    graph = onnx.ModelProto.FromString(layer.backbone.graph)
    return Tensor(writer.insert(graph, given, OUTPUT), (layer.dim,))


def _resizing(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    kind = (layer.interpolation, layer.antialias, layer.crop_to_aspect_ratio)
    if kind != ("bilinear", False, False) or layer.pad_to_aspect_ratio:
        raise UnwritableError(f"{layer.name}: {kind[0]} or with antialiasing, cropped or padded")
    return writer.resized(tensors[0], (layer.height, layer.width))


_WRITERS: dict[str, Write] = {
    "keras.Activation": lambda writer, layer, x: _activated(writer, x[0], layer.activation),
    "keras.AveragePooling2D": _pooling("AveragePool", count_include_pad=0),
    "keras.BatchNormalization": _batch_norm,
    "keras.Concatenate": _concatenate,
    "keras.Conv2D": _convolution,
    "keras.Dense": _dense,
    "keras.DepthwiseConv2D": _convolution,
    "keras.Dropout": lambda writer, layer, x: x[0],
    "keras.Flatten": _reshape,
    "keras.Flip": _flip,
    "keras.GlobalAveragePooling2D": _over_places("ReduceMean"),
    "keras.GlobalMaxPooling2D": _over_places("ReduceMax"),
    "keras.LayerNormalization": _layer_norm,
    "keras.LayerScale": lambda writer, layer, x: writer.scale_shift(x[0], numbers(layer.gamma)),
    "keras.Max": _over_places("ReduceMax"),
    "keras.MaxPooling2D": _pooling("MaxPool"),
    "keras.Mean": _over_places("ReduceMean"),
    "keras.Normalization": _normalization,
    "keras.ReLU": _relu,
    "keras.Rescaling": lambda writer, layer, x: writer.scale_shift(x[0], layer.scale, layer.offset),
    "keras.Reshape": _reshape,
    "keras.Resizing": _resizing,
    "keras.Sqrt": lambda writer, layer, x: Tensor(
        writer.node("Sqrt", x[0].name), x[0].shape, x[0].first
    ),
    "keras.ZeroPadding2D": _zero_padding,
    "twinset.Convolution": _convolution,
    "twinset.DepthwiseConvolution": _convolution,
    "twinset.Dropout": lambda writer, layer, x: x[0],
    "twinset.Frozen": lambda writer, layer, x: _model(writer, layer.network, x[0]),
    "twinset.GridMean": lambda writer, layer, x: writer.grid(x[0], layer.cells),
    "twinset.OnnxTrunk": _onnx_trunk,
    "twinset.UnitNorm": _unit_norm,
}
