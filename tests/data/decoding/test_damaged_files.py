"""Thousands of damaged files: each gives pixels or an ImageFileError, soon and in little memory.

The suite tries 5,000 of them; TWINSET_DAMAGED_FILES=100000 tries more. A failure names its case,
which `python tests/data/test_damaged_files.py --first CASE --count 1` repeats.
"""

import argparse
import faulthandler
import io
import os
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, features

sys.path.insert(0, str(Path(__file__).parents[2]))  # when run as a program
from memory import peak_megabytes
from twinset.data.decoding import image_file
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage
from twinset.errors import ImageFileError

COUNT = int(os.environ.get("TWINSET_DAMAGED_FILES", "5000"))
MEGABYTES = 400
# generous: one file takes a few milliseconds
FILE_SECONDS, CASES_A_SECOND, START_SECONDS = 60, 40, 60


def whole_files():
    """Small files of each kind, with what a decoder may stumble over."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    picture = cells.resize((61, 47))
    noise = Image.fromarray(rng.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    deep = Image.fromarray(rng.integers(0, 2**16, (19, 23)).astype(np.uint16))
    glass = picture.copy()
    glass.putalpha(picture.convert("L"))
    exif = Image.Exif()
    exif[0x112], exif[0x10E], exif[0x11A] = 6, "what is seen", 72.0
    film = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    icc = {"icc_profile": _profile()}
    wanted = [
        ("PNG", picture, {"exif": exif, **icc}),
        ("PNG", glass, {}),
        ("PNG", picture, film),
        ("PNG", picture.convert("P"), {"transparency": 3}),
        ("PNG", picture.convert("1"), {}),
        ("PNG", deep, {}),
        ("JPEG", picture, {"exif": exif, **icc}),
        ("JPEG", picture, {"progressive": True}),
        ("JPEG", noise.convert("L"), {"restart_marker_rows": 1}),
        ("JPEG", picture.convert("CMYK"), {"progressive": True}),
        ("MPO", picture, film),
        ("GIF", picture, film),
        ("GIF", noise, {"interlace": 0}),
        ("GIF", picture.convert("L"), {"comment": b"seen", "transparency": 9}),
        ("TIFF", picture, {"exif": exif, **icc}),
        ("TIFF", glass, {}),
        ("TIFF", deep, {}),
        ("TIFF", picture.convert("F"), {}),
        ("TIFF", picture, film),
        ("BMP", picture, {}),
        ("BMP", picture.convert("P"), {}),
        ("BMP", glass, {}),
        ("PPM", picture, {}),
        ("PPM", deep, {}),
    ]
    if features.check("libtiff"):
        squeezed = [(picture, "tiff_lzw"), (deep, "tiff_lzw"), (deep, "tiff_adobe_deflate")]
        squeezed += [(glass, "tiff_adobe_deflate"), (picture.convert("1"), "group4")]
        squeezed += [(picture, "jpeg"), (picture.convert("CMYK"), "packbits")]
        wanted += [("TIFF", image, {"compression": name}) for image, name in squeezed]
    if features.check("webp"):
        wanted += [("WEBP", picture, {"exif": exif, **icc}), ("WEBP", glass, film)]
        wanted += [("WEBP", glass, {"lossless": True})]
    if "avif" in features.get_supported():
        wanted += [("AVIF", picture, {"exif": exif, "speed": 10})]
    for kind, image, options in wanted:
        file = io.BytesIO()
        # copies: saving as JPEG leaves settings on the picture, over which TIFF stumbles
        frames = [frame.copy() for frame in options.get("append_images", [])]
        options = {**options, "append_images": frames} if frames else options
        image.copy().save(file, kind, **options)
        yield kind, file.getvalue()
    yield "BMP", _run_lengths()
    yield "PPM", b"P3 4 3 15\n# seen\n" + b" ".join(b"%d" % (n % 16) for n in range(36)) + b"\n"


def _profile():
    """The profile of a screen whose red and green have changed places."""
    from PIL import ImageCms

    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"-XYZ").replace(b"gXYZ", b"rXYZ").replace(b"-XYZ", b"gXYZ")


def _run_lengths():
    """A BMP of 8 x 4 in run lengths, each way of them once."""
    palette = b"".join(bytes([n, 255 - n, 7, 0]) for n in range(256))
    rows = b"\x08\x11\0\0" + b"\0\x04\x01\x02\x03\x04\x04\x22\0\0" + b"\0\x02\x02\x01\x06\x33\0\1"
    start = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start)
    return (
        head
        + struct.pack("<IIIHHIIIIII", 40, 8, 4, 1, 8, 1, len(rows), 0, 0, 256, 0)
        + palette
        + rows
    )


MAGIC = [
    b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII5B", 13, b"IHDR", 9, 9, 8, 2, 0, 0, 0),
    b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0",
    b"\xff\xd8\xff\xc0\0\x11\x08\0\x09\0\x09\3\1\x22\0\2\x11\1\3\x11\1",
    b"GIF89a\x09\0\x09\0\0\0\0,\0\0\0\0\x09\0\x09\0\0",
    b"II*\0\x08\0\0\0",
    b"MM\0*\0\0\0\x08\0\x09",
    b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0",
    b"RIFF\xff\0\0\0WEBPVP8 \xf0\0\0\0",
    b"RIFF\xff\0\0\0WEBPVP8L\xf0\0\0\0\x2f\x08\0\2",
    b"RIFF\xff\0\0\0WEBPVP8X\x0a\0\0\0\x3f\0\0\0\x08\0\0\x08\0\0",
    b"BM\xff\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x09\0\0\0\x09\0\0\0\1\0\x18\0\0\0\0\0",
    b"P6 9 9 255\n",
    b"P2 9 9 99\n",
    b"Pf 9 9 1\n",
    b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf",
]


def flip_bits(data, draw, files):
    for _ in range(draw.choice([1, 1, 3, 30])):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def cut(data, draw, files):
    del data[draw.randrange(len(data)) :]


def overwrite(data, draw, files):
    """Write over bytes: those of headers more often than those of pixels."""
    for _ in range(draw.choice([1, 2, 5, 20])):
        reach = min(len(data), draw.choice([40, 150, len(data)]))
        data[draw.randrange(reach)] = draw.choice([0, 1, 0x7F, 0x80, 255, draw.randrange(256)])


def set_number(data, draw, files):
    """Set what may be a size, a count or an offset to a number that hurts."""
    kind = draw.choice("<>") + draw.choice("HHI")
    top = 2 ** (8 * struct.calcsize(kind)) - 1
    number = draw.choice([0, 1, 2, 999, top // 2, top // 2 + 1, top - 1, top, len(data)])
    at = draw.randrange(max(1, min(len(data), draw.choice([60, 300, len(data)]))))
    data[at : at + struct.calcsize(kind)] = struct.pack(kind, min(number, top))


def splice(data, draw, files):
    """Put a piece of any file into this one, over its bytes or between them."""
    other = draw.choice(files)[1]
    start = draw.randrange(len(other))
    piece = other[start : start + draw.choice([1, 4, 16, 100, 1000])]
    at = draw.randrange(len(data) + 1)
    data[at : at + draw.choice([0, len(piece)])] = piece


def repeat(data, draw, files):
    start = draw.randrange(len(data))
    piece = data[start : start + draw.choice([1, 8, 64, 500])]
    data[start:start] = piece * draw.choice([1, 2, 50])


def drop(data, draw, files):
    start = draw.randrange(len(data))
    del data[start : start + draw.choice([1, 2, 8, 100])]


def chunks_of(data):
    at = 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield bytes(data[at + 4 : at + 8]), bytes(data[at + 8 : at + 8 + length])
        at += 12 + length


def rearrange_chunks(data, draw, files):
    """Damage a PNG chunk and sum it up anew, or no decoder would look at it; or move it."""
    chunks = list(chunks_of(data))
    if not data.startswith(b"\x89PNG") or not chunks:
        return overwrite(data, draw, files)
    others = [chunk for kind, file in files if kind == "PNG" for chunk in chunks_of(file)]
    for _ in range(draw.choice([1, 1, 2, 4])):
        at = draw.randrange(len(chunks))
        name, content = chunks[at]
        way = draw.randrange(5)
        if way == 0:
            chunks.insert(draw.randrange(len(chunks)), draw.choice(others))
        elif way == 1 and len(chunks) > 1:
            del chunks[at]
        elif way == 2:
            draw.shuffle(chunks)
        elif content:
            content = bytearray(content)
            draw.choice([flip_bits, cut, overwrite, set_number])(content, draw, files)
            chunks[at] = name, bytes(content)
    data[8:] = b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )
    return None


def rewrite_directory(data, draw, files):
    """Change entries of a TIFF's first directory: tag, type, count or value."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 8:
        return set_number(data, draw, files)
    start = struct.unpack_from(order + "I", data, 4)[0]
    if start + 2 > len(data):
        return set_number(data, draw, files)
    rows = struct.unpack_from(order + "H", data, start)[0]
    for _ in range(draw.choice([1, 2, 4])):
        at = start + 2 + 12 * draw.randrange(max(1, rows))
        if at + 12 > len(data):
            break
        row = list(struct.unpack_from(order + "HHII", data, at))
        column = draw.randrange(4)
        row[column] = draw.choice(
            [
                [256, 257, 258, 259, 262, 273, 277, 278, 284, 317, 322, 323, 338, 339, 34665],
                range(19),
                [0, 1, 2, 3, 4, 1000, 2**20, 2**31, 2**32 - 1],
                [0, 1, 2, 3, 5, 6, 7, 8, 32773, start, len(data), 2**31, 2**32 - 1],
            ][column]
        )
        struct.pack_into(order + "HHII", data, at, *row)
    return None


WAYS = [flip_bits, cut, overwrite, set_number, splice, repeat, drop]


def damaged(case, files):
    """Give the kind and the bytes of one case, a function of its number."""
    draw = random.Random(case)
    if draw.random() < 0.1:
        magic = draw.choice(MAGIC)
        return "magic", magic + draw.randbytes(draw.choice([0, 10, 200, 5000]))
    kind, content = draw.choice(files)
    data = bytearray(content)
    special = {"PNG": rearrange_chunks, "TIFF": rewrite_directory}.get(kind)
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        if data:
            way = special if special and draw.random() < 0.5 else draw.choice(WAYS)
            way(data, draw, files)
    return kind, bytes(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args()
    # so that what is accepted is small, and memory tells of what is not
    image_file.MAX_PIXELS = 2**20
    warnings.simplefilter("error")
    files = list(whole_files())
    adapts = [
        Preprocessing(shape, resize)
        for shape in ((8, 8), (8, 8, 3), (5, 9, 3), (64, 50, 3))
        for resize in ("pad", "crop", "stretch")
    ]
    pixels, refused, slowest = Counter(), Counter(), 0.0
    for case in range(options.first, options.first + options.count):
        kind, data = damaged(case, files)
        adapt = adapts[case % len(adapts)]
        faulthandler.dump_traceback_later(FILE_SECONDS, exit=True)
        started = time.perf_counter()
        try:
            found = adapt.pixels(EncodedImage(data, "damaged"))
        except ImageFileError as error:
            refused[kind] += 1
            lines = str(error).splitlines()
        except BaseException as error:
            raise AssertionError(f"case {case}, {kind}: {error!r}") from error
        else:
            assert (found.shape, found.dtype) == (adapt.shape, np.uint8), f"case {case}, {kind}"
            pixels[kind] += 1
            lines = [""]
        assert len(lines) == 1, f"case {case}, {kind}: {lines}"
        slowest = max(slowest, time.perf_counter() - started)
    faulthandler.cancel_dump_traceback_later()
    peak = peak_megabytes()
    assert peak < MEGABYTES, f"{peak} MB"
    report = "".join(
        f"{name} {sum(kinds.values())} {dict(kinds)}\n"
        for name, kinds in (("pixels", pixels), ("refused", refused))
    )
    sys.stdout.write(f"{report}slowest {1000 * slowest:.0f} ms, peak {peak:.0f} MB\n")


def test_damaged_files_give_pixels_or_one_error():
    done = subprocess.run(
        [sys.executable, __file__, "--count", str(COUNT)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=START_SECONDS + COUNT / CASES_A_SECOND,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    pixels, refused, _ = done.stdout.splitlines()
    for line in (pixels, refused):  # else the damage is too small or too great to test anything
        assert int(line.split()[1]) > COUNT / 10, done.stdout


def test_whole_files_give_pixels():
    """Or nothing would be learned from damaging them."""
    for kind, data in whole_files():
        found = Preprocessing((8, 8, 3)).pixels(EncodedImage(data, kind))
        assert found.shape == (8, 8, 3)
        assert len(np.unique(found)) > 2, kind


def test_cases_are_a_function_of_their_number():
    files = list(whole_files())
    assert [damaged(case, files) for case in range(50)] == [
        damaged(case, files) for case in range(50)
    ]
    assert len({damaged(case, files)[1] for case in range(50)}) == 50


if __name__ == "__main__":
    main()
