"""`LabelledImages`: pixels, labels and class names, checked once and then trusted."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Holds n images of one size, their labels, and the names of the classes.

    Args:
        images: uint8 pixels, (n, h, w) for grayscale or (n, h, w, 3) for colour.
        labels: integers of shape (n,), each an index into `class_names`.
        class_names: one name per class, in the order of the labels.
        name: what reports call this set. Defaults to "images".

    Raises:
        DataError: shapes, dtypes or labels do not fit together.

    Example:
        >>> import numpy as np
        >>> data = LabelledImages(np.zeros((3, 2, 2), np.uint8), [0, 1, 1], ("cat", "dog"))
        >>> len(data), data.image_shape, data.class_counts.tolist()
        (3, (2, 2), [1, 2])
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str = "images"

    def __post_init__(self) -> None:
        images = np.asarray(self.images)
        labels = np.asarray(self.labels)
        names = tuple(str(name) for name in self.class_names)
        if images.dtype != np.uint8:
            raise DataError(
                f"Expected images as uint8 pixels from 0 to 255. Received dtype {images.dtype}; "
                "for floats in [0, 1] pass `(255 * images).round().astype('uint8')`."
            )
        if not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
            raise DataError(
                "Expected images of shape (n, h, w) or (n, h, w, 3). "
                f"Received shape {images.shape}."
            )
        if labels.shape != images.shape[:1]:
            raise DataError(
                f"Expected one label per image, shape ({len(images)},). "
                f"Received labels of shape {labels.shape}."
            )
        if not np.issubdtype(labels.dtype, np.integer):
            raise DataError(
                f"Expected integer labels. Received dtype {labels.dtype}; for names use "
                "`names, labels = np.unique(values, return_inverse=True)`."
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if wrong.size:
            raise DataError(
                f"Expected labels from 0 to {len(names) - 1}, one per class name. "
                f"Received {labels[wrong[0]]} at position {wrong[0]}."
            )
        # frozen: the checked arrays replace whatever sequence the caller passed
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "class_names", names)

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"LabelledImages({self.name!r}, {len(self)} images of {self.image_shape}, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: (h, w) or (h, w, 3)."""
        return self.images.shape[1:]

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """The number of images of each class, in the order of `class_names`."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shape, pixels, labels and class names: equal sets have equal digests."""
        sha = hashlib.sha256(repr((self.images.shape, self.class_names)).encode())
        sha.update(np.ascontiguousarray(self.images).data)
        sha.update(self.labels.astype("<i8").tobytes())
        return sha.hexdigest()

    def subset(self, indices: NDArray[np.integer], name: str | None = None) -> LabelledImages:
        """Pick images by position, keeping every class name.

        Args:
            indices: positions of shape (m,).
            name: the name of the part. Defaults to the name of the whole.
        """
        return replace(
            self, images=self.images[indices], labels=self.labels[indices], name=name or self.name
        )
