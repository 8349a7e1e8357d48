"""Values and gradients of every loss over a batch, against slow oracles and finite differences."""

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loss_cases import CASES, CLASSES, DIM, batch, measure, of, value, values
from twinset import losses

EACH = pytest.mark.parametrize("name", CASES)


def test_every_loss_is_in_the_table():
    shown = {type(case.make()) for case in CASES.values()}
    public = {
        kind
        for kind in vars(losses).values()
        if isinstance(kind, type) and issubclass(kind, losses.BatchLoss)
    }
    assert shown == public - {losses.BatchLoss}


@EACH
@pytest.mark.parametrize("seed", range(3))
def test_value_is_the_oracles(name, seed):
    labels, points = batch(seed)
    expected = CASES[name].oracle(labels, points.astype(np.float64), of(name), None)
    assert expected > 0.05  # awake
    assert measure(name, labels, points)[0].mean() == pytest.approx(expected, rel=2e-5)


@EACH
def test_gradient_is_that_of_finite_differences(name):
    labels, points = batch(1)
    slow = CASES[name].oracle
    _, found = measure(name, labels, points)
    exact = points.astype(np.float64)
    expected = np.zeros_like(exact)
    for place in np.ndindex(exact.shape):
        up, down = exact.copy(), exact.copy()
        up[place] += 1e-6
        down[place] -= 1e-6
        rise = slow(labels, up, of(name), exact) - slow(labels, down, of(name), exact)
        expected[place] = rise / 2e-6
    assert np.linalg.norm(expected) > 0.05  # awake
    np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


@EACH
@settings(max_examples=8)
@given(st.lists(st.integers(0, CLASSES - 1), min_size=12, max_size=12), st.integers(0, 1000))
def test_value_is_the_oracles_for_any_labels(name, labels, seed):
    points = np.random.default_rng(seed).normal(size=(12, DIM)).astype(np.float32)
    expected = CASES[name].oracle(labels, points.astype(np.float64), of(name), None)
    found = measure(name, labels, points)[0].mean()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


# --- values that a person can check: points at angles on a circle


def at_angles(*degrees):
    turns = np.radians(degrees)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1).astype(np.float32)


def test_triplet_minings_by_hand():
    # chords: 60° → 1, 90° → √2, 180° → 2. Anchor 0° with positive 60° and negatives 90°, 180°
    labels, points = np.array([0, 0, 1, 2]), at_angles(0, 60, 90, 180)
    beside = 2 * math.sin(math.radians(15))  # 60° and 90°
    opposite = 2 * math.sin(math.radians(60))  # 60° and 180°
    for mining, mine in {
        # from 0°: 1 − √2 + ½ and 1 − 2 + ½; from 60°: 1 − 0.5176 + ½ and 1 − 1.7321 + ½
        "all": [1.5 - math.sqrt(2), 1.5 - beside],
        # from 60° the nearest negative that is farther than the positive is 180°
        "semi-hard": [1.5 - math.sqrt(2), max(1.5 - opposite, 0)],
        "hard": [1.5 - math.sqrt(2), 1.5 - beside],
    }.items():
        found = value(losses.Triplet(0.5, mining), labels, points)
        assert found == pytest.approx(sum(mine) / 2, rel=1e-5)


def test_semi_hard_falls_back_to_the_farthest_negative():
    labels, points = np.array([0, 0, 1, 1]), at_angles(0, 180, 60, 90)
    # from 0° both negatives are nearer than the positive: 2 − √2; from 180° likewise: 2 − √3;
    # from 60°: 2 sin 15° − 1 < 0; from 90°: 2 sin 15° − √2 < 0
    expected = (2 - math.sqrt(2) + 2 - math.sqrt(3)) / 4
    assert value(losses.Triplet(0, "semi-hard"), labels, points) == pytest.approx(expected)


@pytest.mark.parametrize("mining", ["all", "semi-hard", "hard"])
@pytest.mark.parametrize(("soft", "expected"), [(False, 0.2), (True, math.log(2))])
def test_collapsed_triplets_cost_the_margin(mining, soft, expected):
    loss = losses.Triplet(0.2, mining, soft)
    # on an axis, where the length is exact: an error of 10⁻⁷ in d² is one of 3·10⁻⁴ in d
    points = np.tile(np.float32([0, 2, 0]), (6, 1))
    assert value(loss, np.array([0, 0, 1, 1, 2, 2]), points) == pytest.approx(expected)


def test_collapsed_softmax_over_the_batch_is_a_guess():
    points = np.tile(np.float32([0, 2, 0]), (6, 1))
    labels = np.array([0, 0, 0, 1, 1, 1])
    # one of 5 others; one positive among 3 negatives
    assert value(losses.SupCon(), labels, points) == pytest.approx(math.log(5), rel=1e-5)
    assert value(losses.NTXent(), labels, points) == pytest.approx(math.log(4), rel=1e-5)


def test_supcon_has_a_floor_where_nt_xent_has_none():
    labels, points = np.array([0, 0, 0, 1, 1, 1]), at_angles(0, 0, 0, 180, 180, 180)
    # the other positive competes: log(1 + 1 + 3 e⁻²⁰)
    assert value(losses.SupCon(0.1), labels, points) == pytest.approx(math.log(2), rel=1e-5)
    assert value(losses.NTXent(0.1), labels, points) < 1e-7


def test_pairs_of_two_make_supcon_and_nt_xent_equal():
    labels, points = np.array([0, 1, 2, 0, 1, 2]), batch(0)[1][:6]
    supcon, nt_xent = losses.SupCon(0.3), losses.NTXent(0.3)
    assert value(supcon, labels, points) > 0.1
    assert value(supcon, labels, points) == pytest.approx(value(nt_xent, labels, points), rel=1e-5)


def test_arcface_beyond_the_turn():
    loss = losses.NormalizedSoftmax(2, 2, scale=1, margin=0.5)
    loss.head.directions.assign(np.eye(2))
    # opposite to its proxy, θ = π: cos π − ½ sin ½ = −1.239713 against 0
    expected = math.log(1 + math.exp(1 + 0.5 * math.sin(0.5)))
    assert value(loss, np.array([0]), at_angles(180)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("away", [0.01, 0.03, 0.1, 1])
def test_arcface_keeps_its_digits_beside_its_proxy(away):
    """Where 1 − cos² has none in float32, though the margin turns on the sine."""
    loss = losses.NormalizedSoftmax(2, 2, scale=1, margin=0.5)
    loss.head.directions.assign(at_angles(25, 115))
    others, turned = math.cos(math.radians(90 - away)), math.cos(math.radians(away) + 0.5)
    expected = math.log(1 + math.exp(others - turned))
    assert value(loss, np.array([0]), at_angles(25 + away)) == pytest.approx(expected, rel=1e-6)


def test_a_label_without_a_proxy_counts_nothing():
    loss = losses.NormalizedSoftmax(2, 2, scale=1)
    loss.head.directions.assign(np.eye(2))
    alone = value(loss, np.array([0]), at_angles(30))
    assert value(loss, np.array([0, 7]), at_angles(30, 50)) == pytest.approx(alone)


def test_circle_ends_where_every_pair_is_at_its_optimum():
    labels, points = np.array([0, 0, 1, 1]), at_angles(0, 0, 180, 180)
    # aₙ = 0 and aₚ = ¼: log(1 + 2 e⁰ e^(−80 · ¼ · ¼))
    expected = math.log(1 + 2 * math.exp(-5))
    assert value(losses.Circle(0.25, 80), labels, points) == pytest.approx(expected, rel=1e-4)


def test_the_sigmoid_is_the_log_loss_of_a_logit():
    # 60° apart: s = ½: logit 1, log loss −log sigmoid(1)
    pair = value(losses.SigmoidPairs(scale=4, bias=-1), np.array([5, 5]), at_angles(0, 60))
    assert pair == pytest.approx(math.log(1 + math.exp(-1)), rel=1e-5)


def test_values_per_image_and_their_reductions():
    labels, points = batch(0)
    loss = losses.SupCon()
    each = values(loss, labels, points)
    assert each.shape == (12,)
    assert value(loss, labels, points) == pytest.approx(each.mean(), rel=1e-6)
    total = losses.SupCon(reduction="sum")
    assert value(total, labels, points) == pytest.approx(values(total, labels, points).sum(), 1e-5)


def test_images_without_a_positive_count_nothing_and_thin_nothing_out():
    labels, points = batch(0)
    loss = losses.SupCon()
    each = values(loss, labels, points)
    lonely = labels == 3
    assert each[lonely].tolist() == [0]
    # 11 anchors count: the mean over 12 is the mean over them
    assert each.mean() == pytest.approx(each[~lonely].mean() * 11 / 12, rel=1e-6)


@pytest.mark.parametrize("shape", [(12,), (12, 1)])
@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.float32])
def test_labels_of_any_kind(shape, dtype):
    labels, points = batch(0)
    loss = losses.SupCon()
    expected = value(loss, labels, points)
    assert value(loss, labels.astype(dtype).reshape(shape), points) == pytest.approx(expected)


def test_labels_that_bfloat16_confuses_stay_apart():
    labels, points = batch(0)
    expected = value(losses.SupCon(), labels, points)
    before = keras.config.floatx()
    keras.config.set_floatx("bfloat16")  # 256 and 257 are one number there
    try:
        assert value(losses.SupCon(), labels + 256, points) == pytest.approx(expected)
    finally:
        keras.config.set_floatx(before)
