"""Decoded once: the same pixels again, after a kill, from two processes, on a full disk."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from twinset.cache_folder import in_use
from twinset.data import cache
from twinset.data.cache import decode_all
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource, fingerprints
from twinset.errors import DataError
from twinset.progress import Progress

SHAPE = Preprocessing((6, 5))


@pytest.fixture
def files(tmp_path):
    """Twenty images, two of them broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    found = []
    for i in range(20):
        path = folder / f"{i:02}.png"
        Image.fromarray(rng.integers(0, 256, (9 + i % 3, 7), np.uint8)).save(path)
        found.append(FileSource(str(path), path.name))
    Path(found[3].path).write_bytes(b"no image")
    Path(found[11].path).write_bytes(Path(found[11].path).read_bytes()[:50])
    return found


def expected(files):
    good = [i for i in range(20) if i not in (3, 11)]
    return good, np.stack([SHAPE.pixels(files[i].path) for i in good])


def test_every_file_is_an_image_or_a_reason(files, tmp_path):
    heard = []
    found = decode_all(files, SHAPE, folder=tmp_path / "cache", progress=heard.append)
    good, pixels = expected(files)
    assert found.positions.tolist() == good
    np.testing.assert_array_equal(found.pixels[:], pixels)
    np.testing.assert_array_equal(found.fingerprints, fingerprints(pixels))
    assert [each.name for each in found.skipped] == ["03.png", "11.png"]
    assert "expected an image" in found.skipped[0].reason
    assert heard[-1] == Progress("decode", 20, 20, "images")
    assert found.reused == 0
    assert (tmp_path / "cache" / "CACHEDIR.TAG").exists()


def test_the_second_call_decodes_nothing_but_what_failed(files, tmp_path, monkeypatch):
    first = decode_all(files, SHAPE, folder=tmp_path / "cache")
    seen = []
    decode = Preprocessing.pixels
    monkeypatch.setattr(
        Preprocessing, "pixels", lambda self, image: seen.append(image) or decode(self, image)
    )
    again = decode_all(files, SHAPE, folder=tmp_path / "cache")
    assert again.reused == 18
    assert seen == [files[3].path, files[11].path]
    np.testing.assert_array_equal(first.pixels[:], again.pixels[:])
    assert again.skipped == first.skipped


def test_what_changes_the_pixels_makes_another_cache(files, tmp_path):
    folders = {decode_all(files, SHAPE, folder=tmp_path / "cache").folder}
    folders.add(decode_all(files, Preprocessing((6, 5), "crop"), folder=tmp_path / "cache").folder)
    folders.add(decode_all(files[::-1], SHAPE, folder=tmp_path / "cache").folder)
    Image.new("L", (7, 9)).save(files[0].path)
    changed = decode_all(files, SHAPE, folder=tmp_path / "cache")
    folders.add(changed.folder)
    assert len(folders) == 4
    assert not changed.pixels[0].any()


def test_what_is_unchanged_is_taken_over(files, tmp_path, monkeypatch):
    """A file comes, one goes, one changes: only what is new is decoded."""
    decode_all(files[:15], SHAPE, folder=tmp_path / "cache")
    Image.new("L", (7, 9), 77).save(files[2].path)
    seen = []
    decode = Preprocessing.pixels
    monkeypatch.setattr(
        Preprocessing, "pixels", lambda self, image: seen.append(image) or decode(self, image)
    )
    now = [*files[1:16], files[0]]
    found = decode_all(now, SHAPE, folder=tmp_path / "cache")
    tried = [files[i].path for i in (2, 3, 11, 15)]  # changed, broken twice, new
    assert sorted(seen) == tried
    assert found.reused == 12
    good = [file for file in now if Path(file.path).name not in ("03.png", "11.png")]
    np.testing.assert_array_equal(found.pixels[:], [SHAPE.pixels(file.path) for file in good])
    np.testing.assert_array_equal(found.fingerprints, fingerprints(found.pixels[:]))
    # of another preprocessing nothing is taken
    assert decode_all(now, Preprocessing((5, 6)), folder=tmp_path / "cache").reused == 0


def test_half_of_a_cache_is_not_taken_over(files, tmp_path):
    """Pixels that another process is writing, or a file that was cut, are no pixels."""
    first = decode_all(files, SHAPE, folder=tmp_path / "cache")
    with (first.folder / "pixels").open("r+b") as file:
        file.truncate(30 * 10 + 3)
    found = decode_all(files[::-1], SHAPE, folder=tmp_path / "cache")
    assert found.reused == 9
    np.testing.assert_array_equal(found.pixels[:], expected(files)[1][::-1])


def test_a_cache_out_of_use_is_thrown_away(files, tmp_path, monkeypatch):
    old, kept, held = (
        decode_all(files[:count], SHAPE, folder=tmp_path / "cache").folder for count in (3, 4, 5)
    )
    monkeypatch.setenv("TWINSET_CACHE_GB", "1e-7")
    with in_use(held):
        long_ago = time.time() - 2 * 24 * 3600
        for folder in (old, held):
            os.utime(folder, (long_ago, long_ago))
        decode_all(files[:6], SHAPE, folder=tmp_path / "cache")
    assert [folder.exists() for folder in (old, kept, held)] == [False, True, True]


def test_damaged_cache_files_are_made_anew(files, tmp_path):
    found = decode_all(files, SHAPE, folder=tmp_path / "cache")
    pixels = found.pixels[:]
    with (found.folder / "pixels").open("r+b") as file:
        file.truncate(40)
    again = decode_all(files, SHAPE, folder=tmp_path / "cache")
    assert again.reused == 0
    np.testing.assert_array_equal(again.pixels[:], pixels)


def test_a_full_disk_is_an_error_that_loses_nothing(files, tmp_path, monkeypatch):
    write, left = cache._write, [20]

    def scarce(*arguments):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(cache, "_write", scarce)
    with pytest.raises(DataError, match=r"room for 0.00 GB .* No space left on device: free some"):
        decode_all(files, SHAPE, folder=tmp_path / "cache", workers=2)
    monkeypatch.setattr(cache, "_write", write)
    found = decode_all(files, SHAPE, folder=tmp_path / "cache")
    assert 0 < found.reused < 18
    np.testing.assert_array_equal(found.pixels[:], expected(files)[1])


def test_a_disk_too_small_is_told_before_anything_is_decoded(files, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=100))
    monkeypatch.setattr(Preprocessing, "pixels", None)
    with pytest.raises(DataError, match="No space left on device"):
        decode_all(files, SHAPE, folder=tmp_path / "cache")


SLOW = """
import sys, time
from pathlib import Path
from twinset.data import cache
from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import FileSource

def slow(self, image, decode=Preprocessing.pixels):
    time.sleep(0.02)
    return decode(self, image)

Preprocessing.pixels = slow
cache.CHUNK = 2
files = [FileSource(str(path), path.name) for path in sorted(Path(sys.argv[1]).iterdir())]
print("begun", flush=True)
found = cache.decode_all(files, Preprocessing((6, 5)), folder=Path(sys.argv[2]), workers=2)
print(found.reused, len(found.positions), found.pixels[:].sum(), flush=True)
"""


def start(tmp_path):
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path / "photos"), str(tmp_path / "cache")],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_process_leaves_what_it_finished(files, tmp_path):
    victim = start(tmp_path)
    assert victim.stdout.readline() == "begun\n"
    marks = None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        marks = next((tmp_path / "cache").glob("*/marks"), None)
        if marks is not None and sum(mark != 0 for mark in marks.read_bytes()) >= 4:
            break
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    done = sum(mark == 1 for mark in marks.read_bytes())
    assert 2 <= done < 18
    found = decode_all(files, SHAPE, folder=tmp_path / "cache")
    assert found.reused == done
    np.testing.assert_array_equal(found.pixels[:], expected(files)[1])


def test_two_processes_share_the_work_of_one(files, tmp_path):
    both = [start(tmp_path), start(tmp_path)]
    answers = [each.communicate()[0].split()[1:] for each in both]
    total = str(expected(files)[1].sum())
    assert [answer[1:] for answer in answers] == [["18", total], ["18", total]]
    # what one of them did the other need not do
    assert sum(int(answer[0]) for answer in answers) <= 18


def test_who_comes_second_helps(files, tmp_path, monkeypatch):
    """The first is stopped at its first image: the second decodes all others meanwhile."""
    go_on, who = threading.Event(), {}

    @dataclass(frozen=True)
    class Watched:
        file: FileSource
        slow: bool

        def __getattr__(self, name):
            return getattr(self.file, name)

        def encoded(self):
            if self.slow:
                assert go_on.wait(60)
            who.setdefault(self.file.name, []).append(self.slow)
            return self.file.encoded()

    monkeypatch.setattr(cache, "CHUNK", 2)
    place, found = tmp_path / "cache", {}

    def run(slow):
        watched = [Watched(file, slow) for file in files]
        found[slow] = decode_all(watched, SHAPE, folder=place, workers=1)

    def until(marked):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            marks = next(place.glob("*/marks"), None)
            found = b"" if marks is None else marks.read_bytes()
            if len(found) == len(files) and found.count(1) >= marked:
                return
            time.sleep(0.002)
        raise AssertionError("nobody helps")

    threads = [threading.Thread(target=run, args=[slow]) for slow in (True, False)]
    threads[0].start()
    until(0)
    threads[1].start()
    until(18)
    go_on.set()
    for thread in threads:
        thread.join()
    good, pixels = expected(files)
    for each in found.values():
        np.testing.assert_array_equal(each.pixels[:], pixels)
        assert each.positions.tolist() == good
        assert [skipped.name for skipped in each.skipped] == ["03.png", "11.png"]
        assert each.reused == 0
    # the chunk that the first had in hand, and no other, was decoded twice
    assert sum(True in slow for name, slow in who.items() if name not in ("03.png", "11.png")) <= 2
    assert sum(False in slow for slow in who.values()) == 20


@dataclass(frozen=True)
class Gone:
    name: str = "gone.png"

    def stamp(self):
        return "0"

    def encoded(self):
        return "/nowhere/gone.png"


def test_no_images_and_missing_files(tmp_path):
    found = decode_all([], SHAPE, folder=tmp_path)
    assert found.pixels.shape == (0, 6, 5)
    found = decode_all([Gone()], SHAPE, folder=tmp_path)
    assert found.pixels.shape == (0, 6, 5)
    assert "No such file" in found.skipped[0].reason
    assert cache.CHUNK == 16


def test_a_cache_that_cannot_be_made_is_no_want_of_room(files, tmp_path):
    (tmp_path / "file").touch()
    words = (
        r"file/cache: expected a folder to keep decoded images in. .*: set XDG_CACHE_HOME to a f"
    )
    with pytest.raises(DataError, match=words):
        decode_all(files, SHAPE, folder=tmp_path / "file" / "cache")
