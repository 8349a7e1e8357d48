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
from twinset.data import sources
from twinset.data.load import origin_of
from twinset.data.sources import read_listing
from twinset.errors import DataError, RecipeError
from twinset.registry import Registry
from twinset.settings import Makers

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run of their loss and their network on their data."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = ["pairs=batch", "batch_size=8", "epochs=2"]
    settings += ["loss.name=align_uniform", "loss.t=1.5"]
    settings += ["encoder.name=pooled", "encoder.cells=2"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    found = json.loads(run("train", "stripes://20", "--out", folder, *chosen, "--json"))
    assert Path(found["folder"]) == folder
    return folder


def test_a_loss_and_a_network(trained):
    recipe = (trained / "recipe.toml").read_text("utf-8")
    assert 'name = "align_uniform"' in recipe
    assert "t = 1.5" in recipe
    assert 'name = "pooled"' in recipe
    assert "cells = 2" in recipe
    rng = np.random.default_rng(0)
    for name in ("standing.png", "lying.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(name)
    verdict = json.loads(run("compare", trained, "standing.png", "lying.png", "--json"))
    assert verdict["distance"] > 0


def test_their_settings_are_checked_like_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    losses = Makers("loss", "twinset.losses", "contrastive", given=("classes", "dim"))
    assert {"align_uniform", "triplet"} <= set(losses.names())
    with pytest.raises(RecipeError, match=r"loss.t: .* greater than 0; received 0"):
        losses.parse("align_uniform", {"t": 0})
    with pytest.raises(RecipeError, match=r"did you mean 'align_uniform'\?"):
        losses.parse("align_uniforn", {})


def test_a_source_of_data(trained):
    found = json.loads(run("check", "stripes://20", "--json"))
    assert (found["name"], found["images"]) == ("stripes", 40)
    assert "40 added" in run("index", trained, "stripes://20", "--out", "stripes.index")
    # the run remembers where its data was, though that is no path
    assert origin_of(trained) == ("stripes://20", None, {})


def test_their_sources_are_named_where_none_claims_a_place(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    ours = sources.SOURCES
    again = Registry(ours.kind, ours.group, sources._builtin, DataError)
    monkeypatch.setattr(sources, "SOURCES", again)  # which lists packages once
    with pytest.raises(DataError, match=r"stripes://x: expected a number of images"):
        read_listing("stripes://x")
    with pytest.raises(DataError, match=r"source of data out of \[.*did you mean 'stripes'"):
        read_listing("stripe://3")
    with pytest.raises(DataError, match=r"nowhere: expected .* or stripes://NUMBER\. Received"):
        read_listing("nowhere")
