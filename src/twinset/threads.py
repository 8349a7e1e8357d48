"""How many threads compute: ours, or those of BLAS."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = threading.Lock()
# Of the searches under way, and of one more: what the first found, which the last restores.
_limits: list[Any] = []


@cache
def cores() -> int:
    """Count the processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread, where the threads are ours."""
    # Its own would wait for one another at each of many small products, and for long where the
    # machine is busy. Most libraries have one number for the process: of two searches that overlap,
    # the second would restore what the first had set, and leave BLAS with one thread for good.
    with _lock:
        own = _libraries().limit(limits=1, user_api="blas")
        _limits.extend([own] if _limits else [own, own])
    try:
        yield
    finally:
        with _lock:
            own.restore_original_limits()
            _limits.pop()
            if len(_limits) == 1:
                _restore(_limits.pop())


def _restore(first: Any) -> None:
    # threadpoolctl from 3.7 on heeds only the thread that set a limit first, and ignores all others
    # without a word
    let_go = getattr(OpenBLASController, "clear_controlling_thread", lambda force: None)
    let_go(force=True)
    first.restore_original_limits()
    let_go(force=True)


@cache
def _libraries() -> Any:
    return ThreadpoolController()  # looks through all loaded libraries: 1 ms
