import json
import shutil
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import oracles
import twinset
import twinset.run
from resuming import save_at_every_look
from twinset.data import load as run_data
from twinset.data.pair_parts import pairs_to_score
from twinset.errors import DataError, NonFiniteLossError, RecipeError, UnfinishedError
from twinset.files import run_folder

QUICK = {"epochs": 3, "batch_size": 16, "encoder": {"units": [8]}}
LOAD = run_data.load_data_set
MODEL = ["encoder.keras", "encoder.onnx", "history.csv", "model.json", "recipe.toml"]
PICTURES = ["loss", "health", "distances", "test_pairs", "mistakes", "training_pairs", "network"]


def shades(count, name, *, seed, dark, bright):
    """Two classes of images that overlap, so that some verdicts are wrong."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], count)
    images = rng.integers(0, 130, (2 * count, 6, 5), dtype=np.uint8)
    images += np.uint8([dark, bright])[labels][:, None, None]
    return twinset.LabelledImages(images, labels, ("dark", "bright"), name)


# The test images are more alike: a threshold chosen on them would be another.
TRAIN = shades(40, "shades/train", seed=0, dark=0, bright=90)
TEST = shades(30, "shades/test", seed=1, dark=40, bright=80)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One run on small data, to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_data, "load_data_set", lambda *_, **__: (TRAIN, TEST))
        return twinset.train(out=folder, seed=5, **QUICK)


@pytest.fixture(autouse=True)
def _small_data(monkeypatch):
    monkeypatch.setattr(run_data, "load_data_set", lambda *_, **__: (TRAIN, TEST))


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_run_is_folder_model_and_report(run):
    assert isinstance(run, twinset.run.Run)
    assert run.folder.name == "first"
    assert isinstance(run.model, twinset.SiameseModel)
    assert run.model.recipe == twinset.Recipe.load(seed=5, **QUICK)
    assert run.report.title == "twinset run: tutorial on shades/train"
    assert run.report.threshold_rule == run.model.threshold.rule
    pictures = [f"{name}.png" for name in PICTURES]
    assert set(names(run.folder)) == {
        *MODEL,
        *pictures,
        "parts.npz",
        "report.html",
        "report.json",
    }
    assert json.loads((run.folder / "report.json").read_text("utf-8")) == run.report.to_dict()
    assert (run.folder / "report.html").read_text("utf-8") == run.report.to_html()


def loops(images, pairs):
    """Each pair's distance, by the oracle's loop over one image's pixels or coordinates."""
    rows = np.reshape(images, (len(images), -1)).astype(np.float64).tolist()
    return [oracles.euclidean(rows[i], rows[j]) for (i, j) in pairs]


def shown(images):
    """The pairs that are scored, as lists: of two classes these are balanced ones."""
    pairs = pairs_to_score(images, seed=5)
    both = zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)
    return list(both), pairs.same.tolist()


def test_the_scores_are_those_of_the_saved_model_on_the_test_pairs(run):
    pairs, same = shown(TEST)
    apart = loops(twinset.SiameseModel.load(run.folder).embed(TEST), pairs)
    scores = run.report.scores
    assert scores.threshold == 0.5
    assert scores.accuracy == pytest.approx(oracles.accuracy(apart, same, 0.5))
    assert scores.auc == pytest.approx(oracles.roc_auc(apart, same), abs=1e-4)
    match = np.array(apart) <= 0.5
    assert scores.false_matches == sum(match & (np.array(same) == 0))
    assert scores.false_non_matches == sum(~match & (np.array(same) == 1))
    assert (scores.pairs, scores.positives, scores.negatives) == (116, 58, 58)
    assert 0.5 < scores.accuracy < 1, "a number at its end would say nothing"


def best_threshold(distances, same):
    """From the smallest of the distances with the best accuracy midway to the next."""
    steps = sorted({-1.0, *distances})
    best = max(steps, key=lambda t: oracles.accuracy(distances, same, t))
    return (best + steps[steps.index(best) + 1]) / 2


def test_the_floors_threshold_comes_from_the_training_pairs(run):
    known, known_same = shown(TRAIN)
    unseen, unseen_same = shown(TEST)
    train, test = (
        pixels / np.linalg.norm(pixels, axis=(1, 2), keepdims=True)
        for pixels in (TRAIN.images.astype(float), TEST.images.astype(float))
    )
    distances = loops(test, unseen)
    threshold = best_threshold(loops(train, known), known_same)
    tempting = best_threshold(distances, unseen_same)
    baseline = run.report.baseline
    assert baseline.threshold == pytest.approx(threshold, rel=1e-5)
    assert abs(tempting - threshold) > 0.1 * threshold, "the test must tell the two apart"
    assert baseline.accuracy == pytest.approx(oracles.accuracy(distances, unseen_same, threshold))
    assert baseline.auc == pytest.approx(oracles.roc_auc(distances, unseen_same), abs=1e-4)
    assert oracles.accuracy(distances, unseen_same, tempting) > baseline.accuracy


def test_the_facts_are_those_of_the_run(run):
    facts = run.report.facts
    assert facts["Data"] == {
        "training set": "shades/train",
        "training images": 80,
        "training digest": TRAIN.digest,
        "test set": "shades/test",
        "test images": 60,
        "test digest": TEST.digest,
        "test pairs": 116,
    }
    assert facts["Training"]["epochs"] == 3
    assert facts["Training"]["interrupted"] == "no"
    assert facts["Training"]["embedding size"] == 8
    assert facts["Training"]["weights"] == sum(w.size for w in run.model.encoder.get_weights())
    assert facts["Training"]["loss in the last epoch"] == run.model.history[-1].loss
    assert facts["Training"]["seconds"] > 0
    assert facts["Recipe"]["seed"] == 5
    assert facts["Recipe"]["encoder.units"] == "[8]"
    assert facts["Versions"]["twinset"] == twinset.__version__


def test_the_pictures_are_images(run):
    assert [picture.name for picture in run.report.pictures] == PICTURES
    for picture in run.report.pictures:
        content = (run.folder / f"{picture.name}.png").read_bytes()
        assert content == picture.png
        with Image.open(BytesIO(content)) as image:
            assert image.format == "PNG"
            image.load()
            assert min(image.size) > 200
            levels = np.asarray(image.convert("L"))
        assert levels.min() < 100 < 250 < levels.max(), "something must be drawn"


def test_augmentation_is_drawn_as_it_is_trained_on(run):
    """A run without them has no such picture; with shifts, each row begins with the image."""
    assert not (run.folder / "augmentation.png").exists()
    shifted = {"augment": {"shift": 1, "brightness": 0.5}, "epochs": 1}
    folder = twinset.train(out="out", **QUICK | shifted).folder
    with Image.open(folder / "augmentation.png") as image:
        levels = np.asarray(image.convert("L"))
    assert len(np.unique(levels)) > 50
    assert "augmentation.png" in names(folder)


@pytest.mark.usefixtures("undrawn")
def test_the_checkpoint_stays_until_the_model_is_saved(run, monkeypatch):
    """A disk that is full when the training is done costs half a minute of it, and not all."""

    def full(self, folder):
        raise OSError(28, "No space left on device")

    save_at_every_look(monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(twinset.SiameseModel, "save", full)
        with pytest.raises(DataError, match=r"out: .* not be saved. No space left.*: make room"):
            twinset.train(out="out", seed=5, **QUICK)
    assert names("out") == ["checkpoint.npz", "parts.npz"]
    resumed = twinset.train(out="out", seed=5, resume=True, **QUICK).model
    assert "checkpoint.npz" not in names("out")
    for a, b in zip(resumed.encoder.get_weights(), run.model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_training_at_a_time_writes_to_a_folder():
    refused = []

    def again(now):
        if not refused:
            with pytest.raises(DataError, match="a folder that nobody else writes to. Another tr"):
                twinset.train(out="run", resume=True, **QUICK)
            refused.append(now)

    twinset.train(out="run", progress=again, **QUICK)
    assert refused
    # and who asks for no place of their own gets one each
    assert [run_folder(None, "a b").name for _ in range(2)] == ["a-b", "a-b-2"]


def test_the_model_is_saved_before_it_is_scored(monkeypatch):
    def fail(model, *_, **__):
        found.append(twinset.SiameseModel.load("out").embed(TEST))
        raise RuntimeError("scoring failed")

    found = []
    monkeypatch.setattr(twinset.run, "score", fail)
    with pytest.raises(UnfinishedError, match="RuntimeError: scoring failed") as failure:
        twinset.train(out="out", **QUICK)
    assert type(failure.value.__cause__) is RuntimeError
    assert set(names("out")) == {*MODEL, "parts.npz"}
    np.testing.assert_array_equal(twinset.SiameseModel.load("out").embed(TEST), found[0])
    assert len(twinset.SiameseModel.load("out").history) == 3


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("SiameseModel.calibrate", "the choice of its threshold failed. No space left on device"),
        ("encoder.onnx", "its graph for ONNX Runtime failed. Is a directory"),
        ("run.score", "its evaluation failed. No space left on device"),
        ("report.json", "its report failed. Is a directory"),
        ("loss.png", "a picture failed. Is a directory"),
    ],
)
def test_what_fails_after_the_training_names_the_folder_of_the_model(command, where, what):
    """The disk is full, or a folder stands where a file belongs; the evaluation goes on."""

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    split = {"holdout": "auto", "split": {"calibration": 0.3}} if "calibrate" in where else {}
    with pytest.MonkeyPatch.context() as patch:
        if where.endswith((".onnx", ".json", ".png")):
            (Path("out") / where).mkdir(parents=True)
            what = what.split(". Is a")[0]  # other systems have other words
        else:
            patch.setattr(f"twinset.{where}", full)
        with pytest.raises(
            UnfinishedError,
            match=f"^out: the model is trained and saved, but {what}.* go on: twinset evaluate out",
        ):
            twinset.train(out="out", overwrite=True, **QUICK, **split)
    assert len(twinset.SiameseModel.load("out").history) == 3
    assert "checkpoint.npz" not in names("out")
    done = command("evaluate", "out", "--no-baselines")
    assert done.code == 0, done.err
    assert (Path("out") / "evaluation.html").is_file()


def test_the_same_seed_gives_the_same_numbers(run):
    Path("again").mkdir()  # an empty folder is as good as a new one
    again = twinset.train(out=Path("again"), seed=5, **QUICK)
    assert again.folder == Path("again")
    assert asdict(again.report.scores) == asdict(run.report.scores)
    assert asdict(again.report.baseline) == asdict(run.report.baseline)
    for ours, theirs in zip(
        again.model.encoder.get_weights(), run.model.encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert again.report.facts["Data"] == run.report.facts["Data"]
    assert again.report.facts["Recipe"] == run.report.facts["Recipe"]
    by_name = {picture.name: picture.png for picture in again.report.pictures}
    for picture in run.report.pictures:
        assert by_name[picture.name] == picture.png, picture.name


@pytest.mark.usefixtures("undrawn")
def test_the_test_images_are_not_trained_on(run, monkeypatch):
    """Other test images: the same weights, another report."""
    monkeypatch.setattr(
        run_data, "load_data_set", lambda *_, **__: (TRAIN, TEST.subset(np.arange(40)))
    )
    other = twinset.train(out="other", seed=5, **QUICK)
    for ours, theirs in zip(
        other.model.encoder.get_weights(), run.model.encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert other.report.scores.auc != run.report.scores.auc
    assert other.report.baseline.threshold == run.report.baseline.threshold


@pytest.mark.usefixtures("undrawn")
def test_a_perfect_model_has_no_picture_of_mistakes_nor_those_of_the_run_before(run, monkeypatch):
    shutil.copytree(run.folder, "out")
    Path("out/augmentation.png").touch()
    assert Path("out/mistakes.png").exists()
    equal = np.uint8([0, 255] * 20)[:, None, None] * np.ones((6, 5), np.uint8)
    easy = twinset.LabelledImages(equal, [0, 1] * 20, ("dark", "bright"), "easy")
    # the same image in both parts would be refused as a leak
    other = replace(easy, images=equal // 2 + 64)
    monkeypatch.setattr(run_data, "load_data_set", lambda *_, **__: (easy, other))
    # equal images have distance 0, all others more than that
    found = twinset.train(out="out", overwrite=True, threshold=1e-30, **QUICK)
    assert found.report.scores.accuracy == 1
    assert "mistakes" not in [picture.name for picture in found.report.pictures]
    assert not {"augmentation.png", "mistakes.png"} & set(names("out"))


@pytest.mark.usefixtures("undrawn")
def test_progress_is_told_when_wanted(capfd, monkeypatch):
    wanted = []
    monkeypatch.setattr(
        run_data,
        "load_data_set",
        lambda *_, progress, **__: wanted.append(progress) or (TRAIN, TEST),
    )
    mine = twinset.Recipe.load(name="mine", **QUICK)  # the recipe may be one
    found = twinset.train("fashion-mnist", mine, epochs=1, progress=False)
    assert found.folder == Path("runs/mine")
    assert found.model.recipe == twinset.Recipe.load(mine, epochs=1)
    assert "epoch" not in capfd.readouterr().err
    twinset.train(out="told", progress=True, **QUICK)
    told, errors = capfd.readouterr()
    assert told == "", "the library prints nothing to stdout"
    assert errors.count("epoch ") == 3, "one line each"
    assert wanted == [False, True]


def test_mistakes_cost_no_training(monkeypatch):
    monkeypatch.setattr("twinset.training.fit.fit", lambda *_, **__: pytest.fail("trained"))
    Path("file").touch()
    Path("full").mkdir()
    Path("full/thesis.txt").write_text("years of work")
    for out, words in {
        "file": "file: expected a folder to write to. Received a file",
        "file/below": "file/below: expected a folder to write to. Not a directory",
        "full": "full: expected a new or empty folder. This one holds files",
        "x" * 300: "expected a folder to write to. File name too long",
        "nul\0": "expected a folder to write to. .*null byte",
    }.items():
        with pytest.raises(DataError, match=words):
            twinset.train(out=out, **QUICK)
    with pytest.raises(RecipeError, match=r"unknown key 'epoch' \(did you mean 'epochs'\?\)"):
        twinset.train(out="new", epoch=3)
    assert names("full") == ["thesis.txt"]
    assert not Path("new").exists()


def test_an_unknown_data_set(monkeypatch):
    monkeypatch.setattr(run_data, "load_data_set", LOAD)
    with pytest.raises(
        DataError, match=r"mnist: expected .*fashion-mnist, .*no such file or folder"
    ):
        twinset.train("mnist", out="new")


def test_a_training_that_breaks_down_leaves_the_run_before(run):
    shutil.copytree(run.folder, "out")
    before = {path: path.read_bytes() for path in Path("out").iterdir()}
    with pytest.raises(NonFiniteLossError, match="Expected a finite loss"):
        twinset.train(out="out", overwrite=True, optimizer={"learning_rate": 1e20}, **QUICK)
    assert {path: path.read_bytes() for path in Path("out").iterdir()} == before


def test_a_test_image_among_the_training_images_is_refused(monkeypatch):
    leaking = TRAIN.subset(np.arange(40))
    monkeypatch.setattr(run_data, "load_data_set", lambda *_, **__: (TRAIN, leaking))
    with pytest.raises(DataError, match="position 0 in 'train' and position 80 in 'test'"):
        twinset.train(out="leaking", **QUICK)
    assert not Path("leaking").exists()
