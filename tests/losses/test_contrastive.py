import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

import oracles
from gradients import differences, gradient
from twinset.errors import RecipeError
from twinset.losses import Contrastive

PAIRS = st.lists(st.tuples(st.integers(0, 1), st.floats(0, 3, width=32)), min_size=1, max_size=20)


@given(PAIRS, st.floats(0.1, 2))
def test_contrastive_agrees_with_the_loop(pairs, margin):
    same, apart = zip(*pairs, strict=True)
    found = float(Contrastive(margin)(np.array(same), np.array(apart, np.float32)))
    assert found == pytest.approx(oracles.contrastive(same, apart, margin), rel=1e-5, abs=1e-6)


def test_contrastive_by_hand_is_awake():
    # 0.3² = 0.09;  (1 − 0.4)² = 0.36;  beyond the margin 0;  mean 0.15
    value = float(Contrastive()(np.array([1, 0, 0]), np.array([0.3, 0.4, 1.7], np.float32)))
    assert value == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("same", "apart", "value"),
    [
        ([1, 0], [0.0, 0.0], 0.5),  # collapse
        ([1, 0], [0.5, 0.5], 0.25),  # no information
        ([1, 0], [0.0, 1.0], 0.0),  # perfect
        ([1, 1], [0.5, 0.5], 0.25),  # no negative
        ([0, 0], [0.5, 2.0], 0.125),  # no positive
    ],
)
def test_states_of_a_training(same, apart, value):
    assert float(Contrastive()(np.array(same), np.array(apart, np.float32))) == pytest.approx(value)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("dtype", [bool, np.int32, np.float32])
def test_labels_of_any_kind(shape, dtype):
    same = np.array([1, 0, 1, 0]).astype(dtype)
    apart = np.array([0.1, 0.2, 0.3, 0.4], np.float32).reshape(shape)
    expected = oracles.contrastive([1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4], 1.0)
    assert float(Contrastive()(same, apart)) == pytest.approx(expected)


def test_gradient_equals_finite_differences_off_the_corners():
    same = np.array([1, 0, 1, 0, 0])
    apart = np.array([0.3, 0.4, 1.2, 0.9, 1.5], np.float32)  # none at 0 or at the margin
    loss = Contrastive()
    found = gradient(lambda d: loss(same, d), apart)
    np.testing.assert_allclose(found, differences(lambda d: loss(same, d), apart), atol=1e-3)
    # by hand: 2d/5, −2(1 − d)/5, and nothing beyond the margin
    np.testing.assert_allclose(found, [0.12, -0.24, 0.48, -0.04, 0], atol=1e-6)


def test_reduction_none_gives_one_number_per_pair():
    apart = np.array([0.5, 0.5], np.float32)
    each = ops.convert_to_numpy(Contrastive(reduction=None)(np.array([1, 0]), apart))
    np.testing.assert_allclose(each, [0.25, 0.25])


def test_config_survives_json():
    loss = Contrastive(margin=1.5, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, Contrastive)
    assert again.get_config() == loss.get_config()


def test_same_pairs_up_to_their_margin_cost_nothing():
    # max(0.5 − 0.3, 0)² = 0.04; 0.2 is within; (1 − 0.4)² = 0.36 as ever
    loss = Contrastive(positive_margin=0.3)
    value = float(loss(np.array([1, 1, 0]), np.array([0.5, 0.2, 0.4], np.float32)))
    assert value == pytest.approx(0.4 / 3)


@pytest.mark.parametrize("margin", [0, -1, float("nan"), "1"])
def test_margin_must_be_positive(margin):
    with pytest.raises(RecipeError, match=r"^Contrastive: margin: input should be .*; received"):
        Contrastive(margin)
