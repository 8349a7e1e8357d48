"""A whole run from judged pairs alone, and beside classes."""

import json

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.load import origin_of
from twinset.errors import DataError, RecipeError
from twinset.evaluation.candidates import candidates_for
from twinset.evaluation.of_run import compare_runs, evaluate_run, study_run
from twinset.run import train

pytestmark = pytest.mark.usefixtures("undrawn")

FAST = {"encoder.units": [16], "epochs": 3, "batch_size": 32, "images.size": 8}


def picture(path, thing, rng):
    base = np.random.default_rng(thing).integers(0, 256, (8, 8))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(base + rng.normal(0, 30, (8, 8)), 0, 255).astype("u1")).save(path)


def rows_of(things, name="img/{}_{}.png"):
    rows = []
    for t in range(things):
        mine, other = ([name.format(each, k) for k in range(3)] for each in (t, t ^ 1))
        rows += [(mine[0], mine[1], "yes"), (mine[1], mine[2], "yes"), (mine[0], other[1], "no")]
    return rows


def write(path, rows):
    lines = ["left,right,same", *(",".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def signatures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signatures")
    rng = np.random.default_rng(0)
    for thing in range(80):
        for k in range(3):
            picture(folder / "img" / f"{thing}_{k}.png", thing, rng)
    write(folder / "pairs.csv", rows_of(80))
    return folder


@pytest.fixture(scope="module")
def run(signatures, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    told = []
    found = train(
        pairs=signatures / "pairs.csv",
        recipe="tutorial",
        holdout="auto",
        out=out,
        progress=False,
        tell=told.append,
        **FAST,
    )
    return found, told


def test_a_run_from_pairs_alone(run, signatures):
    found, told = run
    assert origin_of(found.folder) == (None, str(signatures / "pairs.csv"), {})
    assert found.model.class_names == ()
    assert found.model.threshold.calibrated
    assert 0 <= found.model.threshold.fmr_range[0] <= found.model.threshold.fmr
    assert found.model.calibrator is not None
    scores = found.report.scores
    assert scores.positives + scores.negatives == scores.pairs
    assert scores.auc > 0.8
    assert (found.folder / "report.html").is_file()
    assert "checking 240 images" in told
    one, other = (signatures / "img" / f"{name}.png" for name in ("3_0", "3_1"))
    assert found.model.compare(one, other).probability > 0.5


def test_it_is_evaluated_on_the_pairs_that_it_has_not_used(run, signatures):
    folder = run[0].folder
    found = evaluate_run(folder, progress=False)
    data = found.facts["Data"]
    assert data["judged pairs"] == run[0].report.scores.pairs
    assert found.model.numbers["auc"].value == pytest.approx(run[0].report.scores.auc)
    assert json.loads((folder / "evaluation.json").read_text("utf-8"))["class_names"] == []
    assert "judged" in (folder / "evaluation.html").read_text("utf-8")
    same = compare_runs(folder, folder)
    assert same["auc"].interval.value == 0
    assert same.pairs == data["judged pairs"]


def test_names_of_a_data_set(signatures, tmp_path, monkeypatch):
    monkeypatch.chdir(signatures)
    # by id, without the suffix; and classes of a table count beside the pairs
    lines = [f"img/{t}_{k}.png,{'ab'[t % 2]}" for t in range(80) for k in range(3)]
    (signatures / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    pairs = write(tmp_path / "pairs.csv", rows_of(80, "{}_{}"))
    checked = twinset.check_data(signatures / "img", pairs=pairs)
    assert (checked.ok, checked.images, checked.pairs) == (True, 240, (160, 80))
    mixed = twinset.check_data(signatures / "labels.csv", pairs=pairs)
    assert [name for name, _ in mixed.classes] == ["a", "b"]
    assert "against-classes" not in [each.code for each in mixed.findings]
    against = [
        *rows_of(80),
        ("img/0_0.png", "img/2_0.png", "0"),
        ("img/0_0.png", "img/1_0.png", "1"),
    ]
    pairs = write(signatures / "against.csv", against)
    told = {each.code: each for each in twinset.check_data("labels.csv", pairs=pairs).findings}
    lines = ("img/0_0.png, img/1_0.png (a / b)", "img/0_0.png, img/2_0.png (a / a)")
    assert (told["against-classes"].severity, told["against-classes"].examples) == (
        "warning",
        lines,
    )
    others = [(a, b, "no") for a, b, same in rows_of(80) if same == "yes"]
    pairs = write(signatures / "against.csv", others)
    told = {each.code: each for each in twinset.check_data("labels.csv", pairs=pairs).findings}
    assert told["against-classes"].severity == "error"


def test_what_a_check_of_pairs_tells(signatures, tmp_path):
    (signatures / "broken.png").write_bytes(b"no image")
    (signatures / "copy.png").write_bytes((signatures / "img/9_0.png").read_bytes())
    rows = rows_of(80)
    rows += [(rows[0][1], rows[0][0], "no"), rows[4]]  # both ways; twice
    rows += [("img/6_0.png", "img/6_2.png", "0")]  # a = b = c, but a is not c
    rows += [("img/1_0.png", "broken.png", "1"), ("img/1_0.png", "gone.png", "1")]
    rows += [("img/9_0.png", "copy.png", "different"), ("img/1_1.png", "img/9_0.png", "")]
    table = write(signatures / "bad.csv", rows)
    found = twinset.check_data(pairs=table, pictures=tmp_path / "drawn")
    assert {each.name for each in (tmp_path / "drawn").iterdir()} == {
        "pairs.png",
        "look_alikes.png",
    }
    told = {each.code: each for each in found.findings}
    assert told["contradictions"].examples == ("img/0_0.png =≠ img/0_1.png",)
    chain = "img/6_0.png = img/6_1.png = img/6_2.png ≠ img/6_0.png"
    assert told["broken-chains"].examples == (chain,)
    assert told["copies-judged-different"].examples == ("img/9_0.png = copy.png",)
    assert told["repeated-pairs"].count == 1
    assert told["skipped"].count == 2
    assert any("without a judgement" in each.message for each in found.findings)
    assert found.ok
    assert "241 images of 8 × 8 with 159 same and 82 different pairs" in found.summary()
    assert found.to_dict()["pairs"] == {"same": 159, "different": 82}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [("a.png", "b.png", "1")],
            "0 of them with both images. The last, 'b.png': no such",
        ),
        ([("img/0_0.png", "img/0_1.png", "")], "Received 0 judged of 1 pairs"),
        ([("img/0_0.png", f"img/{t}_1.png", "1") for t in range(9)], "Expected same and different"),
        ([("img/0_0.png", "img/0_1.png", "perhaps")], "line 2: expected 1 or 0"),
    ],
)
def test_pairs_that_nothing_can_be_made_of(signatures, tmp_path, rows, words):
    table = write(signatures / "few.csv", rows)
    with pytest.raises(DataError, match=words):
        train(pairs=table, recipe="tutorial", out=tmp_path / "run", progress=False, **FAST)
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_takes_all_others_for_different_is_refused_at_once(tmp_path, signatures):
    with pytest.raises(RecipeError, match="learns from judged pairs. Received 'fast'"):
        train(pairs=signatures / "pairs.csv", recipe="fast", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_commands(command, signatures, tmp_path):
    found = command("check", "--pairs", signatures / "pairs.csv", "--json")
    assert json.loads(found.out)["ok"]
    settings = (f"{key}={value}" for key, value in FAST.items())
    options = [word for each in settings for word in ("--set", each)]
    options += ["--set", "pairs=tutorial", "--set", "loss.name=contrastive"]
    table = signatures / "pairs.csv"
    done = command("train", "--pairs", table, "--recipe", "tutorial", "--out", tmp_path, *options)
    assert (done.code, "report: " in done.out) == (0, True), done.err
    nothing = command("train")
    assert nothing.code == 2
    assert "Received neither: name one, or give --pairs TABLE" in nothing.err


def test_features_whose_pairs_are_left_out_in_turn(tmp_path):
    """Too few for a test part: the recipe that chooses, its threshold and report by turns."""
    rng = np.random.default_rng(0)
    things = np.arange(90) // 3
    vectors = rng.normal(size=(30, 6))[things] + rng.normal(scale=0.3, size=(90, 6))
    names = [f"i{k}" for k in range(90)]
    np.savez(tmp_path / "marks.npz", embedding=vectors, path=names)
    rows = [(f"i{k}", f"i{k + 1}", "1") for k in range(89) if things[k] == things[k + 1]]
    rows += [(f"i{3 * t}", f"i{3 * (t ^ 1) + 1}", "0") for t in range(30)]
    pairs = write(tmp_path / "pairs.csv", rows)
    told = []
    run = train(
        tmp_path / "marks.npz", pairs=pairs, out=tmp_path / "run", progress=False, tell=told.append
    )
    assert run.report.across == "90 judged pairs of 90 images"
    assert run.report.scores.pairs == 90
    assert run.model.threshold.across == run.report.across
    table = json.loads((tmp_path / "run" / "choice.json").read_text("utf-8"))
    assert "AUC of the judged pairs" in table["rule"]
    tried = [each for each in table["candidates"] if not each["left_out"]]
    assert all(each["map_at_r"] is None and each["auc"]["value"] > 0.9 for each in tried)
    found = evaluate_run(tmp_path / "run", baselines=False, progress=False)
    assert found.model.numbers["auc"].value == pytest.approx(run.report.scores.auc)
    assert found.facts["Data"]["judged pairs"] == 90


def test_the_full_protocol_wants_classes(run):
    with pytest.raises(DataError, match="expected classes for the full protocol"):
        study_run(run[0].folder)


def test_classes_and_judgements_in_one_run(signatures, tmp_path, monkeypatch):
    """Images without a class are learned from by their pairs, and classes give pairs as well."""
    monkeypatch.chdir(signatures)
    lines = [f"img/{t}_{k}.png,{'abcd'[t % 4]}" for t in range(60) for k in range(3)]
    (signatures / "some.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    pairs = write(signatures / "rest.csv", rows_of(80)[180:])
    how = {**FAST, "out": tmp_path / "run", "holdout": "auto", "progress": False}
    run = train("some.csv", "tutorial", pairs=pairs, **how)
    assert run.model.class_names == tuple("abcd")
    assert run.model.trained_on.images + run.report.facts["Data"]["test images"] < 240
    found = evaluate_run(run.folder, baselines=False, progress=False)
    # a same and a different pair of each image with a class, and those that were judged
    assert found.model.numbers["auc"].value == pytest.approx(run.report.scores.auc)
    assert found.facts["Data"]["judged pairs"] < run.report.scores.pairs


def test_by_hand_in_python(signatures):
    images = twinset.load_images(pairs=signatures / "pairs.csv", size=8)
    assert repr(images) == "LabelledImages('pairs.csv', 240 images of (8, 8), 240 judged pairs)"
    parts = twinset.split(images, {"train": 0.6, "calibration": 0.2, "test": 0.2})
    assert sum(len(part.judged) for part in parts.values()) == 240
    model = twinset.fit(parts["train"], epochs=3, encoder={"units": [16]}, progress=False)
    model = model.calibrate(parts["calibration"], rule="EER")
    assert model.threshold.rule == "EER"
    found = twinset.evaluate(model, parts["test"], baselines=False, progress=False)
    assert found.model.numbers["auc"].low > 0.5
    again = twinset.load_images(signatures / "img", pairs=signatures / "pairs.csv", size=8)
    assert len(again.judged) == 240


def test_heads_that_are_trained_on_pairs_are_candidates(signatures):
    rng = np.random.default_rng(0)
    things = np.arange(120) // 3
    vectors = rng.normal(size=(40, 6))[things] + rng.normal(scale=0.3, size=(120, 6))
    rows = [(k, k + 1, 1) for k in range(119) if things[k] == things[k + 1]]
    rows += [(3 * t, 3 * (t ^ 1) + 1, 0) for t in range(40)]
    data = twinset.LabelledFeatures(vectors, judged=twinset.Pairs(*zip(*rows, strict=True)))
    found = twinset.choose(data, **{"choice.budget": 60})
    (trained,) = (row for row in found.rows if row.name == "trained head")
    assert not trained.left_out
    recipes = {each.name: each.recipe for each in candidates_for(found.asked, data)}
    assert recipes["trained head"].loss.name == "pair_clusters"
    assert trained.auc.value > 0.6
