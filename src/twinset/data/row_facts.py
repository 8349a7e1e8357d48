"""What is said of each row of some data: labels, texts and parts, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError

PARTS = ("train", "tune", "calibration", "test")


def label_codes(
    values: Any, count: int, classes: int, row: str = "image", *, none: bool = False
) -> NDArray[np.int64]:
    """Check labels, one per row, which with `none` may be −1."""
    labels = np.asarray(values)
    if labels.shape != (count,):
        raise DataError(
            f"Expected one label per {row}, shape ({count},). "
            f"Received labels of shape {labels.shape}."
        )
    if count and labels.dtype.kind not in "iu":  # an empty list comes as floats
        raise DataError(
            f"Expected integer labels. Received dtype {labels.dtype}; for names use "
            "`names, labels = np.unique(values, return_inverse=True)`."
        )
    wrong = np.flatnonzero((labels < -none) | (labels >= classes))
    if wrong.size:
        raise DataError(
            f"Expected labels from 0 to {classes - 1}, one per class name{', or -1' * none}. "
            f"Received {labels[wrong[0]]} at position {wrong[0]}."
        )
    return labels.astype(np.int64, copy=False)


def texts_of(field: str, values: Any, count: int, row: str = "image") -> NDArray[np.str_] | None:
    """Make an array of texts, one per row, of what the caller passed for a field."""
    if values is None:
        return None
    texts = np.asarray(values)
    if texts.shape != (count,):
        raise DataError(
            f"Expected one of `{field}` per {row}, shape ({count},). Received shape {texts.shape}."
        )
    return texts.astype(np.str_)


def check_parts(parts: NDArray[np.str_] | None) -> None:
    """Refuse names of parts that there are not."""
    if parts is None:
        return
    wrong = np.flatnonzero(~np.isin(parts, (*PARTS, "")))
    if wrong.size:
        raise DataError(
            f"Expected a part out of {[*PARTS, '']}. "
            f"Received {str(parts[wrong[0]])!r} at position {wrong[0]}."
        )
