"""Where the caches are, that backup programs pass them by, and that they do not grow for ever."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twinset.cache_folder import cache_folder, in_use, prune, tag

DAY = 24 * 3600


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folders are those of Linux")
@pytest.mark.parametrize(
    ("xdg", "home", "base"),
    [
        ("/x", "/", "/x"),
        ("", "/", "/.cache"),
        ("rel", "/", "/.cache"),
        ("", "/dev/null", "/t"),  # a home that no folder can be made in
        ("/dev/null", "/", "/dev/null"),  # who sets it shall be told
    ],
)
def test_where_the_cache_is(monkeypatch, xdg, home, base):
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", home)
    monkeypatch.setattr("tempfile.tempdir", "/t")
    assert cache_folder("images") == Path(base, "twinset", "images")


def test_a_tag_is_written_once(tmp_path):
    tag(tmp_path)
    before = (tmp_path / "CACHEDIR.TAG").stat()
    tag(tmp_path)
    assert (tmp_path / "CACHEDIR.TAG").stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f")


@pytest.fixture
def caches(tmp_path):
    """Four caches of 1,000 bytes, three folders and a file, used 5, 4, 3 and 0 days ago."""
    tag(tmp_path)
    made = []
    for name, days in (("a", 5), ("b", 4), ("c", 3), ("new", 0)):
        cache = tmp_path / name
        if name == "b":
            cache.write_bytes(bytes(1000))
        else:
            with in_use(cache):
                (cache / "pixels").write_bytes(bytes(1000))
        os.utime(cache, (time.time() - days * DAY,) * 2)
        made.append(cache)
    return made


@pytest.mark.parametrize(
    ("limit", "left"),
    [(4000, ["a", "b", "c", "new"]), (3999, ["b", "c", "new"]), (2000, ["c", "new"]), (0, ["new"])],
)
def test_what_was_used_least_recently_goes_first(caches, tmp_path, limit, left):
    """And what was used within a day stays, though the limit be passed."""
    gone = prune(tmp_path, limit=limit)
    assert [cache.name for cache in caches if cache.exists()] == left
    assert gone == [cache for cache in caches if cache.name not in left]
    assert (tmp_path / "CACHEDIR.TAG").exists()


def test_the_one_to_keep_stays_and_the_limit_may_come_from_outside(caches, tmp_path, monkeypatch):
    monkeypatch.setenv("TWINSET_CACHE_GB", "0")
    prune(tmp_path, keep=caches[0])
    assert [cache.name for cache in caches if cache.exists()] == ["a", "new"]
    monkeypatch.delenv("TWINSET_CACHE_GB")
    assert prune(tmp_path) == []
    assert prune(tmp_path / "nowhere") == []


HOLDER = """
import sys
from pathlib import Path
from twinset.cache_folder import in_use

with in_use(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_what_another_process_holds_stays(caches, tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(caches[0])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    os.utime(caches[0], (time.time() - 5 * DAY,) * 2)
    assert prune(tmp_path, limit=0) == [caches[1], caches[2]]
    holder.communicate("go on\n")
    os.utime(caches[0], (time.time() - 5 * DAY,) * 2)
    assert prune(tmp_path, limit=0) == [caches[0]]


WAITER = """
import sys
from pathlib import Path
from twinset import cache_folder

lock = cache_folder._lock

def told(folder, *, wait):
    print("waiting", flush=True)
    return lock(folder, wait=wait)

cache_folder._lock = told
with cache_folder.in_use(Path(sys.argv[1])):
    Path(sys.argv[1], "pixels").write_bytes(b"mine")
"""


def test_who_waits_for_a_cache_that_is_thrown_away_gets_a_new_one(caches):
    """Once it went on in a folder that was gone: "room for 0.00 GB ... No such file"."""
    from twinset.cache_folder import _lock

    with _lock(caches[0], wait=True):  # as `prune` holds it
        waiter = subprocess.Popen(
            [sys.executable, "-c", WAITER, str(caches[0])],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiter.stdout.readline() == "waiting\n"
        time.sleep(0.2)  # it is at the lock
        (caches[0] / "pixels").unlink()
        caches[0].rmdir()
    _, errors = waiter.communicate()
    assert (waiter.returncode, errors) == (0, "")
    assert (caches[0] / "pixels").read_bytes() == b"mine"
