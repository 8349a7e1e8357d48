import numpy as np
from keras import ops

from twinset.networks.seeded import Dropout


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
