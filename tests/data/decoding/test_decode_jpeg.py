"""JPEGs are decoded at 1/2, 1/4 or 1/8 where that is enough: as if they had been decoded whole."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import EncodedImage, open_image

RULES = ["pad", "crop", "stretch"]


def scene(width, height, seed=0):
    """Slow waves and a few hard edges, different in each corner."""
    rng = np.random.default_rng(seed)
    cells = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    picture = np.asarray(cells.resize((width, height), Image.Resampling.BICUBIC)).copy()
    picture[: height // 4, : width // 3] = 250
    picture[-height // 5 :, -width // 4 :, 0] = 0
    return Image.fromarray(picture)


def photo(name, width, height, orientation=1, mode="RGB", **options):
    exif = Image.Exif()
    exif[0x112] = orientation
    options = {"quality": 90, **options}
    scene(width, height).convert(mode).save(name, exif=exif, **options)
    return Path(name)


@pytest.fixture
def drafts(monkeypatch):
    """What the decoder was asked for: mode and size."""
    asked = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def spy(self, mode, size):
        asked.append((mode, size))
        return draft(self, mode, size)

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spy)
    return asked


def apart(found, expected):
    return np.abs(found.astype(int) - expected.astype(int))


@pytest.mark.parametrize("resize", RULES)
@pytest.mark.parametrize("size", [(640, 480), (333, 777), (801, 601), (1601, 65)])
@pytest.mark.parametrize("shape", [(60, 60, 3), (31, 77, 3), (60, 40)])
def test_as_if_decoded_whole(size, shape, resize):
    path = photo("a.jpg", *size)
    adapt = Preprocessing(shape, resize)
    difference = apart(adapt.pixels(path), adapt.pixels(open_image(path)))
    assert difference.mean() < 1.6  # half a level over all of these cases
    assert np.percentile(difference, 95) < 5  # the rest is at hard edges


@pytest.mark.parametrize("resize", RULES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_and_smaller_sizes_together(orientation, resize):
    """The file is turned, the frame is not: which side must be large enough differs."""
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a),
    }[orientation]
    path = photo("turned.jpg", 400, 160, orientation)
    whole = np.asarray(open_image(path))
    for shape in ((30, 90, 3), (90, 30, 3), (40, 40, 3)):
        adapt = Preprocessing(shape, resize)
        expected = adapt.pixels(np.ascontiguousarray(turn(whole)))
        difference = apart(adapt.pixels(path), expected)
        assert difference.mean() < 1.6, shape
        assert np.percentile(difference, 98) < 16, shape


@pytest.mark.parametrize(
    ("size", "shape", "resize", "scale"),
    [
        ((640, 480), (320, 240, 3), "pad", 2),  # 640 becomes 240, 480 becomes 180
        ((640, 480), (480, 640, 3), "pad", 1),
        ((640, 480), (240, 320, 3), "pad", 2),
        ((640, 480), (241, 321, 3), "pad", 1),
        ((640, 480), (224, 224, 3), "crop", 2),
        ((640, 480), (241, 241, 3), "crop", 1),  # the short side fills the frame
        ((640, 480), (241, 241, 3), "pad", 2),
        ((640, 480), (241, 20, 3), "stretch", 1),  # one side is not halved
        ((640, 480), (120, 160, 3), "stretch", 4),
        ((640, 480), (60, 80, 3), "stretch", 8),
        ((640, 480), (6, 8, 3), "stretch", 8),  # there is no less
        ((480, 640), (6, 8, 3), "crop", 8),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_no_more_and_no_less_than_is_needed(size, shape, resize, scale, orientation, drafts):
    stored = size[::-1] if orientation == 6 else size
    path = photo("a.jpg", *stored, orientation)
    Preprocessing(shape, resize).pixels(path)
    assert drafts == ([(None, (stored[0] // scale, stored[1] // scale))] if scale > 1 else [])


@pytest.mark.parametrize("shape", [(51, 51, 3), (64, 90), (100, 100, 3), (150, 150)])
def test_less_than_halved_is_decoded_whole(shape, drafts):
    path = photo("a.jpg", 100, 100)
    adapt = Preprocessing(shape, "stretch")
    np.testing.assert_array_equal(adapt.pixels(path), adapt.pixels(open_image(path)))
    assert drafts == []


def test_a_last_column_that_is_not_whole():
    """1/8 of 2001 columns are 250.125; were they taken for 251, an edge at the right would move."""
    for edge in (1900, 1950, 1990):
        picture = np.zeros((64, 2001), np.uint8)
        picture[:, edge:] = 200
        Image.fromarray(picture).save("edge.jpg", quality=95)
        adapt = Preprocessing((8, 125), "stretch")
        difference = apart(adapt.pixels("edge.jpg"), adapt.pixels(open_image("edge.jpg")))
        assert difference.max() < 25, edge  # 60 to 80 otherwise


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 100}])
def test_kinds_of_jpeg(options, drafts):
    path = photo("a.jpg", 320, 240, **options)
    adapt = Preprocessing((60, 80, 3))
    assert apart(adapt.pixels(path), adapt.pixels(open_image(path))).mean() < 1
    assert drafts


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("shape", [(60, 80), (60, 80, 3)])
def test_modes_of_jpeg(mode, shape, drafts):
    path = photo("a.jpg", 320, 240, mode=mode)
    adapt = Preprocessing(shape)
    assert apart(adapt.pixels(path), adapt.pixels(open_image(path))).mean() < 1
    assert drafts == [(None, (80, 60))]


def test_gray_models_need_no_colours(drafts):
    """The luminance in the file is that of ITU-R 601, as in `test_gray_from_colour_and_back`."""
    path = photo("a.jpg", 320, 240)
    adapt = Preprocessing((60, 80))
    assert apart(adapt.pixels(path), adapt.pixels(open_image(path))).mean() < 1
    assert drafts == [("L", (80, 60))]


@pytest.mark.parametrize("resize", RULES)
def test_the_same_file_gives_the_same_bits_everywhere(resize):
    """In training, at the command line, in a server: from a path or from bytes."""
    path = photo("a.jpg", 641, 479, 6)
    data = path.read_bytes()
    for shape in ((40, 50, 3), (100, 100), (640, 480, 3)):
        adapt = Preprocessing(shape, resize)
        found = adapt.pixels(path)
        np.testing.assert_array_equal(adapt.pixels(EncodedImage(data, "upload")), found)
        np.testing.assert_array_equal(adapt.pixels(str(path)), found)


def test_many_threads():
    """Same pixels, no warning, no filter left behind, though others change filters meanwhile."""
    paths = [photo(f"{n}.jpg", 200 + n, 150, 1 + n % 8) for n in range(8)]
    for n in range(8):
        picture = scene(60, 40, n)
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x0e\0\2\0\0\0\x40\0\0\xff\xff\0\0\0\0"
        picture.save(f"{n}.png", exif=exif)  # Pillow warns of this block
        paths.append(Path(f"{n}.png"))
    adapt = Preprocessing((30, 40, 3))
    expected = [adapt.pixels(path) for path in paths]
    before = list(warnings.filters)

    def disturb(n):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if n % 2 else "always")

    with ThreadPoolExecutor(8) as pool:
        found = [pool.submit(adapt.pixels, path) for path in paths * 8]
        for n in range(50):
            disturb(n)
        for result, right in zip(found, expected * 8, strict=True):
            np.testing.assert_array_equal(result.result(), right)
    adapt.pixels(paths[-1])
    assert list(warnings.filters) == before
    with pytest.warns(UserWarning, match="270|EXIF"), Image.open(paths[-1]) as picture:
        picture.getexif()  # Pillow's warnings are silenced while we decode, not for good
