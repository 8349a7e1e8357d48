"""Activations, as ONNX nodes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from twinset.embed.onnx_graph.writer import (
    Layer,
    Tensor,
    UnwritableError,
    Writer,
)


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
