"""Write files whole or not at all: a reader never meets half a report, a picture or a model."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    pass


def write_bytes(path: str | Path, data: bytes) -> None:
    """Replace a file in one step, making its folder if need be.

    Args:
        path: the file; what was there stays untouched until every byte of the new one is on disk.
        data: the new content.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_bytes(f"{folder}/new/note.txt", b"whole")
        ...     [entry.name for entry in Path(folder, "new").iterdir()]
        ['note.txt']
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, as a rename is atomic within one file system only. Opened by hand because
    # `tempfile` makes files that nobody but their owner can read, and the rename would keep that.
    draft = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


# --- Where twinset keeps what can be made again: the user's cache folder.

# tells backup programs to pass by: https://bford.info/cachedir/
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n"


def cache_folder(name: str) -> Path:
    """Name the folder for one kind of thing: `$XDG_CACHE_HOME/twinset/<name>`, or `~/.cache/…`.

    Nothing is made or written. Where no home is known it lies in the folder for temporary files.

    Args:
        name: of the kind, "fashion-mnist" or "images".

    Example:
        >>> cache_folder("images").parts[-2:]
        ('twinset', 'images')
    """
    # the XDG specification wants relative paths ignored; "~" stays one where no home is known
    home = os.path.expanduser("~/.cache")  # noqa: PTH111 - Path.expanduser raises there
    bases = (os.environ.get("XDG_CACHE_HOME", ""), home, tempfile.gettempdir())
    return next(Path(base) for base in bases if Path(base).is_absolute()) / "twinset" / name


def tag(folder: Path) -> None:
    """Mark a folder as a cache for backup programs.

    Args:
        folder: made if it is not there.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tag(Path(folder, "twinset"))
        ...     [entry.name for entry in Path(folder, "twinset").iterdir()]
        ['CACHEDIR.TAG']
    """
    if not (folder / "CACHEDIR.TAG").exists():
        write_bytes(folder / "CACHEDIR.TAG", _TAG)


def plain(value: Any) -> Any:
    """Turn numpy's values into what JSON can write; numbers that are not finite become None.

    Example:
        >>> import numpy as np
        >>> plain({"a": np.array([1.0, np.nan]), 0.1: np.int64(2)})
        {'a': [1.0, None], '0.1': 2}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
