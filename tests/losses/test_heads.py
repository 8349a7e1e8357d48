"""The weights that losses learn themselves; saving; names and settings."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import twinset
from loss_cases import CASES, CLASSES, DIM, batch, value
from twinset import losses
from twinset.errors import RecipeError
from twinset.recipe import LOSSES, Recipe

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
    assert losses.SupCon(prefixes=(2, 4)).head is None


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


@pytest.mark.parametrize("name", [n for n in LOSSES.names() if "batch" in LOSSES.load(n).over])
def test_created_with_the_defaults_of_its_section(name):
    loss = losses.create(name, classes=CLASSES, dim=DIM, seed=2, normalize=True)
    config = loss.get_config()
    for key, default in LOSSES.section(name)():
        if key != "name":
            key = "negative_margin" if (name, key) == ("contrastive", "margin") else key
            assert config[key] == default
    if hasattr(loss.head, "seed"):
        assert (loss.head.classes, loss.head.dim, loss.head.seed) == (CLASSES, DIM, 2)
    assert loss.normalize
    assert loss.name == name or name == "contrastive"


def test_created_from_a_recipe_and_from_keywords_it_is_the_same():
    recipe = Recipe.load("fast", loss={"temperature": 0.3, "prefixes": [2, 6]})
    loss = losses.create(recipe.loss, classes=4, dim=6)
    assert isinstance(loss, losses.SupCon)
    assert (loss.prefixes, loss.temperature) == ((2, 6), 0.3)
    named = losses.create("supcon", classes=4, dim=6, prefixes=(2, 6), temperature=0.3)
    assert named.get_config() == loss.get_config()


def test_contrastive_is_of_given_pairs_and_of_a_batch():
    section = Recipe.load("tutorial", loss={"margin": 1.5, "positive_margin": 0.2}).loss
    pairs, batched = losses.create(section), losses.create(section, classes=4, dim=6)
    assert isinstance(pairs, losses.Contrastive)
    assert (pairs.margin, pairs.positive_margin) == (1.5, 0.2)
    assert isinstance(batched, losses.AllPairsContrastive)
    assert (batched.negative_margin, batched.positive_margin) == (1.5, 0.2)
    assert batched.normalize
    assert not losses.create(section, classes=4, dim=6, normalize=False).normalize


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("supcom", {}, r"a loss out of .*'circle'.*'supcom' \(did you mean 'supcon'\?\)"),
        ("supcon", {"temprature": 1}, r"'loss.temprature' \(did you mean 'temperature'\?\)"),
        ("supcon", {"temperature": 0}, "loss.temperature: .* greater than 0; received 0"),
        ("supcon", {"prefixes": (4, 12)}, "at least 12 numbers.*Received 6: shorten"),
    ],
)
def test_unknown_names_and_settings(name, settings, words):
    with pytest.raises(RecipeError, match=words):
        losses.create(name, classes=4, dim=6, **settings)


def test_a_loss_of_a_batch_is_not_one_of_pairs():
    with pytest.raises(RecipeError, match=r"a loss over given pairs. Received 'supcon'"):
        losses.create("supcon")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.SupCon(0), "SupCon: temperature: .* greater than 0; received 0"),
        (lambda: losses.NTXent(float("nan")), "temperature: .* finite number; received nan"),
        (lambda: losses.SupCon(True), "temperature: .* valid number; received True"),
        (lambda: losses.SupCon("0.1"), "temperature: .* valid number; received '0.1'"),
        (lambda: losses.Triplet(-0.1), "margin: .* or equal to 0; received -0.1"),
        (lambda: losses.Triplet(mining="easy"), "mining: .* 'semi-hard' or 'hard'; .* 'easy'"),
        (lambda: losses.AllPairsContrastive(-1), "positive_margin: .* equal to 0; received -1"),
        (lambda: losses.AllPairsContrastive(0, 0), "negative_margin: .* greater than 0"),
        (lambda: losses.AllPairsContrastive(power=3), "power: input should be 1 or 2; received 3"),
        (lambda: losses.MultiSimilarity(alpha=0), "alpha: .* greater than 0"),
        (lambda: losses.MultiSimilarity(base=2), "base: .* less than or equal to 1; received 2"),
        (lambda: losses.MultiSimilarity(epsilon=-1), "epsilon: .* equal to 0; received -1"),
        (lambda: losses.Circle(1.0), "margin: .* less than 1; received 1.0"),
        (lambda: losses.Circle(gamma=float("inf")), "gamma: .* finite number; received inf"),
        (lambda: losses.NormalizedSoftmax(0, 4), "classes: .* or equal to 1; received 0"),
        (lambda: losses.NormalizedSoftmax(4, 2.5), "dim: .* valid integer; received 2.5"),
        (lambda: losses.NormalizedSoftmax(4, 2, margin=2), "margin: .* less than 1.57.*"),
        (lambda: losses.NormalizedSoftmax(4, 2, margin=0.2, normalize=False), "normalize=True"),
        (lambda: losses.Proxies(4, 2, multiplier=0), "multiplier: .* greater than 0"),
        (lambda: losses.ProxyAnchor(4, 2, delta=-1), "delta: .* equal to 0; received -1"),
        (lambda: losses.SigmoidPairs(scale=-1), "scale: .* greater than 0"),
        (lambda: losses.SigmoidPairs(bias=float("nan")), "bias: .* finite number"),
        (lambda: losses.SupCon(prefixes=(4, 2)), "prefixes: expected rising sizes"),
        (lambda: losses.SupCon(prefixes=(0, 2)), "prefixes.0: .* or equal to 1; received 0"),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(RecipeError, match=words):
        make()


def test_numbers_of_numpy_are_numbers():
    loss = losses.NormalizedSoftmax(np.int64(4), np.int32(2), np.float32(8))
    assert (loss.classes, loss.dim, loss.scale) == (4, 2, 8.0)
    assert json.dumps(loss.get_config())


def test_an_unknown_argument_is_pythons_error():
    with pytest.raises(TypeError, match="temprature"):
        losses.SupCon(temprature=1)


def test_prefixes_longer_than_the_embedding():
    labels, points = batch(0)
    with pytest.raises(RecipeError, match=r"at least 8 numbers.*Received 6: shorten"):
        losses.SupCon(prefixes=(4, 8))(labels, points)


# --- one file for a loss


def test_the_room_shows_what_its_modules_define():
    assert dir(losses) == sorted(losses.__all__)
    assert {"BatchLoss", "Contrastive", "Proxies", "SupCon", "create"} <= set(losses.__all__)
    for name in losses.__all__:
        assert getattr(losses, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'Triplett' \(did you mean 'Triplet'"):
        _ = losses.Triplett


def test_no_other_source_names_the_module_of_a_loss():
    """So that to add one touches its own file alone."""
    root = Path(twinset.__file__).parent
    homes = {LOSSES.load(name).__module__ for name in LOSSES.names()}
    assert len(homes) > 2
    losses_may = {path for path in (root / "losses").iterdir() if path.stem != "__init__"}
    for path in set(root.rglob("*.py")) - losses_may:
        for home in homes:
            assert home not in path.read_text("utf-8"), f"{path} names {home}"
