"""A file, or its bytes, → a decoded PIL picture; what could exhaust memory or time is refused."""

from __future__ import annotations

import importlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import numpy as np
from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    UnidentifiedImageError,
)

from twinset.errors import DataError, ImageFileError, reason

# Of the names of files in the formats that are opened here.
SUFFIXES = frozenset(
    (
        *(".apng", ".avif", ".avifs", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
        *(".pbm", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
    )
)
MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 2**20
MAX_EXIF_BYTES = 4 * 2**20
# Pillow keeps an address for each row: a file of 65 bytes that claims 1 x 60 million pixels would
# take half a gigabyte.
_MAX_ROWS = 2**20

# A progressive JPEG is decoded once more for each of its scans, and a scan that changes nothing
# takes a few bytes: hours from one small file. Encoders write about ten scans.
_MAX_SCANS = 500
_MAX_SCANNED_PIXELS = 32 * MAX_PIXELS
# Pillow reads the chunks of a PNG in Python. Encoders write one for each 8 KiB or more.
_MAX_CHUNKS = 100_000
# Pillow turns the numbers of a TIFF's directory into Python objects, some 20 times their size.
_MAX_NUMBERS = 2**19
_NUMBER_TYPES = (3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 16)
_POINTERS = (34665, 34853, 40965)  # the directories of EXIF, GPS and interoperability
# Pillow decodes these in Python, byte by byte.
_SLOW_CODECS = {"bmp_rle", "ppm", "ppm_plain"}
_MAX_SLOW_BYTES = 8 * 2**20
_MAX_COMMENTS = 1000


def check_length(size: int, name: str) -> None:
    """Refuse a file without bytes, or with too many."""
    if size == 0:
        raise ImageFileError(f"{name}: expected an image file. Received an empty file.")
    if size > MAX_FILE_BYTES:
        raise ImageFileError(
            f"{name}: expected at most {MAX_FILE_BYTES >> 20} MiB. Received {size >> 20} MiB: "
            "scale the image down first."
        )


def check_pixels(picture: Image.Image, name: str, most: int | None = None) -> None:
    """Refuse a picture of too many pixels."""
    width, height = picture.size
    limit = MAX_PIXELS if most is None else min(most, MAX_PIXELS)
    if width * height > limit:
        raise ImageFileError(
            f"{name}: expected at most {limit / 1e6:.2g} million pixels. "
            f"Received {width} x {height}: scale the image down first."
        )
    if height > _MAX_ROWS:
        raise ImageFileError(
            f"{name}: expected at most {_MAX_ROWS:,} rows of pixels. Received {height:,}: scale "
            "the image down first."
        )


def check_metadata(data: bytes, name: str) -> None:
    """Refuse what would cost Pillow gigabytes before it knows the size of the picture."""
    if len(data) > MAX_EXIF_BYTES and data.startswith(b"\xff\xd8"):
        # Pillow joins the EXIF segments of a JPEG, each of 64 KiB at most, and reads numbers.
        if data.count(b"Exif\0\0") > MAX_EXIF_BYTES >> 16:
            raise _costly(name, f"an EXIF block of more than {MAX_EXIF_BYTES >> 20} MiB")
    elif data.startswith(b"\x89PNG") and _has_too_many_chunks(data):
        raise _costly(name, f"a PNG of more than {_MAX_CHUNKS} chunks")
    elif data[:2] in (b"II", b"MM") and _numbers(data) > _MAX_NUMBERS:
        raise _costly(name, f"a TIFF directory of more than {_MAX_NUMBERS} numbers")


def check_effort(picture: ImageFile.ImageFile, data: bytes, name: str) -> None:
    """Refuse what would be decoded for minutes or hours, or into far more than its pixels."""
    if picture.format == "TIFF":  # not by its class: the plugin is imported for such a file alone
        tags: Any = vars(picture)["tag_v2"]
        sides = [tags.get(tag, 1) for tag in (322, 323)]  # TileWidth, TileLength
        if sides[0] * sides[1] > MAX_PIXELS:
            raise _costly(name, f"tiles of {sides[0]} x {sides[1]} pixels")
    if picture.info.get("progressive"):
        scans = data.count(b"\xff\xda")
        if scans > min(_MAX_SCANS, _MAX_SCANNED_PIXELS / (picture.width * picture.height)):
            raise _costly(name, f"a JPEG of {scans} scans")
    codec = picture.tile[0].codec_name if picture.tile else ""
    if codec in _SLOW_CODECS and len(data) > _MAX_SLOW_BYTES:
        raise _costly(name, f"more than {_MAX_SLOW_BYTES >> 20} MiB of a format that is slow")
    # Pillow copies up to 1 MiB for each comment between the pixels.
    if codec == "ppm_plain" and data.count(b"#") > _MAX_COMMENTS:
        raise _costly(name, f"more than {_MAX_COMMENTS} comments")


def _costly(name: str, what: str) -> ImageFileError:
    return ImageFileError(
        f"{name}: expected an image that can be read in seconds. Received {what}: save it as PNG."
    )


def _has_too_many_chunks(data: bytes) -> bool:
    start = 8
    for _ in range(_MAX_CHUNKS):
        if start >= len(data):
            return False
        start += 12 + int.from_bytes(data[start : start + 4], "big")
    return True


def _numbers(data: bytes) -> int:
    """Count the numbers in the first directory of a TIFF and in those below it; give the largest.

    Bytes and texts do not count: Pillow keeps them as they are.
    """
    order, big = "<" if data[:2] == b"II" else ">", data[2:3] == b"+"
    size, wide, first = (8, f"{order}u8", 8) if big else (2, f"{order}u4", 4)
    short = f"{order}u2"
    entry = np.dtype([("tag", short), ("type", short), ("count", wide), ("value", wide)])
    ending: Literal["little", "big"] = "little" if order == "<" else "big"
    most, seen = 0, set[int]()
    waiting = [int.from_bytes(data[first : first + np.dtype(wide).itemsize], ending)]
    while waiting and len(seen) < 16:
        start = waiting.pop()
        if start in seen or start + size > len(data):
            continue
        seen.add(start)
        rows = int.from_bytes(data[start : start + size], ending)
        start += size
        entries = np.frombuffer(
            data, entry, min(rows, (len(data) - start) // entry.itemsize), start
        )
        counted = np.isin(entries["type"], _NUMBER_TYPES) & (entries["count"] <= len(data))
        most = max(most, int(entries["count"][counted].sum()))
        below = entries[np.isin(entries["tag"], _POINTERS)]
        waiting += [int(value) for value in below["value"]]
        if order == ">":  # a 16-bit number lies at the left end of its field
            waiting += [int(value) >> 16 for value in below["value"]]
    return most


Box: TypeAlias = tuple[float, float, float, float]

# Only these are opened, whatever else Pillow knows: EPS starts Ghostscript, WMF asks the system,
# and an ICO holds a PNG that may be larger than the ICO says. MPO, a JPEG with more of them behind
# it, is opened by the JPEG plugin.
FORMATS: tuple[str, ...] = (
    JpegImagePlugin.JpegImageFile.format,
    PngImagePlugin.PngImageFile.format,
    GifImagePlugin.GifImageFile.format,
    BmpImagePlugin.BmpImageFile.format,
    PpmImagePlugin.PpmImageFile.format,
)
# Position and bytes that such a file has there → a further format and its plugin, imported when
# such a file comes, or `twinset compare` would wait for all of them.
_RARER = (
    (0, b"II", "TIFF", "PIL.TiffImagePlugin"),
    (0, b"MM", "TIFF", "PIL.TiffImagePlugin"),
    (0, b"RIFF", "WEBP", "PIL.WebPImagePlugin"),
    (4, b"ftyp", "AVIF", "PIL.AvifImagePlugin"),
)

# What people have under the name of an image, and what to do with it.
_CONVERT = ": convert it to JPEG or PNG"
_BANDS = (
    "a TIFF of numbers or channels that are not read here: save it in 8 bits, gray or in colour"
)
_FOREIGN = (
    (4, b"ftyp", f"HEIC or the like, as phones take it{_CONVERT}"),
    (0, b"\0\0\0\x0cjP  ", f"JPEG 2000{_CONVERT}"),
    (0, b"\xff\x4f\xff\x51", f"JPEG 2000{_CONVERT}"),
    (0, b"\0\0\0\x0cJXL ", f"JPEG XL{_CONVERT}"),
    (0, b"\xff\x0a", f"JPEG XL{_CONVERT}"),
    (128, b"DICM", f"DICOM{_CONVERT}"),
    (0, b"8BPS", f"a file of Photoshop{_CONVERT}"),
    (0, b"%PDF", f"PDF{_CONVERT}"),
    (0, b"version https://git-lfs", "a pointer of Git LFS: get the file with `git lfs pull`"),
    (0, b"II", _BANDS),
    (0, b"MM", _BANDS),
    (0, b"<", "text, such as a page of the Web in place of the image, or SVG"),
)

_HEAD_BYTES = 2**20


@dataclass(frozen=True)
class EncodedImage:
    """An image as the bytes of its file, such as an upload or a cell of a table."""

    data: bytes = field(repr=False)
    name: str
    most: int | None = field(default=None, repr=False)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file completely, refusing what could exhaust memory."""
    with decoded(read_bytes(path), str(path)) as (picture, _):
        return picture


def probe(path: str | os.PathLike[str]) -> tuple[int, int, str]:
    """Tell the size and the colour mode of an image file by its header; damage behind is missed."""
    name = str(path)
    head = read_bytes(path, _HEAD_BYTES)
    # The others keep what matters anywhere, or a cut would change a number and not be seen.
    if len(head) == _HEAD_BYTES and head[:3] in (b"\xff\xd8\xff", b"\x89PN", b"GIF"):
        try:
            return probe_encoded(head, name)
        except ImageFileError:
            pass  # a header this long is rare: the whole file will tell
    if len(head) == _HEAD_BYTES:
        head = read_bytes(path)
    return probe_encoded(head, name)


def probe_encoded(data: bytes, name: str) -> tuple[int, int, str]:
    """Tell the size and the colour mode of the bytes of an image file, as `probe` does."""
    with _identified(data, name) as picture:
        width, height = picture.size
        clear = picture.has_transparency_data  # such as a colour of a palette
        # Pillow has turned the size of a TIFF; a PNG would be decoded to find a late block.
        if picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info):
            turned = turn(picture) in SIDEWAYS
            width, height = (height, width) if turned else (width, height)
        return width, height, _CLEAR.get(picture.mode, picture.mode) if clear else picture.mode


# What a mode is called where one of its colours is transparent.
_CLEAR = {"1": "LA", "L": "LA", "I": "LA", "I;16": "LA", "I;16B": "LA", "P": "PA", "RGB": "RGBA"}


def read_bytes(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Read a file, or its first `most` bytes, refusing what is no file or is too large."""
    file = Path(path)
    try:
        size = file.stat().st_size
        if not file.is_file():  # asked before opening it: a pipe would wait
            raise ImageFileError(f"{file}: expected an image file. Received a folder or a device.")
        check_length(size, str(file))
        with file.open("rb") as stream:
            return stream.read(most or size)
    except ImageFileError:
        raise
    except (OSError, ValueError) as error:
        raise ImageFileError(f"{file}: expected an image file. {reason(error)}.") from None


@contextmanager
def decoded(
    data: bytes,
    name: str,
    prepare: Callable[[ImageFile.ImageFile], Box | None] | None = None,
    *,
    most: int | None = None,
) -> Iterator[tuple[Image.Image, Box | None]]:
    """Decode the bytes of a file, after `prepare` has asked the decoder for less than all."""
    # A context, as some damage shows only when pixels are converted: what goes wrong is the file's.
    with _identified(data, name, most) as picture:
        box = prepare(picture) if prepare else None
        picture.load()
        check_pixels(picture, name, most)  # some headers say less than comes
        yield picture, box


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {TURNS[orientation] for orientation in (5, 6, 7, 8)}


def turn(picture: Image.Image) -> Image.Transpose | None:
    """Tell how a picture is turned upright; an EXIF block that cannot be read says nothing."""
    # not by PIL's `exif_transpose`, which also rewrites the block, and breaks on any damage in it
    if len(picture.info.get("exif") or b"") > MAX_EXIF_BYTES:
        return None
    try:
        with _QUIET:
            return TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - hostile bytes meet several parsers
        return None


def _formats(data: bytes) -> tuple[str, ...]:
    for start, mark, name, plugin in _RARER:
        if data.startswith(mark, start):
            importlib.import_module(plugin)
            return (*FORMATS, name)
    return FORMATS


def _told(data: bytes) -> str:
    found = (what for start, mark, what in _FOREIGN if data.startswith(mark, start))
    return next(found, "something else")


@contextmanager
def _identified(data: bytes, name: str, most: int | None = None) -> Iterator[ImageFile.ImageFile]:
    """Open bytes as an image; all that goes wrong while they are used is an ImageFileError."""
    # libtiff writes to the process's standard error itself, and descriptor 2 belongs to all threads
    check_length(len(data), name)
    try:
        with _QUIET:
            check_metadata(data, name)
            with Image.open(io.BytesIO(data), formats=_formats(data)) as picture:
                check_pixels(picture, name, most)
                check_effort(picture, data, name)
                yield picture
    except ImageFileError:
        raise
    except DataError as error:  # of whoever reads its pixels
        raise ImageFileError(f"{name}: {error}") from None
    except UnidentifiedImageError:
        raise ImageFileError(
            f"{name}: expected an image (PNG, JPEG, GIF, TIFF, WebP, …). Received {_told(data)}."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageFileError(
            f"{name}: expected at most {MAX_PIXELS / 1e6:.0f} million pixels. "
            "Received far more: scale the image down first."
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes with any exception
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ImageFileError(
            f"{name}: expected a whole image. Received a damaged one ({words})."
        ) from None


class _Quiet:
    """Silence of Pillow's warnings while any thread decodes.

    Not `warnings.catch_warnings`: it swaps the filters of the whole process, and threads that
    leave in another order than they came in restore each other's. This adds one filter, for
    modules of Pillow alone, and takes it away when the last thread is done.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._filter: object = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            # again for each: another's catch_warnings may have dropped it
            if self._filter is None or self._filter not in warnings.filters:
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._filter = warnings.filters[0]

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._filter in warnings.filters:
                cast("list[object]", warnings.filters).remove(self._filter)


_QUIET = _Quiet()
