"""Which engine is used, and what it is told of; and that both give the same."""

import json

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.image_sources import StoredPixels
from twinset.data.pairs import Pairs
from twinset.decision import Calibrator
from twinset.errors import DataError, ImageFileError, ModelError
from twinset.models.embedder import batch_size_for
from twinset.models.onnx_model import OnnxModel


def shades(count):
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], count)
    images = rng.integers(0, 60, (2 * count, 6, 5), dtype=np.uint8)
    images[labels == 1] += 180
    return twinset.LabelledImages(images, labels, ("dark", "bright"), "shades")


@pytest.fixture(scope="module")
def data():
    return shades(20)


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    from dataclasses import replace

    place = tmp_path_factory.mktemp("models") / "first"
    model = twinset.fit(data, epochs=4, batch_size=16, encoder={"units": [16, 8]}, progress=False)
    rest = {
        "threshold": twinset.Threshold(0.3, "EER on 10 images kept out", "digest", 0.1, 0.1),
        "alternatives": (twinset.Threshold(0.2, "FPR <= 0.01 on 10 images", "digest", 0.01, 0.5),),
        "calibrator": Calibrator(-3.0, 1.0),
    }
    replace(model, **rest).save(place)
    twinset.export(place)
    return place


@pytest.fixture
def copied(folder, tmp_path):
    import shutil

    return shutil.copytree(folder, tmp_path / "copied")


def test_both_engines_are_one_model(folder, data):
    onnx = twinset.load_model(folder)
    keras = twinset.load_model(folder, engine="keras")
    assert (type(onnx).__name__, type(keras).__name__) == ("OnnxModel", "SiameseModel")
    assert isinstance(onnx, twinset.Embedder)
    assert isinstance(keras, twinset.Embedder)
    for name in (
        *("preprocessing", "threshold", "alternatives", "calibrator", "class_names"),
        *("trained_on", "digest", "dim"),
    ):
        assert getattr(onnx, name) == getattr(keras, name), name
    expected = keras.embed(data)
    assert expected.std() > 0.01
    np.testing.assert_allclose(onnx.embed(data), expected, atol=1e-6)
    pairs = Pairs(np.array([0, 1]), np.array([1, 3]), np.array([0, 1]))
    np.testing.assert_allclose(onnx.distances(data, pairs), keras.distances(data, pairs), atol=1e-6)
    a, b = (model.compare(*data.images[:2], prior=0.2) for model in (onnx, keras))
    assert (a.same, a.threshold, a.prior) == (b.same, b.threshold, b.prior)
    assert a.distance == pytest.approx(b.distance, abs=1e-6)
    assert a.probability == pytest.approx(b.probability, abs=1e-5)
    why, same = (model.explain(*data.images[:2], patch=2) for model in (onnx, keras))
    assert why.left.shape == (6, 5)
    assert why.distance == pytest.approx(a.distance, abs=1e-6)
    assert why.telling
    np.testing.assert_allclose([why.left, why.right], [same.left, same.right], atol=1e-5)


def test_every_kind_of_input_gives_the_same(folder, data, tmp_path):
    model = twinset.load_model(folder)
    expected = model.embed(data)
    assert expected.dtype == np.float32
    raw = tmp_path / "pixels.bin"
    raw.write_bytes(data.images.tobytes())
    paths = []
    for i, image in enumerate(data.images):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(paths[-1])
    for given in (
        data.images,
        StoredPixels(raw, data.images.shape),
        paths,
        list(map(str, paths)),
        (Image.open(path) for path in paths),
        list(data.images),
        data.images[::-1][::-1],  # of negative strides
    ):
        np.testing.assert_array_equal(model.embed(given), expected)
    larger = np.kron(data.images, np.ones((1, 2, 2), np.uint8))
    assert model.embed(larger).shape == expected.shape
    assert model.embed([]).shape == (0, 8)
    assert model.embed(data.images[:0]).shape == (0, 8)


def test_batches_keep_order(folder, data):
    model = twinset.load_model(folder)
    assert batch_size_for((6, 5)) == 1024
    many = np.resize(data.images, (2500, 6, 5))
    whole = model.embed(many)
    for start, stop in ((0, 1), (1023, 1026), (2490, 2500)):
        np.testing.assert_allclose(model.embed(many[start:stop]), whole[start:stop], atol=1e-6)
    np.testing.assert_allclose(model.embed(iter(many)), whole, atol=1e-6)


def test_large_images_go_through_a_few_at_a_time(folder):
    model = twinset.load_model(folder)
    seen = []

    class Session:
        def run(self, names, given):
            seen.append(given["images"].shape)
            return [np.zeros((len(given["images"]), 8), np.float32)]

    from dataclasses import replace

    large = replace(
        model,
        encoder=replace(model.encoder, session=Session()),
        preprocessing=replace(model.preprocessing, shape=(1000, 1000, 3)),
    )
    assert large.embed(np.zeros((3, 1000, 1000, 3), np.uint8)).shape == (3, 8)
    assert seen == [(1, 1000, 1000, 3)] * 3


def test_what_is_no_image(folder, tmp_path):
    model = twinset.load_model(folder)
    with pytest.raises(ImageFileError, match=r"nowhere.png: expected an image file. No such file"):
        model.embed([tmp_path / "nowhere.png"])
    with pytest.raises(ImageFileError, match=r"photo.png: expected an image file. No such file"):
        model.embed("photo.png")
    for prior in (0, 1, -1, float("nan")):
        with pytest.raises(DataError, match="Expected a prior between 0 and 1"):
            model.compare(*np.zeros((2, 6, 5), np.uint8), prior=prior)


def test_an_exported_graph_needs_no_other_file(folder, data, copied):
    for name in ("model.json", "encoder.keras", "recipe.toml", "history.csv"):
        (copied / name).unlink()
    expected = twinset.load_model(folder)
    for source in (copied, copied / "encoder.onnx", str(copied / "encoder.onnx")):
        found = twinset.load_model(source)
        assert isinstance(found, OnnxModel)
        assert (found.digest, found.threshold) == (expected.digest, expected.threshold)
        assert found.calibrator == expected.calibrator
        np.testing.assert_array_equal(found.embed(data), expected.embed(data))


def test_the_folders_threshold_counts_and_not_the_graphs(copied):
    card = copied / "model.json"
    values = json.loads(card.read_text())
    values["threshold"] = {"value": 0.125, "rule": "by hand"}
    card.write_text(json.dumps(values))
    assert twinset.load_model(copied, engine="onnx").threshold.value == 0.125
    assert twinset.load_model(copied / "encoder.onnx").threshold.value == 0.3


def _nothing(folder):
    (folder / "encoder.onnx").unlink()


def _other_training(folder):
    card = folder / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"digest": "0" * 64}))


def _half(folder):
    graph = (folder / "encoder.onnx").read_bytes()
    (folder / "encoder.onnx").write_bytes(graph[: len(graph) // 2])


def _foreign(folder):
    import onnx

    graph = onnx.load(folder / "encoder.onnx")
    del graph.metadata_props[:]
    onnx.save(graph, folder / "encoder.onnx")


def _other_size(folder):
    import onnx

    graph = onnx.load(folder / "encoder.onnx")
    (entry,) = graph.metadata_props
    entry.value = json.dumps(json.loads(entry.value) | {"dim": 9})
    onnx.save(graph, folder / "encoder.onnx")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            _nothing,
            "expected an exported encoder. There is no such file: write it with `twinset ex",
        ),
        (_other_training, "expected the encoder that model.json describes. Received that of anoth"),
        (_half, "expected an ONNX graph that ONNX Runtime can run"),
        (_foreign, "expected a graph that twinset exported, with its card in it"),
        (_other_size, "expected a graph of .*'batch', 9.* Received .*'batch', 8.*export the model"),
    ],
)
def test_a_graph_that_cannot_be_used(copied, data, spoil, words):
    expected = twinset.load_model(copied, engine="keras").embed(data)
    spoil(copied)
    with pytest.raises(ModelError, match=words):
        twinset.load_model(copied, engine="onnx")
    told = []
    model = twinset.load_model(copied, tell=told.append)
    assert type(model).__name__ == "SiameseModel"
    np.testing.assert_array_equal(model.embed(data), expected)
    assert len(told) == 1
    assert told[0].startswith("on Keras, which starts more slowly, as the graph cannot be used: ")
    assert twinset.load_model(copied) is not None  # nobody has to listen


def test_an_exported_graph_that_is_damaged(copied):
    (copied / "model.json").unlink()
    _half(copied)
    with pytest.raises(ModelError, match="encoder.onnx: expected an ONNX graph that ONNX Runtime"):
        twinset.load_model(copied)


def test_without_onnx_runtime_keras_is_used(copied, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match="without it: `pip install onnxruntime`"):
        twinset.load_model(copied, engine="onnx")
    assert type(twinset.load_model(copied)).__name__ == "SiameseModel"


def test_no_model_here(copied, tmp_path):
    for engine in ("auto", "onnx", "keras"):
        with pytest.raises(ModelError, match="expected a model folder, with model.json in it"):
            twinset.load_model(tmp_path / "nowhere", engine=engine)
    with pytest.raises(ModelError, match=r"Expected an engine out of .* Received 'torch'"):
        twinset.load_model(copied, engine="torch")
    with pytest.raises(ModelError, match="expected a model's folder for the engine keras"):
        twinset.load_model(copied / "encoder.onnx", engine="keras")
    (copied / "model.json").write_text("{")
    with pytest.raises(ModelError, match="expected the card of a model"):
        twinset.load_model(copied)
