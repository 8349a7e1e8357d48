"""Convolutions and poolings over windows, as ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from twinset.embed.onnx_graph.activations import activate
from twinset.embed.onnx_graph.writer import (
    Layer,
    Tensor,
    UnwritableError,
    Write,
    Writer,
    numbers,
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
