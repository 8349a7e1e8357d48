"""Convolutions and poolings over windows, as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from twinset.exporters.onnx_writer import (
    Layer,
    Tensor,
    UnwritableError,
    Write,
    Writer,
    numbers,
    scale_shift,
)


def _same(size: int, window: int, stride: int) -> tuple[int, int]:
    """Give the padding before and after, as Keras pads for "same"."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def _sizes(layer: Layer, shape: tuple[int, ...], windows: Sequence[int]) -> dict[str, Any]:
    """Give strides and padding of a convolution or pooling as ONNX names them."""
    if layer.data_format != "channels_last" or layer.padding not in ("same", "valid"):
        raise UnwritableError(f"{layer.name}: {layer.data_format}, padding {layer.padding}")
    strides = [int(stride) for stride in layer.strides]
    pads = [(0, 0), (0, 0)]
    if layer.padding == "same":
        pads = [_same(*each) for each in zip(shape, windows, strides, strict=False)]
    return {"strides": strides, "pads": [each[i] for i in (0, 1) for each in pads]}


def _windows(shape: tuple[int, ...], windows: Sequence[int], sizes: dict[str, Any]) -> list[int]:
    """Count the places of a window along each side."""
    pads, strides = sizes["pads"], sizes["strides"]
    return [(shape[i] + pads[i] + pads[i + 2] - windows[i]) // strides[i] + 1 for i in range(2)]


def convolution(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.Conv2D` and `DepthwiseConv2D`."""
    x = writer.channels_first(tensors[0])
    kernel = numbers(layer.kernel)  # (height, width, inputs / groups, outputs)
    groups = getattr(layer, "groups", 1)
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        # (height, width, inputs, multiplier): output c · multiplier + m sees input c alone
        groups = x.shape[-1]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    dilations = [int(rate) for rate in layer.dilation_rate]
    reach = [(k - 1) * rate + 1 for k, rate in zip(kernel.shape[:2], dilations, strict=True)]
    sizes = _sizes(layer, x.shape, reach)
    inputs = [x.name, writer.constant(kernel.transpose(3, 2, 0, 1))]
    if layer.use_bias:
        inputs.append(writer.constant(numbers(layer.bias)))
    name = writer.node("Conv", *inputs, **sizes, dilations=dilations, group=int(groups))
    shape = (*_windows(x.shape, reach, sizes), kernel.shape[3])
    return activate(writer, Tensor(name, shape, first=True), layer.activation)


def pooling(kind: str, **attributes: Any) -> Write:
    """Give the writer of a pooling over windows."""

    def written(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
        x = writer.channels_first(tensors[0])
        windows = [int(size) for size in layer.pool_size]
        sizes = _sizes(layer, x.shape, windows)
        name = writer.node(kind, x.name, kernel_shape=windows, **sizes, **attributes)
        return Tensor(name, (*_windows(x.shape, windows, sizes), x.shape[-1]), first=True)

    return written


# --- Activations, as ONNX nodes.


def activate(writer: Writer, tensor: Tensor, function: Any) -> Tensor:
    """Apply a function of `keras.activations`, or none."""
    if function is None:
        return tensor
    name = getattr(function, "__name__", type(function).__name__)
    if name not in _ACTIVATIONS or function.__module__.split(".")[0] != "keras":
        raise UnwritableError(f"the activation {name}")
    return Tensor(_ACTIVATIONS[name](writer, tensor.name), tensor.shape, tensor.first)


def _simple(kind: str, **attributes: Any) -> Callable[[Writer, str], str]:
    return lambda writer, x: writer.node(kind, x, **attributes)


def _relu6(writer: Writer, x: str) -> str:
    return writer.node("Clip", x, writer.constant(0), writer.constant(6))


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
    "relu6": _relu6,
    "sigmoid": _simple("Sigmoid"),
    "tanh": _simple("Tanh"),
    "silu": _silu,
    "gelu": _gelu,
    "elu": _simple("Elu"),
    "softplus": _simple("Softplus"),
    "hard_sigmoid": _simple("HardSigmoid", alpha=1 / 6, beta=0.5),
    "hard_silu": _simple("HardSwish"),
}


def activation(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.Activation`."""
    return activate(writer, tensors[0], layer.activation)


def relu(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.ReLU`."""
    if layer.negative_slope or layer.threshold:
        raise UnwritableError("a ReLU with a slope or a threshold")
    (tensor,) = tensors
    limit = layer.max_value
    if limit is None:
        name = writer.node("Relu", tensor.name)
    else:
        name = writer.node("Clip", tensor.name, writer.constant(0), writer.constant(limit))
    return Tensor(name, tensor.shape, tensor.first)


def square_root(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `SquareRoot`."""
    del layer
    (x,) = tensors
    name = writer.node("Sqrt", writer.node("Max", x.name, writer.constant(0)))
    return Tensor(name, x.shape, x.first)


# --- Normalisations and other factors for each channel, as ONNX nodes.


def batch_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.BatchNormalization`, at rest."""
    (x,) = tensors
    if layer.axis not in (-1, len(x.shape)) or len(x.shape) not in (1, 3):
        raise UnwritableError(f"{layer.name}: batch normalisation of axis {layer.axis}")
    x = writer.channels_first(x) if len(x.shape) == 3 else x
    size = x.shape[-1]
    values = (
        numbers(layer.gamma) if layer.scale else np.ones(size),
        numbers(layer.beta) if layer.center else np.zeros(size),
        numbers(layer.moving_mean),
        numbers(layer.moving_variance),
    )
    constants = [writer.constant(each) for each in values]
    name = writer.node("BatchNormalization", x.name, *constants, epsilon=float(layer.epsilon))
    return Tensor(name, x.shape, x.first)


def layer_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.LayerNormalization`."""
    x = writer.channels_last(tensors[0])
    axis = layer.axis if isinstance(layer.axis, int) else (*layer.axis, None)[0]
    if axis not in (-1, len(x.shape)) or getattr(layer, "rms_scaling", False):
        raise UnwritableError(f"{layer.name}: layer normalisation of axis {layer.axis}")
    size = x.shape[-1]
    gamma = numbers(layer.gamma) if layer.scale else np.ones(size)
    beta = numbers(layer.beta) if layer.center else np.zeros(size)
    name = writer.node(
        "LayerNormalization",
        x.name,
        writer.constant(gamma),
        writer.constant(beta),
        axis=-1,
        epsilon=float(layer.epsilon),
    )
    return Tensor(name, x.shape)


def normalization(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `keras.layers.Normalization`."""
    axes = layer.axis if isinstance(layer.axis, tuple | list) else (layer.axis,)
    if layer.invert or tuple(axes) not in ((-1,), (len(tensors[0].shape),)):
        raise UnwritableError(f"{layer.name}: normalisation of axis {layer.axis}")
    mean, variance = (numbers(each).astype(np.float64) for each in (layer.mean, layer.variance))
    scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
    return scale_shift(writer, tensors[0], scale, -mean * scale)


def layer_scale(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write the factors of ConvNeXt."""
    (x,) = tensors
    name = writer.node("Mul", x.name, writer.channels(numbers(layer.gamma), x))
    return Tensor(name, x.shape, x.first)


def unit_norm(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    """Write `UnitNorm`."""
    del layer
    (x,) = tensors
    # x / √Σx², and 0 where Σx² is no more than 10⁻²⁴, as `losses.batch.unit` has it
    squared = writer.node("ReduceSumSquare", x.name, axes=[-1], keepdims=1)
    alive = writer.node("Greater", squared, writer.constant(1e-24))
    safe = writer.node("Where", alive, squared, writer.constant(1))
    unit = writer.node("Div", x.name, writer.node("Sqrt", safe))
    return Tensor(writer.node("Where", alive, unit, writer.constant(0)), x.shape)
