"""The hash behind dropout and augmentation: the plain integers' words, fair and unrelated."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import oracles
from twinset.networks.seeded import HeNormal, random_bits, random_words, reseed


def test_bits_agree_with_plain_integers():
    for seed, draw in ((0, 0), (1, 0), (2**32 - 1, 12345)):
        found = ops.convert_to_numpy(random_bits(seed, draw, (3, 5)))
        assert found.ravel().tolist() == oracles.random_bits(seed, draw, 15)
        upper = ops.convert_to_numpy(random_words(seed, draw, (3, 5)))
        assert upper.dtype == np.int32
        np.testing.assert_array_equal(upper, found >> 16)


def test_drawn_numbers_stay_what_they_were():
    """A recipe and a seed give the same weights in the next release, too."""
    words = ops.convert_to_numpy(random_bits(1, 0, (2,)))
    assert words.tolist() == [2548464587, 606763922]
    first = ops.convert_to_numpy(HeNormal([0, 1])((3, 2)))[0]
    assert np.round(first, 2).tolist() == [np.float32(0.42), np.float32(-0.33)]
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dropout(0.5)])
    reseed(model, seed=7)
    assert ops.convert_to_numpy(model.variables[0]).tolist() == [2083679832, 0]


@functools.cache
def _all_words(seed):
    drawn = [ops.convert_to_numpy(random_bits(seed, draw, (4096,))) for draw in range(256)]
    return np.stack(drawn).astype(np.uint32)


def _words(draws, seed=5):
    return _all_words(seed)[:draws]


@pytest.mark.any_backend
def test_each_bit_is_fair():
    words = _words(64).ravel()
    shares = [(words >> np.uint32(bit) & np.uint32(1)).mean() for bit in range(32)]
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / np.sqrt(words.size)


@pytest.mark.any_backend
def test_bytes_are_uniform():
    octets = _words(64).view(np.uint8).ravel()
    expected = octets.size / 256
    chi2 = ((np.bincount(octets, minlength=256) - expected) ** 2 / expected).sum()
    assert abs(chi2 - 255) < 5 * np.sqrt(2 * 255)


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("what", "shift"), [("neighbours", (0, 1)), ("rows", (0, 128)), ("steps", (1, 0))]
)
def test_masks_are_uncorrelated(what, shift):
    """A mask must tell nothing about its neighbour, the next image's, or the next step's."""
    keep = (_words(256) >= np.uint32(round(0.1 * 2**32))) - 0.9
    other = np.roll(keep, shift, axis=(0, 1))
    correlation = (keep * other).mean() / keep.var()
    assert abs(correlation) < 5 / np.sqrt(keep.size), what


@pytest.mark.any_backend
def test_layers_of_neighbouring_seeds_are_uncorrelated():
    a, b = (_words(256, seed=seed) / 2.0**32 - 0.5 for seed in (0, 1))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@pytest.mark.any_backend
def test_no_two_steps_share_a_run_of_words():
    """Counters that differ only in their start would repeat each other's words at an offset."""
    words = _words(200)
    _, counts = np.unique(words, return_counts=True)
    # birthday: 819,200 words of 2³² meet about n²/2/2³² = 78 times by chance
    assert (counts - 1).sum() < 78 + 5 * np.sqrt(78)
