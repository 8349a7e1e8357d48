"""Every example runs, says something, and is short enough to be read at once."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import twinset

FOLDER = Path(__file__).parents[1] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.py"))


def test_there_are_examples():
    assert {"duplicates", "novelty", "search"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path, monkeypatch, capsys, fashion_mnist):
    """As written, but trained on a sixth of the data for one epoch."""
    fit = twinset.fit
    monkeypatch.setattr(twinset, "load_fashion_mnist", lambda: fashion_mnist)
    monkeypatch.setattr(
        twinset,
        "fit",
        lambda data, recipe, epochs: fit(data.subset(np.arange(1000)), recipe, epochs=1),
    )
    monkeypatch.setattr(sys, "argv", [str(path)])
    runpy.run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short(path):
    lines = path.read_text("utf-8").splitlines()
    assert len(lines) <= 60
    assert lines[0].startswith('"""')
