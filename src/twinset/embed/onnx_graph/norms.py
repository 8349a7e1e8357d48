"""Normalisations and other factors for each channel, as ONNX nodes."""

from __future__ import annotations

import keras
import numpy as np

from twinset.embed.onnx_graph.writer import (
    Layer,
    Tensor,
    UnwritableError,
    Writer,
    numbers,
    scale_shift,
)


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
