"""`LabelledFeatures`: vectors that another model made of images, with the labels of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from twinset.data.image_sources import Skipped
from twinset.data.labelled import Labelled
from twinset.errors import DataError


@dataclass(frozen=True)
class VectorInput:
    """The vectors that a model takes, made elsewhere; the counterpart of `Preprocessing`.

    Args:
        size: d, how many numbers each vector has.

    Raises:
        DataError: no such size.

    Example:
        >>> VectorInput(2).rows([[1, 2], [3, 4]]).dtype
        dtype('float32')
    """

    size: int

    # as the preprocessing of images has them
    resize: ClassVar[str] = "none"
    background: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not isinstance(self.size, int) or self.size < 1:
            raise DataError(f"Expected vectors of one number or more. Received {self.size!r}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one vector: (d,)."""
        return (self.size,)

    def pixels(self, image: Any) -> NDArray[np.uint8]:
        """Refuse an image, as a model that takes none."""
        raise DataError(
            f"Expected vectors of {self.size} numbers, made as those it was trained on: this model "
            f"takes no images and no files. Received {image!r}: make its vector with the model "
            "that made the others, and pass that."
        )

    def rows(self, given: Any) -> NDArray[np.float32]:
        """Check vectors."""
        values: Any = given.rows if isinstance(given, Labelled) else given
        try:
            vectors = np.asarray(values)
            if vectors.dtype.kind not in "fiu":
                vectors = np.asarray(values, object)
        except ValueError:  # rows of unequal length
            vectors = np.empty(0, object)
        if vectors.dtype.kind not in "fiu":
            first = values[0] if isinstance(values, Sequence) and len(values) else values
            self.pixels(first)
        # no vectors at all have no size to tell
        if vectors.shape == (0,):
            vectors = vectors.reshape(0, self.size)
        if vectors.ndim != 2 or vectors.shape[1] != self.size:
            raise DataError(
                f"Expected vectors of {self.size} numbers, made as those the model was trained on, "
                f"of shape (n, {self.size}). Received shape {vectors.shape}."
            )
        return finite(vectors)


@dataclass(frozen=True, eq=False)
class LabelledFeatures(Labelled):
    """n vectors of d numbers, their labels, and the names of the classes.

    Args:
        vectors: finite numbers of shape (n, d), kept as float32.
        labels: integers of shape (n,), each an index into `class_names`.
        class_names: one name per class, in the order of the labels.
        name: what reports call this set. Defaults to "features".
        groups: what must not be torn apart by a split, strings of shape (n,). Defaults to none.
        parts: the part that the data's owner put each row in, as for `LabelledImages`. Defaults
            to none.
        names: what people know each row by, such as an image's file name. Defaults to none.
        skipped: what could not be read. Defaults to nothing.

    Raises:
        DataError: shapes, dtypes or labels do not fit together, or a number is not finite.

    Example:
        >>> data = LabelledFeatures(np.eye(3), [0, 1, 1], ("cat", "dog"))
        >>> data, data.class_counts.tolist()
        (LabelledFeatures('features', 3 vectors of 3 numbers, 2 classes), [1, 2])
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str = "features"
    groups: NDArray[np.str_] | None = None
    parts: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    skipped: tuple[Skipped, ...] = ()

    _ROWS = "vectors"
    _ROW = "vector"
    mirrors = False

    def __post_init__(self) -> None:
        vectors = np.asarray(self.vectors)
        if vectors.dtype.kind not in "fiu" or vectors.ndim != 2 or not vectors.shape[1]:
            raise DataError(
                "Expected numbers of shape (n, d). "
                f"Received {vectors.dtype} of shape {vectors.shape}."
            )
        object.__setattr__(self, "vectors", finite(vectors))
        self._check_labels(len(vectors))

    def __repr__(self) -> str:
        return (
            f"LabelledFeatures({self.name!r}, {len(self)} vectors of {self.dim} numbers, "
            f"{len(self.class_names)} classes)"
        )

    @property
    def dim(self) -> int:
        """The number of coordinates d."""
        return int(self.vectors.shape[1])

    @property
    def preprocessing(self) -> VectorInput:
        """What a model trained on these takes: vectors of the same size."""
        return VectorInput(self.dim)


def finite(vectors: NDArray[Any]) -> NDArray[np.float32]:
    """Turn numbers into float32, refusing what is not finite there."""
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(vectors, np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if bad.size:
        raise DataError(
            f"Expected finite numbers within float32. Received others in {bad.size} of "
            f"{len(found)} rows, the first is row {bad[0]}: leave those out."
        )
    return found
