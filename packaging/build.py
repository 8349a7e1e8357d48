"""Build the wheel and the source archive twice, far apart, and see that they are the same bytes.

./task build [VERSION]     VERSION: refuse unless source, changelog and citation are ready for it
"""

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ALWAYS = ("pyproject.toml", "LICENSE", ".gitignore")


def versions(root=ROOT):
    """Read the version that each file names: of the changelog, that of its first section."""
    found = {
        "src/twinset/__init__.py": r'^__version__ = "(.+)"$',
        "CHANGELOG.md": r"^## (\S+)",
        "CITATION.cff": r"^version: (\S+)$",
    }
    return {
        file: re.search(pattern, (root / file).read_text("utf-8"), re.MULTILINE)[1]
        for file, pattern in found.items()
    }


def is_dated(root=ROOT):
    """Whether the changelog's first section has the day of its release."""
    text = (root / "CHANGELOG.md").read_text("utf-8")
    return bool(re.match(r"\S+ - \d{4}-\d\d-\d\d\n", text.split("\n## ")[1]))


def copy(root, folder):
    """Copy what is packed, with times and permissions of its own."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    packed = settings["tool"]["hatch"]["build"]["targets"]["sdist"]["only-include"]
    for name in (*ALWAYS, *packed):
        source, target = root / name, folder / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, target, ignore=ignored)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    for path in folder.rglob("*"):
        path.chmod(path.stat().st_mode & 0o700)  # a file that can be run stays one
        os.utime(path, (1_000_000_000, 1_000_000_000))


def build(root, out):
    """Build both in this folder; the bytes' SHA-256 by the name of the file."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"hatchling could not build:\n{done.stdout}{done.stderr}")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built(out)}


def built(out):
    """What such builds have put into a folder."""
    return [*out.glob("twinset-*.whl"), *out.glob("twinset-*.tar.gz")]


def build_twice(root, out):
    """Build into `out`, and again from a copy elsewhere; refuse other bytes."""
    with tempfile.TemporaryDirectory() as name:
        again = Path(name, "a copy")
        copy(root, again)
        second = build(again, Path(name, "dist"))
    for old in built(out):
        old.unlink()
    first = build(root, out)
    expect_same(first, second)
    return first


def expect_same(first, second):
    """Refuse two builds, as `build` tells them, that are not the same bytes."""
    differ = sorted(file for file in first | second if first.get(file) != second.get(file))
    if differ:
        sys.exit(f"Expected the same bytes from two builds. Received others of {differ}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="?", help="of the release")
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    options = parser.parse_args()
    named = versions()
    if len({options.version or named["CHANGELOG.md"], *named.values()}) > 1:
        sys.exit(f"Expected one version, {options.version or 'in all files'}. Received {named}.")
    if options.version and not is_dated():
        sys.exit("Expected the day of the release in the first heading of CHANGELOG.md.")
    for file, digest in build_twice(ROOT, options.out).items():
        print(digest, options.out / file)


if __name__ == "__main__":
    main()
