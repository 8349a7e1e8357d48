"""What people pass for images: one image, many, or an error that says what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data import addresses
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import MAX_FILE_BYTES, EncodedImage
from twinset.data.given import CHANNELS, as_array, as_pixels, channels_last
from twinset.data.image_sources import StoredPixels
from twinset.data.labelled import Labelled, VectorInput
from twinset.errors import DataError, ImageFileError

EXPECTED = (
    "Expected one image (a path, an address, a file or its bytes, a PIL image, or an array of "
    "shape (h, w) or (h, w, 3)), a list of such images, an array of shape (n, h, w) or "
    "(n, h, w, 3), or LabelledImages."
)
_FILES = (str, os.PathLike, EncodedImage, Image.Image, bytes, bytearray)


def one_or_many(images: Any, preprocessing: Preprocessing | VectorInput) -> tuple[Any, bool]:
    """Give a batch or an iterable of single images, and whether it is of one that was alone."""
    if isinstance(preprocessing, VectorInput):
        return _vectors(images, preprocessing)
    # before what asks for an array: that would read all of it into memory
    if isinstance(images, StoredPixels):
        return images, False
    if isinstance(images, Labelled):
        if images.rows.dtype != np.uint8:
            raise DataError(f"Expected images, as this model was trained on. Received {images!r}.")
        return images.rows, False
    # a PIL image can be read as an array, too, but knows its colour mode and its orientation
    if isinstance(images, _FILES) or hasattr(images, "read"):
        return [images], True
    if hasattr(images, "__array__"):  # of any library: NumPy, pandas, JAX, PyTorch, TensorFlow
        array = as_array(images)
        if array.ndim == 1 and array.dtype.kind in "OU":  # paths, or images of many sizes
            return array.tolist(), False
        return _array(array, preprocessing.shape)
    # a set has no order, so nobody could tell which embedding belongs to which image
    if isinstance(images, Iterable) and not isinstance(images, Mapping | Set):
        return images, False
    raise DataError(f"{EXPECTED} Received {type(images).__name__}.{_advice(images)}")


def the_one(image: Any, preprocessing: Preprocessing | VectorInput) -> Any:
    """Give what is one image, where one is due; None of many."""
    if hasattr(image, "__array__") and not isinstance(image, Image.Image | Labelled | StoredPixels):
        array = as_array(image)
        if array.ndim in (3, 4) and len(array) == 1:  # a batch of one
            array = array[0]
        pixels = isinstance(preprocessing, Preprocessing) and array.ndim == 3
        if pixels and (array.shape[2] in (1, *CHANNELS) or array.shape[0] in (1, 3)):
            return array
        image = array
    return image if one_or_many(image, preprocessing)[1] else None


def pixels_of(images: Iterable[Any], preprocessing: Preprocessing) -> Iterator[NDArray[np.uint8]]:
    """Adapt images to a model, one after the other, saying which of them is none."""
    for place, image in enumerate(images):
        try:
            given = _readable(image)
        except DataError as error:
            if isinstance(error, ImageFileError):  # names its file already
                raise
            raise DataError(f"Image {place} of those given: {error}") from None
        try:
            yield preprocessing.pixels(given)
        except ImageFileError:
            raise
        except DataError as error:
            raise DataError(f"Image {place} of those given: {error}{_advice(given)}") from None


def _readable(image: Any) -> Any:
    # what `Preprocessing.pixels` takes, of what people have
    if isinstance(image, str) and addresses.is_address(image):
        return EncodedImage(addresses.read(image), image)
    if hasattr(image, "read") and not isinstance(image, Image.Image):
        name, image = str(getattr(image, "name", "the file")), image.read(MAX_FILE_BYTES + 1)
        if not isinstance(image, bytes):
            raise DataError(f"{name}: expected a file opened to read bytes. Received one of text.")
        return EncodedImage(image, name)
    if isinstance(image, bytes | bytearray):
        return EncodedImage(bytes(image), "the bytes given")
    if hasattr(image, "__array__") and not isinstance(image, Image.Image):
        array = as_pixels(image)
        return channels_last(array) if array.ndim == 3 else array
    return image


def _vectors(images: Any, preprocessing: VectorInput) -> tuple[Any, bool]:
    if isinstance(images, _FILES):
        preprocessing.pixels(images)  # raises: it takes no images and no files
    if hasattr(images, "__array__"):
        images = as_array(images)
    single = isinstance(images, np.ndarray | Sequence) and _is_vector(images)
    return ([images] if single else images), single


def _is_vector(values: NDArray[Any] | Sequence[Any]) -> bool:
    if isinstance(values, np.ndarray):
        return values.ndim == 1 and values.dtype.kind in "fiu"
    return len(values) > 0 and all(isinstance(value, Real) for value in values)


def _array(given: NDArray[Any], shape: tuple[int, ...]) -> tuple[Any, bool]:
    # Rows of the model's own shape are always a batch. Any other array of three axes is one colour
    # image where its last axis is 3 or 4 long, else n gray images.
    if given.ndim not in (2, 3, 4) or given.dtype.kind not in "buif":
        raise DataError(f"{EXPECTED} Received {given.dtype} of shape {given.shape}.")
    array = as_pixels(given)
    if array.shape[1:] == shape:
        return array, False
    if array.ndim == 4:
        array = channels_last(array)
    elif array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    array = np.ascontiguousarray(array)
    if array.shape[1:] == shape:
        return array, False
    colour = array.ndim > 2 and array.shape[-1] in CHANNELS
    axes = array.ndim - colour  # 2 of one image, 3 of a batch
    empty = 0 in array.shape[-2 - colour :]
    # One image with the channels first, as PyTorch has it, or three gray ones? For a model of gray
    # images only the latter makes sense; for one of colour images nobody can tell.
    unclear = axes == 3 and not colour and (len(shape), *array.shape[:1]) == (3, 3)
    if axes not in (2, 3) or empty or unclear:
        raise DataError(
            f"{EXPECTED} Received {given.dtype} of shape {given.shape}.{_advice(given)}"
        )
    return ([array], True) if axes == 2 else (array, False)


def _advice(given: Any) -> str:
    # the mistakes that are made most
    if isinstance(given, Set | Mapping):
        return " Make it a list, which has an order."
    if isinstance(given, np.ndarray) and given.ndim == 3 and given.shape[0] in CHANNELS:
        return (
            " Of one colour image the channels come last here: numpy.moveaxis(x, 0, 2). If these "
            "are gray images, pass list(x)."
        )
    return ""
