import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from twinset.data.decoding import image_file
from twinset.data.decoding.decode import Preprocessing
from twinset.data.decoding.image_file import (
    EncodedImage,
    open_image,
    probe,
    probe_encoded,
)
from twinset.errors import ImageFileError

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
KINDS = ["png", "jpg", "gif", "tiff", "webp", "bmp", "ppm"]
KINDS += ["avif"] if "avif" in features.get_supported() else []


def saved(name, picture=COLOUR, **options):
    Image.fromarray(picture).save(name, **options)
    return Path(name)


# --- bytes and files alike


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_give_what_the_file_gives(kind):
    path = saved(f"a.{kind}")
    adapt = Preprocessing((3, 3, 3))
    cell = EncodedImage(path.read_bytes(), "a cell")
    np.testing.assert_array_equal(adapt.pixels(cell), adapt.pixels(path))


def test_messages_name_the_bytes():
    for data, words in (
        (b"", "row 7: expected an image file. Received an empty file."),
        (b"text", "row 7: expected an image .*Received something else"),
        (saved("a.png").read_bytes()[:-40], "row 7: expected a whole image. Received a damaged"),
        (bytes(65 * 2**20), "row 7: expected at most 64 MiB. Received 65 MiB"),
    ):
        with pytest.raises(ImageFileError, match=words):
            Preprocessing((3, 3)).pixels(EncodedImage(data, "row 7"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC or the like, as phones take it: convert"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000: convert it"),
        (bytes(128) + b"DICM" + bytes(9), "DICOM: convert it"),
        (b"<!DOCTYPE html>\n<title>Not found", "text, such as a page of the Web"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a pointer of Git LFS"),
    ],
)
def test_what_is_no_image_is_told(data, words):
    with pytest.raises(ImageFileError, match=f"row 7: expected an image .* Received {words}"):
        Preprocessing((3, 3)).pixels(EncodedImage(data, "row 7"))


def test_a_tiff_of_many_channels_is_told():
    stored = io.BytesIO()
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(stored, "TIFF")
    # the number of samples for each pixel, in the directory's entry of it
    data = stored.getvalue().replace(
        struct.pack("<HHIH", 277, 3, 1, 3), struct.pack("<HHIH", 277, 3, 1, 13)
    )
    assert data != stored.getvalue()
    with pytest.raises(ImageFileError, match="a TIFF of numbers or channels that are not read"):
        Preprocessing((3, 3)).pixels(EncodedImage(data, "row 7"))


def test_encoded_images_do_not_print_their_bytes():
    assert repr(EncodedImage(b"secret", "row 7")) == "EncodedImage(name='row 7')"


# --- formats


def test_only_raster_formats_are_opened(monkeypatch):
    """EPS would start Ghostscript, and PDF, WMF, FITS and others are not asked for."""
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "EpsImageFile", None)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    wmf = b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4hH", 0, 0, 9, 9, 72) + bytes(60)
    xbm = b"#define a_width 8\n#define a_height 1\nstatic char a_bits[] = {0x00};\n"
    for name, data in (("a.eps", eps), ("a.wmf", wmf), ("a.xbm", xbm)):
        Path(name).write_bytes(data)
        for read in (open_image, probe, Preprocessing((3, 3)).pixels):
            with pytest.raises(ImageFileError, match="Received something else"):
                read(name)


@pytest.mark.parametrize("kind", ["ico", "tga", "pcx", "dds", "icns", "sgi"])
def test_formats_that_pillow_writes_but_we_do_not_read(kind):
    saved(f"a.{kind}", np.zeros((16, 16, 3), np.uint8))
    with Image.open(f"a.{kind}") as picture:
        assert picture.format == kind.upper(), "Pillow itself reads it"
    with pytest.raises(ImageFileError, match="Received something else"):
        open_image(f"a.{kind}")


# --- probe


def pictures():
    """What Pillow can write of each kind and colour mode."""
    for kind in KINDS:
        for mode in ("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "CMYK", "F"):
            picture, file = Image.new(mode, (7, 5)), io.BytesIO()
            try:
                picture.save(file, {"jpg": "jpeg"}.get(kind, kind))
            except (OSError, ValueError):
                continue
            yield pytest.param(file.getvalue(), id=f"{kind} {mode}")


@pytest.mark.parametrize("data", list(pictures()))
def test_probe_tells_what_decoding_finds(data):
    Path("a").write_bytes(data)
    picture = open_image("a")
    # a palette with a transparent colour is told from one without
    mode = "PA" if picture.mode == "P" and picture.has_transparency_data else picture.mode
    assert probe("a") == probe_encoded(data, "a") == (7, 5, mode)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("jpg", {}),
        ("webp", {}),
        ("tiff", {}),
        ("tiff", {"compression": "tiff_lzw"}),
        *([("avif", {})] if "avif" in KINDS else []),
    ],
)
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_probe_sees_the_picture_upright(kind, options, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    path = saved(f"a.{kind}", exif=exif, **options)
    assert probe(path)[:2] == ((6, 4) if orientation >= 5 else (4, 6))


@pytest.mark.parametrize("kind", ["jpg", "png", "bmp"])
def test_probe_reads_headers_only(kind):
    path = saved(f"a.{kind}", np.zeros((300, 200, 3), np.uint8))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(ImageFileError, match="damaged"):
        open_image(path)
    assert probe(path)[:2] == (200, 300)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "tiff", "webp", "bmp", "ppm"])
def test_probe_of_large_files(kind):
    """Files of more than a head: noise, so that no format makes them small."""
    shape = (900, 1200, 3) if kind != "gif" else (900, 1200)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    options = {"quality": 100} if kind in ("jpg", "webp") else {}
    path = saved(f"a.{kind}", noise, **options)
    assert path.stat().st_size > 2**20
    assert probe(path)[:2] == (1200, 900)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_probe_of_a_long_header(kind):
    from PIL.PngImagePlugin import PngInfo

    if kind == "png":
        texts = PngInfo()
        for n in range(3):
            texts.add_text(f"text {n}", "a" * 900_000)
        path = saved("a.png", pnginfo=texts)
    else:
        path = saved("a.jpg", COLOUR)
        data = path.read_bytes()
        padding = b"\xff\xe5" + struct.pack(">H", 65535) + bytes(65533)
        path.write_bytes(data[:2] + padding * 40 + data[2:])
    assert path.stat().st_size > 2 * 2**20
    assert probe(path) == (4, 6, "RGB")


def test_probe_refuses_what_decoding_refuses(monkeypatch):
    saved("a.png")
    Path("text.png").write_bytes(b"just text")
    Path("empty.png").touch()
    Path("folder.png").mkdir()
    for path in ("none.png", "text.png", "empty.png", "folder.png"):
        with pytest.raises(ImageFileError) as decoding:
            open_image(path)
        with pytest.raises(ImageFileError) as probing:
            probe(path)
        assert str(probing.value) == str(decoding.value)
    monkeypatch.setattr(image_file, "MAX_PIXELS", 23)
    with pytest.raises(ImageFileError, match=r"million pixels. Received 4 x 6"):
        probe("a.png")
    monkeypatch.setattr(image_file, "MAX_FILE_BYTES", 20)
    with pytest.raises(ImageFileError, match="expected at most 0 MiB"):
        probe("a.png")


def test_plugins_of_rarer_formats_wait_for_such_a_file(tmp_path):
    """They take a tenth of the time from the shell to a verdict."""
    for name in ("a.png", "a.tif", "a.webp"):
        Image.new("RGB", (4, 4), "red").save(tmp_path / name)
    script = (
        "import sys\n"
        "from twinset.data.decoding.image_file import open_image\n"
        f"for name in {[str(tmp_path / name) for name in ('a.png', 'a.tif', 'a.webp')]!r}:\n"
        "    open_image(name)\n"
        "    print(*(f'PIL.{each}ImagePlugin' in sys.modules for each in ('Tiff', 'WebP')))\n"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["False False", "True False", "True True"]
