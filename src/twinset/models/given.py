"""What people pass for images: one image, many, or an error that says what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import Labelled, VectorInput
from twinset.errors import DataError, ImageFileError

EXPECTED = (
    "Expected one image (a path, a PIL image, or a uint8 array of shape (h, w) or (h, w, 3)), a "
    "list of such images, a uint8 array of shape (n, h, w) or (n, h, w, 3), or LabelledImages."
)
_CHANNELS = (3, 4)  # colour, or colour and transparency


def one_or_many(images: Any, preprocessing: Preprocessing | VectorInput) -> tuple[Any, bool]:
    """Give a batch or an iterable of single images, and whether it is of one that was alone."""
    if isinstance(preprocessing, VectorInput):
        if isinstance(images, str | os.PathLike | Image.Image):
            preprocessing.pixels(images)  # raises: it takes no images and no files
        single = isinstance(images, np.ndarray | Sequence) and _is_vector(images)
        return ([images] if single else images), single
    # before what asks for an array: that would read all of it into memory
    if isinstance(images, StoredPixels):
        return images, False
    if isinstance(images, Labelled):
        if images.rows.dtype != np.uint8:
            raise DataError(f"Expected images, as this model was trained on. Received {images!r}.")
        return images.rows, False
    # a PIL image can be read as an array, too, but knows its colour mode and its orientation
    if isinstance(images, str | os.PathLike | EncodedImage | Image.Image):
        return [images], True
    if hasattr(images, "__array__"):  # of any library: NumPy, pandas, JAX, PyTorch, TensorFlow
        array = np.asarray(images)
        if array.ndim == 1 and array.dtype.kind in "OU":  # paths, or images of many sizes
            return array.tolist(), False
        return _array(array, preprocessing.shape)
    # a set has no order, so nobody could tell which embedding belongs to which image
    if isinstance(images, Iterable) and not isinstance(images, bytes | bytearray | Mapping | Set):
        return images, False
    raise DataError(f"{EXPECTED} Received {type(images).__name__}.{_advice(images)}")


def pixels_of(images: Iterable[Any], preprocessing: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """Adapt images to a model, one after the other, saying which of them is none."""
    for place, image in enumerate(images):
        given = image
        if hasattr(image, "__array__") and not isinstance(image, Image.Image):
            given = np.asarray(image)
        try:
            yield preprocessing.pixels(given)
        except ImageFileError:  # names its file already
            raise
        except DataError as error:
            raise DataError(f"Image {place} of those given: {error}{_advice(given)}") from None


def _is_vector(values: NDArray[Any] | Sequence[Any]) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim == 1 and values.dtype.kind in "fiu"
    return len(values) > 0 and all(isinstance(value, Real) for value in values)


def _array(array: NDArray[Any], shape: tuple[int, ...]) -> tuple[Any, bool]:
    # Rows of the model's own shape are always a batch. Any other array of three axes is one colour
    # image where its last axis is 3 or 4 long, else n gray images.
    if array.dtype == np.uint8 and array.shape[1:] == shape:
        return array, False
    colour = array.ndim > 2 and array.shape[-1] in _CHANNELS
    axes = array.ndim - colour  # 2 of one image, 3 of a batch
    empty = 0 in array.shape[-2 - colour :]
    # One image with the channels first, as PyTorch has it, or three gray ones? For a model of gray
    # images only the latter makes sense; for one of colour images nobody can tell.
    unclear = axes == 3 and (array.shape[-1] == 1 or (len(shape), *array.shape[:1]) == (3, 3))
    if array.dtype != np.uint8 or axes not in (2, 3) or empty or (unclear and not colour):
        raise DataError(
            f"{EXPECTED} Received {array.dtype} of shape {array.shape}.{_advice(array)}"
        )
    return ([array], True) if axes == 2 else (array, False)


def _advice(given: Any) -> str:
    # the mistakes that are made most, by what other libraries take
    if isinstance(given, bytes | bytearray):
        return " Open the bytes of a file with PIL.Image.open(io.BytesIO(data))."
    if isinstance(given, Set | Mapping):
        return " Make it a list, which has an order."
    if not isinstance(given, np.ndarray):
        return ""
    if given.dtype.kind == "f":
        return " Floats in [0, 1] become pixels by (x * 255).round().astype(np.uint8)."
    if given.dtype.kind == "b":
        return " A mask becomes pixels by x.astype(np.uint8) * 255."
    if given.dtype.kind in "iu" and given.dtype != np.uint8:
        return " Numbers from 0 to 255 become pixels by x.astype(np.uint8)."
    if given.ndim in (3, 4) and given.shape[-1] == 1:
        return " Drop the last axis: x[..., 0]."
    if given.ndim in (3, 4) and given.shape[-3] in (1, *_CHANNELS):
        return (
            " Channels come last here: np.moveaxis(x, -3, -1). If these are gray images, pass "
            "list(x)."
        )
    return ""
