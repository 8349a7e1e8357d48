"""Where images are until they are asked for: a file, a row of a table, memory, stored pixels."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from twinset.data import addresses, arrow
from twinset.data.decoding import image_file
from twinset.data.decoding.image_file import EncodedImage
from twinset.errors import DataError, ImageFileError, reason


class StoredPixels:
    """Images of one size in a file of raw pixels, of which those are read that are asked for.

    It has an array's `shape`, `dtype`, `len` and reading `[...]` along the first axis, and returns
    ordinary arrays, so whatever takes images a part at a time takes these too.

    The file holds uint8 pixels in row order, image after image, of a whole of `shape`; `rows` are
    positions in it, (m,), in the order in which they are to appear.
    """

    dtype = np.dtype(np.uint8)

    def __init__(
        self, path: Path, shape: tuple[int, ...], rows: NDArray[np.integer] | None = None
    ) -> None:
        self._path = path
        self._whole = tuple(int(size) for size in shape)
        self._rows = None if rows is None else np.asarray(rows, np.int64)
        self._size = math.prod(self._whole[1:])  # bytes of one image
        self._open()

    def _open(self) -> None:
        # Read from and not mapped: mapped pages count as the process's own memory, and a file cut
        # short under a map ends the process with a signal instead of an error.
        try:
            self._file = self._path.open("rb", buffering=0)
        except OSError as error:
            raise DataError(
                f"{self._path}: expected a file of pixels. {error.strerror}: read the images anew."
            ) from None
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()  # a file has one position, which threads would share
        self._owner = os.getpid()
        wanted, there = self._size * self._whole[0], os.fstat(self._file.fileno()).st_size
        if there < wanted:
            raise DataError(
                f"{self._path}: expected {wanted:,} bytes of pixels. Received {there:,}: remove "
                "the file, and read the images anew."
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array: (n, h, w) or (n, h, w, 3)."""
        return (len(self), *self._whole[1:])

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self._whole)

    @property
    def nbytes(self) -> int:
        """The size of all images as an array."""
        return len(self) * self._size

    def __len__(self) -> int:
        return self._whole[0] if self._rows is None else len(self._rows)

    def __repr__(self) -> str:
        return f"StoredPixels({str(self._path)!r}, {self.shape})"

    def __reduce__(self) -> Any:
        # another process opens the file anew
        return (StoredPixels, (self._path, self._whole, self._rows))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all images: only for sets that fit into memory."""
        del copy  # always one
        return self[:].astype(np.uint8 if dtype is None else dtype, copy=False)

    def __getitem__(self, wanted: Any) -> NDArray[np.uint8]:
        return self._read(self._positions(wanted))

    def at(self, wanted: Any) -> StoredPixels:
        """Pick images by a slice or integers of shape (m,), without reading them."""
        return StoredPixels(self._path, self._whole, np.atleast_1d(self._positions(wanted)))

    def _positions(self, wanted: Any) -> NDArray[np.int64]:
        count = len(self)
        if isinstance(wanted, slice):
            chosen = np.arange(*wanted.indices(count))
        else:
            chosen = np.asarray(wanted)
            if chosen.dtype == bool:
                if chosen.shape != (count,):
                    raise IndexError(f"a mask of shape {chosen.shape} for {count} images")
                chosen = np.flatnonzero(chosen)
            if chosen.dtype.kind not in "iu" and chosen.size:
                raise IndexError("expected integers, a slice or a mask along the first axis")
            chosen = chosen.astype(np.int64)
            if chosen.size and (chosen.min() < -count or chosen.max() >= count):
                raise IndexError(f"a position is out of range for {count} images")
            chosen = np.where(chosen < 0, chosen + count, chosen)
        return chosen if self._rows is None else self._rows[chosen]

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        if os.getpid() != self._owner:  # a fork shares the file's position with its parent
            self._open()
        out = np.empty((*rows.shape, *self._whole[1:]), np.uint8)
        flat, lines = rows.ravel(), out.reshape(rows.size, self._size)
        # neighbours in the file come with one read
        cuts = np.flatnonzero(np.diff(flat) != 1) + 1
        with self._lock:
            for start, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(flat)], strict=True):
                if start < end:
                    self._file.seek(int(flat[start]) * self._size)
                    self._fill(lines[start:end].reshape(-1).data)
        return out

    def _fill(self, target: memoryview) -> None:
        while len(target):
            got = self._file.readinto(target)
            if not got:
                raise DataError(
                    f"{self._path}: expected {len(target)} more bytes of pixels. The file was cut "
                    "short while in use: remove it, and read the images anew."
                )
            target = target[got:]


SIZE = 16
CHUNK = 1024


def fingerprint(pixels: NDArray[np.uint8]) -> bytes:
    """Hash the pixels of one image: BLAKE2b of 128 bits over the bytes in row order.

    The shape is not part of it; compare images of one shape only.
    """
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=SIZE).digest()


def fingerprints(images: Any) -> NDArray[np.uint8]:
    """Hash every image of a set, a thousand at a time."""
    found = bytearray()
    for start in range(0, len(images), CHUNK):
        for pixels in np.ascontiguousarray(images[start : start + CHUNK]):
            found += hashlib.blake2b(pixels.data, digest_size=SIZE).digest()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, SIZE)


def as_keys(prints: NDArray[np.uint8]) -> NDArray[np.void]:
    """Make one item of each fingerprint, which numpy compares and sorts whole."""
    rows = np.ascontiguousarray(prints).reshape(-1, SIZE)
    return rows.view(f"V{SIZE}").ravel()


@dataclass(frozen=True)
class Skipped:
    """One file or row that cannot be used: not dropped in silence, and not fatal alone."""

    name: str  # as shown to people, relative to the data: "shirts/a.png", "row 17"
    reason: str  # one line


class Remark(NamedTuple):
    """What people must know of how a source was read; `check` and `train` tell it."""

    severity: Literal["warning", "note"]
    text: str


class ImageSource(Protocol):
    """One image, which is not read before it is asked for."""

    @property
    def name(self) -> str:
        """As shown to people, relative to the data: "shirts/a b.png", "train.parquet[17]"."""

    def stamp(self) -> str:
        """Tell cheaply whether the image may have changed: if so, the stamp is another."""

    def probe(self) -> tuple[int, int, str]:
        """Tell width and height as seen, and Pillow's colour mode, without decoding the pixels."""

    def encoded(self) -> Any:
        """Return what `Preprocessing.pixels` reads the image from: its path, or its bytes."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """The image in a file."""

    # best as text where there are millions: a `Path` takes ten times the room
    path: str | os.PathLike[str]
    name: str
    mark: str = ""  # its stamp, where that is known

    def stamp(self) -> str:
        """Return the file's size, time of change and inode."""
        return self.mark or _stamp(self.path, self.name)

    def probe(self) -> tuple[int, int, str]:
        """Read the header."""
        if addresses.is_address(self.path):
            return image_file.probe_encoded(addresses.read(str(self.path)), self.name)
        return image_file.probe(self.path)

    def encoded(self) -> str | os.PathLike[str] | EncodedImage:
        """Return the path, or what is behind an address."""
        if addresses.is_address(self.path):
            return EncodedImage(addresses.read(str(self.path)), self.name)
        return self.path


@dataclass(frozen=True, slots=True)
class TableSource:
    """The encoded image in one row of a Parquet or Arrow file.

    The column is of bytes, or of a struct with a field "bytes". Going through a file in the order
    of its rows reads it once; jumping to and fro in large row groups reads much in vain.
    """

    path: str | os.PathLike[str]
    row: int
    column: str
    name: str
    mark: str = ""  # the file's stamp, where that is known

    def stamp(self) -> str:
        """Return the file's size, time of change and inode, and the row."""
        return f"{self.mark or _stamp(self.path, self.name)}-{self.row}"

    def probe(self) -> tuple[int, int, str]:
        """Read the header."""
        encoded = self.encoded()
        return image_file.probe_encoded(encoded.data, encoded.name)

    def encoded(self) -> EncodedImage:
        """Read the bytes."""
        data = arrow.read_cell(os.fspath(self.path), self.column, self.row, self.mark)
        return EncodedImage(data, self.name)


class HeldSource(NamedTuple):  # made in a third of a dataclass's time, and there may be millions
    """An image or a vector in memory."""

    rows: Any
    row: int
    name: str = ""
    mark: str = ""  # its stamp, where that is known
    picture: FileSource | TableSource | None = None  # what an embedding was made of

    def stamp(self) -> str:
        """Return the fingerprint of the pixels or numbers."""
        return self.mark or fingerprint(self.rows[self.row]).hex()

    def probe(self) -> tuple[int, int, str]:
        """Tell width, height and mode of the pixels."""
        picture = Image.fromarray(self.rows[self.row])
        return *picture.size, picture.mode

    def encoded(self) -> Any:
        """Return the pixels."""
        return self.rows[self.row]


def _stamp(path: str | os.PathLike[str], name: str) -> str:
    if addresses.is_address(path):
        return addresses.mark(str(path))
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
    except (OSError, ValueError) as error:
        raise ImageFileError(f"{name}: expected an image file. {reason(error)}.") from None
    # the inode tells apart files of one size that were all given one time, as archives do
    return f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}"


def picture_of(metadata: Mapping[str, Any]) -> FileSource | TableSource | None:
    """Find the image, perhaps gone since, that `Listing.metadata` tells of, if any."""
    path, row, column = (metadata.get(name) for name in ("path", "_row", "_column"))
    if not isinstance(path, str):
        return None
    if isinstance(row, int) and isinstance(column, str):
        return TableSource(path, row, column, f"{path}[{row}]")
    return FileSource(path, path)
