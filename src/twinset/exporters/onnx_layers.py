"""Keras layers as ONNX nodes: those of this library's encoders and of most of keras.applications.

A layer's writer takes the `Writer`, the call, and the tensors it was called on. What is not
listed, or is used in another way, is an `UnwritableError`; nothing is written approximately.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from twinset.exporters.onnx_operators import (
    activate,
    activation,
    batch_norm,
    convolution,
    layer_norm,
    layer_scale,
    normalization,
    pooling,
    relu,
    square_root,
    unit_norm,
)
from twinset.exporters.onnx_writer import (
    Layer,
    Tensor,
    UnwritableError,
    Write,
    Writer,
    numbers,
    scale_shift,
)
from twinset.models.onnx_model import INPUT


def write(encoder: keras.Model, image_shape: Sequence[int]) -> Any:
    """Write an encoder as a graph from uint8 pixels to embeddings.

    Args:
        encoder: takes floats in [0, 1] of shape (n, *image_shape), returns (n, d).
        image_shape: (h, w) or (h, w, 3).

    Returns:
        An `onnx.ModelProto`.

    Raises:
        UnwritableError: a layer of it has no writer.
    """
    writer = Writer()
    floats = writer.node("Cast", INPUT, to=1)
    scaled = writer.node("Mul", floats, writer.constant(1 / 255))
    try:
        result = _model(writer, encoder, Tensor(scaled, tuple(image_shape)))
        return writer.model(image_shape, writer.channels_last(result))
    except UnwritableError:
        raise
    except Exception as error:
        # what layers know of themselves differs between versions of Keras
        raise UnwritableError(f"{type(error).__name__}: {error}") from error


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
    found = _WRITERS[name](writer, layer, tensors)
    expected = tuple(call.outputs[0].shape[1:])
    if found.shape != expected:
        raise UnwritableError(f"{layer.name}: {found.shape} where Keras has {expected}")
    return found


_ARITHMETIC = {
    "keras.Add": "Add",
    "keras.Subtract": "Sub",
    "keras.Multiply": "Mul",
    "keras.Divide": "Div",
    "keras.TrueDivide": "Div",
}


def _arithmetic(writer: Writer, kind: str, call: Any, tensors: list[Tensor]) -> Tensor:
    tensors = writer.alike(tensors)
    left = iter(tensors)
    arguments = keras.tree.flatten((call.arguments.args, call.arguments.kwargs))
    names = []
    for argument in arguments:
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


def _dense(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    x = writer.channels_last(tensors[0])
    kernel = numbers(layer.kernel)  # (inputs, units)
    shape = (*x.shape[:-1], kernel.shape[1])
    weights = writer.constant(kernel)
    if len(x.shape) == 1 and layer.use_bias:
        name = writer.node("Gemm", x.name, weights, writer.constant(numbers(layer.bias)))
    else:
        name = writer.node("MatMul", x.name, weights)
        if layer.use_bias:
            name = writer.node("Add", name, writer.constant(numbers(layer.bias)))
    return activate(writer, Tensor(name, shape), layer.activation)


def _same_tensor(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    del writer, layer
    return tensors[0]


def _reshape(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    return writer.reshaped(tensors[0], layer.compute_output_shape((None, *tensors[0].shape))[1:])


def _concatenate(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    if layer.axis not in (-1, len(tensors[0].shape)):
        raise UnwritableError(f"{layer.name}: concatenation along axis {layer.axis}")
    tensors = writer.alike(tensors)
    first = tensors[0]
    name = writer.node(
        "Concat", *(tensor.name for tensor in tensors), axis=1 if first.first else -1
    )
    channels = sum(tensor.shape[-1] for tensor in tensors)
    return Tensor(name, (*first.shape[:-1], channels), first.first)


def _reduced(writer: Writer, tensor: Tensor, kind: str, axes: Any, keep: bool) -> Tensor:
    rank = len(tensor.shape) + 1
    given = [axes] if isinstance(axes, int) else list(axes or range(rank))
    places = sorted(axis % rank for axis in given)
    if places == [1, 2] and rank == 4:
        x = writer.channels_first(tensor)
        name = writer.node(kind, x.name, axes=[2, 3], keepdims=int(keep))
        channels = tensor.shape[-1]
        return Tensor(name, (1, 1, channels) if keep else (channels,), first=keep)
    if 0 in places:
        raise UnwritableError("a reduction over the batch")
    x = writer.channels_last(tensor)
    name = writer.node(kind, x.name, axes=places, keepdims=int(keep))
    shape = [1 if i + 1 in places else size for i, size in enumerate(tensor.shape)]
    kept = [size for i, size in enumerate(shape) if keep or i + 1 not in places]
    return Tensor(name, tuple(kept))


def _global(kind: str) -> Write:
    def written(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
        if layer.data_format != "channels_last":
            raise UnwritableError(f"{layer.name}: {layer.data_format}")
        return _reduced(writer, tensors[0], kind, (1, 2), bool(layer.keepdims))

    return written


def _reduction(kind: str) -> Write:
    return lambda writer, layer, tensors: _reduced(
        writer, tensors[0], kind, layer.axis, bool(layer.keepdims)
    )


def _zero_padding(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    if layer.data_format != "channels_last":
        raise UnwritableError(f"{layer.name}: {layer.data_format}")
    x = writer.channels_first(tensors[0])
    (top, bottom), (left, right) = layer.padding
    pads = writer.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    height, width, channels = x.shape
    shape = (height + top + bottom, width + left + right, channels)
    return Tensor(writer.node("Pad", x.name, pads), shape, first=True)


def _rescaling(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    return scale_shift(writer, tensors[0], np.array(layer.scale), np.array(layer.offset))


def _preprocess(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    (x,) = tensors
    if len(x.shape) == 2:
        x = writer.channels_first(writer.reshaped(x, (*x.shape, 1)))
    elif layer.reverse:
        x = writer.channels_last(x)
        order = writer.constant([2, 1, 0], np.int64)
        x = Tensor(writer.node("Gather", x.name, order, axis=3), x.shape)
    found = scale_shift(writer, x, np.array(layer.scale), np.array(layer.offset))
    return Tensor(found.name, (*x.shape[:2], 3), x.first)


def _mirror(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    del layer
    x = writer.channels_last(tensors[0])
    bounds = ([-1], [np.iinfo(np.int64).min], [2], [-1])  # from the last column to the first
    name = writer.node("Slice", x.name, *(writer.constant(each, np.int64) for each in bounds))
    return Tensor(name, x.shape)


def _frozen(writer: Writer, layer: Layer, tensors: list[Tensor]) -> Tensor:
    return _model(writer, layer.network, tensors[0])


_WRITERS: dict[str, Write] = {
    "keras.Activation": activation,
    "keras.AveragePooling2D": pooling("AveragePool", count_include_pad=0),
    "keras.BatchNormalization": batch_norm,
    "keras.Concatenate": _concatenate,
    "keras.Conv2D": convolution,
    "twinset.Convolution": convolution,
    "keras.Dense": _dense,
    "keras.DepthwiseConv2D": convolution,
    "keras.Dropout": _same_tensor,
    "keras.Flatten": _reshape,
    "keras.GlobalAveragePooling2D": _global("ReduceMean"),
    "keras.GlobalMaxPooling2D": _global("ReduceMax"),
    "keras.LayerNormalization": layer_norm,
    "keras.LayerScale": layer_scale,
    "keras.Max": _reduction("ReduceMax"),
    "keras.MaxPooling2D": pooling("MaxPool"),
    "keras.Mean": _reduction("ReduceMean"),
    "keras.Normalization": normalization,
    "keras.ReLU": relu,
    "keras.Rescaling": _rescaling,
    "keras.Reshape": _reshape,
    "keras.ZeroPadding2D": _zero_padding,
    "twinset.Dropout": _same_tensor,
    "twinset.Frozen": _frozen,
    "twinset.Mirror": _mirror,
    "twinset.Preprocess": _preprocess,
    "twinset.SquareRoot": square_root,
    "twinset.UnitNorm": unit_norm,
}
