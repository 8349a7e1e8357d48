"""A pretrained network that learns: slower than its head, and in batches larger than memory."""

import jax
import keras
import numpy as np
import pytest

import twinset
from little_network import little
from twinset import losses, networks
from twinset.errors import RecipeError
from twinset.models.keras_model import encode
from twinset.recipe import Recipe
from twinset.training.closed_form import fit_head
from twinset.training.frozen_trunk import trunk_of
from twinset.training.gradient_cache import embedder
from twinset.training.one_step import begin_with_head
from twinset.training.tasks import BatchTask, Job, build

TUNED = {
    "pairs": "batch",
    "batch_size": 12,
    "epochs": 3,
    "loss": {"name": "supcon"},
    "encoder": {
        **{"name": "pretrained", "model": "VGG16", "weights": "none", "embedding": 6},
        "freeze": False,
    },
    "optimizer": {"name": "sgd", "learning_rate": 0.03},
    "progress": False,
}
SHARE = 0.25


@pytest.fixture
def photos(monkeypatch):
    """Images of three classes, for a little network in the place of a large one."""
    monkeypatch.setattr(keras.applications, "VGG16", little)
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 10)
    images = rng.integers(0, 60, (30, 32, 32), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[10 * label : 10 * label + 10] += 180
    return twinset.LabelledImages(images, labels, ("top", "middle", "bottom"), "photos")


def moving(model):
    """The statistics of the normalisation below the head."""
    return [
        keras.ops.convert_to_numpy(variable)
        for variable in trunk_of(model.encoder).non_trainable_variables
        if "moving" in variable.name
    ]


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "sgd", "muon"])
def test_a_step_of_the_trunk_is_a_share_of_what_it_would_be(name):
    """With weight decay, and twice, so that momentum and sizes of past gradients count."""
    rng = np.random.default_rng(0)
    start, slopes = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    found = []
    for share in (1.0, SHARE):
        trunk, head = (
            keras.Variable(values, dtype="float32", name=f"v{i}") for i, values in enumerate(start)
        )
        settings = {} if name in ("rmsprop", "adam") else {"weight_decay": 0.1}
        optimizer = build(10, trunk=[trunk], name=name, trunk_rate=share, **settings)
        optimizer.build([trunk, head])
        steps = []
        for _ in range(2):
            before = [keras.ops.convert_to_numpy(each).copy() for each in (trunk, head)]
            optimizer.apply([keras.ops.convert_to_tensor(s, "float32") for s in slopes])
            after = [keras.ops.convert_to_numpy(each) for each in (trunk, head)]
            steps.append([b - a for a, b in zip(before, after, strict=True)])
            for variable, values in zip((trunk, head), start, strict=True):
                variable.assign(values)  # or the decay would differ
        found.append(steps)
    for whole, slow in zip(*found, strict=True):
        np.testing.assert_allclose(slow[0], SHARE * whole[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(slow[1], whole[1], rtol=1e-3)
        assert np.abs(whole[0]).min() > 1e-6


def without_dropout(include_top, weights, input_shape):
    """The little network as far as its normalisation: PyTorch's own dropout knows no seed."""
    whole = little(include_top, weights, input_shape)
    return keras.Model(whole.inputs, whole.layers[-2].output)


def test_the_recipes_rate_reaches_the_trunk_alone(photos, monkeypatch):
    """After a training of one batch, and so of one step."""
    without_dropout.__module__ = little.__module__
    monkeypatch.setattr(keras.applications, "VGG16", without_dropout)
    one = TUNED | {"epochs": 1, "batch_size": 30}
    section = twinset.Recipe.load(**{k: v for k, v in one.items() if k != "progress"}).encoder
    start = networks.build(section, (32, 32), seed=0)
    models = [
        twinset.fit(photos, **one, **more).encoder for more in ({}, {"optimizer.trunk_rate": SHARE})
    ]
    below = {id(variable) for variable in trunk_of(start).trainable_variables}
    seen = set()
    for old, whole, slow in zip(
        *(each.trainable_variables for each in (start, *models)), strict=True
    ):
        first, usual, other = (keras.ops.convert_to_numpy(each) for each in (old, whole, slow))
        share = SHARE if id(old) in below else 1.0
        np.testing.assert_allclose(other - first, share * (usual - first), rtol=1e-3, atol=1e-7)
        if np.abs(usual - first).max() > 1e-4:  # a bias before a normalisation has no gradient
            seen.add(share)
    assert seen == {SHARE, 1.0}


@pytest.mark.jax_alone
def test_the_head_sees_the_whole_batch_and_the_trunk_a_part_at_a_time(photos):
    section = twinset.Recipe.load(**{k: v for k, v in TUNED.items() if k != "progress"}).encoder
    encoder = networks.build(section, (32, 32), seed=0)
    trunk = trunk_of(encoder)
    head = keras.Model(trunk.output, encoder.outputs)
    task = BatchTask(
        losses.create("supcon", classes=3, dim=6), photos.labels, batch_size=0, per_class=0, seed=0
    )
    weights = [variable.value for variable in encoder.trainable_variables]
    others = [variable.value for variable in encoder.non_trainable_variables]
    rows = jax.numpy.asarray(photos.images)

    def plain(weights):
        mapping = [*zip(encoder.trainable_variables, weights, strict=True)]
        mapping += zip(encoder.non_trainable_variables, others, strict=True)
        with keras.StatelessScope(state_mapping=mapping):
            found = head(trunk(rows.astype("float32") / 255, training=False), training=True)
        return task.objective(photos.labels, found)[0]

    def cached(weights):
        job = Job(encoder, build(1), task, rows, photos.labels, None, 1, 7, trunk)
        (found, _), moved = embedder(job, unroll=False)(weights, others, rows)
        return task.objective(photos.labels, found)[0], moved

    whole, slopes = jax.value_and_grad(plain)(weights)
    (found, moved), parts = jax.value_and_grad(cached, has_aux=True)(weights)
    assert float(found) == pytest.approx(float(whole), rel=1e-5)
    for a, b in zip(slopes, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(a).max()) + 1e-6)
    changed = {
        variable.path
        for variable, old, new in zip(encoder.non_trainable_variables, others, moved, strict=True)
        if not np.array_equal(old, new)
    }
    assert {path.split("/")[0] for path in changed} == {"features_norm"}


@pytest.mark.jax_alone
def test_fine_tuning_in_parts_learns_with_the_normalisation_at_rest(photos):
    usual = twinset.fit(photos, **TUNED)
    parts = twinset.fit(photos, **TUNED, micro_batch=5)
    assert parts.history[-1].loss < parts.history[0].loss
    start = networks.build(parts.recipe.encoder, (32, 32), seed=0)
    begun = [
        keras.ops.convert_to_numpy(variable)
        for variable in trunk_of(start).non_trainable_variables
        if "moving" in variable.name
    ]
    for old, kept, moved in zip(begun, moving(parts), moving(usual), strict=True):
        np.testing.assert_array_equal(old, kept)
        assert not np.array_equal(old, moved)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"optimizer.trunk_rate": 0.1, "encoder.freeze": True}, "pretrained network with freeze"),
        (
            {"optimizer.trunk_rate": 0.1, "encoder": {"name": "mlp", "normalize": True}},
            "Received 'mlp'",
        ),
        ({"optimizer.trunk_rate": 0}, "trunk_rate: input should be greater than 0; received 0"),
        pytest.param(
            {"micro_batch": 4, "encoder.freeze": True},
            "micro_batch = 0 for a frozen network",
            marks=pytest.mark.jax_alone,
        ),
        pytest.param(
            {"micro_batch": 4, "encoder": {"name": "conv"}},
            "normalisation over the batch .* Received '.*norm'",
            marks=pytest.mark.jax_alone,
        ),
    ],
)
def test_what_cannot_be_is_refused(photos, settings, words):
    with pytest.raises(RecipeError, match=words):
        twinset.fit(photos, **TUNED | settings)


def test_other_back_ends_refuse_parts_before_they_begin(photos, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(RecipeError, match="back end jax for micro_batch = 4. Received torch"):
        twinset.fit(photos, **TUNED, micro_batch=4)


def test_it_begins_where_the_head_in_closed_form_ends(photos):
    settings = {name: value for name, value in TUNED.items() if name != "progress"}
    recipe = Recipe.load(**settings, head={"kind": "whitened"})
    encoder = networks.build(recipe.encoder, (32, 32), seed=0)
    rows = encode(trunk_of(encoder), photos.images)
    begin_with_head(recipe, encoder, rows, photos.labels)
    expected = fit_head(rows, photos.labels, "whitened", dim=6)(rows)
    np.testing.assert_allclose(encode(encoder, photos.images), expected, atol=1e-4)


def test_a_training_from_there_ends_elsewhere_than_from_random_weights(photos):
    slow = {"epochs": 1, "optimizer": {"name": "sgd", "learning_rate": 1e-12}}
    begun = twinset.fit(photos, **TUNED | slow, head={"kind": "whitened"})
    plain = twinset.fit(photos, **TUNED | slow)
    assert len(begun.history) == 1
    assert begun.history[0].loss < plain.history[0].loss - 0.2


def test_only_a_head_of_its_own_size_begins_a_training(photos):
    with pytest.raises(RecipeError, match="to begin the training"):
        twinset.fit(photos, **TUNED, head={"kind": "centred"})
