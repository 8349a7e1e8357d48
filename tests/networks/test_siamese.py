import keras
import numpy as np
import pytest
from keras import ops

import twinset
from gradients import differences, gradient
from twinset.data.pairs import tutorial_pairs
from twinset.networks import mlp
from twinset.networks.layers import Distance, siamese


def test_the_tutorials_network():
    encoder = mlp((28, 28), seed=0)
    assert encoder.count_params() == 133_504
    kinds = [type(layer).__name__ for layer in encoder.layers]
    assert kinds == ["InputLayer", "Flatten", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layer.activation.__name__ for layer in encoder.layers if hasattr(layer, "units")] == [
        "relu"
    ] * 3
    assert {layer.rate for layer in encoder.layers if hasattr(layer, "rate")} == {0.1}


def test_mlp_is_a_function_of_its_seed():
    a, b, c = (mlp((4, 4), seed=seed).get_weights() for seed in (3, 3, 4))
    for one, two in zip(a, b, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(a[0], c[0])
    # layers of one shape must not start equal
    assert not np.array_equal(a[2], a[4])


def test_every_weight_gets_a_gradient():
    encoder = mlp((4, 4), units=(5, 3), seed=0)
    images = np.random.default_rng(0).random((16, 4, 4), dtype=np.float32)
    model = siamese(encoder)
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=twinset.losses.Contrastive())
    before = [weight.copy() for weight in encoder.get_weights()]
    same = np.tile([1.0, 0.0], 4).astype("float32")
    model.fit([images[:8], images[8:]], same, batch_size=8, epochs=1, verbose=0)
    for old, new in zip(before, encoder.get_weights(), strict=True):
        assert not np.array_equal(old, new)


def test_branches_share_the_encoder_and_are_symmetric():
    encoder = mlp((4, 4), units=(5,), seed=0)
    model = siamese(encoder)
    assert model.count_params() == encoder.count_params()
    a, b = np.random.default_rng(1).random((2, 6, 4, 4), dtype=np.float32)
    forth, back = model.predict([a, b], verbose=0), model.predict([b, a], verbose=0)
    assert forth.shape == (6, 1)
    np.testing.assert_allclose(forth, back, rtol=1e-6)
    np.testing.assert_array_equal(model.predict([a, a], verbose=0), 0)


def test_distance_by_hand_and_its_gradient():
    left = np.array([[0.0, 0.0], [1.0, 2.0]], np.float32)
    right = np.array([[3.0, 4.0], [1.0, 2.5]], np.float32)
    layer = Distance()
    np.testing.assert_allclose(ops.convert_to_numpy(layer(left, right)), [[5.0], [0.5]])
    found = gradient(lambda a: ops.sum(layer(a, right)), left)
    np.testing.assert_allclose(found, [[-0.6, -0.8], [0.0, -1.0]], atol=1e-6)
    np.testing.assert_allclose(
        found, differences(lambda a: ops.sum(layer(a, right)), left), atol=2e-3
    )


@pytest.mark.parametrize("gap", [0.0, 1e-12, 1e-6])
def test_gradient_is_finite_where_points_meet(gap):
    left = np.array([[0.2, 0.0]], np.float32) + np.float32([[0.0, gap]])
    right = np.array([[0.2, 0.0]], np.float32)
    found = gradient(lambda a: ops.sum(Distance()(a, right)), left)
    assert np.isfinite(found).all()
    # a pair that is apart at all is pushed with full force, where a clamp would give up
    assert np.linalg.norm(found) == pytest.approx(1.0 if gap else 0.0, abs=1e-4)


def test_loss_at_coincident_points_is_finite_in_every_term():
    point = np.zeros((4, 3), np.float32)
    same = np.array([1, 0, 1, 0])
    loss = twinset.losses.Contrastive()
    slope = gradient(lambda a: loss(same, Distance()(a, point)), point.copy())
    np.testing.assert_array_equal(slope, 0)


def test_saves_and_loads_without_lambda(tmp_path):
    model = siamese(mlp((4, 4), units=(5,), seed=0))
    a, b = np.random.default_rng(2).random((2, 3, 4, 4), dtype=np.float32)
    model.save(tmp_path / "siamese.keras")
    again = keras.saving.load_model(tmp_path / "siamese.keras", safe_mode=True)
    np.testing.assert_allclose(
        again.predict([a, b], verbose=0), model.predict([a, b], verbose=0), rtol=1e-6
    )


def test_the_tutorials_own_style_learns(stripes):
    """compile with the loss and "rmsprop", fit on pixel arrays with validation data, predict."""
    x = stripes.images / np.float32(255)
    pairs = tutorial_pairs(stripes.labels)
    model = siamese(mlp(stripes.image_shape, units=(16, 8), seed=0))
    model.compile(loss=twinset.losses.Contrastive(margin=1.0), optimizer="rmsprop")
    left, right = x[pairs.left], x[pairs.right]
    history = model.fit(
        [left, right],
        pairs.same,
        batch_size=16,
        epochs=15,
        verbose=0,
        validation_data=([left, right], pairs.same),
    )
    assert history.history["loss"][-1] < 0.5 * history.history["loss"][0]
    found = model.predict([left, right], verbose=0).ravel()
    assert twinset.score_pairs(found, pairs.same, 0.5).accuracy > 0.95
