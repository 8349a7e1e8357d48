"""The folder of a run: found or made before the training, so that a wrong path costs no epoch."""

from __future__ import annotations

import re
from pathlib import Path

from twinset.errors import DataError


def prepare(
    out: str | Path | None, name: str, *, overwrite: bool = False, resume: bool = False
) -> Path:
    """Make the folder of a run.

    Args:
        out: the folder; None makes a new one below `runs`, named after the recipe.
        name: of the recipe.
        overwrite: allow a folder with files in it. Defaults to False.
        resume: likewise, for a run that goes on. Defaults to False.

    Raises:
        DataError: it holds files, or cannot be written to.
    """
    folder = Path(out) if out is not None else _fresh(Path("runs") / _file_name(name))
    try:
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder}: expected a folder to write to. Received a file.")
        if folder.is_dir() and any(folder.iterdir()) and not (overwrite or resume):
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
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: expected a folder to write to. {reason}.") from None
    return folder


def _file_name(name: str) -> str:
    """Make a recipe's name that of a folder: it must not lead elsewhere, nor be too long."""
    return re.sub(r"[^\w.-]+", "-", name)[:60].strip("-.") or "run"


def _fresh(folder: Path) -> Path:
    candidate, number = folder, 2
    while candidate.exists():
        candidate, number = folder.with_name(f"{folder.name}-{number}"), number + 1
    return candidate
