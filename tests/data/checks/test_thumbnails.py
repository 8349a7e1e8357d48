"""Thumbnails against Pillow's area averages; signatures and distances against what they promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from twinset.data.checks.thumbnails import aligned_distances, chunks, signatures, thumbnails
from twinset.data.image_sources import StoredPixels

RNG = np.random.default_rng(0)


def noise(*shape):
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def smooth(count, side, *colours):
    """Blurred noise: like photographs, neighbours are alike."""
    coarse = noise(count, side // 4, side // 4, *colours)
    big = [np.asarray(Image.fromarray(x).resize((side, side), Image.BICUBIC)) for x in coarse]
    return np.stack(big)


@pytest.mark.parametrize("shape", [(64, 64), (50, 37), (33, 100), (200, 64, 3)])
def test_thumbnails_are_pillows_area_averages(shape):
    images = noise(3, *shape)
    small, spreads = thumbnails(images)
    assert max(small.shape[1:3]) == 32
    assert (spreads == np.ptp(images, axis=(1, 2)).reshape(3, -1).max(1)).all()
    height, width = small.shape[1:3]
    for image, ours in zip(images, small, strict=True):
        theirs = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
        # Pillow's BOX takes whole pixels where ours takes shares of them
        if shape[0] % height == 0 and shape[1] % width == 0:
            assert np.abs(ours.astype(int) - np.asarray(theirs)).max() <= 1
        assert abs(ours.mean() - image.mean()) < 1


def test_small_images_stay_as_they_are():
    images = noise(4, 28, 20, 3)
    assert np.array_equal(thumbnails(images)[0], images)


def test_stored_images_give_the_same(tmp_path):
    images = noise(5, 40, 36, 3)
    (tmp_path / "pixels").write_bytes(images.tobytes())
    stored = StoredPixels(tmp_path / "pixels", images.shape)
    for ours, theirs in zip(thumbnails(stored), thumbnails(images), strict=True):
        assert np.array_equal(ours, theirs)


def test_the_spread_is_that_of_the_widest_channel():
    images = np.full((4, 9, 9, 3), 100, np.uint8)
    images[1, 0, 0] = 102
    images[2, 0, 0, 1] = 103
    images[3, :, :, 0] = 200  # of one colour, though not gray
    assert thumbnails(images)[1].tolist() == [0, 2, 3, 0]


@given(st.integers(0, 30), st.integers(1, 50), st.integers(1, 120))
def test_chunks_cover_everything_once(count, size, budget):
    parts = list(chunks(count, size, budget))
    assert [i for part in parts for i in range(count)[part]] == list(range(count))
    assert all(part.stop - part.start <= max(1, budget // size) for part in parts)


def test_signatures_ignore_brightness_contrast_and_shift_but_not_the_image():
    x = np.zeros((4, 28, 28), np.uint8)
    x[0, 8:20, 8:20] = smooth(1, 12)[0] // 2 + 40
    x[1, 9:21, 7:19] = x[0, 8:20, 8:20]  # moved
    x[2] = x[0] // 2  # darker
    x[3, 8:20, 8:20] = smooth(1, 12)[0].T[::-1] // 2 + 40
    cosines = signatures(x) @ signatures(x).T
    assert np.diagonal(cosines) == pytest.approx(np.ones(4), abs=1e-5)
    assert min(cosines[0, 1], cosines[0, 2]) > 0.995
    assert cosines[0, 3] < 0.98


def test_the_signature_of_a_constant_image_is_zero_and_not_nan():
    found = signatures(np.full((2, 28, 28, 3), 77, np.uint8))
    assert np.isfinite(found).all()
    assert np.linalg.norm(found, axis=1).max() <= 1 + 1e-5


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 0), (0, -2), (3, 3), (-3, 2)])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_whole_shifts_with_brightness_leave_no_distance(down, right, colours):
    wide = smooth(1, 40, *colours)[0] // 2
    a = wide[5:33, 5:33]
    b = wide[5 - down : 33 - down, 5 - right : 33 - right] * 2  # exactly twice the contrast
    found = aligned_distances(np.stack([a, b]), np.array([[0, 1], [1, 0]]))
    assert found == pytest.approx([0, 0], abs=2e-3)


def test_a_shift_beyond_reach_is_another_image():
    wide = noise(60, 60)
    pair = np.stack([wide[5:33, 5:33], wide[13:41, 5:33]])
    assert aligned_distances(pair, np.array([[0, 1]]))[0] > 0.8


@pytest.mark.parametrize("change", ["half a cell", "4% larger"])
def test_fractions_of_a_cell_come_from_the_tangents(change, monkeypatch):
    big = np.asarray(Image.fromarray(noise(14, 14)).resize((116, 116), Image.BICUBIC))
    first = big[:112, :112]
    second = first[2:-2, 2:-2] if change == "4% larger" else big[2:114, :112]
    pair = np.stack(
        [np.asarray(Image.fromarray(x).resize((28, 28), Image.BOX)) for x in (first, second)]
    )
    assert aligned_distances(pair, np.array([[0, 1]]))[0] < 0.12
    monkeypatch.setattr("twinset.data.checks.thumbnails._TANGENT_LIMITS", (0, 0, 0))
    assert aligned_distances(pair, np.array([[0, 1]]))[0] > 0.25


def test_distances_are_symmetric_and_in_range():
    images = np.concatenate([smooth(6, 28), noise(6, 28, 28)])
    i, j = np.triu_indices(12, 1)
    there = aligned_distances(images, np.stack([i, j], 1))
    back = aligned_distances(images, np.stack([j, i], 1))
    assert there == pytest.approx(back, abs=1e-3)
    assert (there >= 0).all()
    assert (there <= 2).all()
    assert there.min() > 0.5  # they are different images


def test_the_distance_by_hand():
    # b = a + n with n orthogonal to a, of a tenth of its length: in units of length 1,
    # |a − b|² = 2 − 2 / √1.01 ≈ 0.00993, and no shift or magnification explains n.
    a = smooth(1, 32)[0].astype(float)
    n = RNG.normal(size=(32, 32))
    from scipy.ndimage import gaussian_filter

    def band(x):
        unit = 32 / 28
        return gaussian_filter(x, unit, mode="nearest") - gaussian_filter(
            x, 3 * unit, mode="nearest"
        )

    for _ in range(2):  # orthogonal in the band that is compared
        share = (band(n) * band(a)).sum() / np.square(band(a)).sum()
        n = n - share * a
    n *= 0.1 * np.linalg.norm(band(a)) / np.linalg.norm(band(n))
    pair = np.clip(np.stack([a, a + n]) / 2 + 64, 0, 255).round().astype(np.uint8)
    found = aligned_distances(pair, np.array([[0, 1]]))[0]
    assert 0.08 < found < 0.11


def test_colour_differences_count():
    x = np.full((2, 28, 28, 3), 230, np.uint8)
    shape = smooth(1, 28)[0] > 128
    x[0, shape] = (200, 30, 30)
    x[1, shape] = (30, 60, 200)
    assert x.mean(3)[0][shape].mean() == pytest.approx(x.mean(3)[1][shape].mean(), abs=12)
    assert aligned_distances(x, np.array([[0, 1]]))[0] > 0.5


def test_no_pairs_and_constant_images_are_no_trouble():
    flat = np.full((2, 28, 28), 5, np.uint8)
    assert aligned_distances(flat, np.empty((0, 2), int)).shape == (0,)
    assert np.isfinite(aligned_distances(flat, np.array([[0, 1]]))).all()
