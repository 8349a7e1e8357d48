"""Training in several processes on JAX: how they join, what process 0 tells all, who is lost."""

from __future__ import annotations

import atexit
import contextlib
import os
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeVar

import keras
import numpy as np

from twinset import errors
from twinset.errors import TrainingError, TwinsetError
from twinset.training.coordinator import Coordinator

Made = TypeVar("Made")

# After so long JAX ends a process without a word, should all of this be stuck.
HEARTBEAT = 17


def count() -> int:
    """Count the processes that train together with this one, itself among them."""
    if keras.backend.backend() != "jax" or _alone:
        return 1
    import jax

    return jax.process_count() if jax.distributed.is_initialized() else 1


def index() -> int:
    """Number this process among those that train together: 0 writes, tells and decides."""
    if count() == 1:
        return 0
    import jax

    return jax.process_index()


def devices() -> list[Any]:
    """List the devices of all processes that train together."""
    import jax

    here = jax.process_index()
    return [each for each in jax.devices() if count() > 1 or each.process_index == here]


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Work as the only process: what the others do not do as well must not wait for them."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def from_first(make: Callable[[], Made]) -> Made:
    """Have process 0 make something that JSON can hold, and give it to all.

    Its error is everybody's. The others wait for as long as it takes, or until somebody is lost.
    """
    if count() == 1:
        return make()
    room = _here()
    if index() == 0:
        try:
            with alone():
                told = {"value": make()}
        except TwinsetError as error:
            room.tell({"error": [type(error).__name__, str(error)]})
            raise
        given: Made = room.tell(told)["value"]
        return given
    heard = room.hear()
    if "error" in heard:
        name, text = heard["error"]
        raise getattr(errors, name, TwinsetError)(text)
    found: Made = heard["value"]
    return found


def bytes_from_first(read: Callable[[], bytes | None]) -> bytes | None:
    """Have process 0 read bytes, or find none, and give them to all."""
    if count() == 1:
        return read()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    held: list[bytes | None] = []

    def size() -> int | None:
        held.append(read())
        return None if held[0] is None else len(held[0])

    length = from_first(size)
    if length is None:
        return None
    # not by the coordinator, whose messages are small
    mine = np.frombuffer(held[0], np.uint8) if held and held[0] else np.zeros(length, np.uint8)
    return np.asarray(broadcast_one_to_all(mine)).tobytes()


def agree(facts: Mapping[str, str]) -> None:
    """Refuse to begin where the processes have other data, recipes or versions than process 0."""
    if count() == 1:
        return
    room = _here()
    versions = {f"version of {name}": version(name) for name in ("twinset", "keras", "jax")}
    every = {**versions, **facts}
    room.change(facts=every, round=room.messages)
    from_first(lambda: room.compare(every))


def check(callbacks: Sequence[Any]) -> None:
    """Refuse what only one process can do."""
    if callbacks and count() > 1:
        raise TrainingError(
            f"Expected no callbacks in a training of {count()} processes: each may change weights, "
            f"which must be the same in all. Received {len(callbacks)}: leave them out, or train "
            "in one process."
        )


def ask_to_stop() -> None:
    """Ask process 0 for the end of the training, as Ctrl-C does there."""
    _here().change(asks=True)


def asked_to_stop() -> bool:
    """Whether another process asked for the end of the training."""
    return _room is not None and _room.asked


@contextmanager
def at_work() -> Iterator[None]:
    """Compute with the others, on the cores that this process was given.

    The error of an exchange whose partner is gone is turned into one that names the partner.
    """
    try:
        with _on_own_cores():
            yield
    except (ValueError, RuntimeError) as error:
        signs = ("Gloo", "NCCL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED")
        ours = isinstance(error, TwinsetError) or not any(sign in str(error) for sign in signs)
        if ours or count() == 1:
            raise
        raise TrainingError(_here().who(str(error))) from error


_cores: frozenset[int] = frozenset()


@contextmanager
def _on_own_cores() -> Iterator[None]:
    # Else threads of the other processes come there, above all gloo's, which each message wakes.
    # Outside, as for decoding and at validation, threads may run on all cores.
    if not _cores or count() == 1 or not _on_processors():
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        _move_threads(_cores)
        yield
    finally:
        _move_threads(before)


def _on_processors() -> bool:
    import jax

    return sys.platform == "linux" and jax.default_backend() == "cpu"


def _move_threads(cores: Collection[int]) -> None:
    moved = set[str]()
    with contextlib.suppress(OSError):  # no /proc, as in some sandboxes
        # again, as one that has not been moved yet may have started others
        while new := set(os.listdir("/proc/self/task")) - moved:  # noqa: PTH208 - names, and quick
            for thread in new:
                with contextlib.suppress(OSError):  # it has ended
                    os.sched_setaffinity(int(thread), cores)
            moved |= new


def _share_machine(cores: Collection[int]) -> None:
    # Before JAX makes its threads: as many as there are cores to train on, of the kind that waits
    # for its turn. Else Linux lets gloo's, which looks for messages, interrupt the one that
    # computes, and where that holds gloo's lock just then, it spins until its time is over: an
    # epoch of `tutorial` takes two processes on two cores 1.6 times as long.
    global _cores
    _cores = frozenset(cores)
    if _cores and sys.platform == "linux":
        os.environ.setdefault("NPROC", str(len(_cores)))
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


@contextmanager
def together(
    coordinator: str | None = None,
    number: int | None = None,
    place: int | None = None,
    *,
    local_device: int | None = None,
    cores: Collection[int] = (),
    timeout: int = 300,
) -> Iterator[None]:
    """Be one of several processes that train together, within.

    To be entered before JAX is first used, by all of them. Where one fails, the others end with
    its reason.

    Args:
        coordinator: "HOST:PORT" of process 0, which all can reach. Defaults to what Slurm, Open
            MPI or Kubernetes say.
        number: how many processes there are. Defaults likewise.
        place: which of them this is, from 0. Defaults likewise.
        local_device: the only accelerator of this machine to use. Defaults to all.
        cores: the only cores of this machine to compute on while training on processors, on Linux,
            where other processes have the others. JAX then has as many threads (`NPROC`), and this
            process does not interrupt others (`SCHED_BATCH`). Defaults to all.
        timeout: seconds to wait for the others. Defaults to 300.

    Raises:
        TrainingError: the back end is not JAX; the others do not come.
    """
    _share_machine(cores)
    _join(coordinator, number, place, local_device, timeout)
    try:
        yield
    except BaseException as error:
        if _room is not None:
            _room.fail(error)
            # not JAX's own end, which waits minutes for those who have ended
            atexit.register(_end_at_once)
        raise
    leave()


def leave() -> None:
    """Part from the others, after all have come here: from now on each works alone."""
    global _room
    if count() == 1:
        return
    import jax

    from_first(lambda: None)  # however long process 0 takes
    if _room is not None:
        _room.left = True
        _room = None
    shutdown: Callable[[], None] = jax.distributed.shutdown  # JAX types it not
    shutdown()


def _join(
    coordinator: str | None,
    number: int | None,
    place: int | None,
    local_device: int | None,
    timeout: int,
) -> None:
    if keras.backend.backend() != "jax":
        raise TrainingError(
            "Expected the back end jax to train in several processes. Received "
            f"{keras.backend.backend()!r}, on which twinset trains in one: take --backend jax."
        )
    if number == 1:
        return
    import jax

    known = None not in (coordinator, number, place)
    if known and place:
        _wait_for(str(coordinator), timeout)
    settings: dict[str, Any] = {}
    if known:
        settings["cluster_detection_method"] = "deactivate"
        if str(coordinator).startswith("127."):  # nobody else need reach it
            settings["coordinator_bind_address"] = coordinator
    # which would keep SIGTERM to itself, for who asks it whether one came
    config: Any = jax.config
    config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            coordinator,
            number,
            place,
            local_device_ids=local_device,
            initialization_timeout=timeout,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=60,
            **settings,
        )
        found = jax.process_count()  # the first use of the devices, which may not be there
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"Expected {number or 'several'} processes that meet at {coordinator or 'a cluster'}. "
            f"{error}: start all of them within {timeout} s, each with a --process-id of its own, "
            "and the same --coordinator and --num-processes."
        ) from error
    if number is not None and found != number:  # each would train a model of its own
        raise TrainingError(f"Expected {number} processes. JAX found {found}.")
    _here()


def _wait_for(coordinator: str, timeout: float) -> None:
    # JAX would end this process without a word
    host, _, port = coordinator.rpartition(":")
    last = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError) or time.monotonic() > last:
                raise TrainingError(
                    f"Expected process 0 at {coordinator}, as HOST:PORT. {error}: start it, and "
                    "let this machine reach it."
                ) from None
            time.sleep(0.2)
        else:
            return


def _end_at_once() -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(1)


_room: Coordinator | None = None


def _here() -> Coordinator:
    global _room
    if _room is None:
        _room = Coordinator()
    return _room
