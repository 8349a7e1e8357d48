"""Files that ask for far more memory or time than their size lets expect, each in few bytes."""

import io
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memory import peak_megabytes
from twinset.data.decoding import image_file
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage
from twinset.errors import ImageFileError

ADAPT = Preprocessing((8, 8, 3))
STORY = "expected an image that can be read in seconds. Received "


def encoded(picture, kind, **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(*chunks):
    whole = encoded(Image.new("RGB", (8, 8)), "PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def tiff_with(*entries, data=b"", order="<", big=False):
    """An 8 x 8 gray TIFF by hand, with further entries (tag, type, count, value)."""
    start = 4096
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: start - 64, 278: 8, 279: 64}
    given = {entry[0] for entry in entries}
    rows = [(tag, 3, 1, value) for tag, value in tags.items() if tag not in given]
    rows = sorted([*rows, *entries])
    head = (b"II" if order == "<" else b"MM") + (
        struct.pack(order + "HHHQQ", 43, 8, 0, 16, len(rows))
        if big
        else struct.pack(order + "HIH", 42, 8, len(rows))
    )
    for tag, kind, count, value in rows:
        head += struct.pack(order + ("HHQ" if big else "HHI"), tag, kind, count)
        wide = {3: "H", 4: "I"}.get(kind) if count == 1 else None
        field = struct.pack(order + (wide or ("Q" if big else "I")), value)
        head += field.ljust(8 if big else 4, b"\0")
    return head.ljust(start - 64, b"\0") + bytes(range(64)) + data


def pixels(data):
    return ADAPT.pixels(EncodedImage(data, "bomb"))


def refused(data):
    with pytest.raises(ImageFileError, match="^bomb: expected ") as caught:
        pixels(data)
    return str(caught.value).removeprefix("bomb: ")


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_plain_tiff_by_hand(order, big):
    """Pillow reads no big-endian BigTIFF."""
    found = pixels(tiff_with(order=order, big=big))
    np.testing.assert_array_equal(found[..., 0], np.arange(64).reshape(8, 8))


NUMBERS = bytes(8 * 2**20)


@pytest.mark.parametrize(
    ("entries", "data"),
    [
        ([(282, 5, 2**20, 4096)], NUMBERS),  # a resolution of a million fractions
        ([(258, 3, 2**20, 4096)], NUMBERS),  # bits of a million samples
        ([(273, 4, 2**20, 4096)], NUMBERS),
        # a directory of GPS below, and one of EXIF with one below that
        ([(34853, 4, 1, 4096)], ("HHHI", 1, 5, 5, 2**20, 4200)),
        ([(34853, 3, 1, 4096)], ("HHHI", 1, 5, 5, 2**20, 4200)),
        ([(34665, 4, 1, 4096)], ("HHHI", 1, 5, 12, 2**20, 4200)),
    ],
)
@pytest.mark.parametrize("order", "<>")
def test_tiffs_of_many_numbers(entries, data, order):
    if isinstance(data, tuple):
        data = struct.pack(order + "HHHII", *data[1:]) + NUMBERS
    assert refused(tiff_with(*entries, data=data, order=order)) == (
        STORY + "a TIFF directory of more than 524288 numbers: save it as PNG."
    )


def test_bigtiffs_of_many_numbers():
    row = (282, 5, 2**20, 4096)
    assert "numbers" in refused(tiff_with(row, data=NUMBERS, big=True))


def test_directories_in_a_circle():
    circle = struct.pack("<HHHII", 1, 34665, 4, 1, 4096)
    assert pixels(tiff_with((34665, 4, 1, 4096), data=circle)).shape == (8, 8, 3)


def test_numbers_that_a_picture_may_have():
    """One strip for each row of many, a colour map, a long text."""
    rows = (278, 3, 1, 1), (273, 4, 8, 4096), (279, 4, 8, 4128)
    strips = struct.pack("<16I", *range(4032, 4096, 8), *[8] * 8)
    for more in (
        (),
        [(270, 2, 2**21, 5000)],
        [(60000, 7, 2**21, 5000)],
        [(301, 3, 3 * 65536, 5000)],
    ):
        found = pixels(tiff_with(*rows, *more, data=strips + bytes(2**22)))
        np.testing.assert_array_equal(found[..., 0], np.arange(64).reshape(8, 8))


def test_a_tile_larger_than_any_picture():
    tile = (322, 4, 1, 13_000), (323, 4, 1, 13_000), (324, 4, 1, 4096), (325, 4, 1, 9_000)
    data = tiff_with((259, 3, 1, 8), *tile, data=zlib.compress(bytes(10**6)))
    assert refused(data) == STORY + "tiles of 13000 x 13000 pixels: save it as PNG."


def test_jpegs_of_many_scans():
    """A scan that refines nothing takes 16 bytes here, and a pass over the whole picture."""
    for side, scans, words in ((64, 600, "600 scans"), (4096, 150, "150 scans"), (64, 100, "")):
        whole = encoded(Image.new("L", (side, side)), "JPEG", progressive=True)
        last = whole.rindex(b"\xff\xda")
        more = scans - whole.count(b"\xff\xda")
        data = whole[:-2] + whole[last:-2] * more + b"\xff\xd9"
        if words:
            assert refused(data) == f"{STORY}a JPEG of {words}: save it as PNG."
        else:
            assert pixels(data).shape == (8, 8, 3)


def test_jpegs_of_many_exif_segments():
    whole = encoded(Image.new("L", (8, 8)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", 65535) + b"Exif\0\0" + bytes(65527)
    assert "EXIF block of more than 4 MiB" in refused(whole[:2] + segment * 65 + whole[2:])
    assert pixels(whole[:2] + segment * 3 + whole[2:]).shape == (8, 8, 3)


def test_a_picture_of_far_more_rows_than_columns():
    # 30 million pixels, which other proportions may have; for each row there is an address
    def tall(rows):
        head = struct.pack(">IIBBBBB", 1, rows, 8, 0, 0, 0, 0)
        whole = encoded(Image.new("L", (1, 1)), "PNG")
        return whole[:8] + chunk(b"IHDR", head) + whole[33:]

    with pytest.raises(ImageFileError, match="at most 1,048,576 rows of pixels. Received 30,000"):
        ADAPT.pixels(EncodedImage(tall(30_000_000), "tall.png"))
    assert ADAPT.pixels(EncodedImage(tall(100_000), "tall.png")).shape == (8, 8, 3)


def test_pngs_of_many_chunks():
    tiny = chunk(b"prVt", b"")
    assert "a PNG of more than 100000 chunks" in refused(png_with(tiny * 100_001))
    assert pixels(png_with(tiny * 1000)).shape == (8, 8, 3)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_pngs_that_inflate(kind):
    """A thousand times their size."""
    head = {b"zTXt": b"key\0\0", b"iTXt": b"key\0\1\0\0\0", b"iCCP": b"key\0\0"}[kind]
    bomb = chunk(kind, head + zlib.compress(bytes(2**24)))
    assert "Decompressed data too large" in refused(png_with(bomb))
    if kind != b"iCCP":
        many = chunk(kind, head + zlib.compress(bytes(2**20))) * 70
        assert "Too much memory used in text chunks" in refused(png_with(many))


def gif(screen, frame):
    head = b"GIF89a" + struct.pack("<HH", *screen) + bytes(3)
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\2\2D\1\0;"


@pytest.mark.parametrize(
    ("screen", "frame", "words"),
    [
        ((65535, 65535), (1, 1), "Received far more"),
        ((9000, 9000), (1, 1), "Received 9000 x 9000"),
        ((8, 8), (9000, 9000), "Received 9000 x 9000"),  # the frame reaches over the screen
    ],
)
def test_gifs_of_a_huge_screen(screen, frame, words):
    assert words in refused(gif(screen, frame))


def test_webps_of_a_huge_canvas():
    whole = encoded(Image.new("RGB", (16, 16)), "WEBP")
    for side in (b"\xff\xff\xff", (9000).to_bytes(3, "little")):
        canvas = b"VP8X" + struct.pack("<I", 10) + bytes(4) + side * 2
        size = struct.pack("<I", len(whole) + len(canvas) - 8)
        assert refused(b"RIFF" + size + b"WEBP" + canvas + whole[12:]).startswith("expected ")


@pytest.mark.parametrize("head", [b"P2 900 900 255\n", b"P5 3000 3000 254\n"])
def test_formats_that_are_slow_to_read(head):
    assert "more than 8 MiB of a format that is slow" in refused(head + b"1 " * (4 * 2**20))
    assert refused(head + b"1 " * 1000).startswith("expected a whole image")


def test_plain_pixels_between_comments():
    assert "more than 1000 comments" in refused(b"P2 8 8 255\n" + b"#\n" * 1001 + b"1 " * 64)
    assert (pixels(b"P2 8 8 255\n" + b"#\n" * 99 + b"1 " * 64) == 1).all()


def bombs():
    """The worst of the above that are not refused by their header alone, and large pictures."""
    side = 3000
    yield png_with(chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(2**28), 1)))
    yield tiff_with((282, 5, 2**22, 4096), data=bytes(2**25))
    yield tiff_with(*((60000 + n, 7, 2**24, 4096) for n in range(300)), data=bytes(2**24))
    yield gif((side, side), (1, 1))
    yield encoded(Image.new("RGBA", (side, side)), "PNG", compress_level=1)
    yield encoded(Image.new("I;16", (side, side)), "PNG", compress_level=1)
    yield encoded(Image.new("F", (side, side)), "TIFF", compression="tiff_lzw")
    palette = bytes([1, 2, 3, 0]) * 256
    header = struct.pack("<IHHI", 0, 0, 0, 54 + len(palette))
    header += struct.pack("<IIIHHIIIIII", 40, side * side, 1, 1, 8, 1, 0, 0, 0, 256, 0)
    yield b"BM" + header + palette + b"\0\2\0\xff" * 1000


def test_memory_stays_within_bounds():
    """Nine million pixels take at most 40 bytes each, in a process of their own."""
    here = Path(__file__).parent
    code = f"""
import sys
sys.path[:0] = {[str(folder) for folder in (here, here.parents[1])]!r}
import test_image_limits as here
print(here.peak_of_all())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout) < 500, "MB"


def peak_of_all():
    for data in bombs():
        try:
            pixels(data)
        except ImageFileError:
            continue
    return int(peak_megabytes())


def test_refusing_is_quick():
    """Generously: each takes milliseconds."""
    started = time.perf_counter()
    for data in (gif((9000, 9000), (1, 1)), tiff_with((282, 5, 2**20, 4096), data=NUMBERS)):
        refused(data)
    assert time.perf_counter() - started < 5


def test_limits_are_what_the_messages_say():
    assert image_file.MAX_FILE_BYTES == 64 * 2**20
    assert "67 million" in refused(gif((9000, 9000), (1, 1)))
