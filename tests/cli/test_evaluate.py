"""`twinset evaluate` as a user meets it, on a small data set."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data import load as run_data
from twinset.data.parts import Parts
from twinset.evaluation import of_run as run_evaluation
from twinset.evaluation import study
from twinset.files import write_bytes

pytestmark = pytest.mark.usefixtures("undrawn")


def _shades(count, seed, name):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), count // 3)
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None], 20, (count, 4, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, ("a", "b", "c"), name)


TRAIN, TEST = _shades(60, 0, "shades/train"), _shades(45, 1, "shades/test")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    model = twinset.fit(TRAIN, epochs=8, batch_size=16, encoder={"units": [8]}, progress=False)
    model.save(folder)
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(run_data, "load_data_set", lambda *args, **options: (TRAIN, TEST))
    return shutil.copytree(trained, tmp_path / "run")


def test_the_table_is_the_json(run, command):
    shown = command("evaluate", run)
    assert shown.code == 0
    content = json.loads((run / "evaluation.json").read_text("utf-8"))
    area = content["results"]["model"]["numbers"]["auc"]
    assert f"{area['value']:.4f} [{area['low']:.4f}, {area['high']:.4f}]" in shown.out
    assert "not calibrated" in shown.out
    assert list(content["results"]) == ["model", "raw pixels", "PCA-64", "untrained"]
    assert "evaluate 4 of 4 models" in shown.err
    assert shown.out.endswith(f"report: {run / 'evaluation.html'}\n")
    page = (run / "evaluation.html").read_text("utf-8")
    assert f'id="model.auc" value="{area["value"]}"' in page
    assert page.count("<img") == 5, "all but the reliability of a probability that is not there"


def test_json_for_programs(run, command):
    shown = command("evaluate", run, "--json", "--no-baselines")
    assert shown.err == ""
    assert json.loads(shown.out) == json.loads((run / "evaluation.json").read_text("utf-8"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "expected a model folder"),
        (["nowhere", "--protocol", "full"], "expected a model folder"),
        (["nowhere", "--against", "elsewhere"], "nowhere: expected a model folder"),
        (["a", "--against", "b", "--protocol", "full"], "Expected one of --against and --protocol"),
    ],
)
def test_mistakes_are_one_line(command, arguments, words):
    shown = command("evaluate", *arguments)
    assert (shown.code, shown.out) == (2, "")
    (line,) = shown.err.splitlines()
    assert line.startswith("twinset: ")
    assert words in line


def test_the_protocol_of_other_data(run, command):
    """Three classes are too few for folds of unseen ones: five seeds on all."""
    shown = command("evaluate", run, "--protocol", "full")
    assert shown.code == 0
    assert "train and evaluate 5 of 5 trainings" in shown.err
    assert "| ROC AUC |" in shown.out


def test_a_holdout_of_other_data_is_refused_before_training(run, command):
    shown = command("train", "fashion-mnist", "--set", "holdout=protocol", "--out", "new")
    assert shown.code == 2
    assert len(shown.err.splitlines()) == 1
    assert not (run.parent / "new").exists()


def test_a_wrong_rule_costs_no_epoch(run, command):
    shown = command("train", "fashion-mnist", "--set", "rule=luck", "--out", "new")
    assert shown.code == 2
    assert "Expected a rule 'balanced accuracy'" in shown.err
    assert "epoch" not in shown.err


# --- A against B


def test_a_run_against_itself_cannot_be_told(run, command):
    shown = command("evaluate", run, "--against", run)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.count("cannot tell") == 8
    assert "beats" not in shown.out
    assert not list(run.glob("against*")) + list(run.glob("evaluation*")), "nothing is written"


def test_a_against_b_is_the_json(run, command):
    other = run.parent / "other"
    quick = {"epochs": 1, "batch_size": 60, "encoder": {"units": [2]}, "progress": False}
    twinset.fit(TRAIN, seed=5, **quick).save(other)
    shown = command("evaluate", run, "--against", other)
    content = json.loads(command("evaluate", run, "--against", other, "--json").out)
    assert content["a"]["name"] == str(run)
    assert content["b"]["seed"] == 5
    for each in content["differences"].values():
        assert f"{each['low']:+.4f} to {each['high']:+.4f}  {each['verdict']}" in shown.out
    assert content["differences"]["hter"]["verdict"] == "A beats B"
    back = json.loads(command("evaluate", other, "--against", run, "--json").out)
    assert back["differences"]["auc"]["difference"] == -content["differences"]["auc"]["difference"]
    missing = command("evaluate", run, "--against", run.parent / "nowhere")
    assert (missing.code, missing.out) == (2, "")
    assert "nowhere: expected a model folder" in missing.err


def test_runs_that_left_other_images_out_are_refused(run, command, monkeypatch):
    def parts(folder, *args, **options):
        count = 45 if str(folder).endswith("run") else 30
        return Parts(TRAIN, TEST.subset(np.arange(count)))

    monkeypatch.setattr(run_data, "evaluation_parts", parts)
    shutil.copytree(run, run.parent / "other")
    shown = command("evaluate", run, "--against", run.parent / "other")
    assert (shown.code, shown.out) == (2, "")
    assert "run has not used 45 and" in shown.err
    assert "other 30, and these are not the same" in shown.err


# --- the full protocol, on the page


@pytest.fixture
def small_study(monkeypatch):
    """A study whose trainings were done elsewhere: what it finds, without the time it takes."""

    def run_study(parts, recipe, folder, *, about, progress):
        keys = ("auc", "eer", "recall_at_1", "map_at_r")

        def unit(fields):
            return {
                "unit": fields,
                "numbers": [{"key": key, "value": 0.5, "error": None} for key in keys],
                "baseline": [{"key": key, "value": 0.75} for key in keys],
                "transfer": [{"rule": "EER", "promised_fmr": 0.1, "fmr": {"value": 0.5}}],
                "measurements": {"images": 45},
            }

        fold = {"kind": "fold", "seed": 0, "title": "fold 1", "averaged": True}
        fold |= {"held_out": [0, 2], "names": ["a", "c"]}
        results = [unit({"kind": "seed", "seed": 0}), unit(fold), unit(fold)]
        summary = {
            "schema": study.SCHEMA,
            "recipe": study.recipe_key(recipe),
            "class_names": list("abc"),
            "baseline": "raw pixels",
            **about,
            **study.summarise(results),
        }
        write_bytes(folder / "protocol.json", json.dumps(summary).encode())
        return summary

    monkeypatch.setattr(run_evaluation, "run_study", run_study)
    monkeypatch.setattr(run_evaluation, "markdown", lambda summary: "as a table")


def page_of(run):
    return (run / "evaluation.html").read_text("utf-8")


def test_the_full_protocol_renews_the_page(run, command, small_study):
    assert command("evaluate", run, "--protocol", "full").out == "as a table\n"
    assert not (run / "evaluation.html").exists(), "there was no evaluation to show it with"
    command("evaluate", run, "--no-baselines")
    assert 'id="fold.1.auc" value="0.5"' in page_of(run), "found by the evaluation, too"
    (run / "protocol" / "protocol.json").unlink()
    command("evaluate", run, "--no-baselines")
    assert "Not judged." in page_of(run)
    before = (run / "evaluation.json").read_bytes()
    command("evaluate", run, "--protocol", "full")
    assert 'id="fold.1.auc" value="0.5"' in page_of(run)
    assert "Not judged." not in page_of(run)
    assert page_of(run).count("<img") == 7, "five of the model, two of the study"
    assert (run / "evaluation.json").read_bytes() == before


@pytest.mark.parametrize("key", ["recipe", "source", "trained_on", "schema"])
def test_a_study_of_something_else_is_not_shown(run, command, small_study, key):
    command("evaluate", run, "--protocol", "full")
    path = run / "protocol" / "protocol.json"
    summary = json.loads(path.read_text("utf-8"))
    summary[key] = "something else"
    path.write_text(json.dumps(summary), "utf-8")
    command("evaluate", run, "--no-baselines")
    assert "Not judged." in page_of(run)


def test_a_stored_study_does_not_make_the_data_be_checked_again(
    run, command, small_study, monkeypatch
):
    command("evaluate", run, "--protocol", "full")

    def divided(*args, **options):
        raise AssertionError("the data was divided and checked again")

    monkeypatch.setattr(run_data, "load_parts", divided)
    command("evaluate", run, "--no-baselines")
    assert 'id="fold.1.auc" value="0.5"' in page_of(run)


def test_the_protocol_goes_on_with_leaks_that_the_training_was_allowed(
    command, small_study, tmp_path
):
    """Groups that the owner put into two parts: `train --allow-leaks` let them pass."""
    rng = np.random.default_rng(0)
    rows = ["path,label,part,group"]
    for k in range(60):
        pixels = np.clip(rng.normal(60 + 60 * (k % 3), 20, (4, 4)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{k}.png")
        # one group in two parts
        rows.append(f"{k}.png,{'abc'[k % 3]},{'train' if k < 40 else 'test'},shop {k // 3 % 9}")
    (tmp_path / "table.csv").write_text("\n".join(rows), "utf-8")
    quick = ["--set", "epochs=1", "--set", "batch_size=16"]
    arguments = ["--recipe", "tutorial", "--out", "leaky", *quick]
    refused = command("train", "table.csv", *arguments)
    assert refused.code == 2
    assert "groups in two parts" in refused.err
    assert command("train", "table.csv", *arguments, "--allow-leaks").code == 0
    shown = command("evaluate", "leaky", "--protocol", "full")
    assert (shown.code, shown.out) == (0, "as a table\n")


def test_an_evaluation_of_something_else_is_not_renewed(run, command, small_study):
    command("evaluate", run, "--no-baselines")
    content = json.loads((run / "evaluation.json").read_text("utf-8"))
    content["facts"]["Data"]["test digest"] = "0" * 64
    (run / "evaluation.json").write_text(json.dumps(content))
    before = page_of(run)
    assert command("evaluate", run, "--protocol", "full").code == 0
    assert page_of(run) == before
    (run / "evaluation.json").write_text("{")
    shown = command("evaluate", run, "--protocol", "full")
    assert shown.code == 2
    assert "evaluation.json: expected JSON. Remove the file" in shown.err
