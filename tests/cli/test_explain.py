"""`explain`: what a terminal shows, and the picture."""

import json
from pathlib import Path

import pytest
from PIL import Image

from halves import Halves, write


@pytest.fixture(autouse=True)
def run(monkeypatch):
    monkeypatch.setattr(
        "twinset.models.onnx_model.load_model", lambda folder, **_: Halves.load(folder)
    )
    Path("run").mkdir()
    Halves().save("run")
    write("a.png", 0.1, 0.9)
    write("b.png", 0.1, 0.2)
    Path("text.png").write_text("no image", encoding="utf-8")


def test_words_and_a_picture(command):
    found = command("explain", "run", "a.png", "b.png", "--picture", "why.png")
    assert found.code == 0
    verdict, agree, differ = found.out.splitlines()
    assert verdict.startswith("different: distance 0.7")
    assert agree.startswith("they agree most at x ")
    assert differ.startswith("they differ most at x ")
    assert "A patch of 1 x 1 pixels every 1, covered by the image itself, blurred" in found.err
    with Image.open("why.png") as picture:
        assert min(picture.size) > 500


def test_json(command):
    told = json.loads(command("explain", "run", "a.png", "b.png", "--json", "--patch", "2").out)
    assert told["distance"] == pytest.approx(0.7, abs=0.01)
    assert (told["patch"], len(told["left"])) == (2, 4)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("a.png",), "IMAGE"),
        (("a.png", "text.png"), "text.png: expected an image"),
        (("a.png", "missing.png"), "missing.png"),
        (("a.png", "b.png", "--patch", "5"), "Expected a patch of 1 to 4 pixels"),
    ],
)
def test_what_makes_no_sense(command, words, error):
    found = command("explain", "run", *words)
    assert found.code == 2
    assert error in found.err
    assert "Traceback" not in found.err
