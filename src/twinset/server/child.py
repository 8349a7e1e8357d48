"""Long arithmetic in a process of its own, at low priority: arrays in, arrays out."""

from __future__ import annotations

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


def in_child(what: str, module: str, seconds: float, **given: Any) -> Arrays:
    """Run a module, which calls `as_child`, with arrays; `what` is computed, for messages."""
    with tempfile.TemporaryDirectory(prefix="twinset-map-") as name:
        folder = Path(name)
        np.savez(folder / "given.npz", **given)
        # One thread: the other cores answer requests.
        settings = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        low = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)  # of Windows
        command = [sys.executable, "-m", module, name]
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


def as_child(compute: Callable[..., Arrays]) -> None:
    """Compute what the parent asks for; what a module does that is run by `in_child`."""
    Thread(target=_end_with_input, daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(10)
    folder = Path(sys.argv[1])
    with np.load(folder / "given.npz") as given:
        found: dict[str, Any] = compute(**given)
    np.savez(folder / "found.npz", **found)


def _end_with_input() -> None:
    os.read(0, 1)  # not sys.stdin, whose lock this thread would hold when Python ends
    os._exit(1)
