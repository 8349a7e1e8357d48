"""Features from a file all the way: train, report, evaluate, and what the commands say."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.cli.app import main
from twinset.data.labelled import VectorInput
from twinset.data.load import load_parts
from twinset.errors import DataError
from twinset.evaluation.folds import Unit
from twinset.evaluation.of_run import evaluate_run
from twinset.evaluation.study import run_study

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = {"epochs": 10, "batch_size": 40, "encoder": {"embedding": 8}}


@pytest.fixture(scope="module")
def run(tmp_path_factory, fashion_mnist):
    """A head on real features: principal components of 900 images of three classes."""
    folder = tmp_path_factory.mktemp("features")
    train, _ = fashion_mnist
    chosen = np.concatenate([np.flatnonzero(train.labels == k)[:300] for k in (0, 1, 7)])
    pixels = train.images[chosen].reshape(len(chosen), -1) / np.float32(255)
    offsets = pixels - pixels.mean(axis=0)
    np.save(folder / "clothes.npy", offsets @ np.linalg.svd(offsets, full_matrices=False)[2][:20].T)
    names = [train.class_names[k] for k in train.labels[chosen]]
    (folder / "clothes.csv").write_text("\n".join(["label", *names]) + "\n", "utf-8")
    return twinset.train(folder / "clothes.npy", "head", out=folder / "run", **QUICK)


def test_a_run_on_features_is_a_run(run):
    assert run.model.preprocessing == VectorInput(20)
    assert run.model.threshold.origin.startswith("balanced accuracy on 90 images kept out")
    drawn = {path.name for path in run.folder.iterdir()}
    assert {"report.html", "health.png", "loss.png", "distances.png", "model.json"} <= drawn
    assert not {"test_pairs.png", "mistakes.png", "training_pairs.png"} & drawn
    report = run.report
    assert report.scores.auc > report.baseline.auc > 0.6
    assert report.baseline_name == "raw features"
    assert "raw features" in report.summary()
    page = report.to_html()
    assert "comparing raw features scores" in page
    assert "raw pixels" not in page.lower()
    assert report.facts["Recipe"]["encoder.name"] == "head"


def test_the_evaluation_takes_the_rows_that_were_not_used(run):
    found = evaluate_run(run.folder)
    assert list(found.results) == ["model", "raw features", "PCA-64", "untrained"]
    assert found.model.images == 180
    assert found.model.numbers["auc"].value > found.results["raw features"].numbers["auc"].value
    page = (run.folder / "evaluation.html").read_text("utf-8")
    assert "Comparing raw features, the baseline" in page


def test_two_models_of_features_are_compared(run):
    parts = load_parts(run.folder.parent / "clothes.npy", run.model.recipe)
    found = twinset.compare_models(run.model, run.model, parts.test)
    assert found["auc"].verdict == "cannot tell"


def test_the_protocol_runs_on_features(run):
    parts = load_parts(run.folder.parent / "clothes.npy", run.model.recipe)
    summary = run_study(parts, run.model.recipe, "study", units=(Unit(0),))
    (area,) = (each for each in summary["seeds"] if each["key"] == "auc")
    assert 0.5 < area["value"] <= 1


def test_images_do_not_fit_a_model_of_features(run, monkeypatch, capsys):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        Path("photos", name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), len(name)).save(Path("photos", name))
    with pytest.raises(DataError, match=r"expected a file of features .*, 20 numbers for each"):
        evaluate_run(run.folder, "photos")
    arguments = ["compare", str(run.folder), "photos/a/1.png", "photos/b/1.png"]
    monkeypatch.setattr("sys.argv", ["twinset", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("twinset: Expected vectors of 20 numbers")
    assert "takes no images and no files" in said


def test_features_of_another_size_are_told(run):
    np.savez("other.npz", embeddings=np.eye(6), label=["a", "b"] * 3)
    with pytest.raises(DataError, match="expected features of 20 numbers, which this model takes"):
        evaluate_run(run.folder, "other.npz")


def test_features_do_not_fit_a_model_of_images(stripes, tmp_path):
    twinset.fit(stripes, epochs=1, encoder={"units": [4]}).save(tmp_path / "run")
    np.savez("other.npz", embeddings=np.eye(6), label=["a", "b"] * 3)
    with pytest.raises(DataError, match="expected images, which this model takes. Received feat"):
        evaluate_run(tmp_path / "run", "other.npz")


def test_the_commands_take_features(run, command):
    np.savez("few.npz", embeddings=np.eye(6), label=["a", "b", "", "a", "b", "a"])
    checked = command("check", "few.npz")
    assert checked.code == 2
    assert "Received features, of which only numbers and labels are known" in checked.err
    source = str(run.folder.parent / "clothes.npy")
    settings = ["--set", "epochs=1", "--set", "encoder.embedding=4", "--out", "again", "--json"]
    done = command("train", source, "--recipe", "head", *settings)
    assert done.code == 0, done.err
    assert json.loads(done.out)["report"]["baseline_name"] == "raw features"


def test_rows_without_a_label_are_told():
    rng = np.random.default_rng(0)
    labels = np.tile(["a", "b", "c"], 40)
    vectors = rng.normal(size=(120, 4)) + (labels[:, None] == ["a", "b", "c", "d"]) * 3
    labels[7] = ""
    np.savez("few.npz", embeddings=vectors, label=labels)
    told = []
    twinset.train("few.npz", "head", out="run", tell=told.append, **QUICK | {"epochs": 1})
    assert told[0] == "left out 1 of 120 rows, the first: row 7: no label"
