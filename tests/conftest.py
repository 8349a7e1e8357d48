"""A strict world: no network but loopback, no trace in the user's folders, small data at hand."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import ipaddress
import itertools
import multiprocessing
import os
import pickle
import re
import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import numpy as np
import pytest
from filelock import FileLock

import twinset
from browsing import browser
from colours import png
from twinset import figures
from twinset.cli import app as cli

# pymilvus sets up logging when it is imported, for which Python closes the handlers that are
# there. That of absl, which JAX brings, then closes the stream it was made with, which is pytest's
# own: so pymilvus comes first.
with contextlib.suppress(ImportError):
    import pymilvus  # noqa: F401

__all__ = ["browser"]

ROOT = Path(__file__).parents[1]

# More threads of BLAS than cores wait for one another, each with all of a core: a sixth of the time
# of tests that compute. The workers of a run, and what they start, get this from its first process.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# Compiling is what most trainings here wait for, so JAX compiles quick programs instead of fast
# ones, and each once for all workers and the next run. An XLA that does not know a flag ends the
# process, so a newer one gets none until somebody has tried. Only the first has quick emitters.
_EASY = "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
QUICK_PROGRAMS = {
    "0.10.2": f"{_EASY} --xla_cpu_use_fusion_emitters=false",
    "0.12.0.1": _EASY,
}
PROGRAMS = ROOT / ".pytest_cache" / "programs"
PROGRAMS_LIMIT = 200 * 2**20
if os.environ.get("KERAS_BACKEND", "jax") == "jax":  # TensorFlow brings an XLA of its own
    with contextlib.suppress(importlib.metadata.PackageNotFoundError, KeyError):
        os.environ.setdefault("XLA_FLAGS", QUICK_PROGRAMS[importlib.metadata.version("jaxlib")])
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(PROGRAMS))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


_numbers = itertools.count()

# The garbage collector walks all that Keras and JAX hold for good: two fifths of the time in which
# the tests are imported, and a twelfth of that in which they run. So it rests until that is put
# aside.
gc.disable()


def pytest_collection_finish(session):
    gc.freeze()
    gc.enable()
    gc.set_threshold(10_000)


def pytest_configure(config):
    if hasattr(config, "workerinput") or not PROGRAMS.is_dir():
        return
    if sum(path.stat().st_size for path in PROGRAMS.iterdir()) > PROGRAMS_LIMIT:
        shutil.rmtree(PROGRAMS)  # before the workers start


# No deadline: compiling a first call takes what it takes, and nothing timed is asserted here.
# The gate draws the same examples each time; elsewhere each run draws new ones.
# Half of the usual examples: each of the suite's hundred properties waits for its slow loop.
hypothesis.settings.register_profile(
    "twinset", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=50
)
hypothesis.settings.load_profile("twinset")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            host = address[0]
            if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                raise AssertionError(f"a test reached for the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def tmp_path(tmp_path_factory, request):
    """As pytest's own, which looks through all the folders that there are to make one more."""
    name = re.sub(r"\W", "_", request.node.name)[:30]
    path = tmp_path_factory.getbasetemp() / f"{next(_numbers)}-{name}"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """Run each test in a folder of its own: `runs/` and the like land there."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def fashion_mnist():
    """The real data set: training and test part."""
    return twinset.load_fashion_mnist(progress=False)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """Make something that takes long once for all workers: `once(name, make)` gives what it made.

    What is made is pickled, so each worker has its own copy.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent

    def call(name, make):
        path = place / f"{name}.pickle"
        with FileLock(place / f"{name}.lock"):
            if not path.exists():
                path.write_bytes(pickle.dumps(make()))
            return pickle.loads(path.read_bytes())

    return call


@pytest.fixture(scope="session")
def other_process():
    """A process that was spawned: `other_process.apply(function, arguments)` runs there.

    Starting one takes as long as importing Keras does, so a worker's tests share it.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        yield pool


@pytest.fixture(scope="session")
def stripes():
    """Three classes that a small network separates at once: top, middle, bottom rows lit."""
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(3), 20)
    images = rng.integers(0, 60, (60, 6, 5), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[2 * label : 2 * label + 2] += 180
    images.flags.writeable = labels.flags.writeable = False  # all tests share them
    return twinset.LabelledImages(images, labels, ("top", "middle", "bottom"), "stripes")


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are composed, and blank: to draw them is most of what a short run takes.

    Each is drawn in `tests/figures` and `tests/report`, and all of a run in `tests/test_run.py`.
    """
    blank = png(np.zeros((8, 8), np.uint8))
    monkeypatch.setattr(figures, "png_bytes", lambda figure: blank)


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command; tell its exit code and what it said."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["twinset", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return call
