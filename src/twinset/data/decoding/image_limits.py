"""What one image file may cost: bytes, pixels, and what its format lets a few bytes ask for."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from PIL import Image, ImageFile

from twinset.errors import ImageFileError

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
