"""`twinset evaluate` as a user meets it, on a small data set."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import twinset
import twinset.run
from twinset import cli


def _shades(count, seed, name):
    rng = np.random.default_rng(seed)
    labels = np.tile(np.arange(3), count // 3)
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None], 20, (count, 4, 4)), 0, 255)
    return twinset.LabelledImages(images.astype(np.uint8), labels, ("a", "b", "c"), name)


@pytest.fixture
def run(tmp_path, monkeypatch):
    train, test = _shades(60, 0, "shades/train"), _shades(45, 1, "shades/test")
    monkeypatch.setattr(twinset.run, "load_data", lambda name, progress: (train, test))
    twinset.fit(train, epochs=8, batch_size=16, encoder={"units": [8]}).save(tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def command(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["twinset", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=stop.value.code or 0, out=out, err=err)

    return call


def test_the_table_is_the_json(run, command):
    shown = command("evaluate", run)
    assert shown.code == 0
    content = json.loads((run / "evaluation.json").read_text())
    area = content["judgements"]["model"]["numbers"]["auc"]
    assert f"{area['value']:.4f} [{area['low']:.4f}, {area['high']:.4f}]" in shown.out
    assert "not calibrated" in shown.out
    assert list(content["judgements"]) == ["model", "raw pixels", "PCA-64", "untrained"]
    assert "evaluate: raw pixels" in shown.err
    assert shown.out.endswith(f"report: {run / 'evaluation.html'}\n")
    page = (run / "evaluation.html").read_text("utf-8")
    assert f'id="model.auc" value="{area["value"]}"' in page
    assert page.count("<img") == 5, "all but the reliability of a probability that is not there"


def test_json_for_programs(run, command):
    shown = command("evaluate", run, "--json", "--no-baselines")
    assert shown.err == ""
    assert json.loads(shown.out) == json.loads((run / "evaluation.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "expected a model folder"),
        (["nowhere", "--protocol", "full"], "expected a model folder"),
    ],
)
def test_mistakes_are_one_line(command, arguments, words):
    shown = command("evaluate", *arguments)
    assert (shown.code, shown.out) == (2, "")
    (line,) = shown.err.splitlines()
    assert line.startswith("twinset: ")
    assert words in line


def test_the_protocol_is_for_fashion_mnist(run, command):
    shown = command("evaluate", run, "--protocol", "full")
    assert shown.code == 2
    assert "Expected the 60,000 training labels of Fashion-MNIST" in shown.err


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
