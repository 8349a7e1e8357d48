"""What another package adds works from the command line, without a change here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.errors import RecipeError
from twinset.makers import Makers

PACKAGE = Path(__file__).parent / "third_party"


def run(*arguments):
    """Run the command line with the package installed; its output."""
    paths = [str(PACKAGE), str(Path(twinset.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-m", "twinset", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of images: 20 of stripes that stand, 20 of stripes that lie."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for name in ("standing", "lying"):
        (folder / name).mkdir()
        for i in range(20):
            pixels = np.tile(rng.integers(0, 256, 16), (16, 1)).astype(np.uint8)
            image = Image.fromarray(pixels if name == "standing" else pixels.T)
            image.save(folder / name / f"{i}.png")
    return folder


def test_a_loss(photos, tmp_path):
    settings = ["pairs=batch", "batch_size=8", "encoder.normalize=true", "epochs=2"]
    settings += ["loss.name=align_uniform", "loss.t=1.5"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    found = json.loads(run("train", photos, "--out", tmp_path / "run", *chosen, "--json"))
    assert Path(found["folder"]) == tmp_path / "run"
    recipe = (tmp_path / "run/recipe.toml").read_text("utf-8")
    assert 'name = "align_uniform"' in recipe
    assert "t = 1.5" in recipe
    images = photos / "standing/0.png", photos / "lying/0.png"
    verdict = json.loads(run("compare", tmp_path / "run", *images, "--json"))
    assert verdict["distance"] > 0


def test_their_settings_are_checked_like_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    losses = Makers("loss", "twinset.losses", "contrastive", given=("classes", "dim"))
    assert {"align_uniform", "triplet"} <= set(losses.names())
    with pytest.raises(RecipeError, match=r"loss.t: .* greater than 0; received 0"):
        losses.parse("align_uniform", {"t": 0})
    with pytest.raises(RecipeError, match=r"did you mean 'align_uniform'\?"):
        losses.parse("align_uniforn", {})
