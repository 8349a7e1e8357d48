"""`compare --with --judged --evidence`: what a terminal shows."""

import json
from pathlib import Path

import pytest

from halves import Halves, write


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr(
        "twinset.models.onnx_model.load_model", lambda folder, **_: Halves.load(folder)
    )
    for name in ("run", "run2"):
        Path(name).mkdir()
        Halves(name).save(name)
    rows = ["left,right,same,gap"]
    for i in range(8):
        write(f"{i}.png", i % 2, i / 16)
        rows += [f"{i}.png,{j}.png,{int(i % 2 == j % 2)},{abs(i - j)}" for j in range(i)]
    Path("judged.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_two_models(command):
    words = ("compare", "run", "0.png", "2.png", "--with", "run2", "--judged", "judged.csv")
    found = command(*words)
    assert found.code == 0
    assert found.out.startswith("same: evidence against -")
    assert "compare: Cllr 0." in found.err
    told = json.loads(command(*words, "--json").out)
    assert told["measure"] == "evidence against"


def test_a_column(command):
    words = ("--pairs", "judged.csv", "--evidence", "gap", "--judged", "judged.csv")
    found = command("compare", "run", *words)
    assert found.code == 0
    assert found.out.splitlines()[-1].startswith("28 pairs: 12 same, 16 different; threshold ")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("0.png", "2.png", "--with", "run2"), "Received no --judged"),
        (("0.png", "2.png", "--judged", "judged.csv"), "Received --judged alone"),
        (
            ("0.png", "2.png", "--evidence", "gap", "--judged", "judged.csv"),
            "Expected --evidence with --pairs",
        ),
        (("--pairs", "judged.csv", "--evidence", "x", "--judged", "judged.csv"), "a column 'x'"),
    ],
)
def test_what_makes_no_sense(command, words, error):
    found = command("compare", "run", *words)
    assert found.code == 2
    assert error in found.err
