import gc
import io
import os
import random
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from twinset.data.decoding import image_file
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import open_image
from twinset.errors import DataError, ImageFileError

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 4), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 4, 3), dtype=np.uint8)
COLOURS = (6, 4, 3)


def saved(name, picture, **options):
    """Save pixels or a PIL image, and give its path."""
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(name, **options)
    return Path(name)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, rows, *, depth=8, colour=0, extra=b""):
    """A PNG file by hand, which may promise what it does not hold."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


# --- sizes and proportions


@pytest.mark.parametrize("pixels", [GRAY, COLOUR], ids=["gray", "colour"])
@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_pixels_of_the_right_size_are_not_touched(pixels, resize):
    adapt = Preprocessing(pixels.shape, resize, background=7)
    for source in (pixels, Image.fromarray(pixels), saved("exact.png", pixels)):
        found = adapt.pixels(source)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, pixels)


def test_any_kind_of_path():
    class Somewhere:
        def __fspath__(self):
            return "exact.png"

    saved("exact.png", GRAY)
    for path in ("exact.png", Path("exact.png"), Path("exact.png").resolve(), Somewhere()):
        np.testing.assert_array_equal(Preprocessing((6, 4)).pixels(path), GRAY)


@pytest.mark.parametrize("name", ["with space.png", "ünï.png", "😀.png", "#%41?*.png", "-o.png"])
def test_any_name(name):
    np.testing.assert_array_equal(Preprocessing((6, 4)).pixels(saved(name, GRAY)), GRAY)


def test_the_suffix_does_not_matter():
    saved("picture.png", GRAY).rename("picture.txt")
    np.testing.assert_array_equal(Preprocessing((6, 4)).pixels("picture.txt"), GRAY)


@pytest.mark.parametrize(
    ("size", "rows", "columns"),
    [
        ((2, 4), slice(2, 6), slice(0, 8)),  # wide: bars above and below
        ((4, 2), slice(0, 8), slice(2, 6)),  # high: bars on both sides
        ((16, 8), slice(0, 8), slice(2, 6)),  # made smaller
        ((3, 3), slice(0, 8), slice(0, 8)),  # a square needs no bars
        ((1, 1), slice(0, 8), slice(0, 8)),
    ],
)
@pytest.mark.parametrize("background", [0, 99, 255])
def test_pad_keeps_proportions(size, rows, columns, background):
    expected = np.full((8, 8), background)
    expected[rows, columns] = 200
    gray = Preprocessing((8, 8), background=background).pixels(np.full(size, 200, np.uint8))
    np.testing.assert_array_equal(gray, expected)
    colour = Preprocessing((8, 8, 3), background=background).pixels(np.full(size, 200, np.uint8))
    np.testing.assert_array_equal(colour, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize("size", [(2, 4), (4, 2), (1, 1), (1, 1000), (1000, 1)])
def test_stretch_fills_the_frame(size):
    found = Preprocessing((8, 8), "stretch", background=0).pixels(np.full(size, 200, np.uint8))
    np.testing.assert_array_equal(found, np.full((8, 8), 200))


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((4, 8), [[2, 3, 4, 5]] * 4),
        ((4, 7), [[1, 2, 3, 4]] * 4),  # an odd overhang: see below
        ((4, 4), [[0, 1, 2, 3]] * 4),
    ],
)
def test_crop_cuts_both_sides_alike(size, expected):
    ramp = np.tile(np.arange(size[1], dtype=np.uint8), (size[0], 1))
    if size == (4, 7):  # half a pixel of either side: between its neighbours
        found = Preprocessing((4, 4), "crop").pixels(ramp * 10)
        np.testing.assert_array_equal(found, [[15, 25, 35, 45]] * 4)
        return
    np.testing.assert_array_equal(Preprocessing((4, 4), "crop").pixels(ramp), expected)
    turned = Preprocessing((4, 4), "crop").pixels(np.ascontiguousarray(ramp.T))
    np.testing.assert_array_equal(turned, np.transpose(expected))


@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    resize=st.sampled_from(["pad", "crop", "stretch"]),
    channels=st.sampled_from([(), (3,)]),
)
def test_any_size_becomes_any_other(size, shape, resize, channels):
    """A picture of one level stays so; only "pad" shows the background."""
    found = Preprocessing(shape + channels, resize, 7).pixels(np.full(size, 200, np.uint8))
    assert (found.shape, found.dtype) == (shape + channels, np.uint8)
    assert set(np.unique(found)) <= ({200, 7} if resize == "pad" else {200})
    assert 200 in found


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("size", [(100, 40), (40, 100), (45, 91), (20, 20)])
def test_mirrored_pictures_give_mirrored_pixels(resize, size):
    picture = smooth(size)
    adapt = Preprocessing((20, 20), resize)
    found = adapt.pixels(picture).astype(int)
    for axes in (0, 1, (0, 1)):
        mirrored = adapt.pixels(np.ascontiguousarray(np.flip(picture, axes)))
        np.testing.assert_allclose(np.flip(mirrored, axes), found, atol=2)
    np.testing.assert_allclose(adapt.pixels(np.ascontiguousarray(picture.T)).T, found, atol=2)


def smooth(size):
    """A picture of slow waves."""
    rows, columns = (np.linspace(0, 5, side) for side in size)
    waves = 120 + 60 * np.sin(rows)[:, None] + 60 * np.cos(1.3 * columns)
    return waves.astype(np.uint8)


@pytest.mark.parametrize("resize", ["pad", "crop", "stretch"])
def test_shrinking_averages(resize):
    """Against the mean of the pixels that become one, on a picture of slow waves."""
    picture = smooth((320, 320))
    expected = picture.reshape(16, 20, 16, 20).mean(axis=(1, 3))
    np.testing.assert_allclose(Preprocessing((16, 16), resize).pixels(picture), expected, atol=3)


def test_both_ways_of_resizing_keep_left_left_and_top_top():
    picture = np.zeros((4, 8), np.uint8)
    picture[:2, :4] = 255
    stretched = Preprocessing((8, 8), "stretch").pixels(picture)
    assert stretched[:3, :3].min() > 250
    assert max(stretched[5:].max(), stretched[:, 5:].max()) < 5
    padded = Preprocessing((16, 16)).pixels(picture)
    assert padded[5:7, :7].min() > 250
    assert max(padded[:3].max(), padded[10:].max(), padded[:, 10:].max()) < 5


@pytest.mark.parametrize(
    ("size", "bright"),
    [
        ((1, 9), (1, 4)),
        ((9, 1), (4, 1)),
        ((1, 10_000), (1, 4)),
        ((10_000, 1), (4, 1)),
    ],
)
def test_a_line_stays_visible(size, bright):
    """However thin a padded picture becomes, one row or column of it is left."""
    found = Preprocessing((4, 4)).pixels(np.full(size, 200, np.uint8))
    lit = found == 200
    assert (int(lit.any(axis=1).sum()), int(lit.any(axis=0).sum())) == bright
    assert set(np.unique(found)) == {0, 200}


def test_one_pixel_models():
    assert Preprocessing((1, 1)).pixels(np.full((5, 5), 200, np.uint8)).tolist() == [[200]]
    assert Preprocessing((1, 1, 3)).pixels(np.full((1, 1), 9, np.uint8)).tolist() == [[[9, 9, 9]]]


def test_arrays_in_any_memory_order():
    twice = np.repeat(np.repeat(GRAY, 2, axis=0), 2, axis=1)
    adapt = Preprocessing((6, 4))
    for view in (twice[::2, ::2], np.asfortranarray(GRAY), GRAY[::-1][::-1]):
        np.testing.assert_array_equal(adapt.pixels(view), GRAY)


def test_what_comes_in_stays_as_it_was():
    array = RNG.integers(0, 256, (5, 5, 4), dtype=np.uint8)
    before = array.copy()
    picture = Image.fromarray(before)
    picture.getexif()[0x112] = 6
    Preprocessing((3, 3), background=9).pixels(array)
    Preprocessing((3, 3), background=9).pixels(picture)
    np.testing.assert_array_equal(array, before)
    np.testing.assert_array_equal(np.asarray(picture), before)
    assert picture.getexif()[0x112] == 6


# --- orientation, transparency, colour, depth, frames

UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp", "several pages.tiff"])
def test_exif_orientation(orientation, kind):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    if kind.startswith("several"):
        options = {"save_all": True, "append_images": [Image.fromarray(COLOUR[::-1])]}
    path = saved(f"turned.{kind}", COLOUR, exif=exif, **options)
    expected = UPRIGHT[orientation](COLOUR)
    np.testing.assert_array_equal(Preprocessing(expected.shape).pixels(path), expected)


def test_exif_orientation_of_a_photo():
    """JPEG loses a little, so the picture is coarse."""
    coarse = np.kron(np.uint8([[0, 80], [160, 240]]), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x112] = 6
    found = Preprocessing((32, 32)).pixels(saved("photo.jpg", coarse, exif=exif, quality=95))
    np.testing.assert_allclose(found[8::16, 8::16], [[160, 0], [240, 80]], atol=4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = saved("odd.png", GRAY, exif=exif)
    np.testing.assert_array_equal(Preprocessing((6, 4)).pixels(path), GRAY)


@pytest.mark.parametrize(
    "exif",
    [
        b"no EXIF at all",
        b"Exif\0\0MM",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0e\0\2\0\0\0\x40\0\0\xff\xff\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_broken_exif_block_does_not_cost_the_picture(kind, exif):
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(f"broken.{kind}", COLOUR, exif=exif, **options)
    np.testing.assert_array_equal(Preprocessing(COLOURS).pixels(path), COLOUR)


def test_transparency_lies_over_the_background():
    """Half of 200 over half of the background: 200·128/255 + background·127/255."""
    pixels = np.uint8([[[200, 200, 200, alpha] for alpha in (255, 128, 0)]])
    rgba, la = Image.fromarray(pixels), Image.fromarray(pixels).convert("LA")
    for background, half in ((0, 100), (255, 227)):
        adapt = Preprocessing((1, 3), background=background)
        for source in (pixels, rgba, saved("rgba.png", rgba), la, saved("la.png", la)):
            assert adapt.pixels(source).tolist() == [[200, pytest.approx(half, abs=1), background]]
    colour = Preprocessing((1, 3, 3), background=255).pixels(
        saved("rgba.webp", rgba, lossless=True)
    )
    assert colour[0, 2].tolist() == [255, 255, 255]
    assert colour[0, 0].tolist() == [200, 200, 200]


def test_transparent_palettes():
    picture = Image.fromarray(np.uint8([[0, 1, 2]]), "P")
    picture.putpalette([50, 50, 50, 100, 100, 100, 200, 200, 200])
    adapt = Preprocessing((1, 3), background=9)
    assert adapt.pixels(saved("opaque.png", picture)).tolist() == [[50, 100, 200]]
    one = saved("one.png", picture, transparency=1)
    assert adapt.pixels(one).tolist() == [[50, 9, 200]]
    assert adapt.pixels(saved("one.gif", picture, transparency=1)).tolist() == [[50, 9, 200]]
    several = saved("several.png", picture, transparency=bytes([255, 0, 0]))
    assert adapt.pixels(several).tolist() == [[50, 9, 9]]


def test_a_transparent_colour():
    two = np.uint8([[[10, 20, 30], [200, 200, 200]]])
    path = saved("key.png", two, transparency=(10, 20, 30))
    assert Preprocessing((1, 2), background=255).pixels(path).tolist() == [[255, 200]]
    Path("gray.png").write_bytes(png(2, 1, b"\0\x0a\xc8", extra=chunk(b"tRNS", b"\0\x0a")))
    assert Preprocessing((1, 2), background=255).pixels("gray.png").tolist() == [[255, 200]]


def test_a_transparent_gray_of_16_bits():
    rows = b"\0" + struct.pack(">3H", 2570, 2571, 51400)
    key = chunk(b"tRNS", struct.pack(">H", 2570))
    Path("deep.png").write_bytes(png(3, 1, rows, depth=16, extra=key))
    found = Preprocessing((1, 3), background=255).pixels("deep.png")
    assert found.tolist() == [[255, 10, 200]]


def test_gray_from_colour_and_back():
    """ITU-R 601: 0.299 R + 0.587 G + 0.114 B."""
    primaries = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [7, 7, 7]]])
    path = saved("primaries.png", primaries)
    assert Preprocessing((1, 5)).pixels(path).tolist() == [[76, 150, 29, 255, 7]]
    np.testing.assert_array_equal(Preprocessing((1, 5, 3)).pixels(path), primaries)
    gray = saved("gray.png", GRAY)
    np.testing.assert_array_equal(Preprocessing(COLOURS).pixels(gray), np.stack([GRAY] * 3, axis=2))


def test_cmyk():
    inks = np.uint8([[[0, 0, 0, 0], [0, 255, 255, 0], [0, 0, 0, 255], [255, 255, 255, 255]]])
    path = saved("inks.tiff", Image.frombytes("CMYK", (4, 1), inks.tobytes()))
    colours = [[255, 255, 255], [255, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert Preprocessing((1, 4, 3)).pixels(path).tolist() == [colours]
    white = saved("white.jpg", Image.new("CMYK", (8, 8)), quality=95)
    assert Preprocessing((8, 8)).pixels(white).min() >= 253


def test_a_transparent_gray_of_a_palette_over_the_background():
    picture = Image.fromarray(np.uint8([[0, 1]]), "P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    path = saved("half.png", picture, transparency=bytes([255, 128]))
    found = Preprocessing((1, 2, 3), background=100).pixels(path)
    np.testing.assert_allclose(found, [[[0, 0, 0], [178, 50, 50]]], atol=1)


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_an_opaque_alpha_channel_changes_nothing(kind):
    opaque = np.dstack([COLOUR, np.full(COLOUR.shape[:2], 255, np.uint8)])
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(f"opaque.{kind}", opaque, **options)
    np.testing.assert_array_equal(Preprocessing(COLOURS, background=9).pixels(path), COLOUR)


def test_ycbcr_of_a_tiff():
    """ITU-R 601: red is (76, 85, 255), gray has 128 twice."""
    ycc = np.uint8([[[76, 85, 255], [200, 128, 128], [0, 128, 128]]])
    path = saved("ycc.tiff", Image.frombytes("YCbCr", (3, 1), ycc.tobytes()))
    found = Preprocessing((1, 3, 3)).pixels(path)
    np.testing.assert_allclose(found, [[[254, 0, 0], [200, 200, 200], [0, 0, 0]]], atol=1)
    assert Preprocessing((1, 3)).pixels(path).tolist() == [[76, 200, 0]]


def test_lab_of_a_tiff():
    """CIE 1976: L* of 53.6 of 100 is middle gray, a* and b* of 128 are none."""
    lightness, none = (Image.fromarray(np.uint8([row])) for row in ([0, 137, 255], [128] * 3))
    path = saved("lab.tiff", Image.merge("LAB", (lightness, none, none)))
    found = Preprocessing((1, 3, 3)).pixels(path)
    np.testing.assert_allclose(found, [[[0] * 3, [128] * 3, [255] * 3]], atol=2)


def test_thirty_two_bits_of_gray():
    """Beyond 16 bits they are clipped: there is no telling what is white."""
    picture = Image.fromarray(np.int32([[-5, 0, 257, 65535, 70_000, 2**31 - 1]]))
    path = saved("deep.tiff", picture)
    assert Preprocessing((1, 6)).pixels(path).tolist() == [[0, 0, 1, 255, 255, 255]]


def test_every_sixteen_bit_gray():
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    expected = (every / 257).round()
    np.testing.assert_array_equal(
        Preprocessing((256, 256)).pixels(saved("all.png", every)), expected
    )


def test_avif():
    if "avif" not in features.get_supported():
        pytest.skip("this Pillow reads no AVIF")
    coarse = np.kron(np.uint8([[0, 80], [160, 240]]), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x112] = 6
    found = Preprocessing((32, 32)).pixels(saved("photo.avif", coarse, exif=exif, quality=95))
    np.testing.assert_allclose(found[8::16, 8::16], [[160, 0], [240, 80]], atol=4)


def test_several_photos_in_one_file():
    """MPO: a JPEG with more of them behind it, as cameras and telephones write."""
    frames = [Image.new("RGB", (64, 48), (level,) * 3) for level in (50, 200)]
    path = saved("two.mpo", frames[0], save_all=True, append_images=frames[1:])
    with Image.open(path) as film:
        assert (film.format, film.n_frames) == ("MPO", 2)
    for shape in ((48, 64), (6, 8)):
        assert np.unique(Preprocessing(shape).pixels(path)).tolist() == [50]


def test_one_bit():
    bits = np.array([[True, False, True]])
    for name in ("bits.png", "bits.tiff", "bits.bmp"):
        path = saved(name, Image.fromarray(bits))
        assert Preprocessing((1, 3)).pixels(path).tolist() == [[255, 0, 255]]


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV", "RGBX", "PA", "RGBa", "I;16B"])
@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 3)])
def test_rare_modes(mode, shape):
    found = Preprocessing(shape).pixels(Image.new(mode, (2, 3)))
    assert (found.shape, found.dtype) == (shape, np.uint8)


@pytest.mark.parametrize("shape", [(3, 2), (3, 2, 3)])
def test_a_lab_file(shape):
    path = saved("lab.tiff", Image.new("LAB", (2, 3), (255, 128, 128)))
    assert Preprocessing(shape).pixels(path).min() >= 250


def test_sixteen_bits_are_scaled_not_clipped():
    """65535 / 257 = 255: the 8-bit value v is v·257 in 16 bits."""
    deep = np.uint16([[0, 257, 128 * 257, 65535, 128, 129]])
    for name in ("deep.png", "deep.tiff"):
        path = saved(name, deep)
        assert Preprocessing((1, 6)).pixels(path).tolist() == [[0, 1, 128, 255, 0, 1]]
        assert Preprocessing((1, 6, 3)).pixels(path)[0, 3].tolist() == [255, 255, 255]
    big_endian = Image.frombytes("I;16B", (6, 1), deep.astype(">u2").tobytes())
    assert Preprocessing((1, 6)).pixels(big_endian).tolist() == [[0, 1, 128, 255, 0, 1]]


def test_sixteen_bits_of_colour():
    rows = b"\0" + struct.pack(">6H", 0, 32896, 65535, 65535, 257, 0)
    Path("deep.png").write_bytes(png(2, 1, rows, depth=16, colour=2))
    assert Preprocessing((1, 2, 3)).pixels("deep.png").tolist() == [[[0, 128, 255], [255, 1, 0]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 0.5, 1, 0.25], [0, 128, 255, 64]),  # 127.5 and 63.75 are rounded
        ([0, 0, 0, 0], [0, 0, 0, 0]),
        ([-0.5, 0, 1, np.nan], [0, 0, 255, 0]),
        ([0, 1, 100, 255], [0, 1, 100, 255]),  # beyond 1: a range of 0 to 255
        ([-3, 2, 300, np.inf], [0, 2, 255, 255]),
        ([-np.inf, 0, 0.5, 1], [0, 0, 128, 255]),
        ([np.inf, 0, 0.5, 1], [255, 0, 128, 255]),
        ([-9999, 0, 0.5, 1], [0, 0, 128, 255]),  # a mark for what is missing
        ([np.nan, np.nan, np.nan, np.nan], [0, 0, 0, 0]),
    ],
)
def test_floats(values, expected):
    path = saved("float.tiff", np.float32([values]))
    assert Preprocessing((1, 4)).pixels(path).tolist() == [expected]


def test_floats_that_are_no_gray_levels_are_refused():
    """Such as heights in metres, or a CT: clipped they would be all white."""
    path = saved("float.tiff", np.float32([[-1024, 12, 3071]]))
    with pytest.raises(
        DataError,
        match=r"float.tiff: Expected floats .* 3071: scale them, or save",
    ):
        Preprocessing((1, 3)).pixels(path)


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_counts(kind):
    frames = [Image.fromarray(np.full((6, 4, 3), level, np.uint8)) for level in (50, 100, 200)]
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(f"film.{kind}", frames[0], save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as film:
        assert film.n_frames == 3
    assert np.unique(Preprocessing((6, 4)).pixels(path)).tolist() == [50]


# --- what is refused


def refused(path):
    """The message of the ImageFileError, which must be one line that names the file."""
    with pytest.raises(ImageFileError, match=r"expected ") as caught:
        Preprocessing((4, 4)).pixels(path)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    assert "Received" in message or message.startswith(f"{path}: expected an image file. "), message
    return message


def test_missing_files():
    assert refused("none.png") == "none.png: expected an image file. No such file or directory."
    saved("a.png", GRAY)
    assert refused("a.png/b.png") == "a.png/b.png: expected an image file. Not a directory."
    Path("loop.png").symlink_to("loop.png")
    assert refused("loop.png").startswith("loop.png: expected an image file. Too many levels")
    assert refused("x" * 300 + ".png").endswith("expected an image file. File name too long.")
    assert "expected an image file. embedded null byte" in refused("nul\0.png")


def test_folders_devices_and_pipes():
    Path("folder.png").mkdir()
    os.mkfifo("pipe.png")
    for path in ("folder.png", "", ".", "pipe.png", "/dev/null"):
        assert refused(path).endswith("expected an image file. Received a folder or a device.")


def test_an_empty_file():
    Path("empty.png").touch()
    assert refused("empty.png") == "empty.png: expected an image file. Received an empty file."


@pytest.mark.parametrize(
    "content",
    [b"a", b"\0" * 100, b"just text\n" * 50, b"\x89PNG\r\n\x1a"],
)
def test_what_is_no_image(content):
    Path("text.png").write_bytes(content)
    assert refused("text.png") == (
        "text.png: expected an image (PNG, JPEG, GIF, TIFF, WebP, …). Received something else."
    )


@pytest.mark.parametrize("kind", ["png", "jpg", "tiff", "webp", "bmp", "gif"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_truncated_files(kind, share):
    pixels = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = saved(f"whole.{kind}", pixels)
    content = path.read_bytes()
    Path(f"half.{kind}").write_bytes(content[: int(len(content) * share)])
    message = refused(f"half.{kind}")
    assert message.startswith((f"half.{kind}: expected a whole image", f"half.{kind}: expected an"))
    if kind in ("png", "jpg"):
        assert f"half.{kind}: expected a whole image. Received a damaged one (" in message


def test_too_many_bytes(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", 2**20)
    path = saved("large.png", GRAY)
    os.truncate(path, 2**20)
    np.testing.assert_array_equal(Preprocessing((6, 4)).pixels(path), GRAY)
    os.truncate(path, 3 * 2**20)
    assert refused(path) == (
        "large.png: expected at most 1 MiB. Received 3 MiB: scale the image down first."
    )


def test_too_many_pixels(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 24)
    np.testing.assert_array_equal(Preprocessing((6, 4)).pixels(saved("a.png", GRAY)), GRAY)
    monkeypatch.setattr(image_file, "MAX_PIXELS", 23)
    message = refused("a.png")
    assert message.endswith("million pixels. Received 4 x 6: scale the image down first.")


@pytest.mark.parametrize(
    ("width", "height", "words"),
    [
        (60_000, 60_000, "Received far more"),
        (2**31 - 1, 2**31 - 1, "Received far more"),
        (9_000, 9_000, "Received 9000 x 9000"),
        (2**27, 1, "Received 134217728 x 1"),
    ],
)
def test_decompression_bombs(width, height, words):
    Path("bomb.png").write_bytes(png(width, height, b"\0" * 1000))
    started = time.perf_counter()
    message = refused("bomb.png")
    assert time.perf_counter() - started < 1
    assert message.startswith(f"bomb.png: expected at most 67 million pixels. {words}")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.float32),
        np.zeros((4, 4), bool),
        np.zeros((4, 4), np.uint16),
        np.zeros(4, np.uint8),
        np.zeros((4, 4, 1), np.uint8),
        np.zeros((2, 4, 4, 3), np.uint8),
        np.zeros((0, 4), np.uint8),
        np.array(7, np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_image(array):
    with pytest.raises(DataError, match=r"Expected an image as uint8 .*Received \w+ of shape \("):
        Preprocessing((4, 4)).pixels(array)


@pytest.mark.parametrize("thing", [None, 5, [[1, 2], [3, 4]], b"a.png"])
def test_things_that_are_no_image(thing):
    with pytest.raises(DataError, match=f"Expected an image.*Received {type(thing).__name__}"):
        Preprocessing((4, 4)).pixels(thing)


@pytest.mark.parametrize("mode", ["L", "RGBA", "F"])
def test_pictures_without_pixels(mode):
    with pytest.raises(DataError, match=r"Expected an image.*Received .*0 x 5"):
        Preprocessing((4, 4)).pixels(Image.new(mode, (0, 5)))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((4,),), r"Expected a shape \(h, w\) or \(h, w, 3\). Received \(4,\)"),
        (((),), r"Expected a shape .*Received \(\)"),
        (((0, 4),), r"Expected a shape .*Received \(0, 4\)"),
        (((4, -1),), r"Expected a shape .*Received \(4, -1\)"),
        (((4, 4, 1),), r"Expected a shape .*Received \(4, 4, 1\)"),
        (((4, 4, 4),), r"Expected a shape .*Received \(4, 4, 4\)"),
        (((1, 4, 4, 3),), r"Expected a shape .*Received \(1, 4, 4, 3\)"),
        (((4.5, 4),), r"Expected a shape .*Received \(4.5, 4\)"),
        (("44",), "Expected a shape .*Received '?44"),
        ((None,), "Expected a shape .*Received None"),
        (((4, 4), "fit"), "Expected resize 'pad', 'crop' or 'stretch'. Received 'fit'"),
        (((4, 4), None), "Expected resize 'pad', 'crop' or 'stretch'. Received None"),
        (((4, 4), "pad", -1), "Expected a background from 0 to 255. Received -1"),
        (((4, 4), "pad", 256), "Expected a background from 0 to 255. Received 256"),
        (((4, 4), "pad", 12.5), "Expected a background from 0 to 255. Received 12.5"),
        (((4, 4), "pad", "white"), "Expected a background from 0 to 255. Received '?white"),
        (((4, 4), "pad", None), "Expected a background from 0 to 255. Received None"),
    ],
)
def test_preprocessing_checks_its_arguments(arguments, words):
    with pytest.raises(DataError, match=words):
        Preprocessing(*arguments)


def test_preprocessing_is_a_value():
    """Shapes from JSON are lists, from numpy they hold numpy's integers."""
    assert Preprocessing([4, 5]) == Preprocessing((np.int64(4), 5)) == Preprocessing((4, 5))
    assert len({Preprocessing((4, 5)), Preprocessing([4, 5]), Preprocessing((4, 5), "pad", 1)}) == 2
    with pytest.raises(AttributeError, match="cannot assign"):
        Preprocessing((4, 5)).background = 1


# --- files are closed, and any bytes are survived


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tiff", "webp"])
@pytest.mark.parametrize("frames", [1, 3])
def test_files_are_closed(kind, frames):
    pages = [Image.fromarray(COLOUR)] * frames
    several = {"save_all": True, "append_images": pages[1:]} if kind != "jpg" else {}
    path = saved(f"a.{kind}", pages[0], **several)
    Path(f"b.{kind}").write_bytes(path.read_bytes()[:-20])
    gc.collect()
    gc.disable()
    try:
        before = descriptors()
        picture = open_image(path)
        try:
            open_image(f"b.{kind}")
        except ImageFileError as error:
            assert "b." in str(error)  # noqa: PT017 - some decoders read on without the end
        assert descriptors() == before
    finally:
        gc.enable()
    path.unlink()
    assert np.asarray(picture).shape[:2] == (6, 4), "the pixels must outlive their file"


def samples():
    """Small files of the common kinds, with and without all that a decoder may stumble over."""
    picture = Image.fromarray(RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    glass = picture.copy()
    glass.putalpha(picture.convert("L"))
    exif = Image.Exif()
    exif[0x112], exif[0x10E], exif[0x11A] = 6, "what is seen", 72.0
    film = {"save_all": True, "append_images": [picture.rotate(90), picture.rotate(180)]}
    wanted = [
        ("PNG", picture, {"exif": exif}),
        ("PNG", picture, film),
        ("PNG", picture.convert("P"), {"transparency": 3}),
        ("PNG", Image.fromarray(RNG.integers(0, 2**16, (9, 7)).astype(np.uint16)), {}),
        ("JPEG", picture, {"exif": exif}),
        ("JPEG", picture.convert("CMYK"), {"progressive": True}),
        ("GIF", picture, film),
        ("TIFF", picture, {"exif": exif}),
        ("TIFF", picture.convert("F"), {}),
        ("TIFF", picture, film),
    ]
    if features.check("libtiff"):
        wanted += [
            ("TIFF", picture, {"compression": "tiff_lzw"}),
            ("TIFF", picture.convert("1"), {"compression": "group4"}),
        ]
    if features.check("webp"):
        wanted += [("WEBP", picture, {"exif": exif}), ("WEBP", glass, {"lossless": True, **film})]
    for kind, image, options in wanted:
        file = io.BytesIO()
        image.save(file, kind, **options)
        yield kind, file.getvalue()


def damaged(content, draw):
    """Cut, or change some bytes: headers and EXIF more often than pixels."""
    data = bytearray(content)
    if draw.random() < 0.3:
        return data[: draw.randrange(len(data))]
    for _ in range(draw.choice([1, 2, 5, 20])):
        reach = min(len(data), draw.choice([40, 150, len(data)]))
        data[draw.randrange(reach)] = draw.choice([0, 1, 0x80, 255, draw.randrange(256)])
    return data


def test_damaged_files_give_pixels_or_one_error():
    """Nothing else: no other exception, no warning."""
    draw = random.Random(0)
    adapt = {shape: Preprocessing(shape) for shape in ((8, 8), (8, 8, 3))}
    outcomes = {"pixels": 0, "refused": 0}
    for kind, content in samples():
        for case in range(40):
            data = bytes(damaged(content, draw))
            Path("damaged").write_bytes(data)
            shape = draw.choice(list(adapt))
            try:
                found = adapt[shape].pixels("damaged")
            except ImageFileError:
                outcomes["refused"] += 1
            except Exception as error:  # noqa: BLE001 - any other is what is looked for
                pytest.fail(f"{kind}, case {case}: {error!r}")
            else:
                assert (found.shape, found.dtype) == (shape, np.uint8)
                outcomes["pixels"] += 1
    assert min(outcomes.values()) > 50, outcomes


def test_damaged_exif_gives_pixels_or_one_error():
    draw = random.Random(0)
    exif = Image.Exif()
    exif[0x112], exif[0x10E], exif[0x11A] = 6, "what is seen", 72.0
    adapt = Preprocessing((8, 8))
    for case in range(150):
        path = saved(f"{case}.png", COLOUR, exif=bytes(damaged(exif.tobytes(), draw)) or b"\0")
        try:
            assert adapt.pixels(path).shape == (8, 8)
        except ImageFileError:
            continue
        except Exception as error:  # noqa: BLE001 - any other is what is looked for
            pytest.fail(f"case {case}: {error!r}")


@pytest.mark.parametrize("size", [(90, 60), (50, 41), (99, 70)])
def test_shrinking_keeps_the_detail(size):
    """As much of it as the sharpest kernel, where a triangle loses a sixth."""
    rng = np.random.default_rng(0)
    cells = Image.fromarray(rng.integers(0, 256, (70, 100), dtype=np.uint8))
    picture = cells.resize((200, 140), Image.Resampling.BICUBIC)

    def detail(pixels):
        return np.abs(np.diff(np.asarray(pixels, float), axis=1)).mean()

    best = picture.resize(size, Image.Resampling.LANCZOS)
    ours = Preprocessing(size[::-1], "stretch").pixels(picture)
    assert detail(ours) > 0.85 * detail(best)
    triangle = picture.resize(size, Image.Resampling.BILINEAR)
    assert detail(triangle) < 0.8 * detail(best), "the picture must have detail to lose"
