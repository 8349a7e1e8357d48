import json

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.errors import DataError, ImageFileError, ModelError
from twinset.models.keras_model import encode


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 20)
    images = rng.integers(0, 60, (40, 6, 5), dtype=np.uint8)
    images[labels == 1] += 180
    return twinset.LabelledImages(images, labels, ("dark", "bright"), "shades")


@pytest.fixture(scope="module")
def model(data):
    return twinset.fit(data, epochs=15, batch_size=16, encoder={"units": [16, 8]})


def test_embeddings_keep_order_at_any_batch_size(model, data):
    many = np.resize(data.images, (2500, 6, 5))
    whole = model.embed(many)
    assert whole.shape == (2500, 8)
    assert whole.dtype == np.float32
    for start, stop in ((0, 1), (1023, 1026), (2490, 2500)):
        np.testing.assert_allclose(model.embed(many[start:stop]), whole[start:stop], atol=1e-6)
    assert model.embed(many[:0]).shape == (0, 8)


def test_embedding_equals_the_network_on_scaled_pixels(model, data):
    direct = model.encoder.predict(data.images / np.float32(255), verbose=0)
    np.testing.assert_allclose(encode(model.encoder, data.images), direct, atol=1e-6)


def test_another_process_gives_the_same_embeddings(model, data, tmp_path, other_process):
    model.save(tmp_path / "model")
    np.save(tmp_path / "images.npy", data.images)
    script = (
        "import numpy as np, twinset\n"
        f"folder = {str(tmp_path)!r}\n"
        "model = twinset.SiameseModel.load(f'{folder}/model')\n"
        "np.save(f'{folder}/found.npy', model.embed(np.load(f'{folder}/images.npy')))\n"
    )
    other_process.apply(exec, [script])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), model.embed(data), atol=1e-6)


def test_everything_survives_the_folder(model, tmp_path):
    model.save(tmp_path / "model")
    again = twinset.SiameseModel.load(tmp_path / "model")
    for name in (
        "preprocessing",
        "threshold",
        "recipe",
        "class_names",
        "trained_on",
        "history",
        "interrupted",
    ):
        assert getattr(again, name) == getattr(model, name), name
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "encoder.keras",
        "history.csv",
        "model.json",
        "recipe.toml",
    ]
    card = json.loads((tmp_path / "model" / "model.json").read_text())
    assert card["versions"]["twinset"] == twinset.__version__
    assert card["trained_on"] == {
        "name": "shades",
        "digest": model.trained_on.digest,
        "images": 40,
    }


def test_compare_adapts_size_and_colour(model, data, tmp_path):
    dark, bright = data.images[0], data.images[1]
    Image.fromarray(dark).resize((50, 60)).convert("RGB").save(tmp_path / "dark.png")
    Image.fromarray(bright).resize((500, 600)).save(tmp_path / "bright.jpg")
    assert not model.compare(tmp_path / "dark.png", str(tmp_path / "bright.jpg")).same
    verdict = model.compare(tmp_path / "dark.png", dark)
    assert verdict.same
    assert verdict.distance <= verdict.threshold.value == 0.5
    assert verdict.threshold.calibrated is False
    assert verdict.sentence().startswith("same: distance 0.")
    assert "not calibrated" in verdict.sentence()
    exact = model.compare(dark, dark)
    assert (exact.distance, exact.same) == (0.0, True)


def test_compare_is_the_distance_of_embeddings(model, data):
    left, right = model.embed(data.images[:2])
    expected = float(np.linalg.norm(left - right))
    assert model.compare(*data.images[:2]).distance == pytest.approx(expected, rel=1e-5)


def test_a_match_is_at_the_threshold_too(model, data):
    from dataclasses import replace

    distance = model.compare(*data.images[:2]).distance
    for value, same in ((distance, True), (np.nextafter(distance, 0), False)):
        exact = replace(model, threshold=twinset.Threshold(value, "by hand"))
        assert exact.compare(*data.images[:2]).same is same


def test_what_is_no_image(model, tmp_path):
    with pytest.raises(ImageFileError, match=r"nowhere.png: expected an image file. No such file"):
        model.embed([tmp_path / "nowhere.png"])
    with pytest.raises(ImageFileError, match=r"photo.png: expected an image file. No such file"):
        model.embed("photo.png")
    scaled = np.full((6, 5), -0.5, np.float32)
    with pytest.raises(DataError, match=r"floats in \[0, 1\]. Received float32 from -0.5"):
        model.compare(scaled, scaled)


def _break(folder, what):
    card = folder / "model.json"
    values = json.loads(card.read_text())
    if what == "other version":
        card.write_text(json.dumps(values | {"format": 99}))
    elif what == "no json":
        card.write_text("{")
    elif what == "no card at all":
        card.write_text("[]")
    elif what == "a field too many":
        card.write_text(json.dumps(values | {"surprise": 1}))
    elif what == "no encoder":
        (folder / "encoder.keras").unlink()
    elif what == "another encoder":
        (folder / "encoder.keras").write_bytes(b"something else")
    elif what == "no recipe":
        (folder / "recipe.toml").unlink()
    elif what == "half a history":
        (folder / "history.csv").write_text("epoch,steps\n1,2\n")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("other version", r"format 2. Received format 99, written by another version of twinset"),
        ("no json", "expected the card of a model"),
        ("no card at all", "expected the card of a model"),
        ("a field too many", "surprise: expected no such field"),
        ("no encoder", "expected a whole model. .*encoder.keras"),
        ("another encoder", "encoder.keras is not the one that model.json describes"),
        ("no recipe", "expected a whole model. .*recipe.toml"),
        ("half a history", "expected a whole model"),
    ],
)
def test_broken_folders(model, tmp_path, what, words):
    model.save(tmp_path / "model")
    _break(tmp_path / "model", what)
    with pytest.raises(ModelError, match=words):
        twinset.SiameseModel.load(tmp_path / "model")


def test_a_file_that_is_no_network(model, tmp_path):
    import hashlib

    model.save(tmp_path / "model")
    (tmp_path / "model" / "encoder.keras").write_bytes(b"not a zip")
    card = tmp_path / "model" / "model.json"
    values = json.loads(card.read_text())
    values["encoder_sha256"] = hashlib.sha256(b"not a zip").hexdigest()
    card.write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"encoder.keras: expected a Keras model"):
        twinset.SiameseModel.load(tmp_path / "model")


@pytest.mark.parametrize(("name", "words"), [("", "no such file"), ("none", "no such folder")])
def test_no_model_here(tmp_path, name, words):
    with pytest.raises(ModelError, match=f"expected a model folder.*(?i:{words})"):
        twinset.SiameseModel.load(tmp_path / name)


def test_a_save_cut_short_leaves_no_false_model(model, tmp_path, monkeypatch):
    from twinset.models import card as module

    model.save(tmp_path / "model")
    write = module.write_bytes

    def full_disk(path, data):
        if path.name == "model.json":
            raise OSError(28, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(module, "write_bytes", full_disk)
    other = twinset.fit(
        twinset.LabelledImages(np.zeros((4, 6, 5), np.uint8), [0, 1, 0, 1], ("a", "b")), epochs=1
    )
    with pytest.raises(OSError, match="No space left"):
        other.save(tmp_path / "model")
    with pytest.raises(ModelError, match="a save was cut short"):
        twinset.SiameseModel.load(tmp_path / "model")
