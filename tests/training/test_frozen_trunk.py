"""A head on features: of a frozen network, encoded once, or made elsewhere."""

import keras
import numpy as np
import pytest

import twinset
from little_network import little, preprocess_input
from resuming import check_that_it_goes_on
from twinset import networks
from twinset.backbones.backbone import Backbone
from twinset.data.labelled import LabelledFeatures, VectorInput
from twinset.errors import DataError, RecipeError
from twinset.models.keras_model import encode
from twinset.training import frozen_trunk as features
from twinset.training.monitor import Monitor

# Keras' networks have theirs in their own module, and so have those of these tests.
__all__ = ["preprocess_input"]

# A network of few layers, untrained: what it finds is poor, but its own.
FROZEN = {
    "pairs": "batch",
    "batch_size": 12,
    "epochs": 3,
    "loss": {"name": "supcon"},
    "encoder": {"name": "pretrained", "model": "VGG16", "weights": "none", "embedding": 6},
}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Images of three classes for a little network, with a cache of their own."""
    monkeypatch.setattr(keras.applications, "VGG16", little)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 10)
    images = rng.integers(0, 60, (30, 32, 32), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[10 * label : 10 * label + 10] += 180
    return twinset.LabelledImages(images, labels, ("top", "middle", "bottom"), "photos")


@pytest.fixture
def counted(monkeypatch):
    """Counts the images that go through the frozen network."""
    seen = []
    whole = Backbone.encode
    monkeypatch.setattr(
        Backbone, "encode", lambda self, rows: (seen.append(len(rows)), whole(self, rows))[1]
    )
    return seen


def vectors_of(model, data):
    return encode(features.trunk_of(model.encoder), data.rows)


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_are_encoded_once_and_the_model_takes_images(photos, counted):
    model = twinset.fit(photos, **FROZEN)
    assert sum(counted) == 30
    assert model.embed(photos).shape == (30, 6)
    assert model.preprocessing.shape == (32, 32)
    assert model.recipe.encoder.name == "pretrained"
    assert isinstance(model.compare(photos.images[0], photos.images[3]).same, bool)
    start = networks.build(model.recipe.encoder, (32, 32), seed=0)
    moved = [
        name
        for layer, other in zip(model.encoder.layers, start.layers, strict=True)
        for name, a, b in zip(
            [w.path for w in layer.weights], layer.get_weights(), other.get_weights(), strict=True
        )
        if not np.array_equal(a, b)
    ]
    # the head has learned, batch normalisation included; the network has not
    assert sorted(name.rsplit("/", 1)[-1] for name in moved) == [
        *("beta", "gamma", "kernel", "moving_mean", "moving_variance")
    ]
    again = twinset.fit(photos, **FROZEN)
    assert sum(counted) == 30
    same(model.encoder.get_weights(), again.encoder.get_weights())
    twinset.fit(photos.subset(np.arange(12)), seed=3, **FROZEN | {"epochs": 1})
    assert sum(counted) == 30 + 12, "another seed draws another network"


def test_a_network_without_a_graph_is_run_by_keras(photos, counted, monkeypatch):
    def odd(include_top, weights, input_shape):
        image = keras.Input(input_shape)
        x = keras.layers.Conv2D(4, 5, strides=8, activation="softsign")(image)
        return keras.Model(image, x, name="odd")

    monkeypatch.setattr(keras.applications, "VGG16", odd)
    told = []
    model = twinset.fit(photos, **FROZEN | {"epochs": 1}, progress=told.append)
    assert (told[0].text, counted) == ("encode 30 of 30 images", [])
    assert features.graph_of(model.recipe.encoder, features.trunk_of(model.encoder)) is None


def test_it_is_what_training_the_whole_network_gives(photos, monkeypatch):
    """The same steps with every image through the network again in each of them."""
    settings = FROZEN | {"optimizer": {"name": "sgd", "learning_rate": 0.05}}
    once = twinset.fit(photos, **settings)
    monkeypatch.setattr(features, "learns_once", lambda recipe: False)
    whole = twinset.fit(photos, **settings)
    assert [r.loss for r in once.history] == pytest.approx(
        [r.loss for r in whole.history], rel=1e-3
    )
    np.testing.assert_allclose(once.embed(photos), whole.embed(photos), atol=2e-3)
    assert once.history[-1].loss < once.history[0].loss


def test_the_model_is_saved_whole(photos, tmp_path):
    model = twinset.fit(photos, **FROZEN | {"epochs": 1})
    model.save(tmp_path / "run")
    loaded = twinset.SiameseModel.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.embed(photos), model.embed(photos))
    assert loaded.digest == model.digest


@pytest.mark.parametrize("units", [(), (7, 5)])
def test_trunk_and_head_make_the_encoder(photos, units):
    recipe = twinset.Recipe.load(**FROZEN | {"encoder": {**FROZEN["encoder"], "units": units}})
    encoder = networks.build(recipe.encoder, (32, 32), seed=4)
    head = features.head_of(encoder, recipe.encoder, seed=4)
    rows = encode(features.trunk_of(encoder), photos.images)
    assert rows.shape == (30, 16)
    expected = encode(encoder, photos.images)
    np.testing.assert_allclose(head.predict_on_batch(rows), expected, atol=1e-5)
    head.set_weights([w + 0.5 for w in head.get_weights()])
    features.join(encoder, head)
    found = encode(encoder, photos.images)
    np.testing.assert_allclose(head.predict_on_batch(rows), found, atol=1e-5)
    assert not np.allclose(found, expected, atol=1e-2)


def test_a_killed_training_of_a_head_goes_on(photos, tmp_path, monkeypatch):
    check_that_it_goes_on(photos, tmp_path / "state.npz", monkeypatch, killed_at=2, **FROZEN)


@pytest.mark.any_backend
def test_a_network_that_learns_with_its_head_is_a_function_of_the_seed(
    photos, tmp_path, monkeypatch
):
    """Its dropout, too, which it brings without a seed."""
    learning = FROZEN | {"encoder": FROZEN["encoder"] | {"freeze": False}}
    one, two, three = (
        twinset.fit(photos, **learning, seed=seed).encoder.get_weights() for seed in (1, 1, 2)
    )
    same(one, two)
    assert not np.allclose(one[0], three[0])
    check_that_it_goes_on(photos, tmp_path / "state.npz", monkeypatch, killed_at=2, **learning)


def test_progress_tells_of_the_encoding(photos, capsys):
    twinset.fit(photos, progress=True, **FROZEN | {"epochs": 1})
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first == "encode 30 of 30 images"
    assert second.startswith("epoch 1/1 ")


def test_augmentation_and_frozen_networks_exclude_each_other(photos):
    with pytest.raises(RecipeError, match=r"sees each image once. Received augment.shift = 2: lea"):
        twinset.fit(photos, **FROZEN, augment={"shift": 2})
    thawed = FROZEN | {"encoder": {**FROZEN["encoder"], "freeze": False}}
    recipe = twinset.Recipe.load(**thawed, augment={"shift": 2})
    assert features.fitting(recipe, photos) is recipe
    auto = twinset.Recipe.load(**FROZEN, augment={"flip": "auto"})
    assert features.fitting(auto, photos) is auto


# --- features that were made elsewhere


@pytest.fixture(scope="module")
def projected(fashion_mnist):
    """Fashion-MNIST by its first 48 principal components: real features of real images."""
    train, test = fashion_mnist
    pixels = train.images[:4000].reshape(4000, -1) / np.float32(255)
    mean = pixels.mean(axis=0)
    # of the covariance: a decomposition of all pixels takes 16 s of a core
    axes = np.linalg.eigh((pixels - mean).T @ (pixels - mean))[1][:, :-49:-1]

    def project(data, count):
        flat = data.images[:count].reshape(count, -1) / np.float32(255)
        return LabelledFeatures(
            (flat - mean) @ axes, data.labels[:count], data.class_names, name=data.name
        )

    return project(train, 6000), project(test, 2000)


def test_a_head_learns_from_real_features(projected):
    train, test = projected
    model = twinset.fit(train, "head", epochs=6, encoder={"units": [128]})
    assert model.preprocessing == VectorInput(48)
    assert model.recipe.encoder.model_dump() == {
        "name": "head",
        "units": (128,),
        "embedding": 128,
        "dropout": 0.0,
        "normalize": True,
    }
    pairs = twinset.tutorial_pairs(test.labels)
    scores = [
        twinset.score_pairs(apart, pairs.same, 1.0).auc
        for apart in (
            model.distances(test, pairs),
            np.linalg.norm(test.vectors[pairs.left] - test.vectors[pairs.right], axis=1),
        )
    ]
    assert scores[0] > scores[1] + 0.1
    assert scores[0] > 0.93
    assert model.compare(*test.vectors[:2]).distance == pytest.approx(
        float(np.linalg.norm(np.subtract(*model.embed(test.vectors[:2])))), abs=1e-5
    )


def test_a_model_of_vectors_comes_back_and_takes_no_images(stripes, tmp_path):
    flat = LabelledFeatures(stripes.images.reshape(60, -1) / 255, stripes.labels, tuple("abc"))
    model = twinset.fit(flat, "head", epochs=2, batch_size=30)
    model.save(tmp_path / "run")
    loaded = twinset.SiameseModel.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.embed(flat), model.embed(flat.vectors))
    assert loaded.preprocessing == VectorInput(30)
    assert loaded.digest == model.digest
    for wrong in (["a.png"], stripes, stripes.images):
        with pytest.raises(DataError, match="Expected vectors of 30 numbers"):
            loaded.embed(wrong)
    with pytest.raises(DataError, match="takes no images and no files. Received 'a.png'"):
        loaded.compare("a.png", "b.png")


def test_vectors_are_taken_as_they_are(stripes):
    """Not scaled by 1/255, in training as in use; so a shift of all of them is undone exactly."""
    flat = LabelledFeatures(stripes.images.reshape(60, -1) / 255, stripes.labels, tuple("abc"))
    settings = {"pairs": "batch", "batch_size": 30, "loss": {"name": "supcon"}, "epochs": 4}
    settings |= {"encoder": {"name": "mlp", "units": [8], "linear": True, "normalize": True}}
    of_pixels, of_vectors = (twinset.fit(data, **settings) for data in (stripes, flat))
    np.testing.assert_allclose(of_pixels.embed(stripes), of_vectors.embed(flat), atol=1e-4)


def test_large_sets_of_features_are_fed_in_chunks(stripes, monkeypatch):
    if keras.backend.backend() != "jax":
        pytest.skip("the feed is JAX's")
    from twinset.training import feed

    flat = LabelledFeatures(stripes.images.reshape(60, -1) / 255, stripes.labels, tuple("abc"))
    whole = twinset.fit(flat, "head", epochs=2, batch_size=12)
    monkeypatch.setattr(feed, "RESIDENT", 100)
    monkeypatch.setitem(feed.Feed.__init__.__kwdefaults__, "chunk", 3 * 12 * 30 * 4)
    same(
        twinset.fit(flat, "head", epochs=2, batch_size=12).encoder.get_weights(),
        whole.encoder.get_weights(),
    )


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        (
            "vectors",
            {"encoder": {"name": "conv"}},
            "encoder of vectors. Received encoder.name = 'conv'",
        ),
        ("vectors", {"encoder": {"freeze": False}}, "Received features: take encoder.freeze = tru"),
        ("vectors", {"augment": {"erase": 0.5}}, "of features. Received augment.erase = 0.5"),
        (
            "images",
            {"encoder": {"name": "head"}},
            "'head', which takes vectors: 'efficientnet-lite0' m",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(stripes, data, settings, words):
    flat = LabelledFeatures(stripes.images.reshape(60, -1) / 255, stripes.labels, tuple("abc"))
    given = stripes if data == "images" else flat
    with pytest.raises(RecipeError, match=words):
        twinset.fit(given, "head", epochs=1, **settings)


def test_a_broken_training_leaves_an_error_and_no_half_model(photos, monkeypatch):
    def broken(self, *_):
        raise DataError("broken on purpose")

    monkeypatch.setattr(Monitor, "steps", broken)
    with pytest.raises(DataError, match="broken on purpose"):
        twinset.fit(photos, **FROZEN)
