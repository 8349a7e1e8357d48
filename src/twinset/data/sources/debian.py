"""Read files out of a Debian package without root and without installing it.

Machines that reach no site often still reach a mirror of their distribution.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from twinset.errors import DownloadError

_MINUTES = 15
# a mirror that does not answer: fail in seconds, not in the two minutes of the defaults
_QUICK = (
    *("-o", "Acquire::http::Timeout=10"),
    *("-o", "Acquire::https::Timeout=10"),
    *("-o", "Acquire::Retries=1"),
)
# hooks belong to the system's lists: docker's, for one, would empty the system's cache
_NO_HOOKS = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
"""


def read_package(package: str, paths: Sequence[str]) -> list[bytes]:
    """Download a package with apt into a temporary folder and read some of its files.

    Needs `apt-get` and `dpkg-deb`, but neither root nor package lists: where the lists are
    missing or stale (a fresh container), apt fetches its own into the temporary folder.

    Args:
        package: the name of the package.
        paths: the files to read, as absolute paths without the leading slash.

    Returns:
        The bytes of each file, in the order of `paths`.

    Raises:
        DownloadError: not a Debian-like system, no way to a mirror, or no such package or file.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DownloadError(f"no `{tool}`: not a Debian-like system")
    try:
        with tempfile.TemporaryDirectory(prefix="twinset-") as folder:
            root = _unpack(package, Path(folder))
            return [(root / path).read_bytes() for path in paths]
    except OSError as error:
        raise DownloadError(str(error)) from error


def _unpack(package: str, folder: Path) -> Path:
    download = ("download", package)
    if _complaint(folder, "apt-get", *_QUICK, *download):
        options = (*_QUICK, *_private_lists(folder))
        update = _complaint(folder, "apt-get", *options, "update")
        # an update may fail for one mirror and yet bring the list that matters
        if complaint := _complaint(folder, "apt-get", *options, *download):
            raise DownloadError("; ".join(filter(None, (complaint, update))))
    for archive in folder.glob("*.deb"):
        if complaint := _complaint(folder, "dpkg-deb", "-x", archive.name, "root"):
            raise DownloadError(complaint)
    return folder / "root"


def _private_lists(folder: Path) -> tuple[str, ...]:
    # apt makes every folder it needs but this one
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "apt.conf").write_text(_NO_HOOKS)
    return (
        *("-c", str(folder / "apt.conf")),
        *("-o", f"Dir::State::lists={folder / 'lists'}"),
        *("-o", f"Dir::Cache={folder / 'cache'}"),
        *("-o", "Acquire::Languages=none"),
    )


def _complaint(folder: Path, *command: str) -> str:
    """Run a command in a folder and return why it failed, or "" if it did not."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60 * _MINUTES,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"`{command[0]}` took more than {_MINUTES} minutes"
    lines = done.stderr.splitlines()
    # offline, `apt-get update` exits with 0 and says so in a warning only
    reasons = [line for line in lines if line.startswith(("E: ", "W: Failed", "dpkg-deb: error"))]
    if reasons:
        return reasons[0]
    return f"exit code {done.returncode}" if done.returncode else ""
