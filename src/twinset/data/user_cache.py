"""Where twinset keeps what can be made again: the user's cache folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twinset.atomic import write_bytes

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
