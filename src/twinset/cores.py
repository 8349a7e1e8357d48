"""How many processor cores this process may use, which may be fewer than the machine has."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from functools import cache
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


@cache
def cores() -> int:
    """Count the processor cores that this process may use."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # by which Ray, Slurm and people give each of many processes its share
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(here, int(wanted)) if wanted.isdecimal() and int(wanted) else here


def in_order(
    pool: Executor, function: Callable[[Given], Made], items: Iterable[Given]
) -> Iterator[Made]:
    """Compute something of each item in a pool, as `pool.map` does, a few items ahead."""
    # `map` queues all, and a pool ends only with its queue: neither an error nor the end of the
    # process would stop it before.
    waiting = deque[Future[Made]]()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > cores() + 1:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
