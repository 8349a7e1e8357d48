"""One small trained model, an index of files, and a real server on loopback, for all tests here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import twinset
from colours import make
from serving import running

TOKEN = "a-token-for-the-tests"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """Keep what servers keep, such as maps, out of the user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def home(once, tmp_path_factory):
    """A folder with `run` (a model of 12 x 12 colour images), `second` (another), `items.csv`,
    `photos/`, `photos.index` (48 items: id items/00 to items/47, label, price 0 to 47). Nobody
    changes it.
    """
    shared = Path(once("served", lambda: _home(tmp_path_factory.mktemp("served"))))
    return shared


def _home(folder):
    make(folder)
    return str(folder)


@pytest.fixture
def own(home, tmp_path):
    """A copy of `home` that a test may change."""
    return Path(shutil.copytree(home, tmp_path / "home"))


@pytest.fixture(scope="session")
def index(home):
    """The index of `home`, which nobody changes."""
    with twinset.Index.open(home / "photos.index", twinset.load_model(home / "run")) as opened:
        yield opened


@pytest.fixture(scope="session")
def server(home):
    """A server that nobody changes: `.http` is a client of it, `.url`, `.service`."""
    with running(home) as one:
        yield one


@pytest.fixture
def writable(own):
    """A server of one's own that takes changes with TOKEN, which its client brings."""
    with running(own, token=TOKEN) as one:
        one.http.headers["Authorization"] = f"Bearer {TOKEN}"
        yield one


@pytest.fixture
def start():
    """`start(folder, token=…)`: a server of a folder such as `home`, as a context."""
    return running
