"""Long arithmetic in a process of its own, at low priority: arrays in, arrays out."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import TwinsetError

Arrays = dict[str, NDArray[Any]]


class ChildError(TwinsetError):
    """What was to be computed in a process of its own was not."""


def in_child(what: str, compute: Callable[..., Arrays], seconds: float, **given: Any) -> Arrays:
    """Call a function of a module with arrays; `what` is computed, for messages."""
    with tempfile.TemporaryDirectory(prefix="twinset-map-") as name:
        folder = Path(name)
        np.savez(folder / "given.npz", **given)
        # One thread: the other cores answer requests.
        settings = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        low = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)  # of Windows
        command = [sys.executable, "-m", __name__, compute.__module__, compute.__name__, name]
        # The child ends when its input does: a server that is killed leaves none behind.
        with (
            (folder / "said.txt").open("wb") as said,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stderr=said, env=settings, creationflags=low
            ) as child,
        ):
            try:
                child.wait(seconds)
            except subprocess.TimeoutExpired:
                child.kill()
                raise ChildError(
                    f"{what} took longer than {seconds:g} s and was stopped."
                ) from None
        if child.returncode:
            text = (folder / "said.txt").read_text("utf-8", errors="replace")
            last = text.strip().splitlines()[-1:]
            raise ChildError(f"{what} failed: {' '.join(last) or 'it was stopped'}")
        with np.load(folder / "found.npz") as found:
            return dict(found)


def _as_child(module: str, name: str, place: str) -> None:
    # what the process does
    Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)
    folder = Path(place)
    compute = getattr(importlib.import_module(module), name)
    with np.load(folder / "given.npz") as given:
        found: dict[str, Any] = compute(**given)
    np.savez(folder / "found.npz", **found)


def _end_with_input() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock this thread would hold when Python ends
    os._exit(1)


if __name__ == "__main__":
    _as_child(*sys.argv[1:])
