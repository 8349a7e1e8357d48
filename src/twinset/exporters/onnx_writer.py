"""An ONNX graph under construction: nodes, constants, and pictures in two layouts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from twinset.models.onnx_model import INPUT, OUTPUT

# Old enough for every runtime of the last years; LayerNormalization is its youngest operator here.
OPSET, IR_VERSION = 17, 8

Layer: TypeAlias = Any  # keras.Operation and its many attributes, which are not typed


class UnwritableError(Exception):
    """A layer, or a use of it, that has no writer."""


@dataclass(frozen=True)
class Tensor:
    """A value of the graph.

    Its shape is without the batch and has the channels last, as Keras has it. `first` tells that
    the graph has them first, as ONNX convolutions want them.
    """

    name: str
    shape: tuple[int, ...]
    first: bool = False


class Writer:
    """A graph that grows; it moves the channels of a picture where its next user wants them."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._moved: dict[str, str] = {}

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output, and name that."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, values: ArrayLike, dtype: type = np.float32) -> str:
        """Add a constant."""
        name = f"constant_{len(self._constants)}"
        array: NDArray[Any] = np.ascontiguousarray(np.asarray(values, dtype))
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def scale_shift(
        self, tensor: Tensor, scale: ArrayLike, offset: ArrayLike | None = None
    ) -> Tensor:
        """Apply x · scale + offset, one number for all or one for each channel."""
        name = tensor.name
        for kind, values in (("Mul", scale), ("Add", offset)):
            if values is not None:
                array = np.asarray(values, np.float32).reshape(-1)
                shaped = array[:, None, None] if tensor.first else array
                name = self.node(kind, name, self.constant(shaped))
        return Tensor(name, tensor.shape, tensor.first)

    def channels_first(self, tensor: Tensor) -> Tensor:
        """Have a picture (h, w, c) as (c, h, w)."""
        if len(tensor.shape) != 3:
            raise UnwritableError(f"a picture of shape {tensor.shape}")
        return tensor if tensor.first else self._move(tensor, [0, 3, 1, 2])

    def channels_last(self, tensor: Tensor) -> Tensor:
        """Have any tensor as Keras has it."""
        return self._move(tensor, [0, 2, 3, 1]) if tensor.first else tensor

    def alike(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Bring tensors of equal rank to one layout, with as few moves as may be."""
        if len({len(tensor.shape) for tensor in tensors}) > 1:
            raise UnwritableError(f"shapes {[tensor.shape for tensor in tensors]} together")
        if any(tensor.first for tensor in tensors):
            return [self.channels_first(tensor) for tensor in tensors]
        return list(tensors)

    def reshaped(self, tensor: Tensor, shape: Sequence[int]) -> Tensor:
        """Give a tensor another shape, of as many numbers."""
        wanted = tuple(shape)
        if math.prod(wanted) != math.prod(tensor.shape):
            raise UnwritableError(f"{tensor.shape} as {wanted}")
        if wanted == tensor.shape:
            return tensor
        source = self.channels_last(tensor).name
        sizes = self.constant([-1, *wanted], np.int64)
        return Tensor(self.node("Reshape", source, sizes), wanted)

    def model(self, image_shape: Sequence[int], result: Tensor) -> Any:
        """Finish: the `onnx.ModelProto`."""
        (size,) = result.shape
        output = helper.make_node("Identity", [result.name], [OUTPUT], name=OUTPUT)
        graph = helper.make_graph(
            [*self._nodes, output],
            "encoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *image_shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", size])],
            self._constants,
        )
        found = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="twinset"
        )
        found.ir_version = IR_VERSION
        onnx.checker.check_model(found)
        return found

    def _move(self, tensor: Tensor, order: list[int]) -> Tensor:
        # there and back is the tensor as it was: most moves of a network cancel out so
        if tensor.name not in self._moved:
            name = self.node("Transpose", tensor.name, perm=order)
            self._moved[tensor.name], self._moved[name] = name, tensor.name
        return Tensor(self._moved[tensor.name], tensor.shape, not tensor.first)


def numbers(variable: Any) -> NDArray[np.float32]:
    """Read a variable of any back end."""
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)
