"""Arrays as people have them, of any library and type: made pixels, and numbers of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError

CHANNELS = (3, 4)  # colour, or colour and transparency
_CHUNK = 1024  # images converted at a time, as floats take eight times the room of pixels


def as_array(given: Any) -> NDArray[Any]:
    """Make a NumPy array of another library's, or of a list."""
    # a tensor of PyTorch may be on a device, and part of a gradient
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    if "bfloat16" in str(getattr(given, "dtype", "")):  # which NumPy has not
        return np.asarray(given.float() if hasattr(given, "float") else given).astype(np.float32)
    try:
        return np.asarray(given)
    except ValueError:
        raise DataError(
            "Expected rows of one shape, to make an array of them. Received several shapes."
        ) from None


def as_pixels(given: Any, *, levels: bool = False) -> NDArray[np.uint8]:
    """Make levels from 0 to 255 of numbers, or refuse those that may mean several things.

    Masks become black and white. Floats are in [0, 1], or levels where one is above 127 or `levels`
    says so: others may count to 16 or to 100 as well as be dark.
    """
    array = as_array(given)
    kind = array.dtype.kind
    if array.dtype == np.uint8 or (kind in "buif" and not array.size):
        return array.astype(np.uint8, copy=False)
    if kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint16:
        raise DataError(
            "Expected pixels from 0 to 255, or floats in [0, 1]. Received uint16, which may count "
            "to 255, 4,095 or 65,535: divide by that number."
        )
    if kind not in "iuf":
        raise DataError(f"Expected pixels as numbers. Received {array.dtype} of {array.shape}.")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(
            f"Expected pixels from 0 to 255, or floats in [0, 1]. Received {array.dtype} with NaN "
            "or infinity: replace these, as numpy.nan_to_num does."
        )
    known = kind != "f" or levels or high <= 1 or high > 127
    if low < 0 or high > 255 or not known:
        raise DataError(
            f"Expected pixels from 0 to 255, or floats in [0, 1]. Received {array.dtype} from "
            f"{low:g} to {high:g}: undo what scaled them, so that black is 0 and white is 1 or 255"
            f"{', or pass dark pixels as uint8' * (not known and low >= 0)}."
        )
    factor = 255 if kind == "f" and high <= 1 and not levels else 1
    flat, found = np.atleast_1d(array), np.empty(array.shape, np.uint8)
    out = np.atleast_1d(found)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        out[start : start + _CHUNK] = np.rint(part * factor) if kind == "f" else part
    return found


def as_images(given: Any) -> NDArray[np.uint8]:
    """Make pixels of n images, (n, h, w) or (n, h, w, 3), also where channels came first."""
    pixels = as_pixels(given)
    if pixels.ndim == 4:
        pixels = channels_last(pixels)
    if not (pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)):
        clear = pixels.ndim == 4 and pixels.shape[3] == 4
        raise DataError(
            f"Expected images of shape (n, h, w) or (n, h, w, 3). Received shape {pixels.shape}"
            f"{': leave the transparency out, images[..., :3]' * clear}."
        )
    return pixels


def channels_last(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Put last the channels of one image or of many that came first, and drop where there is one.

    Where they stand is told where nothing else can be meant.
    """
    if pixels.shape[-1] not in (1, *CHANNELS) and pixels.shape[-3] in (1, 3):
        pixels = np.moveaxis(pixels, -3, -1)
    return np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def as_labels(
    given: Any, names: Sequence[str] = (), row: str = "image"
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Make numbers of classes, and the classes' names, of labels in any of their usual forms.

    These are texts, numbers, floats that are whole, one column of such, or a row of 0s and one 1
    each. Without names the different labels are the names, in order.
    """
    labels = as_array(given)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and labels.shape[1] and labels.dtype.kind in "buif":
        return _of_one_hot(labels, names, row)
    if labels.ndim != 1:
        return labels, tuple(names)  # whose shape is told where the number of rows is known
    labels = _plain(labels)
    if labels.dtype.kind == "f":
        _refuse(~np.isfinite(labels), labels, f"a label for each {row}", "leave those out")
        odd = labels != np.rint(labels)
        _refuse(odd, labels, "labels that name classes", "measured values name none")
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "b" and names:
        labels = labels.astype(np.int64)
    if labels.dtype.kind in "iu" and names:
        counted = labels.size and labels.min() == 1 and labels.max() == len(names)
        if counted:
            raise DataError(
                f"Expected labels from 0 to {len(names) - 1}, one per class name. Received labels "
                f"from 1 to {len(names)}: subtract 1."
            )
        return labels, tuple(names)
    if labels.dtype.kind in "iu":
        _refuse(labels < 0, labels, f"a label for each {row}", "leave out what has none")
    elif labels.dtype.kind not in "bU":
        raise DataError(f"Expected labels as texts or whole numbers. Received {labels.dtype}.")
    values, codes = np.unique(labels, return_inverse=True)
    if not names:
        return codes, tuple(str(value) for value in values)
    place = {name: code for code, name in enumerate(names)}
    known = np.array([place.get(str(value), -1) for value in values], np.int64)[codes]
    _refuse(known < 0, labels, "labels out of the class names", "name all classes")
    return known, tuple(names)


def _of_one_hot(
    labels: NDArray[Any], names: Sequence[str], row: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    count = labels.shape[1]
    if names and len(names) != count:
        raise DataError(
            f"Expected a column for each of {len(names)} class names. Received {count} columns."
        )
    ones = labels == 1
    bad = ~((labels == 0) | ones).all(axis=1) | (ones.sum(axis=1) != 1)
    if bad.any():
        raise DataError(
            f"Expected one label per {row}, or a row of 0s and one 1. Received another row at "
            f"position {np.flatnonzero(bad)[0]}."
        )
    return ones.argmax(axis=1), tuple(names) or tuple(str(code) for code in range(count))


def _plain(labels: NDArray[Any]) -> NDArray[Any]:
    # of Python's objects, as in a column of pandas: texts, or numbers, and none missing
    if labels.dtype.kind != "O":
        return labels
    values = labels.tolist()
    missing = np.array([value is None or value != value for value in values], bool)
    _refuse(missing, labels, "a label for each row", "leave those out")
    texts = sum(isinstance(value, str) for value in values)
    if 0 < texts < len(values):
        raise DataError("Expected labels of one kind. Received texts beside others: use texts.")
    return np.array(values)


def _refuse(bad: NDArray[np.bool_], labels: NDArray[Any], wanted: str, advice: str) -> None:
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"Expected {wanted}. Received {labels[place]!s} at position {place}: {advice}."
        )
