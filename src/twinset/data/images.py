"""`LabelledImages`: pixels, labels and class names, checked once and then trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import PARTS, Labelled
from twinset.data.quarantine import Quarantined
from twinset.data.stored import StoredPixels
from twinset.errors import DataError

__all__ = ["PARTS", "LabelledImages"]


@dataclass(frozen=True, eq=False)
class LabelledImages(Labelled):
    """Holds n images of one size, their labels, and the names of the classes.

    Args:
        images: uint8 pixels, (n, h, w) for grayscale or (n, h, w, 3) for colour; an array, or
            `StoredPixels` where they are read on demand.
        labels: integers of shape (n,), each an index into `class_names`.
        class_names: one name per class, in the order of the labels.
        name: what reports call this set. Defaults to "images".
        groups: what must not be torn apart by a split (photographer, burst, patient, product),
            strings of shape (n,). Defaults to none.
        parts: the part that the data's owner put each image in, strings of shape (n,): "train",
            "tune", "calib", "test", or "" for none. Defaults to none.
        names: what people know each image by, such as its file's name, strings of shape (n,).
            Defaults to none.
        preprocessing: how the images were brought to this shape; models keep it for use. Defaults
            to padding to this shape.
        quarantined: what could not be read. Defaults to nothing.
        mirrors: whether a mirror image shows the same, as of clothes; of digits it does not.
            Defaults to False.

    Raises:
        DataError: shapes, dtypes or labels do not fit together.

    Example:
        >>> import numpy as np
        >>> data = LabelledImages(np.zeros((3, 2, 2), np.uint8), [0, 1, 1], ("cat", "dog"))
        >>> len(data), data.image_shape, data.class_counts.tolist()
        (3, (2, 2), [1, 2])
    """

    images: NDArray[np.uint8] | StoredPixels
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str = "images"
    groups: NDArray[np.str_] | None = None
    parts: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    preprocessing: Preprocessing | None = None
    quarantined: tuple[Quarantined, ...] = ()
    mirrors: bool = False

    _ROWS = "images"
    _ROW = "image"

    def __post_init__(self) -> None:
        images = self.images if isinstance(self.images, StoredPixels) else np.asarray(self.images)
        _check(images)
        self._check_labels(len(images))
        shape = images.shape[1:]
        preprocessing = self.preprocessing
        if preprocessing is None and 0 not in shape:
            preprocessing = Preprocessing(shape)
        if preprocessing is not None and preprocessing.shape != shape:
            raise DataError(
                f"Expected the preprocessing of images of shape {shape}. Received one for "
                f"{preprocessing.shape}."
            )
        # frozen: the checked arrays replace whatever sequence the caller passed
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "preprocessing", preprocessing)

    def __repr__(self) -> str:
        return (
            f"LabelledImages({self.name!r}, {len(self)} images of {self.image_shape}, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: (h, w) or (h, w, 3)."""
        return self.images.shape[1:]


def _check(images: NDArray[np.uint8] | StoredPixels) -> None:
    if images.dtype != np.uint8:
        raise DataError(
            f"Expected images as uint8 pixels from 0 to 255. Received dtype {images.dtype}; "
            "for floats in [0, 1] pass `(255 * images).round().astype('uint8')`."
        )
    if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise DataError(
            f"Expected images of shape (n, h, w) or (n, h, w, 3). Received shape {images.shape}."
        )
