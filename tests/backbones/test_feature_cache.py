"""Each image is encoded once, whatever is killed in between, and whichever images are asked for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinset.backbones import backbone
from twinset.backbones.backbone import encoded_once
from twinset.errors import DataError

PRINTS = np.random.default_rng(0).integers(0, 256, (600, 16), dtype=np.uint8)


def row_of(prints):
    """A row that only this image has."""
    return prints[:, :3].astype(np.float32) / 7


class Network:
    """Counts what it encodes."""

    def __init__(self, prints):
        self.prints, self.seen = prints, []

    def __call__(self, positions):
        self.seen += positions.tolist()
        return row_of(self.prints[positions])


def ask(prints, folder, **more):
    network = Network(prints)
    rows = encoded_once(network, prints, key="net", dim=3, folder=folder, **more)
    np.testing.assert_array_equal(rows, row_of(prints))
    assert rows.dtype == np.float32
    return network.seen


def test_each_image_is_encoded_once(tmp_path):
    told = []
    assert ask(PRINTS, tmp_path, progress=lambda now: told.append((now.done, now.total))) == list(
        range(600)
    )
    assert told == [(256, 600), (512, 600), (600, 600)]
    assert ask(PRINTS[::-1], tmp_path) == []
    assert ask(PRINTS[[5, 5, 7]], tmp_path) == []
    more = np.concatenate([PRINTS[:2], PRINTS[:3] ^ 1, PRINTS[:3] ^ 1])
    assert ask(more, tmp_path) == [2, 3, 4]
    assert ask(PRINTS[:0], tmp_path) == []


@settings(max_examples=25)
@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=4))
def test_any_order_of_questions_is_answered(tmp_path_factory, questions):
    folder = tmp_path_factory.mktemp("cache")
    known = set()
    for question in questions:
        seen = ask(PRINTS[np.array(question, int)], folder)
        assert {question[i] for i in seen} == set(question) - known
        known |= set(question)


@pytest.mark.parametrize("file", ["rows", "fingerprints"])
@pytest.mark.parametrize("cut", [1, 40])
def test_what_was_cut_short_is_made_again(tmp_path, file, cut):
    ask(PRINTS, tmp_path)
    path = tmp_path / "net" / file
    os.truncate(path, path.stat().st_size - cut)
    again = ask(PRINTS, tmp_path)
    assert 1 <= len(again) <= 4
    assert ask(PRINTS, tmp_path) == []


VICTIM = """
import sys, time
from pathlib import Path
import numpy as np
from twinset.backbones.backbone import encoded_once

prints = np.load(sys.argv[1])

def slowly(positions):
    time.sleep(0.05)
    return prints[positions, :3].astype(np.float32) / 7

encoded_once(slowly, prints, key="net", dim=3, folder=Path(sys.argv[2]),
             progress=lambda now: print(now.done, flush=True))
"""


def test_a_killed_process_loses_only_what_it_had_in_hand(tmp_path):
    prints = np.random.default_rng(1).integers(0, 256, (256 * 40, 16), dtype=np.uint8)
    np.save(tmp_path / "prints.npy", prints)
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(tmp_path / "prints.npy"), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    done = [int(victim.stdout.readline()) for _ in range(3)][-1]
    time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    left = ask(prints, tmp_path)
    assert 0 < len(left) <= len(prints) - done
    assert ask(prints, tmp_path) == []


def test_a_full_disk_is_told_and_loses_nothing(tmp_path, monkeypatch):
    ask(PRINTS[:256], tmp_path)

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone.os, "fsync", full)
    with pytest.raises(DataError, match=r"room for 0.00 GB of features. No space left on device"):
        ask(PRINTS, tmp_path)
    monkeypatch.undo()
    assert set(ask(PRINTS, tmp_path)) <= set(range(256, 600))


def test_networks_have_caches_of_their_own(tmp_path):
    ask(PRINTS[:3], tmp_path)
    network = Network(PRINTS[:3])
    encoded_once(network, PRINTS[:3], key="other", dim=3, folder=tmp_path)
    assert network.seen == [0, 1, 2]
    assert (tmp_path / "CACHEDIR.TAG").is_file()


def test_it_lies_in_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    encoded_once(Network(PRINTS), PRINTS[:1], key="net", dim=3)
    assert Path(tmp_path, "twinset", "features", "net", "rows").stat().st_size == 12


def test_caches_of_networks_out_of_use_are_thrown_away(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINSET_CACHE_GB", "1e-6")
    for key in ("old", "new", "now"):
        encoded_once(Network(PRINTS), PRINTS[:50], key=key, dim=3, folder=tmp_path)
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / "old", (long_ago, long_ago))
    encoded_once(Network(PRINTS), PRINTS[:50], key="now", dim=3, folder=tmp_path)
    assert [(tmp_path / key).exists() for key in ("old", "new", "now")] == [False, True, True]
