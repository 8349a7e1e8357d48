import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from twinset.data.decoding.decode import MODES, Preprocessing, to_srgb

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# red and green have changed places: what a file calls (r, g, b) is (g, r, b) in sRGB
SWAPPED = SRGB.replace(b"rXYZ", b"-XYZ").replace(b"gXYZ", b"rXYZ").replace(b"-XYZ", b"gXYZ")
COLOURS = np.uint8([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[200, 100, 50]] * 3])
EXCHANGED = COLOURS[..., [1, 0, 2]]


def profile(space, kind, connection, tags):
    """An ICC profile of version 2.4, by hand: header, table of tags, their data."""
    header = struct.pack(">4xI4s4s4s", 0x02400000, kind, space, connection) + bytes(12)
    header += b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)  # illuminant D50
    header = struct.pack(">I", 0) + header[0:] + bytes(128)
    table, data = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, start + len(data), len(content))
        data += content
    whole = header[:128] + struct.pack(">I", len(tags)) + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def xyz(*values):
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(65536 * value) for value in values))


def gamma(value):
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


WHITE = xyz(0.9642, 1, 0.8249)
LINEAR_GRAY = profile(
    b"GRAY", b"mntr", b"XYZ ", {b"wtpt": WHITE, b"kTRC": gamma(1), b"desc": b"desc" + bytes(90)}
)


def odd_inks():
    """Cyan prints red, black prints black, the rest prints nothing: Lab at the corners."""
    paper, red, black = (255, 128, 128), (138, 209, 198), (0, 128, 128)
    corners = b""
    for corner in range(16):  # cyan is the slowest
        cyan, key = corner & 8, corner & 1
        corners += bytes(black if key else red if cyan else paper)
    steps = bytes(range(256))
    identity = struct.pack(
        ">9i", *(65536 * (row == column) for row in range(3) for column in range(3))
    )
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + steps * 4 + corners + steps * 3
    return profile(b"CMYK", b"prtr", b"Lab ", {b"wtpt": WHITE, b"A2B0": table})


def pixels(path, colour=True, **options):
    with Image.open(path) as picture:
        size = (picture.height, picture.width)
    return Preprocessing((*size, 3) if colour else size, **options).pixels(path)


def saved(name, picture, profile, **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(name, icc_profile=profile, **options)
    return Path(name)


@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_colours_become_srgb(kind):
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(f"a.{kind}", COLOURS, SWAPPED, **options)
    np.testing.assert_allclose(pixels(path), EXCHANGED, atol=1)
    gray = [[150, 76, 29], [round(0.299 * 100 + 0.587 * 200 + 0.114 * 50)] * 3]
    np.testing.assert_allclose(pixels(path, colour=False), gray, atol=2)


@pytest.mark.parametrize("small", [False, True], ids=["whole", "at an eighth"])
def test_a_photo_becomes_srgb(small):
    coarse = np.kron(COLOURS, np.ones((64, 64, 1), np.uint8))
    path = saved("a.jpg", coarse, SWAPPED, quality=95, subsampling=0)
    shape = (16, 24) if small else (128, 192)
    expected = np.kron(EXCHANGED, np.ones((shape[0] // 2, shape[1] // 3, 1), np.uint8))
    inner = np.s_[2:6, 2:6] if small else np.s_[8:56, 8:56]
    found = Preprocessing((*shape, 3)).pixels(path)
    np.testing.assert_allclose(found[inner], expected[inner], atol=4)
    gray = Preprocessing(shape).pixels(path)
    np.testing.assert_allclose(gray[inner], 150, atol=4)  # green's, where the file says red


def test_palettes_and_transparency_have_profiles_too():
    path = saved("p.png", Image.fromarray(COLOURS).quantize(8), SWAPPED)
    np.testing.assert_allclose(pixels(path), EXCHANGED, atol=1)
    glass = np.dstack([COLOURS, np.uint8([[255, 0, 255]] * 2)])
    path = saved("glass.png", glass, SWAPPED)
    expected = EXCHANGED.copy()
    expected[:, 1] = 40  # the background is sRGB already
    np.testing.assert_allclose(pixels(path, background=40), expected, atol=1)


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_a_linear_gray(mode):
    """IEC 61966-2-1: 1.055 x^(1/2.4) − 0.055, so that 0.5 of the light is level 188."""
    levels = np.uint8([[0, 55, 128, 255]])
    picture = Image.fromarray(levels if mode != "1" else levels > 100).convert(mode)
    path = saved("linear.png", picture, LINEAR_GRAY)
    light = levels / 255 if mode != "1" else (levels > 100) * 1.0
    expected = 255 * np.maximum(1.055 * light ** (1 / 2.4) - 0.055, 0)
    assert expected.max() == pytest.approx(255)
    np.testing.assert_allclose(pixels(path, colour=False), expected, atol=1)
    np.testing.assert_allclose(pixels(path)[..., 2], expected, atol=1)


@pytest.mark.parametrize("kind", ["tiff", "jpg"])
def test_inks(kind):
    inks = np.uint8([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 255, 0, 0], [0, 0, 0, 255]]])
    inks = np.kron(inks, np.ones((16, 16, 1), np.uint8))
    picture = Image.frombytes("CMYK", (64, 16), inks.tobytes())
    options = {"quality": 95, "subsampling": 0} if kind == "jpg" else {}
    path = saved(f"odd.{kind}", picture, odd_inks(), **options)
    expected = [[255, 255, 255], [255, 0, 0], [255, 255, 255], [0, 0, 0]]
    np.testing.assert_allclose(pixels(path)[8, 8::16], expected, atol=8)
    naive = [[255, 255, 255], [0, 255, 255], [255, 0, 255], [0, 0, 0]]
    path = saved(f"plain.{kind}", picture, None, **options)
    np.testing.assert_allclose(pixels(path)[8, 8::16], naive, atol=4)


BROKEN = [b"", b"no profile", SRGB[:200], SRGB[:128] + bytes(460), bytes(5 * 2**20)]


@pytest.mark.parametrize("content", [SRGB, *BROKEN, LINEAR_GRAY], ids=range(7))
def test_srgb_and_profiles_that_say_nothing_leave_the_bits_alone(content):
    """Broken, too large, or of another colour mode: gray's does not describe colours."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    plain = Image.fromarray(noise)
    plain.info["icc_profile"] = content
    np.testing.assert_array_equal(Preprocessing(noise.shape).pixels(plain), noise)
    path = saved("a.png", noise, content if content not in BROKEN[-1:] else None)
    np.testing.assert_array_equal(pixels(path), noise)


def test_a_gray_photo_may_carry_the_profile_of_its_camera():
    gray = np.kron(np.uint8([[10, 200]]), np.ones((8, 8), np.uint8))
    plain, profiled = (
        pixels(saved(name, gray, content))
        for name, content in (("plain.jpg", None), ("profiled.jpg", SWAPPED))
    )
    np.testing.assert_array_equal(plain, profiled)


def test_the_same_srgb_by_other_numbers():
    """Rounded primaries and a plain gamma curve are not sRGB; rounded primaries alone are."""
    rows = {
        "r": (0.436, 0.2225, 0.0139),
        "g": (0.3851, 0.7169, 0.0971),
        "b": (0.1431, 0.0606, 0.7141),
    }
    steps = np.linspace(0, 1, 1024)
    light = np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4)
    curve = b"curv" + bytes(4) + struct.pack(">I", 1024)
    curve += (light * 65535).round().astype(">u2").tobytes()
    for trc, same in ((curve, True), (gamma(1.8), False)):
        tags = {b"wtpt": WHITE}
        for name, row in rows.items():
            tags[f"{name}XYZ".encode()], tags[f"{name}TRC".encode()] = xyz(*row), trc
        transform = to_srgb(profile(b"RGB ", b"mntr", b"XYZ ", tags), "RGB")
        assert (transform is None) == same


@pytest.mark.parametrize("mode", MODES)
def test_any_damage_to_a_profile_is_survived(mode):
    rng = np.random.default_rng(0)
    whole = {"L": LINEAR_GRAY, "RGB": SWAPPED, "CMYK": odd_inks()}[mode]
    assert to_srgb(whole, mode).output_mode == "RGB"
    size = Image.new(mode, (2, 2))
    for _ in range(40):
        data = bytearray(whole[: rng.integers(len(whole)) if rng.random() < 0.2 else None])
        for _ in range(rng.integers(1, 9)):
            if data:
                data[rng.integers(min(len(data), 300))] = rng.integers(256)
        transform = to_srgb(bytes(data), mode)
        if transform is not None:
            assert transform.apply(size).size == (2, 2)
