"""The user's own images, from files to a verdict: real sets, as folders and tables."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn import datasets

import twinset
from twinset.data import load as run_data
from twinset.data.image_sources import StoredPixels
from twinset.errors import DataError
from twinset.evaluation.of_run import evaluate_run
from twinset.recipe import Recipe

QUICK = {"epochs": 3, "encoder": {"units": [32, 16]}}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write_tree(folder, images, labels, names, kind="png"):
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{i:05}.{kind}")


@pytest.fixture(scope="module")
def digits():
    found = datasets.load_digits()
    pixels = (found.images * (255 / 16)).round().astype(np.uint8)
    return pixels, found.target


@pytest.fixture(scope="module")
def tiles():
    """Colour: 32 × 32 tiles of scikit-learn's two photographs, a roof and a flower."""
    pixels, labels = [], []
    for label, photo in enumerate(datasets.load_sample_images().images):
        for top in range(0, 416, 32):
            for left in range(0, 608, 32):
                pixels.append(photo[top : top + 32, left : left + 32])
                labels.append(label)
    return np.stack(pixels), np.array(labels)


def test_fashion_mnist_as_a_tree_is_the_built_in_set(fashion_mnist, tmp_path):
    train, _ = fashion_mnist
    some = train.subset(np.arange(1500))
    names = [name.replace("/", "-") for name in train.class_names]
    write_tree(tmp_path / "tree", some.images, some.labels, names)
    read = twinset.load_images(tmp_path / "tree")
    assert read.image_shape == (28, 28)
    place = np.array([int(Path(name).stem) for name in read.names])
    np.testing.assert_array_equal(read.images[:], some.images[place])
    assert [read.class_names[label] for label in read.labels] == [
        names[label] for label in some.labels[place]
    ]


def test_fashion_mnist_as_a_table_trains_to_the_same_bits(fashion_mnist, tmp_path):
    """A table keeps the order of its rows; with classes met in label order, nothing differs."""
    train, _ = fashion_mnist
    some = train.subset(np.arange(400))
    names = [f"{label} {name.replace('/', '-')}" for label, name in enumerate(train.class_names)]
    write_tree(tmp_path / "files", some.images, some.labels, names)
    with (tmp_path / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        for i, label in enumerate(some.labels):
            writer.writerow([f"files/{names[label]}/{i:05}.png", names[label]])
    read = twinset.load_images(tmp_path / "table.csv")
    np.testing.assert_array_equal(read.images[:], some.images)
    np.testing.assert_array_equal(read.labels, some.labels)
    ours, theirs = (twinset.fit(each, **QUICK).encoder.get_weights() for each in (read, some))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("undrawn")
def test_digits_from_folder_to_verdict(digits, command):
    pixels, labels = digits
    write_tree(
        Path("digits"),
        pixels[:900],
        labels[:900],
        ["zero", "one", "two", "three", "four", "five", "6", "7", "8", "9"],
    )
    Path("digits/6/broken.png").write_bytes(b"no image")
    found = command("check", "digits", "--json")
    assert found.code == 0
    told = json.loads(found.out)
    assert told["images"] == 900
    assert [each["name"] for each in told["skipped"]] == ["6/broken.png"]
    quick = ("--set", "epochs=8", "--out", "run")
    shown = command("train", "digits", "--recipe", "fast", *quick)
    assert shown.code == 0, shown.err
    card = json.loads(Path("run/model.json").read_text())
    assert card["class_names"][:4] == ["6", "7", "8", "9"]
    assert card["threshold"]["rule"] == "balanced accuracy"
    assert 50 <= card["threshold"]["images"] < 100
    judged = command("evaluate", "run", "--json")
    assert judged.code == 0, judged.err
    content = json.loads(judged.out)
    assert content["results"]["model"]["numbers"]["auc"]["value"] > 0.9
    assert content["facts"]["Data"]["test images"] < 200
    assert content["class_names"][-1] == "zero"
    assert Path("run/evaluation.html").read_text("utf-8").count("<img") >= 6
    same = command("compare", "run", "digits/7/00007.png", "digits/7/00017.png")
    assert same.out.startswith("same: ")


@pytest.mark.usefixtures("undrawn")
def test_columns_of_any_name_from_check_to_index(digits, command):
    """A table of somebody's own, with two columns that could be the label."""
    pixels, labels = digits
    write_tree(Path("scans"), pixels[:300], labels[:300], [str(digit) for digit in range(10)])
    with Path("own.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "label", "class", "writer"])
        for i, label in enumerate(labels[:300]):
            writer.writerow([f"scans/{label}/{i:05}.png", i % 2, f"digit {label}", i // 10])
    unclear = command("check", "own.csv", "--image", "scan")
    assert unclear.code == 2
    assert "name the one for the label with --label COLUMN" in unclear.err
    named = ("--image", "scan", "--label", "class", "--group", "writer")
    found = json.loads(command("check", "own.csv", *named, "--json").out)
    assert [each["name"] for each in found["classes"]][:2] == ["digit 0", "digit 1"]
    quick = ("--recipe", "fast", "--set", "epochs=2", "--out", "run", "--allow-leaks")
    shown = command("train", "own.csv", *named, *quick)
    assert shown.code == 0, shown.err
    # the run knows them, for its own data and for the same table named again
    for data in ((), ("own.csv",)):
        judged = command("evaluate", "run", *data, "--no-baselines", "--json")
        assert judged.code == 0, judged.err
        assert json.loads(judged.out)["class_names"][0] == "digit 0"
    made = command("index", "run", "own.csv", *named[:4], "--out", "own.index")
    assert made.code == 0, made.err
    assert "300 items" in made.out
    vectors = command("embed", "run", "own.csv", *named[:4], "--out", "own.parquet", "--json")
    assert json.loads(vectors.out)["rows"] == 300
    asked = ("search", "own.index", "scans/7/00007.png", "-k", "1", "--json")
    ((hit,),) = (each["neighbours"] for each in json.loads(command(*asked).out))
    assert (hit["metadata"]["label"], hit["metadata"]["writer"]) == ("digit 7", 0)


@pytest.mark.usefixtures("undrawn")
def test_colour_trains_and_keeps_its_rule(tiles, tmp_path):
    pixels, labels = tiles
    write_tree(tmp_path / "tiles", pixels[::2], labels[::2], ["roof", "flower"])
    changes = {"images": {"size": 24, "resize": "crop"}, "holdout": "auto", **QUICK}
    run = twinset.train(tmp_path / "tiles", "fast", out=tmp_path / "run", **changes)
    assert run.model.preprocessing.shape == (24, 24, 3)
    assert run.model.preprocessing.resize == "crop"
    assert twinset.SiameseModel.load(tmp_path / "run").preprocessing == run.model.preprocessing
    assert run.report.scores.auc > 0.7


@pytest.mark.usefixtures("undrawn")
def test_a_run_is_never_judged_on_what_it_has_used(tiles, tmp_path):
    pixels, labels = tiles
    write_tree(tmp_path / "tiles", pixels[::4], labels[::4], ["roof", "flower"])
    run = twinset.train(tmp_path / "tiles", "fast", out=tmp_path / "run", **QUICK)
    recipe, how = run.model.recipe, run.model.preprocessing
    parts = run_data.evaluation_parts(
        tmp_path / "run", run_data.Origin(tmp_path / "tiles"), recipe, how
    )
    used = {
        bytes(key)
        for key in np.concatenate([parts.fit.fingerprints, parts.calibration.fingerprints])
    }
    assert not used & set(map(bytes, parts.test.fingerprints))
    assert len(parts.fit) + len(parts.calibration) + len(parts.test) == 124
    # more images in the same folder: the new ones are for the test
    write_tree(tmp_path / "tiles", pixels[1::4], labels[1::4], ["roof", "flower"], kind="bmp")
    more = run_data.evaluation_parts(
        tmp_path / "run", run_data.Origin(tmp_path / "tiles"), recipe, how
    )
    assert len(more.test) == len(parts.test) + 124
    assert not used & set(map(bytes, more.test.fingerprints))
    fitted = tmp_path / "fitted"
    for name in parts.fit.names:
        (fitted / name).parent.mkdir(parents=True, exist_ok=True)
        (fitted / name).write_bytes((tmp_path / "tiles" / name).read_bytes())
    with pytest.raises(DataError, match="images that the model has not seen. All"):
        run_data.evaluation_parts(tmp_path / "run", run_data.Origin(fitted), recipe, how)


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_validation_images_is_looked_at_after_each_epoch(tiles, tmp_path, command):
    pixels, labels = tiles
    parts = {"train": slice(0, None, 3), "val": slice(1, None, 9), "test": slice(2, None, 9)}
    for name, part in parts.items():
        write_tree(tmp_path / "photos" / name, pixels[part], labels[part], ("roof", "flower"))
    changes = ("epochs=3", "encoder.units=[8]", "stopping.keep=best", "holdout=auto")
    settings = [word for change in (*changes, "split.tune=0.1") for word in ("--set", change)]
    plain = ("--recipe", "tutorial")
    done = command("train", "photos", "--out", "run", *plain, *settings)
    assert done.code == 0, done.err
    assert "recall@1" in done.err
    assert "AUC" in done.err
    history = twinset.load_model("run").history
    assert [each.validation.images for each in history] == [55.0] * 3
    report = json.loads(Path("run/report.json").read_text("utf-8"))
    (health,) = [each for each in report["pictures"] if each["name"] == "health"]
    assert "best by AUC on 55 validation images" in health["notes"][0]
    assert "The model has its weights." in health["notes"][0]
    refused = command("train", "photos/train", "--out", "none", *plain, *settings[:6])
    assert refused.code == 2
    assert "Expected validation images for stopping.keep = 'best'" in refused.err


@pytest.mark.usefixtures("undrawn")
def test_owners_parts_that_leak_are_refused(tiles, tmp_path, command):
    pixels, labels = tiles
    write_tree(tmp_path / "data" / "train", pixels[::4], labels[::4], ["roof", "flower"])
    write_tree(tmp_path / "data" / "test", pixels[1::4], labels[1::4], ["roof", "flower"])
    assert command("check", "data").code == 0
    write_tree(tmp_path / "data" / "test", pixels[:60:4], labels[:60:4], ["roof", "flower"])
    checked = command("check", "data")
    assert checked.code == 1
    assert "Not fit for training" in checked.out
    quick = ("--recipe", "fast", "--set", "epochs=1", "--out", "run")
    refused = command("train", "data", *quick)
    assert refused.code == 2
    assert "expected data fit for training" in refused.err.splitlines()[-1]
    assert "--allow-leaks" in refused.err
    assert not Path("run").exists()
    assert command("train", "data", *quick, "--allow-leaks").code == 0


def test_pixels_stay_on_disk(digits, tmp_path):
    pixels, labels = digits
    write_tree(tmp_path / "digits", pixels[:300], labels[:300], [str(i) for i in range(10)])
    read = twinset.load_images(tmp_path / "digits")
    assert isinstance(read.images, StoredPixels)
    assert isinstance(read.subset(np.arange(5)).images, StoredPixels)
    model = twinset.fit(read, "fast", holdout="none", **QUICK)
    whole = model.embed(read.images[:])
    np.testing.assert_array_equal(model.embed(read), whole)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no such file or folder"),
        (lambda folder: folder.mkdir(), "Received"),
        (lambda folder: folder.write_text("text"), "Received a file without suffix"),
    ],
)
def test_what_is_no_data(make, words, command):
    make(Path("place"))
    for name in ("check", "train"):
        shown = command(name, "place")
        assert shown.code == 2
        assert words in shown.err
        assert shown.err.startswith("twinset: ")
        assert "Traceback" not in shown.err


def test_files_that_all_fail(command):
    Path("bad/a").mkdir(parents=True)
    Path("bad/a/x.png").write_bytes(b"no image")
    shown = command("check", "bad")
    assert shown.code == 2
    assert "expected images that can be read" in shown.err.lower()


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """A run on 24 things that pixels tell apart but for their light, by the recipe of choice."""
    folder = tmp_path_factory.mktemp("chosen")
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(24), 6)
    things = np.kron(rng.normal(0, 40, (24, 4, 4)), np.ones((4, 4)))
    pixels = 128 + things[labels] + rng.normal(0, 20, (len(labels), 1, 1))
    pixels = np.clip(pixels + rng.normal(0, 8, (len(labels), 16, 16)), 0, 255).astype(np.uint8)
    names = tuple(f"thing {k}" for k in range(24))
    write_tree(folder / "photos", pixels, labels, names)
    told = []
    archive = Path(shutil.make_archive(folder / "photos", "zip", folder / "photos"))
    # one's own images are those behind an address, too
    run = twinset.train(archive.as_uri(), out=folder / "run", progress=False, tell=told.append)
    return run, " ".join(told), folder


def test_for_ones_own_images_the_recipe_is_chosen(chosen):
    run, told, _ = chosen
    assert "-> " in told
    assert "19 classes (114 images)" in told, "a fifth of the classes is the test part"
    choice = json.loads((run.folder / "choice.json").read_text("utf-8"))
    assert choice["by"] == "class"
    assert choice["chosen"] == run.model.recipe.name
    assert run.report.facts["Candidates"]["chosen"].startswith(choice["chosen"])
    assert run.model.recipe.choice.candidates == "none"
    # what the choice cannot tell from noise is as good as raw pixels at least
    assert run.report.scores.auc >= run.report.baseline.auc - 0.02


def test_what_was_chosen_stays_chosen_where_a_training_is_resumed(chosen):
    run, _, folder = chosen
    shutil.copytree(run.folder, folder / "stopped")
    (folder / "stopped" / "crossfit.npz").rename(folder / "stopped" / "choice.npz")
    table = folder / "stopped" / "choice.json"
    words = json.loads(table.read_text("utf-8"))
    words["candidates"][0]["seconds"] = 4711.0
    table.write_text(json.dumps(words), "utf-8")
    told = []
    how = {"out": folder / "stopped", "progress": False, "tell": told.append}
    again = twinset.train((folder / "photos.zip").as_uri(), resume=True, **how)
    assert "4711.0 s" in " ".join(told), "read, and not chosen anew"
    assert again.model.threshold.value == run.model.threshold.value
    assert again.report.scores == run.report.scores
    assert not (folder / "stopped" / "choice.npz").exists(), "the model's own crossfit.npz by now"


def test_the_check_reads_images_as_the_training_does(tmp_path):
    """Of their own size, which is more than recipes with a network of their own take."""
    photos = np.random.default_rng(0).integers(0, 256, (8, 200, 200), np.uint8)
    write_tree(tmp_path / "photos", photos, np.arange(8) % 2, ("a", "b"))
    trained_on = run_data.load_parts(tmp_path / "photos", Recipe.load("auto")).fit.image_shape
    assert twinset.check_data(tmp_path / "photos").image_shape == trained_on == (200, 200)


def test_its_threshold_is_for_things_that_were_not_seen(chosen):
    run, _, folder = chosen
    threshold = run.model.threshold
    assert "cross-fitted over" in threshold.origin
    assert "classes" in threshold.origin
    model = twinset.load_model(run.folder, engine="onnx")
    paths = [folder / "photos" / f"thing {k}" / f"{i}.png" for k, i in ((0, 0), (0, 1), (1, 0))]
    if not paths[0].exists():
        paths = sorted((folder / "photos" / "thing 0").iterdir())[:2]
        paths += sorted((folder / "photos" / "thing 1").iterdir())[:1]
    near, far = (model.compare(paths[0], other) for other in paths[1:])
    assert near.distance < far.distance


@pytest.mark.usefixtures("undrawn")
def test_a_run_of_choice_is_evaluated_on_classes_that_it_has_not_seen(chosen):
    run, _, _ = chosen
    found = evaluate_run(run.folder, baselines=False, progress=False)
    assert found.model.numbers["auc"].value > 0.9
    assert len(found.class_names) == 24


@pytest.mark.usefixtures("undrawn")
def test_the_whole_protocol_tests_on_what_the_choice_held_out(chosen, command):
    run, _, _ = chosen
    assert twinset.load_model(run.folder).recipe.choice.purpose == "unseen"
    assert run.report.facts["Recipe"]["choice.purpose"] == "unseen"
    done = command("evaluate", run.folder, "--protocol", "full")
    assert done.code == 0, done.err
    assert "| test classes |" in done.out
    study = json.loads((run.folder / "protocol" / "protocol.json").read_text("utf-8"))
    assert study["tested"] == "test classes"
    (digest,) = {unit["key"]["test"] for unit in study["units"]}
    assert digest == run.report.facts["Data"]["test digest"]


def test_a_part_with_few_classes_is_judged_as_the_whole(tmp_path, command):
    """Of 24 classes 17 are fitted on, which alone would be taken for images of known classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(24), 10)
    points = rng.normal(size=(24, 6))[labels] + rng.normal(scale=0.3, size=(240, 6))
    np.savez(tmp_path / "points.npz", embedding=points, label=[f"c{k}" for k in labels])
    done = command("train", "points.npz", "--set", "holdout=auto", "--out", "run")
    assert done.code == 0, done.err
    assert json.loads(Path("run/choice.json").read_text("utf-8"))["by"] == "class"
    model = twinset.load_model("run")
    assert model.recipe.choice.purpose == "unseen"
    assert len(model.class_names) == 17, "those that it was fitted on"
    assert model.error_curve.over == "class", "promised for things that were not seen"
    assert "on 20 images kept out" in model.threshold.origin


def test_settings_that_no_candidate_heeds_are_refused(chosen, command):
    _, _, folder = chosen
    done = command("train", folder / "photos", "--set", "epochs=3", "--out", "none")
    assert done.code == 2
    assert "Expected a recipe that trains, to change epochs" in done.err
    assert not Path("none").exists()
    done = command("train", folder / "photos", "--budget", "soon")
    assert "expected a time such as 90s, 10m or 1h" in done.err
