import os
import stat

import pytest

from twinset import files as atomic


def test_folder_is_made_and_content_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"
    atomic.write_bytes(path, b"one")
    atomic.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.bin"]


def test_failure_keeps_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def full(_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_others_may_read_the_file_as_far_as_the_umask_lets_them(tmp_path):
    before = os.umask(0o022)
    try:
        atomic.write_bytes(tmp_path / "file.bin", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file.bin").stat().st_mode) == 0o644


def test_what_cannot_be_written_is_named_as_asked_for(tmp_path):
    """Not the draft beside it, of which nobody has heard."""
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="Not a directory|File exists") as caught:
        atomic.write_bytes(tmp_path / "file" / "x.png", b"x")
    assert caught.value.filename == str(tmp_path / "file" / "x.png")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory|denied") as caught:
        atomic.write_bytes(tmp_path / "folder", b"x")
    assert caught.value.filename == str(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_that_may_be_written_may_lie_in_one_that_may_not(tmp_path, monkeypatch):
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) == str(own))
    for place in (own, own / "x.png", own / "new" / "x.png"):
        atomic.check_writable(place)
    with pytest.raises(PermissionError, match=r"nothing may be written in .*") as caught:
        atomic.check_writable(tmp_path / "x.png")
    assert caught.value.filename == str(tmp_path / "x.png")
