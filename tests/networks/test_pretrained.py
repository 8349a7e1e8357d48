import importlib
import importlib.machinery
import sys
import types

import keras
import numpy as np
import pytest
from keras import ops

from twinset import networks
from twinset.errors import DownloadError, ModelError, RecipeError
from twinset.networks.layers import Scaling, from_function
from twinset.networks.pretrained import names

# The network of the fewest layers, so the quickest to build. Its channels are BGR.
NAME, SHAPE = "VGG16", (32, 32)
preprocess_input = keras.applications.vgg16.preprocess_input  # found beside `little`


def little(include_top, weights, input_shape):
    """A network as `keras.applications` has them, but for its 15 million weights."""
    image = keras.Input(input_shape)
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu", name="block1")(image)
    return keras.Model(image, keras.layers.Conv2D(6, 3, name="block2")(x), name="little")


def some(shape, count=2, seed=0):
    return np.random.default_rng(seed).random((count, *shape), np.float32)


def embed(encoder, x):
    return encoder.predict_on_batch(x)


@pytest.fixture
def encoder(monkeypatch):
    monkeypatch.setattr(keras.applications, NAME, little)
    return networks.pretrained(SHAPE, NAME, weights="none", embedding=5, seed=0)


def backbone_of(encoder):
    frozen = [layer.network for layer in encoder.layers if isinstance(layer, networks.Frozen)]
    return [*frozen, *(layer for layer in encoder.layers if isinstance(layer, keras.Model))][0]


# --- preprocessing

FAMILIES = [
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_v2",
    "inception_v3",
    "mobilenet",
    "mobilenet_v3",
    "resnet",
    "resnet_v2",
    "vgg16",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_preprocessing_is_the_familys_own(family):
    function = importlib.import_module(f"keras.applications.{family}").preprocess_input
    colour = some((4, 5, 3))
    expected = function(255 * colour.astype(np.float64))
    found = ops.convert_to_numpy(from_function(function)(colour))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    gray = some((4, 5))
    expected = function(255 * np.repeat(gray.astype(np.float64)[..., None], 3, axis=-1))
    found = ops.convert_to_numpy(from_function(function)(gray))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_the_families_differ():
    """Or the test above would pass on one preprocessing for all."""
    found = set()
    for family in FAMILIES:
        function = importlib.import_module(f"keras.applications.{family}").preprocess_input
        scaling = from_function(function)
        found.add((*scaling.scale, *scaling.offset, scaling.reverse))
    assert len(found) == 4


def test_what_is_no_scaling_is_refused():
    for function in (np.square, lambda x: x @ np.ones((3, 3)), lambda x: x[..., [1, 0, 2]]):
        with pytest.raises(RecipeError, match="scales and shifts each channel. Received <"):
            from_function(function)


def test_preprocessing_is_saved_with_a_network(tmp_path):
    image = keras.Input((2, 2, 3))
    keras.Model(image, Scaling([1.0, 2.0, 3.0], [0.0, -1.0, 0.5], reverse=True)(image)).save(
        tmp_path / "p.keras"
    )
    again = keras.saving.load_model(tmp_path / "p.keras")
    x = some((2, 2, 3))
    np.testing.assert_allclose(
        ops.convert_to_numpy(again(x)),
        x[..., ::-1] * [1, 2, 3] + [0, -1, 0.5],
        rtol=1e-6,
        atol=1e-6,
    )


# --- the whole


def test_it_is_an_encoder_of_gray_and_of_equal_channels(encoder):
    assert networks.check_encoder(encoder, SHAPE) == 5
    x = some(SHAPE)
    found = embed(encoder, x)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    colour = networks.pretrained((*SHAPE, 3), NAME, weights="none", embedding=5, seed=0)
    np.testing.assert_allclose(
        embed(colour, np.repeat(x[..., None], 3, axis=-1)), found, rtol=1e-3, atol=1e-4
    )


def test_it_is_the_network_on_its_own_preprocessing():
    encoder = networks.pretrained(SHAPE, NAME, weights="none", embedding=5, seed=0)
    x = some(SHAPE)
    backbone = backbone_of(encoder)
    function = keras.applications.vgg16.preprocess_input
    features = embed(backbone, function(255 * np.repeat(x[..., None], 3, axis=-1)))
    pooled = features.mean(axis=(1, 2))
    dense = encoder.get_layer("embedding")
    # untrained, the batch normalisation divides by √(1 + 0.001)
    expected = pooled / np.sqrt(1.001) @ ops.convert_to_numpy(dense.kernel)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(encoder, x), expected, rtol=1e-3, atol=1e-4)


def test_weights_of_a_file_and_the_whole_in_a_file(encoder, tmp_path):
    backbone = backbone_of(encoder)
    backbone.save_weights(tmp_path / "own.weights.h5")
    again = networks.pretrained(
        SHAPE, NAME, weights=str(tmp_path / "own.weights.h5"), embedding=5, seed=0
    )
    x = some(SHAPE)
    np.testing.assert_array_equal(embed(again, x), embed(encoder, x))
    other = networks.pretrained(SHAPE, NAME, weights="none", embedding=5, seed=1)
    assert np.abs(embed(other, x) - embed(encoder, x)).max() > 1e-3
    encoder.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras", safe_mode=True)
    np.testing.assert_array_equal(embed(loaded, x), embed(encoder, x))
    assert len(loaded.trainable_variables) == 3


def test_files_that_hold_no_such_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(keras.applications, NAME, little)
    with pytest.raises(ModelError, match="Received '/none.weights.h5', and there is no such file"):
        networks.pretrained(SHAPE, NAME, weights="/none.weights.h5")
    networks.mlp((4, 4)).save_weights(tmp_path / "mlp.weights.h5")
    (tmp_path / "text.weights.h5").write_text("nonsense")
    for name in ("mlp", "text"):
        with pytest.raises(ModelError, match=f"{name}.weights.h5: expected weights of VGG16"):
            networks.pretrained(SHAPE, NAME, weights=str(tmp_path / f"{name}.weights.h5"))


def test_offline(monkeypatch):
    from keras.src.applications import vgg16

    def get_file(*args, **kwargs):
        raise Exception("URL fetch failure on https://weights: None -- unreachable")

    monkeypatch.setattr(vgg16.file_utils, "get_file", get_file)
    with pytest.raises(
        DownloadError, match="weights of VGG16 in Keras' cache.*unreachable: connect.*path"
    ):
        networks.pretrained(SHAPE, NAME)


@pytest.mark.parametrize(
    ("name", "shape", "more", "words"),
    [
        ("MobilNet", SHAPE, {}, r"Received 'MobilNet' \(did you mean 'MobileNet'"),
        ("zzz", SHAPE, {}, r"take one of \['ConvNeXtBase'"),
        (NAME, (28, 28), {}, r"shape of images that VGG16 takes. Received \(28, 28\): .*32x32"),
        (NAME, SHAPE, {"pooling": "sum"}, "received 'sum'"),
        ("keras_hub:resnet_18", SHAPE, {}, "Expected keras_hub .*pip install keras-hub"),
    ],
)
def test_what_cannot_be_built(monkeypatch, name, shape, more, words):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(RecipeError, match=words):
        networks.pretrained(shape, name, weights="none", **more)


def test_names_are_networks():
    assert len(names()) >= 30
    assert not {"mobilenet", "imagenet_utils"} & set(names())


# --- KerasHub, played by a module of the same shape


@pytest.fixture
def hub(monkeypatch):
    asked = []

    class Backbone:
        @staticmethod
        def from_preset(preset, load_weights, image_shape):
            asked.append((preset, load_weights, image_shape))
            if preset == "nonsense":
                raise ValueError("Unknown preset identifier")
            if preset == "unreachable":
                raise ConnectionError("no route")
            image = keras.Input(image_shape)
            x = keras.layers.Conv2D(6, 4, strides=4)(image)
            x = keras.layers.BatchNormalization()(keras.layers.Dropout(0.5)(x))
            tokens = keras.layers.Reshape((-1, 6))(x)
            return keras.Model(image, tokens if preset == "transformer" else x)

    class ImageConverter:
        @staticmethod
        def from_preset(preset):
            # as KerasHub's: resizes, and returns a tensor
            return lambda x: ops.convert_to_tensor(x[:, ::2, ::2] / 127.5 - 1)

    module = types.ModuleType("keras_hub")
    module.__spec__ = importlib.machinery.ModuleSpec("keras_hub", None)
    module.models = types.SimpleNamespace(Backbone=Backbone)
    module.layers = types.SimpleNamespace(ImageConverter=ImageConverter)
    monkeypatch.setitem(sys.modules, "keras_hub", module)
    return asked


@pytest.mark.parametrize("preset", ["convolutions", "transformer"])
@pytest.mark.parametrize("weights", ["imagenet", "none"])
def test_keras_hub(hub, preset, weights):
    found = networks.pretrained((8, 8), f"keras_hub:{preset}", weights=weights, embedding=3)
    assert hub == [(preset, weights == "imagenet", (8, 8, 3))]
    assert networks.check_encoder(found, (8, 8)) == 3
    np.testing.assert_allclose(found.get_layer("preprocess").scale, 2, rtol=1e-6)
    np.testing.assert_allclose(found.get_layer("preprocess").offset, -1, rtol=1e-6)
    assert len(found.trainable_variables) == 3


def test_a_frozen_network_rests(hub):
    encoder = networks.pretrained((8, 8), "keras_hub:convolutions", seed=0)
    names = [variable.path.split("/")[-2] for variable in encoder.trainable_variables]
    assert names == ["features_norm", "features_norm", "embedding"]
    before = backbone_of(encoder).get_weights()
    x = some((8, 8), 64)
    first, again = (ops.convert_to_numpy(encoder(x, training=True)) for _ in range(2))
    # no dropout, and nothing moves but the averages of the normalisation above
    np.testing.assert_array_equal(first, again)
    for old, new in zip(before, backbone_of(encoder).get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    loaded = keras.models.clone_model(encoder)
    assert len(loaded.trainable_variables) == 3


def test_a_network_that_is_not_frozen_learns(hub):
    encoder = networks.pretrained((8, 8), "keras_hub:convolutions", freeze=False, seed=0)
    assert len(encoder.trainable_variables) == 7
    before = backbone_of(encoder).get_weights()
    x = some((8, 8), 64)
    first, again = (ops.convert_to_numpy(encoder(x, training=True)) for _ in range(2))
    assert (first != again).mean() > 0.5, "dropout"
    moved = [
        (a != b).any() for a, b in zip(before, backbone_of(encoder).get_weights(), strict=True)
    ]
    assert sum(moved) >= 2, "running averages"


def test_pooling(hub):
    """The largest value of a place, or the mean: the same where all places are equal."""
    images = np.ones((2, 8, 8), np.float32) * np.array([0.2, 0.9], np.float32)[:, None, None]
    mean, most = (
        networks.pretrained(
            (8, 8),
            "keras_hub:convolutions",
            weights="none",
            pooling=pooling,
            seed=0,
            normalize=False,
        )
        for pooling in ("avg", "max")
    )
    np.testing.assert_allclose(embed(mean, images), embed(most, images), atol=1e-4)
    assert np.abs(embed(mean, some((8, 8))) - embed(most, some((8, 8)))).max() > 0.01


def test_keras_hub_errors(hub):
    with pytest.raises(RecipeError, match="Received 'nonsense': Unknown preset"):
        networks.pretrained((8, 8), "keras_hub:nonsense")
    with pytest.raises(DownloadError, match="weights of keras_hub:unreachable.*no route: connect"):
        networks.pretrained((8, 8), "keras_hub:unreachable")
