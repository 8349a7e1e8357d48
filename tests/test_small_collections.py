"""The hardest sizes, from files to a verdict: what `check` calls fit is trained and judged."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.data.parts import divide
from twinset.data.split import comparable

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = ("--set", "epochs=1", "--set", "encoder.units=[8]", "--out", "run")


def write(sizes):
    rng = np.random.default_rng(0)
    for kind, size in enumerate(sizes):
        pattern = rng.integers(0, 200, (6, 6))
        place = Path("photos", f"class {kind}")
        place.mkdir(parents=True)
        for number in range(size):
            noisy = pattern + rng.integers(0, 56, (6, 6))
            Image.fromarray(noisy.astype(np.uint8)).save(place / f"{number}.png")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("sizes", "recipe", "across", "rule"),
    [
        ([4, 4], "tutorial", "8 images of 2 classes", "fixed by the recipe"),
        ([30, 2, 2, 1, 1], "fast", "2 classes (6 images)", "balanced accuracy, cross-fitted over"),
    ],
)
def test_what_is_fit_is_trained_judged_and_used(sizes, recipe, across, rule, command):
    write(sizes)
    checked = command("check", "photos")
    assert checked.code == 0, checked.out
    assert "the report is cross-fitted over" in " ".join(checked.out.split())
    trained = command("train", "photos", "--recipe", recipe, *QUICK)
    assert trained.code == 0, trained.err
    assert f"Accuracy, cross-fitted over {across}: " in trained.out
    card = json.loads(Path("run/model.json").read_text("utf-8"))
    assert card["threshold"]["rule"] in rule or rule in card["threshold"]["rule"]
    shown = command("evaluate", "run", "--no-baselines")
    assert shown.code == 0, shown.err
    assert f"Cross-fitted over {across}, as there were too few images for a test part" in shown.out
    told = json.loads(Path("run/evaluation.json").read_text("utf-8"))["results"]["model"]
    assert told["points"][0]["origin"].startswith(rule)
    assert {"auc", "eer"} <= told["numbers"].keys()
    assert not {"recall_at_1", "map_at_r"} & told["numbers"].keys()  # of one space for all images
    page = Path("run/evaluation.html").read_text("utf-8")
    assert "images that were left out together" in page
    both = ("photos/class 0/0.png", "photos/class 1/0.png")
    assert command("compare", "run", *both).code == 0
    # images that came later are a test part
    Image.fromarray(np.eye(6, dtype=np.uint8)).save("photos/class 0/new.png")
    assert "Cross-fitted" in command("evaluate", "run", "--no-baselines").out


@pytest.mark.parametrize("sizes", [[2, 2], [2, 2, 2], [3, 3], [50, 1, 1]])
def test_what_is_not_fit_is_refused_before_a_training(sizes, command):
    write(sizes)
    checked = command("check", "photos")
    assert checked.code == 1
    assert "add images" in checked.out.lower()
    trained = command("train", "photos", "--recipe", "tutorial", *QUICK)
    assert trained.code == 2
    assert "add images" in trained.err.lower()
    assert "epoch" not in trained.err
    assert not Path("run").exists()


def test_thousands_of_tiny_classes_have_parts_of_classes():
    labels = np.repeat(np.arange(5000), 3)
    rows = np.arange(15000)[:, None] // [1, 256] % 256
    names = tuple(map(str, range(5000)))
    data = twinset.LabelledImages(rows[:, :, None].astype(np.uint8), labels, names)
    parts = divide(data)
    assert {name: len(part) for name, part in parts.named().items()} == {
        "fit": 10500,
        "test": 3000,
        "calibration": 1500,
    }
    assert comparable(parts.test.labels)[0] == 3000
