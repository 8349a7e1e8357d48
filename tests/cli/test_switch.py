"""`twinset switch`: what a terminal shows."""

import json
from pathlib import Path

import pytest

from halves import Halves, write


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    for name in ("first", "second"):
        Path(name).mkdir()
        Halves(name, threshold={"first": 0.2, "second": 0.05}[name]).save(name)
    for kind, upper in (("dark", 0.0), ("light", 1.0)):
        for number in range(2):
            write(f"photos/{kind}/{number}.png", upper, number / 10)


def test_there_and_back(command):
    command("index", "first", "photos", "--out", "photos.index")
    seen = command("switch", "photos.index", "second", "--compare-only")
    assert seen.out.startswith("photos.index: 4 items embedded, not switched, 100% of the 10 near")
    done = command("switch", "photos.index", "second")
    # of the 6 pairs, dark/0 and dark/1, light/0 and light/1 at 0.1 are matches no longer
    assert done.out == (
        "photos.index: 4 items embedded, switched, 100% of the 10 nearest stay, 66.7% of verdicts "
        "stay, recall@1 by label 1.000 [0.510, 1.000] before, 1.000 [0.510, 1.000] after: 0 gain, "
        "0 lose of 4\n"
    )
    assert "model second" in command("inspect", "photos.index").out
    assert command("index", "second", "photos", "--out", "photos.index").out.endswith(
        "4 unchanged\n"
    )
    back = command("switch", "photos.index", "--rollback")
    assert back.out == "photos.index: back to model first, 4 items\n"
    Path("photos/dark/0.png").unlink()
    gone = command("switch", "photos.index", "second")
    assert gone.code == 2
    assert "1 items cannot be embedded again (dark/0.png" in gone.err
    found = command("switch", "photos.index", "second", "--drop-missing", "--json")
    told = json.loads(found.out)
    assert (told["items"], told["switched"]) == (3, True)
    assert told["dropped"][0]["name"] == "dark/0.png"


def test_one_of_both_is_asked_for(command):
    for more in ([], ["second", "--rollback"]):
        asked = command("switch", "photos.index", *more)
        assert (asked.code, asked.out) == (2, "")
        assert "Expected the folder of a run, or --rollback: one of both." in asked.err
