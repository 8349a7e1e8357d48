"""`LabelledImages` and `LabelledFeatures`: rows with labels, checked once and then trusted."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.given import as_array, as_images, as_labels
from twinset.data.image_sources import Remark, Skipped, StoredPixels, fingerprints
from twinset.data.names import check_parts, label_codes, texts_of
from twinset.data.pairs import Pairs, Settled, settle, taken
from twinset.errors import DataError

_PER_ROW = ("groups", "parts", "names")


class Labelled(ABC):
    """n labelled rows of anything that an encoder takes; frozen dataclasses say of what.

    Where pairs were judged, labels from `len(class_names)` on are things without a name, of which
    nobody knows whether two are the same unless a pair says so.
    """

    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str
    groups: NDArray[np.str_] | None
    parts: NDArray[np.str_] | None
    names: NDArray[np.str_] | None
    skipped: tuple[Skipped, ...]
    judged: Pairs | None
    mirrors: bool
    # what was made of the judgements when this was made, with those that disagree
    settled: Settled | None = None

    # the field with the rows, and what people call one
    _ROWS: str
    _ROW: str

    @property
    @abstractmethod
    def preprocessing(self) -> Any:
        """How what people have becomes a row; models keep it for use."""

    @property
    def rows(self) -> Any:
        """What the encoder takes, of shape (n, ...): an array, or `StoredPixels`."""
        return getattr(self, self._ROWS)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.rows.shape[1:])

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """The number of rows of each class, in the order of `class_names`."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    @cached_property
    def fingerprints(self) -> NDArray[np.uint8]:
        """A digest of each row, (n, 16): rows are equal where these are."""
        return fingerprints(self.rows)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over shape, fingerprints, labels and class names: equal sets, equal digests."""
        sha = hashlib.sha256(repr((self.rows.shape, self.class_names)).encode())
        sha.update(np.ascontiguousarray(self.fingerprints).data)
        # in one order of bytes, so that machines agree
        sha.update(self.labels.astype("<i8").tobytes())
        if self.judged is not None:
            for values in (self.judged.left, self.judged.right, self.judged.same):
                sha.update(values.astype("<i4").tobytes())
        return sha.hexdigest()

    def subset(self, indices: NDArray[np.integer], name: str | None = None) -> Self:
        """Pick rows by position, (m,), and keep every class name, but not what was skipped.

        The part is called as the whole, unless a name is given. Stored pixels are not read for it.
        """
        at = np.arange(len(self))[np.asarray(indices, None if np.size(indices) else np.int64)]
        near = len(at) and (np.diff(at) == 1).all()
        chosen: Any = slice(at[0], at[-1] + 1) if near else at  # neighbours need no copy
        whole = self.rows
        changes: dict[str, Any] = {
            field: values[chosen]
            for field in _PER_ROW
            if (values := getattr(self, field)) is not None
        }
        changes[self._ROWS] = whole.at(chosen) if isinstance(whole, StoredPixels) else whole[chosen]
        if self.judged is not None:
            changes["judged"] = taken(self.judged, at, len(self))
        this: Any = self  # a dataclass, as its makers are
        part: Self = replace(
            this, labels=self.labels[chosen], name=name or self.name, skipped=(), **changes
        )
        if "fingerprints" in self.__dict__:  # computed before, and not to be computed again
            part.__dict__["fingerprints"] = self.fingerprints[chosen]
        return part

    @property
    def _known(self) -> str:
        known = [f"{len(self.class_names)} classes"] if self.class_names or not self.judged else []
        known += [] if self.judged is None else [f"{len(self.judged)} judged pairs"]
        return ", ".join(known)

    def _check_labels(self, count: int) -> None:
        """Check what is said of `count` rows, and replace whatever sequences the caller passed."""
        names = tuple(str(name) for name in self.class_names)
        # frozen: set past the dataclass
        known: Any = self.labels
        if self.judged is None:
            known, names = as_labels(known, names, self._ROW)
            labels = label_codes(known, count, len(names), self._ROW)
        else:
            known = np.full(count, -1) if known is None else known
            known = label_codes(known, count, 2**31, self._ROW, none=True)
            settled = settle(self.judged, known, len(names))
            labels = settled.labels
            self.__dict__.update(judged=settled.pairs, settled=settled)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for field in _PER_ROW:
            object.__setattr__(self, field, texts_of(field, getattr(self, field), count, self._ROW))
        check_parts(self.parts)


@dataclass(frozen=True, eq=False)
class LabelledImages(Labelled):
    """n images of one size, their labels, and the names of the classes.

    Args:
        images: (n, h, w) for grayscale or (n, h, w, 3) for colour, of any array library; kept as
            uint8 pixels. Floats are in [0, 1], or from 0 to 255 where one is above 127, and others
            are refused; masks become black and white; one channel more, or channels first, are
            understood where nothing else can be meant. Or `StoredPixels`, which are read on demand.
        labels: of shape (n,) or (n, 1): integers, each an index into `class_names`; texts; or
            rows of 0s and one 1, (n, k). Kept as integers.
        class_names: one name per class, in the order of the labels. Defaults to the different
            labels, in order, as texts; the labels then count these.
        name: what reports call this set. Defaults to "images".
        groups: what must not be torn apart by a split (photographer, burst, patient, product),
            strings of shape (n,). Defaults to none.
        parts: the part that the data's owner put each image in, strings of shape (n,): "train",
            "tune", "calibration", "test", or "" for none. Defaults to none.
        names: what people know each image by, such as its file's name, strings of shape (n,).
            Defaults to none.
        preprocessing: how the images were brought to this shape; models keep it for use. Defaults
            to padding to this shape.
        skipped: what could not be read. Defaults to nothing.
        mirrors: whether a mirror image shows the same, as of clothes; of digits it does not.
            Defaults to False.
        remarks: what people must know of how they were read. Defaults to nothing.
        judged: pairs of which people said whether they show the same, by position; then labels may
            be left out, or −1 where an image has none. Defaults to none: the labels tell all.

    Raises:
        DataError: shapes, dtypes or labels do not fit together.

    Example:
        >>> import numpy as np
        >>> data = LabelledImages(np.zeros((3, 2, 2), np.uint8), [0, 1, 1], ("cat", "dog"))
        >>> len(data), data.image_shape, data.class_counts.tolist()
        (3, (2, 2), [1, 2])
        >>> data = LabelledImages(np.ones((3, 1, 2, 2)) / 2, ["dog", "cat", "dog"])
        >>> data.class_names, data.labels.tolist(), data.images[0].tolist()
        (('cat', 'dog'), [1, 0, 1], [[128, 128], [128, 128]])
        >>> data.subset(np.array([0, 2]), "dogs")
        LabelledImages('dogs', 2 images of (2, 2), 2 classes)
    """

    images: NDArray[np.uint8] | StoredPixels
    labels: NDArray[np.int64] = None  # type: ignore[assignment]  # only where pairs were judged
    class_names: tuple[str, ...] = ()
    name: str = "images"
    groups: NDArray[np.str_] | None = None
    parts: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    preprocessing: Preprocessing | None = None
    skipped: tuple[Skipped, ...] = ()
    mirrors: bool = False
    remarks: tuple[Remark, ...] = ()
    judged: Pairs | None = None

    _ROWS = "images"
    _ROW = "image"

    def __post_init__(self) -> None:
        images = self.images if isinstance(self.images, StoredPixels) else as_images(self.images)
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
            f"{self._known})"
        )

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of one image: (h, w) or (h, w, 3)."""
        return self.images.shape[1:]


@dataclass(frozen=True)
class VectorInput:
    """The vectors that a model takes, made elsewhere; the counterpart of `Preprocessing`."""

    size: int  # d, how many numbers each vector has

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
        labels: as for `LabelledImages`, and so are class names, groups, parts and names.
        class_names: one name per class, in the order of the labels.
        name: what reports call this set. Defaults to "features".
        groups: what must not be torn apart by a split. Defaults to none.
        parts: the part that the data's owner put each row in. Defaults to none.
        names: what people know each row by. Defaults to none.
        skipped: what could not be read. Defaults to nothing.
        judged: as for `LabelledImages`. Defaults to none.

    Raises:
        DataError: shapes, dtypes or labels do not fit together, or a number is not finite.

    Example:
        >>> data = LabelledFeatures(np.eye(3), [0, 1, 1], ("cat", "dog"))
        >>> data, data.class_counts.tolist()
        (LabelledFeatures('features', 3 vectors of 3 numbers, 2 classes), [1, 2])
        >>> data.subset(np.array([0])).class_counts.tolist()
        [1, 0]
    """

    vectors: NDArray[np.float32]
    labels: NDArray[np.int64] = None  # type: ignore[assignment]  # likewise
    class_names: tuple[str, ...] = ()
    name: str = "features"
    groups: NDArray[np.str_] | None = None
    parts: NDArray[np.str_] | None = None
    names: NDArray[np.str_] | None = None
    skipped: tuple[Skipped, ...] = ()
    judged: Pairs | None = None

    _ROWS = "vectors"
    _ROW = "vector"
    mirrors = False

    def __post_init__(self) -> None:
        vectors = as_array(self.vectors)
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
            f"{self._known})"
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
