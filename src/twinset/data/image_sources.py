"""Where one image comes from: a file, a row of a table, or memory; read when asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from PIL import Image

from twinset.data import arrow
from twinset.data.decoding import image_file
from twinset.data.decoding.image_file import EncodedImage
from twinset.data.fingerprints import fingerprint
from twinset.errors import ImageFileError


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

    def stamp(self) -> str:
        """Return the file's size, time of change and inode."""
        return _stamp(self.path, self.name)

    def probe(self) -> tuple[int, int, str]:
        """Read the header."""
        return image_file.probe(self.path)

    def encoded(self) -> str | os.PathLike[str]:
        """Return the path."""
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

    def stamp(self) -> str:
        """Return the file's size, time of change and inode, and the row."""
        return f"{_stamp(self.path, self.name)}-{self.row}"

    def probe(self) -> tuple[int, int, str]:
        """Read the header."""
        encoded = self.encoded()
        return image_file.probe_encoded(encoded.data, encoded.name)

    def encoded(self) -> EncodedImage:
        """Read the bytes."""
        return EncodedImage(arrow.read_cell(Path(self.path), self.column, self.row), self.name)


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
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path for each of a million files takes seconds
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(f"{name}: expected an image file. {reason}.") from None
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
