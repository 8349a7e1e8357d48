import keras
import numpy as np
import pytest
from keras import ops

import oracles
from twinset.networks.dropout import Dropout, random_bits

only_jax = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="the generator is used on JAX only"
)


def test_rate_scale_and_rest():
    x = np.full((200, 500), 3.0, np.float32)
    y = ops.convert_to_numpy(Dropout(0.1, seed=1)(x, training=True))
    dropped = (y == 0).mean()
    assert abs(dropped - 0.1) < 5 * np.sqrt(0.09 / x.size)
    np.testing.assert_allclose(y[y != 0], 3 / 0.9, rtol=1e-6)
    np.testing.assert_array_equal(ops.convert_to_numpy(Dropout(0.1)(x, training=False)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(Dropout(0.0)(x, training=True)), x)
    np.testing.assert_array_equal(ops.convert_to_numpy(Dropout(1.0)(x, training=True)), 0 * x)


def test_masks_are_fresh_per_call_and_repeat_with_the_seed():
    x = np.ones((64, 64), np.float32)
    first, again = Dropout(0.5, seed=7), Dropout(0.5, seed=7)
    one, two = (ops.convert_to_numpy(first(x, training=True)) for _ in range(2))
    assert (one != two).mean() > 0.4
    np.testing.assert_array_equal(ops.convert_to_numpy(again(x, training=True)), one)
    other = ops.convert_to_numpy(Dropout(0.5, seed=8)(x, training=True))
    assert (one != other).mean() > 0.4


def test_noise_shape_is_kept():
    y = ops.convert_to_numpy(
        Dropout(0.5, noise_shape=(8, 1), seed=0)(np.ones((8, 100), "float32"), training=True)
    )
    assert (y == y[:, :1]).all()


def test_config_survives():
    layer = Dropout(0.25, seed=3)
    again = Dropout.from_config(layer.get_config())
    assert (again.rate, again.seed) == (0.25, 3)


@only_jax
def test_bits_agree_with_plain_integers():
    for seed, draw in ((0, 0), (1, 0), (2**32 - 1, 12345)):
        found = np.asarray(random_bits(np.array([seed, draw], np.uint32), (3, 5)))
        assert found.ravel().tolist() == oracles.random_bits(seed, draw, 15)


def _words(draws, count=4096, seed=5):
    return np.stack(
        [
            np.asarray(random_bits(np.array([seed, draw], np.uint32), (count,)))
            for draw in range(draws)
        ]
    )


@only_jax
def test_each_bit_is_fair():
    words = _words(64).ravel()
    shares = [(words >> np.uint32(bit) & np.uint32(1)).mean() for bit in range(32)]
    assert np.abs(np.array(shares) - 0.5).max() < 5 * 0.5 / np.sqrt(words.size)


@only_jax
def test_bytes_are_uniform():
    octets = _words(64).view(np.uint8).ravel()
    expected = octets.size / 256
    chi2 = ((np.bincount(octets, minlength=256) - expected) ** 2 / expected).sum()
    assert abs(chi2 - 255) < 5 * np.sqrt(2 * 255)


@only_jax
@pytest.mark.parametrize(
    ("what", "shift"), [("neighbours", (0, 1)), ("rows", (0, 128)), ("steps", (1, 0))]
)
def test_masks_are_uncorrelated(what, shift):
    """A mask must tell nothing about its neighbour, the next image's, or the next step's."""
    keep = (_words(256) >= np.uint32(round(0.1 * 2**32))) - 0.9
    other = np.roll(keep, shift, axis=(0, 1))
    correlation = (keep * other).mean() / keep.var()
    assert abs(correlation) < 5 / np.sqrt(keep.size), what


@only_jax
def test_layers_of_neighbouring_seeds_are_uncorrelated():
    a, b = (_words(256, seed=seed) / 2.0**32 - 0.5 for seed in (0, 1))
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)


@only_jax
def test_no_two_steps_share_a_run_of_words():
    """Counters that differ only in their start would repeat each other's words at an offset."""
    words = _words(200)
    _, counts = np.unique(words, return_counts=True)
    # birthday: 819,200 words of 2³² meet about n²/2/2³² = 78 times by chance
    assert (counts - 1).sum() < 78 + 5 * np.sqrt(78)
