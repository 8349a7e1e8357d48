"""Embeddings that keep what the objective had no use for: by hand, by loops, and through a file."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import twinset
from twinset import networks
from twinset.backbones.session import open_session
from twinset.errors import RecipeError
from twinset.exporters import graph as export
from twinset.exporters import onnx_layers as layers
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.pairs import auc
from twinset.models.keras_model import encode
from twinset.models.onnx_model import OnnxModel
from twinset.training.blend import Blend, blended

ALL = Blend(learned=0.4, features=1.0, pixels=2.0)
SMALL = {"encoder": {"widths": [4, 8], "embedding": 6}, "epochs": 1, "progress": False}
CASES = {
    "mlp": ((6, 5), lambda: networks.mlp((6, 5), units=(9, 4), linear=True, seed=0)),
    "conv": ((16, 17), lambda: networks.conv((16, 17), widths=(4, 6), embedding=5, seed=0)),
    "colours": ((16, 16, 3), lambda: networks.conv((16, 16, 3), widths=(4,), embedding=5, seed=0)),
    "deep head": ((7,), lambda: networks.head((7,), units=(16, 12), embedding=3, seed=0)),
}


@pytest.fixture(scope="module")
def few(fashion_mnist):
    return fashion_mnist[0].subset(np.arange(600))


@pytest.fixture(scope="module")
def model(few):
    """As a recipe has it that blends."""
    return twinset.fit(few, "unseen", **SMALL)


def some(shape, count=6, seed=0):
    rng = np.random.default_rng(seed)
    if len(shape) == 1:
        return rng.normal(size=(count, *shape)).astype(np.float32)
    return rng.integers(0, 256, (count, *shape), np.uint8)


def unit(x):
    return x / np.linalg.norm(x)


def features_name(encoder):
    names = [layer.name for layer in encoder.layers]
    return "features_norm" if "features_norm" in names else names[-1]


@pytest.mark.parametrize("case", CASES)
def test_each_part_has_its_weight(case):
    shape, make = CASES[case]
    encoder, images = make(), some(shape)
    inner = keras.Model(encoder.inputs[0], encoder.get_layer(features_name(encoder)).input)
    learned, features = encode(encoder, images), encode(inner, images)
    found = encode(blended(encoder, ALL), images)
    for i, image in enumerate(images):
        plain = image if image.dtype == np.float32 else np.sqrt(image / 255)
        parts = [0.4 * unit(learned[i]), unit(features[i]), 2 * unit(plain.ravel())]
        np.testing.assert_allclose(found[i], unit(np.concatenate(parts)), atol=2e-6)


def test_squared_distances_are_weighted_means_of_the_parts():
    shape, make = CASES["conv"]
    encoder, images = make(), some(shape, 2)
    alone = [
        encode(blended(encoder, Blend(learned=a, features=b, pixels=c)), images)
        for a, b, c in ((0, 1, 0), (0, 0, 1))
    ]
    both = encode(blended(encoder, Blend(learned=0, features=3, pixels=4)), images)
    apart = [((x[0] - x[1]) ** 2).sum() for x in (*alone, both)]
    assert abs(apart[0] - apart[1]) > 0.01, "equal parts would have every mean"
    assert apart[2] == pytest.approx((9 * apart[0] + 16 * apart[1]) / 25, abs=1e-5)


def test_a_black_image_keeps_its_other_parts():
    encoder = networks.mlp((4, 4), units=(3,), linear=True, seed=0)
    encoder.layers[-1].bias.assign([1.0, 0.0, 0.0])
    recipe = Blend(learned=1, features=0, pixels=1)
    found = encode(blended(encoder, recipe), np.zeros((1, 4, 4), np.uint8))
    np.testing.assert_allclose(found[0], [1] + [0] * 18, atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 70), (80, 33, 3)])
def test_uneven_images_are_the_same_on_every_engine(shape):
    encoder, images = networks.mlp(shape, units=(6, 4), linear=True, seed=0), some(shape, 3)
    wide = blended(encoder, Blend(learned=1, features=1, pixels=1))
    session = open_session(layers.write(wide, shape).SerializeToString())
    expected, found = encode(wide, images), session.run(None, {"images": images})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    blocks = -(-shape[0] // 32), -(-shape[1] // 32)
    cells = np.zeros((-(-shape[0] // blocks[0]), -(-shape[1] // blocks[1]), *shape[2:]))
    for y in range(shape[0]):
        for x in range(shape[1]):
            cells[y // blocks[0], x // blocks[1]] += images[0, y, x] / 255 / np.prod(blocks)
    roots = expected[0, 4 + 6 :]
    np.testing.assert_allclose(unit(roots), unit(np.sqrt(cells).ravel()), atol=1e-5)


def test_large_images_are_averaged_down():
    encoder = networks.conv((64, 40, 3), widths=(4,), embedding=5, seed=0)
    image = np.zeros((1, 64, 40, 3), np.uint8)
    image[0, 0, 0] = image[0, 1, 1] = 255  # half of the first cell of 2 × 2
    wide = blended(encoder, Blend(learned=0, features=0, pixels=1))
    assert wide.output_shape == (None, 32 * 20 * 3)
    np.testing.assert_allclose(encode(wide, image)[0, :3], 3**-0.5, atol=1e-6)


def test_a_mirror_image_has_the_same_embedding(tmp_path):
    shape = (20, 17)
    encoder, images = networks.conv(shape, widths=(4, 6), embedding=5, seed=0), some(shape)
    recipe = Blend(learned=1, features=0.5)
    one = encode(blended(encoder, recipe), images)
    other = encode(blended(encoder, recipe), images[:, :, ::-1])
    both = blended(encoder, recipe.model_copy(update={"mirror": True}))
    found = encode(both, images)
    assert np.abs(one - other).max() > 0.01
    expected = [unit(a + b) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(encode(both, images[:, :, ::-1]), found, atol=1e-6)
    session = open_session(layers.write(both, shape).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"images": images})[0], found, atol=1e-6)
    both.save(tmp_path / "encoder.keras")
    again = keras.models.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(encode(again, images), found)
    with pytest.raises(RecipeError, match="vectors, which have no mirror image"):
        blended(CASES["deep head"][1](), Blend(mirror=True))


@pytest.mark.any_backend
@pytest.mark.parametrize("mirrors", [True, False])
def test_the_data_says_what_mirrors(fashion_mnist, mirrors):
    few = replace(fashion_mnist[0].subset(np.arange(300)), mirrors=mirrors)
    model = twinset.fit(few, "search", **SMALL, blend={"mirror": "auto"})
    apart = np.abs(model.embed(few) - model.embed(few.images[:, :, ::-1].copy())).max()
    assert (apart < 1e-5) == mirrors


@pytest.mark.any_backend
def test_fit_blends_what_it_trained(few, model):
    trained = twinset.fit(few, "unseen", **SMALL, blend={"features": 0.0, "pixels": 0.0})
    assert model.embed(few).shape == (600, 6 + 4 * 4 * 8 + 784)
    again = encode(blended(trained.encoder, model.recipe.blend), few.rows)
    np.testing.assert_allclose(model.embed(few), again, atol=1e-6)


def test_a_blend_goes_through_a_file_and_a_graph(few, model, tmp_path):
    model.save(tmp_path / "model")
    expected = model.embed(few)
    np.testing.assert_array_equal(twinset.load_model(tmp_path / "model").embed(few), expected)
    graph, difference = export.export_graph(model)
    found = OnnxModel.of_graph(graph).embed(few)
    assert expected.std(axis=0).max() > 0.01
    assert max(difference, np.abs(found - expected).max()) <= 1e-5


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_blend_of_a_training_in_16_bits(few, precision):
    model = twinset.fit(few, "unseen", **SMALL, precision=precision)
    assert model.embed(few).dtype == np.float32
    assert export.export_graph(model)[1] <= 1e-5


def test_a_blend_of_vectors(tmp_path):
    rng = np.random.default_rng(0)
    data = twinset.LabelledFeatures(rng.normal(size=(64, 9)), [0, 1] * 32, ("a", "b"))
    model = twinset.fit(
        data,
        "head",
        encoder={"units": [6], "embedding": 4},
        epochs=1,
        progress=False,
        blend={"features": 1.0, "pixels": 1.0},
    )
    assert model.embed(data).shape == (64, 4 + 6 + 9)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(
        twinset.load_model(tmp_path / "model").embed(data), model.embed(data)
    )


@pytest.mark.any_backend
def test_unseen_classes_gain(fashion_mnist):
    """The blend tells classes apart that it never saw, better than what was learned, or pixels."""
    train, test = fashion_mnist
    seen = train.subset(np.flatnonzero(~np.isin(train.labels, [5, 7]))[:1500])
    unseen = test.subset(np.flatnonzero(np.isin(test.labels, [5, 7]))[:600])
    model = twinset.fit(seen, "unseen", encoder={"widths": [16, 32]}, progress=False)
    pixels = unseen.images.reshape(len(unseen), -1) / 255
    pixels /= np.linalg.norm(pixels, axis=1, keepdims=True)
    learned = keras.Model(model.encoder.inputs[0], model.encoder.get_layer("unit").output)
    found = [
        auc(AllPairs(x.astype(np.float32), unseen.labels).curve())
        for x in (encode(learned, unseen.images), pixels, model.embed(unseen))
    ]
    assert found[2] > max(found[:2]) + 0.005, found


def test_there_must_be_something_to_blend():
    image = keras.Input((4, 4))
    flat = keras.layers.Flatten()(image)
    shallow = networks.head((7,), embedding=3), networks.mlp((4, 4), units=(3,), linear=True)
    for encoder in (keras.Model(image, flat), *shallow):
        with pytest.raises(
            RecipeError, match=r"a layer before its last.*leave blend\.features at 0"
        ):
            blended(encoder, ALL)
    with pytest.raises(RecipeError, match="a blend needs pairs = 'batch'"):
        twinset.Recipe.load("tutorial", blend={"pixels": 1.0})
    with pytest.raises(RecipeError, match="blend: one weight at least must be above 0"):
        twinset.Recipe.load("unseen", blend={"learned": 0, "features": 0, "pixels": 0})
