"""Shards of images embedded on a Ray cluster, a task each; what comes back is kept here."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from twinset.cores import cores
from twinset.data.listing import Listing
from twinset.errors import ModelError, TwinsetError, require
from twinset.models.embedder import Embedder

Found = TypeVar("Found")
VERSION = version("twinset")
AGAIN = 10  # times that a task is tried anew where its worker or machine dies


def on_ray(
    embed: Callable[[Embedder, Listing], Found],
    model: Embedder,
    works: Iterable[tuple[Path, Listing]],
    done: Callable[[int], None],
    *,
    address: str | None,
) -> Iterator[tuple[Path, Found]]:
    """Embed listings on a cluster, in whatever order they are done."""
    # Tasks, and not Ray Data: rows that name files need none of its blocks, and it takes ten times
    # as long to start. Workers keep the model; whoever dies is replaced, and joins as it comes.
    with _cluster(address) as ray:
        shared = ray.put(model)
        task = ray.remote(num_cpus=1, max_retries=AGAIN)(_run)
        waiting: dict[Any, tuple[Path, int]] = {}
        for file, work in works:
            # in a list, as Ray would read it for each task else
            asked = task.remote(embed, [shared], model.digest, VERSION, work)
            waiting[asked] = file, len(work)
            # no more than keeps all busy, or the whole list would lie in the cluster's memory
            if len(waiting) >= 2 * ray.cluster_resources().get("CPU", 1):
                yield _next(ray, waiting, done)
        while waiting:
            yield _next(ray, waiting, done)


def _next(
    ray: Any, waiting: dict[Any, tuple[Path, int]], done: Callable[[int], None]
) -> tuple[Path, Any]:
    [ready], _ = ray.wait([*waiting], num_returns=1)
    file, count = waiting.pop(ready)
    try:
        found = ray.get(ready)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, TwinsetError):
            raise cause from None
        first = str(error).strip().splitlines()[-1]
        raise ModelError(
            f"Expected a Ray cluster that can embed, with twinset {VERSION} on each of "
            f"its machines. {type(error).__name__}: {first}"
        ) from error
    done(count)
    return file, found


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else it tells its maker that it was started
    require("ray", "ray", "the engine ray", ModelError)
    import ray

    if ray.is_initialized():  # by the caller, who will end it
        yield ray
        return
    here: dict[str, Any] = {"num_cpus": cores(), "include_dashboard": False}
    try:
        ray.init(
            address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if address else here),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ModelError(
            f"{address or 'local'}: expected the address of a running Ray cluster, such as auto or "
            f"HOST:6379, of this version of Python and Ray. {error}"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


_MODEL: dict[str, Embedder] = {}  # that of this worker, by digest


def _run(
    embed: Callable[[Embedder, Listing], Found],
    shared: list[Any],
    digest: str,
    theirs: str,
    work: Listing,
) -> Found:
    if theirs != VERSION:
        raise ModelError(
            f"Expected twinset {theirs} on all machines of the Ray cluster. Received "
            f"{VERSION} on one: install the same."
        )
    if digest not in _MODEL:
        import ray

        _MODEL.clear()
        _MODEL[digest] = ray.get(shared[0])
    return embed(_MODEL[digest], work)
