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


ALL = """
import contextlib, gc, io, json, sys
from twinset.cli.app import run
said = {}
for command in json.load(sys.stdin):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        run(command)
    said[command[0]] = out.getvalue()
print(json.dumps(said))
gc.freeze()  # to look for garbage at the end takes most of a second
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What the commands say of their loss, network and data, with the package installed.

    In one process, as each would import Keras; and the folder that they have written to.
    """
    folder = tmp_path_factory.mktemp("runs")
    settings = ["pairs=batch", "batch_size=8", "epochs=2"]
    settings += ["loss.name=align_uniform", "loss.t=1.5"]
    settings += ["encoder.name=pooled", "encoder.cells=2"]
    chosen = [word for setting in settings for word in ("--set", setting)]
    rng = np.random.default_rng(0)
    for name in ("standing.png", "lying.png"):
        Image.fromarray(rng.integers(0, 256, (16, 16), np.uint8)).save(folder / name)
    commands = [
        ["train", "stripes://20", "--recipe", "tutorial", "--out", "run", *chosen, "--json"],
        ["compare", "run", "standing.png", "lying.png", "--json"],
        ["check", "stripes://20", "--json"],
        ["index", "run", "stripes://20", "--out", "stripes.index"],
    ]
    paths = [str(PACKAGE), str(Path(twinset.__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-c", ALL],
        input=json.dumps(commands),
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"folder": folder}


def test_a_loss_and_a_network(said):
    assert json.loads(said["train"])["folder"] == "run"
    recipe = (said["folder"] / "run/recipe.toml").read_text("utf-8")
    assert 'name = "align_uniform"' in recipe
    assert "t = 1.5" in recipe
    assert 'name = "pooled"' in recipe
    assert "cells = 2" in recipe
    assert json.loads(said["compare"])["distance"] > 0


def test_their_settings_are_checked_like_ours(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    losses = Makers("loss", "twinset.losses", "contrastive", given=("classes", "dim"))
    assert {"align_uniform", "triplet"} <= set(losses.names())
    with pytest.raises(RecipeError, match=r"loss.t: .* greater than 0; received 0"):
        losses.parse("align_uniform", {"t": 0})
    with pytest.raises(RecipeError, match=r"did you mean 'align_uniform'\?"):
        losses.parse("align_uniforn", {})


def test_a_source_of_data(said):
    found = json.loads(said["check"])
    assert (found["name"], found["images"]) == ("stripes", 40)
    assert "40 added" in said["index"]
    # the run remembers where its data was, though that is no path
    assert origin_of(said["folder"] / "run") == ("stripes://20", None, {})


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
