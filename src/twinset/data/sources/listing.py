"""`Listing`: which images there are, and what they show, before a pixel is read."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from twinset.data.decoding import image_file
from twinset.data.decoding.image_file import EncodedImage
from twinset.data.labelled import check_parts
from twinset.data.skipped import Skipped
from twinset.data.sources import tables
from twinset.errors import DataError, ImageFileError

Classes = Literal["path", "top"]
TABLES = (".csv", ".tsv", ".parquet")


class ImageSource(Protocol):
    """Promises one image, which is not read before it is asked for."""

    @property
    def name(self) -> str:
        """As shown to people, relative to the data: "shirts/a b.png", "train.parquet[17]"."""

    def stamp(self) -> str:
        """Tell cheaply whether the image may have changed: if so, the stamp is another.

        Raises:
            ImageFileError: the file is gone.
        """

    def probe(self) -> tuple[int, int, str]:
        """Tell width and height as seen, and Pillow's colour mode, without decoding the pixels.

        Raises:
            ImageFileError: it is missing, empty, too large, or no image.
        """

    def encoded(self) -> str | os.PathLike[str] | EncodedImage:
        """Return what `Preprocessing.pixels` reads the image from: its path, or its bytes.

        It need not decode all of a large JPEG, so its answer may differ from that for `open()`.

        Raises:
            ImageFileError: it is missing.
        """

    def open(self) -> Image.Image:
        """Decode the image completely.

        Raises:
            ImageFileError: it is missing, empty, too large, damaged, or no image.
        """


@dataclass(frozen=True, slots=True)
class FileSource:
    """Promises the image in a file.

    Args:
        path: the file. Text is best where there are millions: a `Path` takes ten times the room.
        name: as shown to people, relative to the data.

    Example:
        >>> FileSource("photos/cat/a.png", "cat/a.png").name
        'cat/a.png'
    """

    path: str | os.PathLike[str]
    name: str

    def stamp(self) -> str:
        """Return the file's size, time of change and inode.

        The inode tells apart files of one size that were all given one time, as archives do.

        Raises:
            ImageFileError: the file is gone.
        """
        return _stamp(self.path, self.name)

    def probe(self) -> tuple[int, int, str]:
        """Tell width and height as seen, and Pillow's colour mode, without decoding the pixels.

        Raises:
            ImageFileError: the file is missing, empty, too large or not an image.
        """
        return image_file.probe(self.path)

    def encoded(self) -> str | os.PathLike[str] | EncodedImage:
        """Return the path, for `Preprocessing.pixels`."""
        return self.path

    def open(self) -> Image.Image:
        """Decode the image completely.

        Raises:
            ImageFileError: the file is missing, empty, too large, damaged or not an image.
        """
        return image_file.open_image(self.path)


@dataclass(frozen=True, slots=True)
class TableSource:
    """Promises the encoded image in one row of a Parquet or Arrow file.

    Threads may open sources of one file at the same time. Rows are read in blocks of bounded
    size, the last few of which are kept (`tables` has the bounds): going through a file in the
    order of its rows reads it once, jumping to and fro in large row groups reads much in vain.

    Args:
        path: the file.
        row: from 0.
        column: of bytes, or of a struct with a field "bytes".
        name: as shown to people, relative to the data.
    """

    path: str | os.PathLike[str]
    row: int
    column: str
    name: str

    def stamp(self) -> str:
        """Return the file's size, time of change and inode, and the row.

        Raises:
            ImageFileError: the file is gone.
        """
        return f"{_stamp(self.path, self.name)}-{self.row}"

    def probe(self) -> tuple[int, int, str]:
        """Tell width and height as seen, and Pillow's colour mode, without decoding the pixels.

        Raises:
            ImageFileError: the file cannot be read, or the row holds no image.
        """
        encoded = self.encoded()
        return image_file.probe_encoded(encoded.data, encoded.name)

    def encoded(self) -> EncodedImage:
        """Read the bytes, for `Preprocessing.pixels`.

        Raises:
            ImageFileError: the file cannot be read, or the row is empty.
        """
        return EncodedImage(tables.read_cell(Path(self.path), self.column, self.row), self.name)

    def open(self) -> Image.Image:
        """Decode the image completely.

        Raises:
            ImageFileError: the file cannot be read, or the row holds no image.
        """
        encoded = self.encoded()
        return image_file.open_encoded(encoded.data, encoded.name)


def _stamp(path: str | os.PathLike[str], name: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(f"{name}: expected an image file. {reason}.") from None
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


@dataclass(frozen=True, eq=False)
class Listing:
    """Names n images, their labels, and what was found unfit for use.

    Args:
        sources: where each image comes from.
        labels: integers of shape (n,), each an index into `class_names`.
        class_names: one name per class, in the order of the labels.
        name: what reports call it: the name of the folder or file.
        groups: what must not be torn apart by a split (photographer, burst, patient, product),
            strings of shape (n,). Defaults to none.
        parts: the part that the data's owner put each image in, strings of shape (n,): "train",
            "tune", "calib", "test", or "" for none. Defaults to none.
        skipped: known to be bad before decoding: missing files, rows without a label, and
            the like. Defaults to nothing.

    Raises:
        DataError: lengths, dtypes, labels or parts do not fit together.

    Example:
        >>> sources = [FileSource(f"{name}.png", f"{name}.png") for name in "abc"]
        >>> listing = Listing(sources, [0, 1, 1], ("cat", "dog"), "pets")
        >>> listing, listing.class_counts.tolist()
        (Listing('pets', 3 images, 2 classes), [1, 2])
        >>> [source.name for source in listing.subset([2, 0]).sources]
        ['c.png', 'a.png']
    """

    sources: tuple[ImageSource, ...]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    name: str
    groups: NDArray[np.str_] | None = None
    parts: NDArray[np.str_] | None = None
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        sources = tuple(self.sources)
        names = tuple(str(name) for name in self.class_names)
        labels = np.asarray(self.labels)
        if not labels.size:
            labels = labels.astype(np.int64)  # an empty list comes as floats
        if labels.shape != (len(sources),) or labels.dtype.kind not in "iu":
            raise DataError(
                f"Expected one integer label per image, shape ({len(sources)},). "
                f"Received {labels.dtype} of shape {labels.shape}."
            )
        wrong = np.flatnonzero((labels < 0) | (labels >= len(names)))
        if wrong.size:
            raise DataError(
                f"Expected labels from 0 to {len(names) - 1}, one per class name. "
                f"Received {labels[wrong[0]]} at position {wrong[0]}."
            )
        # frozen: the checked values replace whatever sequences the caller passed
        object.__setattr__(self, "sources", sources)
        object.__setattr__(self, "labels", labels.astype(np.int64, copy=False))
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "skipped", tuple(self.skipped))
        for field in ("groups", "parts"):
            object.__setattr__(self, field, _texts(field, getattr(self, field), len(sources)))
        check_parts(self.parts)

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        aside = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Listing({self.name!r}, {len(self)} images, {len(self.class_names)} classes{aside})"

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """The number of images of each class, in the order of `class_names`."""
        return np.bincount(self.labels, minlength=len(self.class_names)).astype(np.int64)

    def subset(self, indices: ArrayLike, name: str | None = None) -> Listing:
        """Pick images by position, keeping every class name.

        What was skipped stays with the whole.

        Args:
            indices: positions of shape (m,), or a mask of shape (n,).
            name: the name of the part. Defaults to the name of the whole.
        """
        chosen = np.arange(len(self))[np.asarray(indices, None if np.size(indices) else np.int64)]
        return replace(
            self,
            sources=tuple(self.sources[i] for i in chosen.tolist()),
            labels=self.labels[chosen],
            name=name or self.name,
            groups=None if self.groups is None else self.groups[chosen],
            parts=None if self.parts is None else self.parts[chosen],
            skipped=(),
        )


def _texts(field: str, values: Any, count: int) -> NDArray[np.str_] | None:
    if values is None:
        return None
    texts = np.asarray(values, np.str_)
    if texts.shape != (count,):
        raise DataError(
            f"Expected one of `{field}` per image, shape ({count},). Received shape {texts.shape}."
        )
    return texts
