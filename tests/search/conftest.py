"""Every place that a store may be in: the contract's tests run over all of them."""

from __future__ import annotations

import itertools
import os
import secrets
import sys
from pathlib import Path

import pytest

import search_servers

THIRD_PARTY = str(Path(__file__).parents[1] / "third_party")


@pytest.fixture(autouse=True)
def _third_party(monkeypatch):
    """Have the package of somebody else's, as pip would do it, for the tests of this folder."""
    monkeypatch.setattr(sys, "path", [*sys.path, THIRD_PARTY])


# different in each run: a server may outlive it
_names = (f"index_{secrets.token_hex(4)}_{number}" for number in itertools.count())


def _in_postgres(tmp_path, request):
    return request.getfixturevalue("postgres_server").url(next(_names))


def _in_milvus_lite(tmp_path, request):
    path = request.getfixturevalue("milvus_file")
    return f"milvus://{path}?index={next(_names)}"


def _in_milvus(tmp_path, request):
    server = os.environ["TWINSET_TEST_MILVUS"]
    return f"milvus://{server}?index={next(_names)}"


# name → (tmp_path, request) → the URL of a store that is not there yet
PLACES = {
    "folder": lambda tmp_path, request: str(tmp_path / "photos.index"),
    "json": lambda tmp_path, request: f"json://{tmp_path / 'photos.json'}",
    "milvus-lite": _in_milvus_lite,
    "postgres": _in_postgres,
}


# A server that is running, as host:port. Takes six minutes: `test_milvus_server` has a short walk.
if "TWINSET_TEST_MILVUS" in os.environ:
    PLACES["milvus"] = _in_milvus


@pytest.fixture(scope="session")
def postgres_server():
    with search_servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def milvus_file(tmp_path_factory):
    pytest.importorskip("pymilvus", reason="needs pymilvus: pip install -e '.[dev]'")
    pytest.importorskip("milvus_lite", reason="needs milvus-lite: pip install -e '.[dev]'")
    return tmp_path_factory.mktemp("milvus") / "items.db"


@pytest.fixture(scope="session")
def milvus_server():
    with search_servers.milvus(tick=20) as server:
        yield server


@pytest.fixture(params=sorted(set(PLACES) - {"json"}))
def switchable(request, tmp_path):
    """The URL of an index in a store that can be switched to another model."""
    return PLACES[request.param](tmp_path, request)


@pytest.fixture(params=sorted(PLACES))
def url(request, tmp_path):
    return PLACES[request.param](tmp_path, request)
