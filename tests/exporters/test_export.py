import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

import twinset
from twinset.data import load as run_data
from twinset.data.pair_parts import pairs_to_score
from twinset.data.parts import Parts
from twinset.errors import DataError, ModelError
from twinset.exporters import graph
from twinset.exporters.carried import NOTE
from twinset.exporters.export import ready


def shades(count, seed, name):
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], count)
    images = rng.integers(0, 130, (2 * count, 6, 5), dtype=np.uint8)
    images[labels == 1] += 60
    return twinset.LabelledImages(images, labels, ("dark", "bright"), name)


TRAIN, TEST = shades(40, 0, "shades/train"), shades(30, 1, "shades/test")


@pytest.fixture(scope="module")
def model():
    return twinset.fit(TRAIN, epochs=4, batch_size=16, encoder={"units": [8]}, progress=False)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_models_own_folder_gets_the_graph_alone(folder):
    before = names(folder)
    told = []
    done = twinset.export(folder, tell=told.append)
    assert names(folder) == sorted([*before, "encoder.onnx"])
    assert done.graph == folder / "encoder.onnx"
    assert done.size == done.graph.stat().st_size
    assert (done.precision, done.quality, done.pairs) == ("float32", {}, 0)
    assert told == ["writing the graph, and comparing it with Keras"]
    again = twinset.export(folder, folder)
    assert again == replace(done, graph=again.graph)


@pytest.mark.parametrize("source", ["folder", "model"])
def test_the_card_beside_a_graph_describes_it(model, folder, tmp_path, source):
    given = model if source == "model" else folder
    done = twinset.export(given, tmp_path / "out")
    assert names(tmp_path / "out") == ["card.json", "encoder.onnx"]
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["format"] == 2
    assert (card["digest"], card["dim"], card["distance"]) == (model.digest, 8, "euclidean")
    assert card["threshold"]["value"] == 0.5
    assert card["preprocessing"] == {"shape": [6, 5], "resize": "pad", "background": 0}
    graph = card["graph"]
    assert graph["sha256"] == hashlib.sha256(done.graph.read_bytes()).hexdigest()
    assert graph["input"] == {"name": "images", "dtype": "uint8", "shape": ["batch", 6, 5]}
    assert graph["output"] == {"name": "embeddings", "dtype": "float32", "shape": ["batch", 8]}
    assert graph["largest_difference_from_keras"] == done.difference < 1e-5
    assert done.summary().startswith(f"{done.graph}: {done.size:,} bytes, float32\n")


def test_8_bits_are_judged_on_the_runs_own_test_part(model, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(run_data, "load_data_set", lambda *_, **__: (TRAIN, TEST))
    done = twinset.export(folder, tmp_path / "small", int8=True)
    pairs = pairs_to_score(TEST)
    assert done.pairs == len(pairs.same)
    whole = twinset.score_pairs(model.distances(TEST, pairs), pairs.same, threshold=0.5)
    assert done.quality["float32"].accuracy == whole.accuracy
    assert done.quality["float32"].auc == pytest.approx(whole.auc, abs=1e-4)
    small = twinset.load_model(tmp_path / "small")
    own = small.threshold.value
    assert done.thresholds == {"float32": 0.5, "int8": own}
    assert f"threshold {own:.4f} (0.5000 in float32), {NOTE} by the distances" in done.summary()
    assert json.loads((tmp_path / "small" / "card.json").read_text())["decided"] == done.decided
    found = twinset.score_pairs(small.distances(TEST, pairs), pairs.same, threshold=own)
    assert (done.quality["int8"].accuracy, done.quality["int8"].auc) == (found.accuracy, found.auc)
    assert abs(found.auc - whole.auc) < 0.05
    assert "float32), ROC AUC" in done.summary()
    # an index of the one model is none of the other
    assert small.digest != model.digest
    apart = np.abs(small.embed(TEST) - model.embed(TEST))
    assert 1e-5 < apart.max() < 0.1


def test_8_bits_are_calibrated_anew_where_there_are_images_for_it(model, tmp_path, monkeypatch):
    kept = shades(20, 2, "shades/kept")
    chosen = model.calibrate(kept, rule="EER")
    chosen.save(tmp_path / "model")
    parts = Parts(TRAIN, TEST, calibration=kept)
    monkeypatch.setattr(run_data, "evaluation_parts", lambda *_, **__: parts)
    done = twinset.export(tmp_path / "model", tmp_path / "small", int8=True)
    assert done.decided == "chosen anew on 40 calibration images"
    small = twinset.load_model(tmp_path / "small")
    again = small.calibrate(kept, rule=model.rules()[0])
    assert (small.threshold, small.calibrator) == (again.threshold, again.calibrator)
    assert small.threshold.value != chosen.threshold.value


def test_8_bits_of_a_model_in_memory_want_images(model, tmp_path):
    with pytest.raises(DataError, match="Expected images for the quantisation of a model in mem"):
        twinset.export(model, tmp_path / "small", int8=True)
    assert twinset.export(model, tmp_path / "small", int8=True, data=TEST).pairs > 0


def test_where_it_cannot_go(model, folder, tmp_path):
    with pytest.raises(DataError, match="Expected a folder to write a model in memory to"):
        twinset.export(model)
    with pytest.raises(DataError, match="Expected a folder to write an 8-bit graph to"):
        twinset.export(folder, int8=True)
    with pytest.raises(DataError, match="expected a folder of its own for an 8-bit graph"):
        twinset.export(folder, folder, int8=True)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: expected a folder to write to. Received a file"):
        twinset.export(folder, tmp_path / "file")
    with pytest.raises(ModelError, match="expected a model folder"):
        twinset.export(tmp_path / "nowhere", tmp_path / "out")
    other = twinset.fit(TRAIN, epochs=1, encoder={"units": [8]}, seed=5, progress=False)
    for given in (other, tmp_path / "other"):
        other.save(tmp_path / "other")
        with pytest.raises(DataError, match="model: expected a folder of its own, or the model's"):
            twinset.export(given, folder)
    assert "encoder.onnx" not in names(folder)


def test_what_cannot_be_exported_is_told_and_no_error(model, folder, monkeypatch):
    told = []
    assert ready(model, folder, told.append)
    assert (folder / "encoder.onnx").is_file()
    assert not told

    def fail(_):
        raise ModelError("too strange.")

    monkeypatch.setattr(graph, "export_graph", fail)
    assert not ready(model, folder, told.append)
    assert told == ["no graph for ONNX Runtime, Keras will be used instead: too strange."]
    assert not (folder / "encoder.onnx").exists(), "one of an earlier training would lie there"
    assert not ready(model, folder)


def test_a_graph_is_written_whole_or_not_at_all(model, folder, monkeypatch):
    from twinset.exporters import export as module

    twinset.export(folder)
    before = (folder / "encoder.onnx").read_bytes()

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        twinset.export(folder)
    assert (folder / "encoder.onnx").read_bytes() == before
