"""The weights that losses learn themselves; saving; names and settings."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from loss_cases import CASES, CLASSES, DIM, batch, value
from twinset import losses
from twinset.errors import RecipeError
from twinset.recipe import Recipe

HEADED = [name for name, case in CASES.items() if case.make().head is not None]


def head_gradients(loss, labels, points):
    """Differentiate by the head's weights, as an engine of the current back end does."""
    weights = loss.head.trainable_variables
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        def objective(held):
            with keras.StatelessScope(state_mapping=list(zip(weights, held, strict=True))):
                return loss(labels, points)

        slopes = jax.jit(jax.grad(objective))([weight.value for weight in weights])
        return [np.asarray(slope) for slope in slopes]
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            found = loss(labels, points)
        return [g.numpy() for g in tape.gradient(found, [w.value for w in weights])]
    for weight in weights:
        weight.value.grad = None
    loss(labels, points).backward()
    return [weight.value.grad.numpy() for weight in weights]


@pytest.mark.parametrize("name", HEADED)
def test_gradient_by_the_head_is_that_of_finite_differences(name):
    labels, points = batch(0)
    loss = CASES[name].make()
    exact = points.astype(np.float64)
    proxies = hasattr(loss.head, "directions")
    for weight, slope in zip(
        loss.head.trainable_variables, head_gradients(loss, labels, points), strict=True
    ):
        start = ops.convert_to_numpy(weight).copy()
        step = 0.003 * np.abs(start).max()
        assert np.linalg.norm(slope) > 0.01
        expected = np.zeros_like(start)
        for place in np.ndindex(start.shape):
            found = []
            for way in (step, -step):
                moved = start.copy()
                moved[place] += way
                weight.assign(moved)
                slow = CASES[name].oracle(labels, exact, loss, None)
                found.append(slow if proxies else value(loss, labels, points))
            expected[place] = (found[0] - found[1]) / (2 * step)
        weight.assign(start)
        np.testing.assert_allclose(slope, expected, atol=0.01 * np.abs(expected).max())


def test_the_others_have_no_head():
    assert losses.SupCon().head is None
    assert losses.Matryoshka(losses.SupCon(), (2, 4)).head is None


@pytest.mark.parametrize("multiplier", [1, 100])
def test_multiplier_is_a_learning_rate_of_its_own(multiplier):
    labels, points = batch(0)
    loss = losses.ProxyAnchor(CLASSES, DIM, learning_rate_multiplier=multiplier)
    weights = loss.head.directions
    before = ops.convert_to_numpy(weights) * multiplier
    np.testing.assert_allclose(np.linalg.norm(before, axis=1), 1, rtol=1e-5)
    optimizer = keras.optimizers.Adam(1e-4)
    optimizer.build([weights])
    slope = head_gradients(loss, labels, points)[0]
    optimizer.apply([ops.convert_to_tensor(slope)], [weights])
    # Adam's first step is the learning rate in every coordinate
    moved = np.abs(ops.convert_to_numpy(weights) * multiplier - before)
    np.testing.assert_allclose(moved, 1e-4 * multiplier, rtol=0.02)


def test_multiplier_changes_no_value():
    labels, points = batch(0)
    plain, fast = (
        losses.NormalizedSoftmax(CLASSES, DIM, learning_rate_multiplier=m, seed=1) for m in (1, 50)
    )
    assert value(plain, labels, points) == pytest.approx(value(fast, labels, points), rel=1e-5)


def test_proxies_are_a_function_of_the_seed_on_every_back_end():
    first, again, other = (
        ops.convert_to_numpy(losses.Proxies(3, 2, seed=s).directions) for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    drawn = np.random.default_rng(0).normal(size=(3, 2))
    np.testing.assert_allclose(
        first, drawn / np.linalg.norm(drawn, axis=1, keepdims=True), rtol=1e-6
    )


def test_head_stays_float32_under_a_mixed_policy():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        loss = losses.NormalizedSoftmax(CLASSES, DIM)
    finally:
        keras.config.set_dtype_policy(before)
    assert loss.head.compute_dtype == loss.head.variable_dtype == "float32"


# --- saving


@pytest.mark.parametrize("name", CASES)
def test_config_and_weights_survive_saving(name):
    loss = CASES[name].make()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(loss)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    if loss.head is not None:
        labels, points = batch(0)
        before = value(again, labels, points)
        loss.head.set_weights([weight + 0.1 for weight in loss.head.get_weights()])
        again.head.set_weights(loss.head.get_weights())
        assert value(again, labels, points) == value(loss, labels, points) != before


@pytest.mark.parametrize("name", HEADED)
def test_a_head_survives_saving_by_itself(name):
    head = CASES[name].make().head
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()


def test_keras_fit_takes_a_loss_over_the_batch():
    labels, points = batch(0)
    model = keras.Sequential([keras.Input((DIM,)), keras.layers.Dense(4)])
    model.compile(optimizer=keras.optimizers.Adam(0.05), loss=losses.SupCon())
    history = model.fit(points, labels, batch_size=12, epochs=15, verbose=0).history["loss"]
    assert history[-1] < 0.8 * history[0]


# --- names and settings


@pytest.mark.parametrize("name", losses.names())
def test_created_with_its_defaults(name):
    loss = losses.create(name, classes=CLASSES, dim=DIM, seed=2)
    assert type(loss) is losses.LOSSES[name]
    for key, default in losses.settings_of(name).items():
        assert loss.get_config()[key] == default
    if hasattr(loss.head, "seed"):
        assert (loss.head.classes, loss.head.dim, loss.head.seed) == (CLASSES, DIM, 2)


def test_created_with_settings_and_prefixes():
    loss = losses.create("supcon", classes=4, dim=6, prefixes=(2, 6), temperature=0.3)
    assert isinstance(loss, losses.Matryoshka)
    assert (loss.prefixes, loss.weights, loss.loss.temperature) == ((2, 6), (1, 1), 0.3)


@pytest.mark.parametrize("name", losses.names())
def test_built_from_a_recipe(name):
    recipe = Recipe.load("fast", loss={"name": name})
    loss = losses.build(recipe.loss, classes=CLASSES, dim=DIM, seed=2)
    assert type(loss) is losses.LOSSES[name]
    for key, number in recipe.loss.model_dump(exclude={"name", "prefixes"}).items():
        key = "negative_margin" if (name, key) == ("contrastive", "margin") else key
        assert loss.get_config()[key] == number


def test_built_for_pairs():
    assert isinstance(losses.build(Recipe.load("tutorial").loss), losses.Contrastive)
    recipe = Recipe.load("fast", loss={"name": "supcon"})
    with pytest.raises(RecipeError, match=r"a loss out of \['contrastive'\].*'supcon'"):
        losses.build(recipe.loss)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("supcom", {}, r"Expected a loss out of \['circle'.*did you mean 'supcon'"),
        ("supcon", {"temprature": 1}, r"out of \['normalize', 'temperature'\].*'temprature'"),
        ("supcon", {"prefixes": (4, 12)}, "at most the embedding size 6. Received"),
        ("supcon", {"weights": (1,)}, "Expected prefixes beside weights"),
    ],
)
def test_unknown_names_and_settings(name, settings, words):
    with pytest.raises(RecipeError, match=words):
        losses.create(name, **{"classes": 4, "dim": 6, **settings})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.SupCon(0), "above 0 for temperature. Received 0"),
        (lambda: losses.NTXent(float("nan")), "above 0 for temperature"),
        (lambda: losses.SupCon(True), "above 0 for temperature"),
        (lambda: losses.Triplet(-0.1), "at least 0 for margin"),
        (lambda: losses.Triplet(mining="easy"), r"out of \['all', 'semi-hard', 'hard'\]"),
        (lambda: losses.AllPairsContrastive(-1), "at least 0 for positive_margin"),
        (lambda: losses.AllPairsContrastive(negative_margin=0), "above 0 for negative_margin"),
        (lambda: losses.AllPairsContrastive(power=3), "Expected power 1 or 2. Received 3"),
        (lambda: losses.MultiSimilarity(alpha=0), "above 0 for alpha"),
        (lambda: losses.MultiSimilarity(base=2), "a cosine in .* for base. Received 2"),
        (lambda: losses.MultiSimilarity(epsilon=-1), "at least 0 for epsilon"),
        (lambda: losses.Circle(1.0), r"Expected a margin in \[0, 1\)"),
        (lambda: losses.Circle(gamma=float("inf")), "above 0 for gamma"),
        (lambda: losses.NormalizedSoftmax(0, 4), "at least 1 for classes. Received 0"),
        (lambda: losses.NormalizedSoftmax(4, 2.5), "at least 1 for dim"),
        (lambda: losses.NormalizedSoftmax(4, 2, margin=2), "radians below π/2"),
        (lambda: losses.NormalizedSoftmax(4, 2, margin=0.2, normalize=False), "normalize=True"),
        (lambda: losses.ProxyAnchor(4, 2, delta=-1), "at least 0 for delta"),
        (lambda: losses.SigmoidPairs(scale=-1), "above 0 for scale"),
        (lambda: losses.SigmoidPairs(bias=float("nan")), "Expected a finite bias"),
        (lambda: losses.Matryoshka(losses.Contrastive()), "Expected an objective over a batch"),
        (lambda: losses.Matryoshka(losses.SupCon(), (4, 2)), "Expected rising prefixes"),
        (lambda: losses.Matryoshka(losses.SupCon(), ()), "Expected rising prefixes"),
        (lambda: losses.Matryoshka(losses.SupCon(), (2, 4), (1,)), "one weight for each of 2"),
        (lambda: losses.Matryoshka(losses.SupCon(), (2, 4), (0, 0)), "not all 0"),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(RecipeError, match=words):
        make()


def test_prefixes_longer_than_the_embedding():
    labels, points = batch(0)
    with pytest.raises(RecipeError, match=r"at least 8 numbers.*Received 6: shorten"):
        losses.Matryoshka(losses.SupCon(), (4, 8))(labels, points)
