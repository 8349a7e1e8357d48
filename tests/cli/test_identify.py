"""`twinset index --identity`, `identify`: what a terminal shows."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halves import Halves, write


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("run").mkdir()
    Halves().save("run")
    for number in range(3):
        write(f"photos/dark/{number}.png", 0.0, number / 51)
        write(f"photos/light/{number}.png", 1.0, 1 - number / 51)
    write("photos/loose.png", 0.0, 1.0)
    write("query.png", 0.0, 0.0)
    write("new.png", 0.0, 1.0)


def test_who_it_is_or_nobody_known(command):
    before = command("index", "run", "photos", "--out", "photos.index")
    assert before.out == "photos.index: 7 items; 7 added\n"
    asked = command("identify", "photos.index", "query.png")
    assert (asked.code, asked.out) == (2, "")
    assert "photos.index has no identities. Name the column" in asked.err
    made = command("index", "run", "photos", "--out", "photos.index", "--identity", "label")
    told = made.out.splitlines()[-1]
    assert told.startswith("2 identities by label, 6 references; joined by ")
    assert told in command("inspect", "photos.index").out.splitlines()
    strict = ("index", "run", "photos", "--out", "photos.index", "--strangers", "0.01")
    assert "add --identity COLUMN" in command(*strict).err
    assert "threshold" in command(*strict, "--identity", "label").out
    command("index", "run", "photos", "--out", "photos.index", "--identity", "label")
    found = command("identify", "photos.index", "query.png", "new.png", "--exit-code")
    assert (found.code, found.err) == (1, "")
    lines = found.out.splitlines()
    assert lines[0].startswith("query.png: dark: distance 0.0")
    assert lines[1] == "distance  verdict  probability  identity  references  nearest"
    assert lines[2].split()[1::2][0] == "match"
    assert lines[4].startswith("new.png: nobody known: the nearest, dark, is at ")
    both = command("identify", "photos.index", "query.png", "query.png", "--together", "--json")
    (answer,) = json.loads(both.out)
    assert (answer["query"], answer["images"]) == ("query.png and 1 more", 2)
    assert (answer["identity"], answer["known"]) == ("dark", True)
    assert answer["identities"][0]["nearest"]["metadata"]["label"] == "dark"
    assert command("identify", "photos.index", "query.png", "--picture", "who.png").code == 0
    with Image.open("who.png") as drawn:
        assert drawn.size[0] > 500
    assert (
        json.loads(command("inspect", "photos.index", "--json").out)["identities"]["references"]
        == 6
    )


def test_many_strangers_who_would_be_somebody_are_told_with_what_to_do(command):
    rng = np.random.default_rng(0)
    for number in range(24):  # of four identities, which overlap
        gray = np.clip(number % 4 / 8 + rng.normal(0.2, 0.08, 2), 0, 1)
        write(f"crowd/{number % 4}/{number}.png", *gray)
    build = ("index", "run", "crowd", "--out", "crowd.index", "--identity", "label")
    made = command(*build)
    advice = "of strangers would be taken for somebody: the threshold follows the model's rule"
    assert f"{made.out.partition('takes ')[2].partition('%')[0]}% {advice}" in made.err
    assert "--strangers 0.01" in made.err
    assert advice in command("inspect", "crowd.index").err
    assert advice not in command(*build, "--strangers", "0.2").err
    assert advice not in command("inspect", "crowd.index").err


def test_rates_on_classes_of_the_training_are_told_to_be_too_good(command, monkeypatch):
    build = ("index", "run", "photos", "--out", "photos.index", "--identity", "label")
    told = "of the identities are named like classes of the model's own data"
    assert told not in command(*build).err
    monkeypatch.setattr(Halves, "class_names", ("light", "cat"))
    assert f"1 {told}" in command(*build, "--overwrite").err
    assert f"1 {told}" in command("inspect", "photos.index").err


def test_a_second_model(command):
    Path("run2").mkdir()
    Halves("other").save("run2")
    for run in ("run", "run2"):
        command("index", run, "photos", "--out", f"{run}.index", "--identity", "label")
    found = command("identify", "run.index", "query.png", "--with", "run2.index")
    assert found.out.startswith("query.png: dark: distance 0.0")
    wrong = command("identify", "run.index", "query.png", "--with", "run.index")
    assert wrong.code == 2
    assert "Expected an index that another model made" in wrong.err


def test_a_column_that_nobody_has(command):
    made = command("index", "run", "photos", "--out", "photos.index", "--identity", "name")
    assert made.code == 2
    assert "Expected items with a value of 'name'. Received none" in made.err
