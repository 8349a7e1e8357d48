import errno
import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twinset.data.data_set import load_data_set
from twinset.data.sources import fashion_mnist, read_listing
from twinset.data.sources.fashion_mnist import load_fashion_mnist
from twinset.errors import DownloadError

TRAIN_DIGEST = "a553979f90ce3ce680fce4956ea505cd38ac95fbfb47d8d148aa3db91f32dc68"
TEST_DIGEST = "42ad7b2c22d3efdc8a1e22b242ee685ec561f09069e0d3b53ace1b85b47826ce"
NAMES = [file.name for file in fashion_mnist.FILES]
SMALLEST, LARGEST = NAMES[0], NAMES[-1]
SOURCE = str(Path(fashion_mnist.__file__).parents[3])


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.tobytes()


def tiny_files():
    rng = np.random.default_rng(0)
    files = {}
    for part, count in (("t10k", 10), ("train", 30)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        files[f"{part}-images-idx3-ubyte"] = idx(images)
        files[f"{part}-labels-idx1-ubyte"] = idx(np.arange(count, dtype=np.uint8) % 10)
    return {name: files[name] for name in NAMES}


PLAIN = tiny_files()
GZIP = {f"{name}.gz": gzip.compress(data) for name, data in PLAIN.items()}
ALL_BUT_LARGEST = {name: raw for name, raw in GZIP.items() if name != f"{LARGEST}.gz"}
TABLE = tuple(
    fashion_mnist.File(
        name,
        hashlib.md5(GZIP[f"{name}.gz"]).hexdigest(),
        hashlib.sha256(data).hexdigest(),
    )
    for name, data in PLAIN.items()
)


@pytest.fixture
def nothing(tmp_path, monkeypatch):
    """A world with no source at all, and four tiny files to look for."""
    monkeypatch.setattr(fashion_mnist, "FILES", TABLE)
    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ())
    monkeypatch.delenv("TWINSET_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setattr("time.sleep", lambda _: None)  # between attempts


@pytest.fixture
def store(nothing, tmp_path):
    return tmp_path / "caches" / "twinset" / "fashion-mnist"


@pytest.fixture
def online(mirror, nothing, monkeypatch):
    """A world with one mirror."""
    mirror.files.update(GZIP)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (mirror.url,))
    return mirror


def fill(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return folder


def cached(store):
    return {path.name: path.read_bytes() for path in store.glob("*-ubyte*")}


def check_tiny(parts):
    train, test = parts
    assert (train.name, test.name) == ("fashion-mnist/train", "fashion-mnist/test")
    assert (train.images.shape, test.images.shape) == ((30, 28, 28), (10, 28, 28))
    assert train.images.tobytes() == PLAIN["train-images-idx3-ubyte"][16:]
    assert test.images.tobytes() == PLAIN["t10k-images-idx3-ubyte"][16:]
    assert train.labels.tolist() == 3 * list(range(10))


# --- the order of sources --------------------------------------------------------------------


@pytest.mark.parametrize("files", [GZIP, PLAIN], ids=["gzip", "plain"])
@pytest.mark.parametrize("folder", [".", "fashion-mnist"])
def test_the_folder_of_the_user(nothing, store, tmp_path, monkeypatch, files, folder):
    fill(tmp_path / "own" / folder, files)
    monkeypatch.setenv("TWINSET_DATA", str(tmp_path / "own"))
    check_tiny(load_fashion_mnist())
    assert not store.exists()


def test_a_tilde_in_the_variable(nothing, tmp_path, monkeypatch):
    fill(tmp_path / "own", GZIP)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TWINSET_DATA", "~/own")
    check_tiny(load_fashion_mnist())


def test_plain_mnist_beside_the_subfolder_does_no_harm(nothing, tmp_path, monkeypatch):
    fill(tmp_path / "own" / "fashion-mnist", GZIP)
    fill(tmp_path / "own", {name: gzip.compress(b"digits") for name in GZIP})
    monkeypatch.setenv("TWINSET_DATA", str(tmp_path / "own"))
    check_tiny(load_fashion_mnist())


def test_the_cache(store):
    fill(store, GZIP)
    check_tiny(load_fashion_mnist())


def test_the_system_copy_stays_where_it_is(nothing, store, tmp_path):
    fill(tmp_path / "system", GZIP)
    check_tiny(load_fashion_mnist())
    assert not store.exists()


def test_each_file_from_the_first_source_that_has_it(store, online, tmp_path, monkeypatch):
    parts = [{name: GZIP[name]} for name in GZIP]
    monkeypatch.setenv("TWINSET_DATA", str(fill(tmp_path / "own", parts[0])))
    fill(store, parts[1])
    fill(tmp_path / "system", parts[2])
    check_tiny(load_fashion_mnist())
    assert online.requests == list(parts[3])


def test_a_folder_without_the_files_is_passed_over(nothing, tmp_path, monkeypatch):
    fill(tmp_path / "system", GZIP)
    monkeypatch.setenv("TWINSET_DATA", str(tmp_path / "nowhere"))
    check_tiny(load_fashion_mnist())


def test_the_mirror_fills_the_cache_once(store, online):
    check_tiny(load_fashion_mnist())
    assert cached(store) == GZIP
    assert b"Signature: 8a477f597d28d172789f06886806bc55" in (store / "CACHEDIR.TAG").read_bytes()
    check_tiny(load_fashion_mnist())
    assert sorted(online.requests) == sorted(GZIP)


def test_the_second_mirror_helps_out(online, monkeypatch):
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"{online.url}gone/", online.url))
    check_tiny(load_fashion_mnist())
    assert [name for name in online.requests if "/" not in name] == list(GZIP)


# --- wrong files ----------------------------------------------------------------------------


def damaged(name):
    return {
        "truncated": (GZIP[f"{name}.gz"][:-12], "another SHA-256"),
        "other": (gzip.compress(PLAIN[name][::-1]), "another SHA-256"),
        "web page": (b"<html>Please sign in first</html>", "another file"),
        "empty": (b"", "0 bytes of another"),
    }


KINDS = tuple(damaged(SMALLEST))


@pytest.fixture(params=KINDS)
def small_damage(request):
    return damaged(SMALLEST)[request.param]


@pytest.fixture(params=KINDS)
def large_damage(request):
    return damaged(LARGEST)[request.param]


def test_a_wrong_file_of_the_user_is_an_error(nothing, tmp_path, monkeypatch, small_damage):
    raw, words = small_damage
    fill(tmp_path / "system", GZIP)  # which is not to hide the mistake
    own = fill(tmp_path / "own", {**GZIP, f"{SMALLEST}.gz": raw})
    monkeypatch.setenv("TWINSET_DATA", str(own))
    with pytest.raises(DownloadError, match=f"own/{SMALLEST}.gz, .*Received .*{words}.*apt-get"):
        load_fashion_mnist()
    assert (own / f"{SMALLEST}.gz").read_bytes() == raw


def test_a_wrong_cached_file_is_fetched_anew(store, online, small_damage):
    fill(store, {**GZIP, f"{SMALLEST}.gz": small_damage[0]})
    check_tiny(load_fashion_mnist())
    assert cached(store) == GZIP
    assert online.requests == [f"{SMALLEST}.gz"]


def test_a_wrong_file_from_a_mirror_is_not_kept(store, online, large_damage):
    online.files[f"{LARGEST}.gz"], _ = large_damage
    with pytest.raises(DownloadError, match=rf"{online.url}{LARGEST}.gz: MD5 hash .* not match"):
        load_fashion_mnist()
    assert cached(store) == ALL_BUT_LARGEST


# --- no way ---------------------------------------------------------------------------------


def test_no_source_lists_what_was_tried_and_the_ways_out(store, online, tmp_path, monkeypatch):
    online.files.clear()
    monkeypatch.setenv("TWINSET_DATA", str(tmp_path / "nowhere"))
    fill(store, {f"{SMALLEST}.gz": b""})
    with pytest.raises(DownloadError, match="Expected Fashion-MNIST on this machine") as caught:
        load_fashion_mnist()
    message = str(caught.value)
    for line in (
        f"  {store}/{SMALLEST}.gz: 0 bytes of another SHA-256: another file, or damaged\n",
        f"  {online.url}{SMALLEST}.gz: 404 Client Error: Not Found",
    ):
        assert line in message
    for way in ("Set TWINSET_DATA to", "`apt-get install dataset-fashion-mnist`", "network"):
        assert way in message


@pytest.mark.parametrize(("fault", "words"), [("cut", "Connection broken"), ("stall", "timed out")])
def test_a_connection_that_breaks_leaves_whole_files_only(store, online, fault, words):
    online.faults[f"{LARGEST}.gz"] = fault
    with pytest.raises(DownloadError, match=f"{LARGEST}.gz: .*{words}"):
        load_fashion_mnist()
    assert cached(store) == ALL_BUT_LARGEST


@pytest.mark.parametrize(
    ("failure", "shown", "words"),
    [
        (OSError(errno.ENOSPC, "Disk full"), DownloadError, r"Received: Disk full\. Set TWINSET"),
        (KeyboardInterrupt(), KeyboardInterrupt, r"^$"),
    ],
)
def test_a_write_that_fails_leaves_nothing(store, online, monkeypatch, failure, shown, words):
    def fail(descriptor):
        raise failure

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(shown, match=words):
        load_fashion_mnist()
    assert not any(store.iterdir())


def test_a_cache_that_cannot_be_written_shows_before_anything_is_fetched(
    online, tmp_path, monkeypatch
):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match=r"Not a directory\. .*XDG_CACHE_HOME"):
        load_fashion_mnist()
    assert online.requests == []


# --- other processes ------------------------------------------------------------------------

CHILD = """
import json, signal, sys
from pathlib import Path
from twinset.data.data_set import load_data_set
from twinset.data.sources import read_listing
from twinset.data.sources import fashion_mnist

# background jobs of a shell inherit a SIGINT that is ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
table, mirror, limit = json.loads(sys.argv[1])
if limit:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
fashion_mnist.FILES = tuple(fashion_mnist.File(*row) for row in table)
fashion_mnist.MIRRORS = (mirror,)
fashion_mnist.SYSTEM = Path("/nowhere")
train, test = fashion_mnist.load_fashion_mnist()
print(train.digest, test.digest)
"""


@pytest.fixture
def start(online):
    children = []

    def start(limit=None):
        arguments = json.dumps([TABLE, online.url, limit])
        child = subprocess.Popen(
            [sys.executable, "-B", "-c", CHILD, arguments],
            env={**os.environ, "PYTHONPATH": SOURCE},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        with child:  # which closes its pipes and waits
            child.kill()


def test_two_processes_at_once(store, online, start):
    online.faults[f"{SMALLEST}.gz"] = "meet"  # answered only once both have asked
    children = [start(), start()]
    answers = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    train, test = load_fashion_mnist()
    assert [out.split() for out, _ in answers] == 2 * [[train.digest, test.digest]]
    assert cached(store) == GZIP
    assert online.requests.count(f"{SMALLEST}.gz") == 2


def test_an_interrupt_leaves_whole_files_only(store, online, start):
    online.faults[f"{LARGEST}.gz"] = "stall"
    child = start()
    assert online.asked.wait(timeout=60)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode != 0
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert cached(store) == ALL_BUT_LARGEST


def test_a_write_that_stops_half_way_leaves_whole_files_only(store, online, start):
    child = start(limit=len(GZIP[f"{LARGEST}.gz"]) // 2)
    _, errors = child.communicate(timeout=60)
    assert "DownloadError: Expected to write" in errors
    assert "Received: File too large. Set TWINSET_DATA" in errors
    assert cached(store) == ALL_BUT_LARGEST


# --- the real data --------------------------------------------------------------------------


def test_the_real_data(fashion_mnist):
    train, test = fashion_mnist
    assert (train.name, test.name) == ("fashion-mnist/train", "fashion-mnist/test")
    assert (train.images.shape, test.images.shape) == ((60000, 28, 28), (10000, 28, 28))
    assert (train.images.dtype, train.labels.dtype) == (np.uint8, np.int64)
    assert train.class_counts.tolist() == 10 * [6000]
    assert test.class_counts.tolist() == 10 * [1000]
    assert train.class_names[train.labels[0]] == "Ankle boot"
    assert train.labels[:8].tolist() == [9, 0, 0, 3, 0, 2, 7, 2]
    assert test.labels[:8].tolist() == [9, 2, 1, 1, 6, 1, 4, 6]
    assert (train.digest, test.digest) == (TRAIN_DIGEST, TEST_DIGEST)


def test_the_real_images_can_be_written_to(fashion_mnist):
    # PyTorch warns of arrays that cannot, and warnings are errors here
    assert all(part.images.flags.writeable for part in fashion_mnist)


def test_it_is_a_source_of_data_as_any_other(nothing, store):
    fill(store, GZIP)
    listing = read_listing("fashion-mnist")
    assert (len(listing), listing.class_counts.tolist()) == (40, [4] * 10)
    assert listing.parts.tolist() == ["train"] * 30 + ["test"] * 10
    assert (listing.mirrors, listing.published, listing.place) == (True, True, "fashion-mnist")
    check_tiny(load_data_set("fashion-mnist"))
    kept = read_listing("fashion-mnist", labelled=False)
    assert kept.metadata(31) == {"label": "Trouser", "_source": "fashion-mnist"}
    assert kept.ids[31] == "fashion-mnist/31"


def test_the_progress_of_a_download_is_told(online):
    told = []
    load_fashion_mnist(progress=told.append)
    assert {now.task for now in told} == {f"download {name}" for name in NAMES}
    assert all(now.unit == "bytes" and now.done <= now.total for now in told)
    assert told[-1].done == len(GZIP[f"{LARGEST}.gz"])
