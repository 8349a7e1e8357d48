"""Given pairs beside a classifier of clusters: values, invariances, and what it is good for."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops
from sklearn.datasets import load_digits

import oracles
import twinset
from gradients import differences, gradient
from twinset.errors import RecipeError
from twinset.losses import PairClusters
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.pairs import auc as area
from twinset.recipe import Recipe

DIM, MANY = 4, 12
SAME = np.arange(MANY) % 3 == 0


def sides(seed=0, length=1.0):
    points = np.random.default_rng(seed).normal(size=(MANY, 2, DIM))
    return (length * points / np.linalg.norm(points, axis=-1, keepdims=True)).astype(np.float32)


def proxies(loss):
    return ops.convert_to_numpy(loss.head.directions).astype(float).tolist()


@given(st.integers(2, 6), st.floats(0.1, 2), st.floats(0.5, 8), st.integers(0, 99))
def test_it_agrees_with_the_loop(clusters, margin, scale, seed):
    loss, points = PairClusters(clusters, margin, scale, dim=DIM, seed=seed), sides(seed)
    expected = oracles.pair_clusters(SAME, points.tolist(), proxies(loss), margin, scale)
    assert float(loss(SAME, points)) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_states_of_a_training():
    loss = PairClusters(2, margin=1.0, scale=50.0, dim=2)
    loss.head.directions.assign(np.eye(2))
    right, up = [1.0, 0.0], [0.0, 1.0]
    known = np.array([[right, right], [up, up], [right, up], [up, right]])
    truth, wrong = np.array([1, 1, 0, 0]), np.array([0, 0, 1, 1])
    assert float(loss(truth, known)) == pytest.approx(0, abs=1e-4)  # at best nothing
    one = np.array([[right, right]] * 2)  # all in one cluster, of which the other is empty
    assert float(loss(np.array([1, 1]), one)) == pytest.approx(np.log(2), abs=1e-4)
    assert 10 < float(loss(wrong, known)) < 100  # finite, however sure it is
    slope = gradient(lambda x: loss(wrong, x), known.astype(np.float32))
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0.1


def test_gradient_equals_finite_differences():
    loss, points = PairClusters(3, scale=2.0, dim=DIM), sides(1)
    found = gradient(lambda x: loss(SAME, x), points)
    expected = differences(lambda x: loss(SAME, x), points, step=1e-2)
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.any_backend
def test_what_must_not_matter():
    loss, points = PairClusters(3, dim=DIM), sides(2)
    value = pytest.approx(float(loss(SAME, points)), rel=1e-5)
    order = np.random.default_rng(0).permutation(MANY)
    assert float(loss(SAME[order], points[order])) == value
    assert float(loss(SAME, points[:, ::-1])) == value
    assert float(loss(SAME[:, None].astype(np.float32), points)) == value
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(DIM, DIM)))[0]
    loss.head.directions.assign((ops.convert_to_numpy(loss.head.directions) @ turn)[[2, 0, 1]])
    assert float(loss(SAME, (points @ turn).astype(np.float32))) == value


def test_equal_and_zero_embeddings_have_a_finite_gradient():
    loss = PairClusters(3, dim=DIM)
    for points in (np.ones((4, 2, DIM), np.float32), np.zeros((4, 2, DIM), np.float32)):
        assert np.isfinite(gradient(lambda x: loss(SAME[:4], x), points)).all()


def test_config_survives_json_and_recipes_name_it():
    loss = PairClusters(7, 1.2, 5.0, dim=DIM, seed=3, name="mine")
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == loss.get_config()
    assert float(again(SAME, sides())) == float(loss(SAME, sides()))
    recipe = Recipe.load("tutorial", loss={"name": "pair_clusters", "clusters": 5})
    made = twinset.losses.create(recipe.loss, dim=DIM, seed=3)
    assert (made.clusters, made.dim, made.seed, made.head.classes) == (5, DIM, 3, 5)


@pytest.mark.parametrize(("name", "least"), [("clusters", 2), ("margin", 0), ("scale", 0)])
def test_settings_out_of_range(name, least):
    wrong = least - 1 if name == "clusters" else least
    with pytest.raises(RecipeError, match=rf"^PairClusters: {name}: .*greater than .*{least}"):
        PairClusters(dim=DIM, **{name: wrong})
    with pytest.raises(RecipeError, match="'pair_clusters' needs pairs = 'tutorial'"):
        Recipe.load("fast", loss={"name": "pair_clusters"})


@pytest.mark.any_backend
def test_judgements_that_are_spread_thinly_say_more_by_clusters():
    """Digits of scikit-learn: 900 of them, each judged once; AUC over all pairs of 897 others."""
    gains = [gain(seed) for seed in (1, 3)]
    assert min(gains) > 0
    assert np.mean(gains) > 0.01


def gain(seed):
    digits = load_digits()
    pixels = np.round(digits.images * 255 / 16).astype(np.uint8)
    order = np.random.default_rng(seed).permutation(len(pixels))
    labels = digits.target[order]
    left, right, free = [], [], list(range(900))
    while free:
        one = free.pop(0)
        wanted = len(left) % 2 == 0  # same for every other pair, as far as partners last
        other = next((i for i in free if (labels[i] == labels[one]) == wanted), free[0])
        free.remove(other)
        left.append(one)
        right.append(other)
    pairs = twinset.Pairs(left, right, labels[left] == labels[right])
    judged = twinset.LabelledImages(pixels[order[:900]], judged=pairs)
    rest = twinset.LabelledImages(pixels[order[900:]], labels[900:])

    def auc(**loss):
        settings = {"pairs": "tutorial", "batch_size": 64, "epochs": 60, "holdout": "none"}
        settings |= {"loss": loss, "encoder": {"units": [64, 32]}, "seed": seed}
        model = twinset.fit(judged, "fast", progress=False, **settings)
        return area(AllPairs(model.embed(rest), rest.labels).curve())

    return auc(name="pair_clusters") - auc(name="contrastive", margin=1.4)
