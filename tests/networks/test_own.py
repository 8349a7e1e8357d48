"""A network of the user's own: handed to `fit`, or in a file that a recipe names."""

import keras
import numpy as np
import pytest
from keras import ops

import twinset
from resuming import check_that_it_goes_on
from twinset import networks
from twinset.errors import ModelError, RecipeError
from twinset.models.keras_model import beginning
from twinset.networks import own
from twinset.training import fit as training

BATCH = {
    "pairs": "batch",
    "batch_size": 12,
    "epochs": 30,
    "loss": {"name": "supcon"},
    "optimizer.name": "adam",
}


def functional(shape=(6, 5), size=8):
    keras.utils.set_random_seed(3)
    image = keras.Input(shape)
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(size)(x))


def sequential():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Flatten(), keras.layers.Dense(16, "relu"), keras.layers.Dense(8)]
    return keras.Sequential(layers)


@keras.saving.register_keras_serializable("twinset_tests")
class Own(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = keras.layers.Dense(8, kernel_initializer=keras.initializers.HeNormal(3))

    def call(self, x):
        return self.dense(ops.reshape(x, (-1, 30)))


def any_size():
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None))
    x = keras.layers.Reshape((6, 5, 1))(image)
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(image, keras.layers.Flatten()(x))


def with_dropout():
    """Whose dropout has a state of its own, which every step changes."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5))
    x = keras.layers.Dense(16, activation="relu")(keras.layers.Flatten()(image))
    x = keras.layers.Dropout(0.2, seed=4)(x)
    return keras.Model(image, keras.layers.UnitNormalization()(keras.layers.Dense(8)(x)))


KINDS = [functional, sequential, Own, any_size, with_dropout]
# On other back ends one of its own code is enough: one of Keras' layers, with dropout, is resumed.
TRAINED = [
    make if make is Own else pytest.param(make, marks=pytest.mark.any_backend) for make in KINDS
]


def auc(model, data):
    pairs = twinset.tutorial_pairs(data.labels)
    return twinset.score_pairs(model.distances(data, pairs), pairs.same, 0.5).auc


@pytest.mark.parametrize("make", TRAINED)
def test_any_keras_model_learns_and_comes_back_from_its_folder(stripes, tmp_path, make):
    network = make()
    network.predict_on_batch(np.zeros((2, 6, 5), "float32"))
    before = [np.array(weight) for weight in network.get_weights()]
    model = twinset.fit(stripes, encoder=network, **BATCH)
    assert auc(model, stripes) > 0.95
    assert model.history[-1].loss < model.history[0].loss
    assert any(
        not np.array_equal(a, b) for a, b in zip(before, network.get_weights(), strict=True)
    ), "the network itself is trained"
    found = model.embed(stripes.images)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert model.recipe.encoder.name == "own"
    assert len(model.recipe.encoder.digest) == 64
    model.save(tmp_path / "run")
    again = twinset.SiameseModel.load(tmp_path / "run")
    np.testing.assert_allclose(again.embed(stripes.images), found, atol=1e-6)
    assert again.recipe == model.recipe


@pytest.mark.any_backend
def test_a_file_is_as_good_as_the_model(stripes, tmp_path):
    network = functional()
    network.save(tmp_path / "network.keras")
    handed = twinset.fit(stripes, encoder=network, **BATCH | {"epochs": 2})
    read = twinset.fit(
        stripes,
        **BATCH | {"epochs": 2},
        encoder={"name": "own", "path": str(tmp_path / "network.keras")},
    )
    for a, b in zip(handed.encoder.get_weights(), read.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # the recipe that was kept trains it anew, and notices another network under the same name
    again = twinset.fit(stripes, read.recipe)
    np.testing.assert_array_equal(again.embed(stripes.images), read.embed(stripes.images))
    network.save(tmp_path / "network.keras")  # trained by now
    with pytest.raises(RecipeError, match=r"of encoder.digest '\w+'. Received one of '\w+'"):
        twinset.fit(stripes, read.recipe)


def test_its_dropout_resumes_to_the_same_weights(stripes, tmp_path, monkeypatch):
    settings = BATCH | {"epochs": 4}
    path = tmp_path / "state.npz"
    check_that_it_goes_on(stripes, path, monkeypatch, killed_at=2, **settings, encoder=with_dropout)
    twinset.fit(stripes, encoder=with_dropout(), checkpoint=path, keep_checkpoint=True, **settings)
    others = [with_dropout(), with_dropout(), with_dropout(), functional()]
    others[0].layers[3].rate = 0.3
    others[1].layers[2].trainable = False
    others[2].layers[2].kernel.assign(1.5 * others[2].layers[2].kernel)
    for other in others:  # none of them may go on from there
        with pytest.raises(ModelError, match="It is of another recipe"):
            twinset.fit(stripes, encoder=other, checkpoint=path, **settings)


def skipping(to):
    """The same layers with the same weights, and a path around one of them."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6, 5))
    first, second, third = (keras.layers.Dense(8) for _ in range(3))
    a = first(keras.layers.Flatten()(image))
    b = second(a)
    return keras.Model(image, third(keras.layers.Add()([(a, b)[to], b])))


def test_the_beginning_is_what_training_depends_on():
    def digest(make, *arguments):
        return beginning(own((6, 5), make(*arguments)))()

    for make in KINDS:
        assert digest(make) == digest(make), "layers are numbered anew, and that is no difference"
    assert digest(skipping, 0) != digest(skipping, 1)
    used = functional()
    before = beginning(used)()
    keras.Model(used.inputs, keras.layers.Dense(2)(used.outputs[0]))
    assert beginning(used)() == before, "what else its layers are called on does not matter"


def test_regularisers_count(stripes):
    def network(strength):
        keras.utils.set_random_seed(3)
        layer = keras.layers.Dense(8, kernel_regularizer=keras.regularizers.L2(strength))
        return keras.Sequential([keras.layers.Flatten(), layer])

    settings = BATCH | {"epochs": 1, "batch_size": 60}
    plain, heavy = (twinset.fit(stripes, encoder=network(s), **settings) for s in (0.0, 0.5))
    start = network(0.5)
    start.build((None, 6, 5))
    penalty = 0.5 * float(np.square(start.layers[-1].get_weights()[0]).sum())
    assert heavy.history[0].loss == pytest.approx(plain.history[0].loss + penalty, rel=1e-4)
    settings = BATCH | {"epochs": 20}
    plain, heavy = (
        np.abs(twinset.fit(stripes, encoder=network(s), **settings).encoder.get_weights()[0]).mean()
        for s in (0.0, 0.5)
    )
    assert heavy < 0.75 * plain


@pytest.mark.parametrize(
    "kind", [pytest.param("mixed_bfloat16", marks=pytest.mark.any_backend), "bfloat16"]
)
def test_a_network_in_16_bits_trains_and_resumes(stripes, tmp_path, monkeypatch, kind):
    def network():
        keras.utils.set_random_seed(3)
        image = keras.Input((6, 5))
        x = keras.layers.Dense(16, activation="relu", dtype=kind)(keras.layers.Flatten()(image))
        return keras.Model(image, keras.layers.Dense(8, dtype=kind)(x))

    settings = {"epochs": 4, "encoder.normalize": False}
    check_that_it_goes_on(
        stripes, tmp_path / "state.npz", monkeypatch, killed_at=2, **settings, encoder=network
    )
    found = twinset.fit(stripes, encoder=network(), **settings).embed(stripes.images)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_lengths_are_its_own_where_wanted(stripes):
    model = twinset.fit(stripes, encoder=functional(), **{"encoder.normalize": False, "epochs": 1})
    lengths = np.linalg.norm(model.embed(stripes.images), axis=1)
    assert np.ptp(lengths) > 0.01
    assert not isinstance(model.encoder.layers[-1], networks.UnitNorm)


@pytest.mark.any_backend
def test_a_blend_finds_the_features_of_an_open_graph(stripes, monkeypatch):
    settings = BATCH | {"epochs": 1, "blend.features": 1.0}
    for make in (functional, sequential, with_dropout):
        model = twinset.fit(stripes, encoder=make(), **settings)
        assert model.dim == 8 + 16
    features = keras.Model(model.encoder.inputs, model.encoder.get_layer("blend_features").input)
    found = features.predict(stripes.images / np.float32(255), verbose=0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert found.min() >= 0, "they come from behind a ReLU"
    monkeypatch.setattr(training, "_engine", None)  # what cannot be blended costs no training
    with pytest.raises(RecipeError, match="a layer before its last linear one"):
        twinset.fit(stripes, encoder=Own(), **settings)
    with pytest.raises(RecipeError, match="Received 'own', which is a blend already"):
        twinset.fit(stripes, encoder=model.encoder, **BATCH, **{"blend.pixels": 1.0})


def test_a_gate_is_no_last_layer(stripes):
    """The last Dense of the list need not lead to the embedding."""
    image = keras.Input((6, 5))
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(12)(x)
    gate = keras.layers.Dense(12, activation="sigmoid")(x)
    model = keras.Model(image, keras.layers.Multiply()([x, gate]))
    with pytest.raises(RecipeError, match="a layer before its last linear one"):
        twinset.fit(stripes, encoder=model, **BATCH | {"epochs": 1, "blend.features": 1.0})


def test_a_layer_on_top_of_one_of_ours(stripes):
    """Whose own layer of unit length has the name that the new one would have."""
    inner = networks.mlp((6, 5), units=(8,), linear=True, normalize=True, seed=0)
    inner.layers[-1].name = "unit"
    network = keras.Model(inner.inputs, keras.layers.Dense(4)(inner.outputs[0]))
    model = twinset.fit(stripes, encoder=network, **BATCH | {"epochs": 1})
    assert model.dim == 4


@pytest.mark.any_backend
def test_vectors_take_a_network_too():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    vectors = rng.normal(size=(40, 7)).astype("float32") + 3 * labels[:, None]
    data = twinset.LabelledFeatures(vectors, labels, ("low", "high"))
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((7,)), keras.layers.Dense(4)])
    model = twinset.fit(data, encoder=network, **BATCH)
    assert model.embed(vectors).shape == (40, 4)


def test_the_untrained_network_is_no_baseline(stripes):
    """It may have learned before it came, and is not there any more."""
    model = twinset.fit(stripes, encoder=functional(), **BATCH | {"epochs": 1})
    found = twinset.evaluate(model, stripes, allow_seen=True)
    assert list(found.results) == ["model", "raw pixels"]
    assert found.facts["Left out"] == {"untrained": "a network of your own may have learned before"}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"encoder": {"name": "own"}}, RecipeError, "Received none: give the path of a .keras"),
        (
            {"encoder": {"name": "own", "path": "nowhere.keras"}},
            ModelError,
            "Received 'nowhere.keras', and there is no such file",
        ),
        (
            {"encoder": {"name": "own", "path": "broken.keras"}},
            ModelError,
            "broken.keras: expected a Keras model. ValueError: File not found",
        ),
        ({"encoder": functional((5, 4))}, ModelError, r"images of shape \(6, 5\).*\(None, 5, 4\)"),
        (
            {"encoder": functional(), "precision": "mixed_bfloat16"},
            RecipeError,
            "a network of your own has the types of its layers",
        ),
        (
            {"encoder": functional(), "encoder.digest": "0" * 64},
            RecipeError,
            "of encoder.digest '0+'. Received one of '.*': give that network",
        ),
    ],
)
def test_what_will_not_do(stripes, tmp_path, settings, error, words):
    (tmp_path / "broken.keras").write_bytes(b"PK not quite")
    with pytest.raises(error, match=words):
        twinset.fit(stripes, **settings)


def test_losses_of_directions_want_embeddings_of_length_one(stripes):
    plain = {"pairs": "batch", "encoder": {"units": [8]}, "epochs": 2, "batch_size": 12}
    with pytest.raises(RecipeError, match="the loss 'supcon' needs encoder.normalize = true"):
        twinset.fit(stripes, **plain, loss={"name": "supcon"})
    for name in ("contrastive", "triplet"):  # they take distances as the model does
        model = twinset.fit(stripes, **plain, loss={"name": name})
        lengths = np.linalg.norm(model.embed(stripes.images), axis=1)
        assert np.ptp(lengths) > 0.01
