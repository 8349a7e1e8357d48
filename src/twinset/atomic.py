"""Write files whole or not at all: a reader never meets half a report, a picture or a model."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


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
