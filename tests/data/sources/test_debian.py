import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from twinset.data.sources import download as debian
from twinset.data.sources.download import read_package
from twinset.errors import DownloadError

FILES = {"usr/share/a": b"A", "usr/share/b": b"B"}
REAL_PATH = os.environ.get("PATH")


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not any(folder.iterdir()), "left behind"


def test_with_the_lists_of_the_system(apt):
    apt.packs(FILES)
    assert read_package("letters", ["usr/share/b", "usr/share/a"]) == [b"B", b"A"]
    (call,) = apt.calls
    assert call["argv"][-2:] == ["download", "letters"]
    assert call["locale"] == "C", "its complaints are read"


def test_without_lists_it_fetches_its_own(apt, tmp_path):
    apt.packs(FILES)
    apt.has_lists(False)
    assert read_package("letters", ["usr/share/a"]) == [b"A"]
    assert [call["argv"][-1] for call in apt.calls] == ["letters", "update", "letters"]
    for call in apt.calls[1:]:
        assert call["cwd"].startswith(str(tmp_path / "tmp"))
        for option in ("Dir::State::lists", "Dir::Cache"):
            (value,) = [word for word in call["argv"] if word.startswith(f"{option}=")]
            assert value.partition("=")[2].startswith(call["cwd"])
    assert not (apt.folder / "system-lists" / "Packages").exists()


def test_offline(apt):
    apt.has_lists(False)
    apt.goes_offline()
    words = "E: Unable to locate package letters; W: Failed to fetch http://mirror/InRelease"
    with pytest.raises(DownloadError, match=words):
        read_package("letters", ["usr/share/a"])


def test_a_package_that_is_none(apt):
    (apt.folder / "package.tar").write_bytes(b"not an archive")
    with pytest.raises(
        DownloadError, match=r"dpkg-deb: error: '.*' is not a Debian format archive"
    ):
        read_package("letters", ["usr/share/a"])


def test_a_package_without_the_file(apt):
    apt.packs(FILES)
    with pytest.raises(DownloadError, match=r"No such file or directory: '.*usr/share/c'"):
        read_package("letters", ["usr/share/c"])


@pytest.mark.parametrize("tool", ["apt-get", "dpkg-deb"])
def test_elsewhere_than_on_debian(apt, tool):
    (apt.folder / tool).unlink()
    with pytest.raises(DownloadError, match=f"no `{tool}`: not a Debian-like system"):
        read_package("letters", ["usr/share/a"])


def test_an_apt_that_hangs(apt, monkeypatch):
    monkeypatch.setattr(debian, "_MINUTES", 0)
    with pytest.raises(DownloadError, match="`apt-get` took more than 0 minutes"):
        read_package("letters", ["usr/share/a"])


def test_an_apt_that_fails_without_a_word(apt):
    (apt.folder / "apt-get").write_text("#!/bin/sh\nexit 7\n")
    with pytest.raises(DownloadError, match=r"^exit code 7; exit code 7$"):
        read_package("letters", ["usr/share/a"])


def test_an_interrupt_leaves_nothing(apt, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        read_package("letters", ["usr/share/a"])


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs Debian's dpkg-deb")
def test_a_real_package(apt, tmp_path, monkeypatch):
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: letters\nVersion: 1\nArchitecture: all\n"
        "Maintainer: N. N. <n@example.org>\nDescription: letters\n"
    )
    (root / "usr" / "share").mkdir(parents=True)
    (root / "usr" / "share" / "a").write_bytes(b"A")
    (apt.folder / "dpkg-deb").unlink()
    monkeypatch.setenv("PATH", f"{apt.folder}{os.pathsep}{REAL_PATH}")
    command = ["dpkg-deb", "--build", "--root-owner-group", root, apt.folder / "package.tar"]
    subprocess.run(command, check=True, capture_output=True)
    assert read_package("letters", ["usr/share/a"]) == [b"A"]


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="needs Debian's apt")
def test_the_real_apt_understands_the_options(tmp_path):
    options = debian._private_lists(tmp_path)
    assert Path(tmp_path, "lists", "partial").is_dir()
    command = ["apt-config", *debian._QUICK, *options, "dump"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    settings = done.stdout.splitlines()
    assert done.stderr == ""
    assert f'Dir::State::lists "{tmp_path}/lists";' in settings
    assert f'Dir::Cache "{tmp_path}/cache";' in settings
    assert 'Acquire::http::Timeout "10";' in settings
    hooks = [line for line in settings if line.startswith("APT::Update::P") and "Invoke" in line]
    assert [line for line in hooks if not line.endswith('"";')] == []
