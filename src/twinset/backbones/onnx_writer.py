"""An ONNX graph under construction: nodes, constants, and pictures in two layouts."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from twinset.backbones.session import INPUT, OUTPUT

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
        self._inserted: dict[bytes, Any] = {}

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

    def pixels(self, image_shape: Sequence[int]) -> Tensor:
        """Begin with the input: uint8 images become floats in [0, 1]."""
        floats = Tensor(self.node("Cast", INPUT, to=TensorProto.FLOAT), tuple(image_shape))
        return self.scale_shift(floats, 1 / 255)

    def colour(self, tensor: Tensor) -> Tensor:
        """Make three equal channels of a gray picture, and have a colour one as it is."""
        if len(tensor.shape) == 2:
            tensor = self.reshaped(tensor, (*tensor.shape, 1))
        if tensor.shape[2] == 3:
            return tensor
        name = self.node("Concat", *[tensor.name] * 3, axis=1 if tensor.first else 3)
        return Tensor(name, (*tensor.shape[:2], 3), tensor.first)

    def resized(self, tensor: Tensor, size: tuple[int, int]) -> Tensor:
        """Resize a picture to (h, w), bilinear and without antialiasing, as Keras does."""
        if tensor.shape[:2] == size:
            return tensor
        if len(tensor.shape) == 2:
            tensor = self.reshaped(tensor, (*tensor.shape, 1))
        x = self.channels_first(tensor)
        # Sizes and not scales: a side times a rounded scale may come out one pixel short.
        batch = self.node("Slice", self.node("Shape", x.name), *self._range(0, 2))
        sizes = self.node("Concat", batch, self.constant(size, np.int64), axis=0)
        name = self.node(
            "Resize",
            *(x.name, "", "", sizes),
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        return Tensor(name, (*size, x.shape[2]), first=True)

    def grid(self, tensor: Tensor, cells: int) -> Tensor:
        """Average a picture over a grid of cells, row by row: (cells² channels,)."""
        x = self.channels_first(tensor)
        height, width, channels = x.shape
        shape = self.constant([0, channels, height * width], np.int64)
        flat = self.node("Reshape", x.name, shape)
        shares = self.constant(grid_shares((height, width), cells).T)  # (places, cells²)
        found = self.node("MatMul", flat, shares)  # (batch, channels, cells²)
        if cells > 1:
            found = self.node("Transpose", found, perm=[0, 2, 1])
        count = cells * cells * channels
        name = self.node("Reshape", found, self.constant([-1, count], np.int64))
        return Tensor(name, (count,))

    def insert(self, model: Any, given: str, output: str) -> str:
        """Append a whole `onnx.ModelProto` of one input, and name one of its outputs.

        Inserted twice, its weights are there once.
        """
        digest = hashlib.sha256(model.SerializeToString()).digest()
        again = digest in self._inserted
        number = list(self._inserted | {digest: model}).index(digest)
        self._inserted[digest] = model
        prefix = f"graph_{len(self._nodes)}/"
        weights = {each.name: f"weights_{number}/{each.name}" for each in model.graph.initializer}
        for each in model.graph.initializer if not again else ():
            constant = TensorProto()
            constant.CopyFrom(each)
            constant.name = weights[each.name]
            self._constants.append(constant)
        (source,) = (each.name for each in model.graph.input if each.name not in weights)
        self._nodes.append(helper.make_node("Identity", [given], [prefix + source]))
        for node in model.graph.node:
            renamed = onnx.NodeProto()
            renamed.CopyFrom(node)
            _rename(renamed, weights, prefix)
            self._nodes.append(renamed)
        return prefix + output

    def model(self, image_shape: Sequence[int], result: Tensor) -> Any:
        """Finish: the `onnx.ModelProto`."""
        (size,) = result.shape
        output = helper.make_node("Identity", [result.name], [OUTPUT], name=OUTPUT)
        imports: dict[str, int] = {"": OPSET}
        functions: dict[tuple[str, str], Any] = {}
        for each in self._inserted.values():
            functions |= {(part.domain, part.name): part for part in each.functions}
            imports |= {
                "" if entry.domain == "ai.onnx" else entry.domain: entry.version
                for entry in each.opset_import
            }
        if imports[""] > OPSET:
            self._reduce_along_inputs()
        graph = helper.make_graph(
            [*self._nodes, output],
            "encoder",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", *image_shape])],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", size])],
            self._constants,
        )
        found = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*entry) for entry in imports.items()],
            functions=functions.values(),
            producer_name="twinset",
        )
        found.ir_version = max([IR_VERSION, *(each.ir_version for each in self._inserted.values())])
        onnx.checker.check_model(found)
        return found

    def _reduce_along_inputs(self) -> None:
        # From opset 18 on reductions have their axes as an input. What came with a graph of that
        # opset has them so already.
        for node in self._nodes:
            axes = [each for each in node.attribute if each.name == "axes"]
            if node.op_type.startswith("Reduce") and axes:
                node.input.append(self.constant(axes[0].ints, np.int64))
                node.attribute.remove(axes[0])

    def _range(self, start: int, end: int) -> list[str]:
        return [self.constant([bound], np.int64) for bound in (start, end)]

    def _move(self, tensor: Tensor, order: list[int]) -> Tensor:
        # there and back is the tensor as it was: most moves of a network cancel out so
        if tensor.name not in self._moved:
            name = self.node("Transpose", tensor.name, perm=order)
            self._moved[tensor.name], self._moved[name] = name, tensor.name
        return Tensor(self._moved[tensor.name], tensor.shape, not tensor.first)


def _rename(node: Any, weights: Mapping[str, str], prefix: str) -> None:
    # values by the prefix, weights by their own names; so in the branches and loops within, too
    def new(name: str) -> str:
        return weights.get(name) or (prefix + name if name else "")

    node.name = node.name and prefix + node.name
    node.input[:] = [new(name) for name in node.input]
    node.output[:] = [new(name) for name in node.output]
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            del graph.value_info[:]
            for each in (*graph.input, *graph.output, *graph.initializer):
                each.name = new(each.name)
            for inner in graph.node:
                _rename(inner, weights, prefix)


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Compute the padding before and after, as TensorFlow and Keras pad for "same"."""
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def grid_shares(size: tuple[int, int], cells: int) -> NDArray[np.float32]:
    """Compute what each place of a picture (h, w) counts in the mean of each cell, (cells², h w).

    Cell i of a side of n places reaches from ⌊i n / cells⌋ to ⌈(i + 1) n / cells⌉, so cells may
    share places, and there may be more cells than places.
    """
    rows, columns = (
        np.array(
            [
                [i * n // cells <= place < -(-(i + 1) * n // cells) for place in range(n)]
                for i in range(cells)
            ],
            np.float64,
        )
        for n in size
    )
    rows, columns = (each / each.sum(axis=1, keepdims=True) for each in (rows, columns))
    return np.kron(rows, columns).astype(np.float32)
