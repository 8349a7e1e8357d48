"""Where the cache is, and that backup programs pass it by."""

from pathlib import Path

import pytest

from twinset.files import cache_folder, tag


@pytest.mark.parametrize(
    ("xdg", "home", "base"),
    [("/x", "/h", "/x"), ("", "/h", "/h/.cache"), ("rel", "/h", "/h/.cache"), ("", "~", "/t")],
)
def test_where_the_cache_is(monkeypatch, xdg, home, base):
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    monkeypatch.setenv("HOME", home)  # "~": what expanduser gives where no home is known
    monkeypatch.setattr("tempfile.tempdir", "/t")
    assert cache_folder("images") == Path(base, "twinset", "images")


def test_a_tag_is_written_once(tmp_path):
    tag(tmp_path)
    before = (tmp_path / "CACHEDIR.TAG").stat()
    tag(tmp_path)
    assert (tmp_path / "CACHEDIR.TAG").stat().st_mtime_ns == before.st_mtime_ns
    assert (tmp_path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f")
