"""Write files whole or not at all, and find or make the folder of a run."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np

from twinset.errors import DataError, reason

MEMBERS = "parts.npz"  # of a run's folder: which images were in which part
_LOCK = ".lock"  # in a folder that a training holds


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace a file in one step, making its folder if need be.

    A reader never meets half a report, a picture or a model: what was there stays untouched until
    every byte of the new file is on disk.
    """
    target = Path(path)
    # Beside the target, as a rename is atomic within one file system only. Opened by hand because
    # `tempfile` makes files that nobody but their owner can read, and the rename would keep that.
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    with naming(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Refuse a file or folder that cannot be made, before the work whose result it is for."""
    whole = target.absolute()
    places = (whole, *whole.parents) if whole.is_dir() else whole.parents
    folder = next((each for each in places if each.exists()), whole.parent)
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, f"{folder} is no folder", str(target))
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"nothing may be written in {folder}", str(target))


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Have errors of the system name the file that was asked for, and not a draft of it."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def plain(value: Any) -> Any:
    """Turn numpy's values into what JSON can write; numbers that are not finite become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


class Plain:
    """A dataclass of plain values."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(cast("Any", self))


def write_json(path: str | Path, value: Any) -> None:
    """Write what `plain` can read as a JSON file, in one step."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=1)
    # half a character of a broken file name becomes \udcXX, which is how JSON spells it
    write_bytes(path, f"{text}\n".encode(errors="backslashreplace"))


def run_folder(
    out: str | Path | None, name: str, *, overwrite: bool = False, resume: bool = False
) -> Path:
    """Make the folder of a run; without `out` a new one below `runs`, named after the recipe."""
    # before the training, so that a wrong path costs no epoch
    folder = Path(out) if out is not None else Path("runs") / _file_name(name)
    try:
        if out is None:
            folder = _fresh(folder)
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder}: expected a folder to write to. Received a file.")
        if _holds_files(folder) and not (overwrite or resume):
            raise DataError(
                f"{folder}: expected a new or empty folder. This one holds files: choose another "
                "--out, or allow --overwrite, or --resume a run that was stopped."
            )
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    except DataError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name is a ValueError
        raise DataError(f"{folder}: expected a folder to write to. {reason(error)}.") from None
    return folder


def _holds_files(folder: Path) -> bool:
    # what a training that was killed held the folder by is none
    return folder.is_dir() and any(each.name != _LOCK for each in folder.iterdir())


def _file_name(name: str) -> str:
    # it must not lead elsewhere, nor be too long
    return re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "run"


def _fresh(folder: Path) -> Path:
    # made here: of two that ask at once, each gets its own
    candidate, number = folder, 2
    while True:
        try:
            candidate.mkdir(parents=True)
        except FileExistsError:
            candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
        else:
            return candidate


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder that one process at a time may write to; a DataError tells of another."""
    from filelock import FileLock, Timeout  # here, as most commands hold nothing

    lock = FileLock(folder / _LOCK, timeout=0)
    with suppress(OSError, NotImplementedError):  # a network disk may know no locks
        try:
            lock.acquire()
        except Timeout:
            raise DataError(
                f"{folder}: expected a folder that nobody else writes to. Another training does so "
                "right now: wait for its end, or choose another --out."
            ) from None
    try:
        yield
    finally:
        if lock.is_locked:
            with suppress(OSError):  # on Windows, where it goes by itself
                (folder / _LOCK).unlink()
        lock.release()
