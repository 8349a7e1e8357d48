"""A command in several processes: starts them, passes signals on, says which was lost."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from twinset.cli.arguments import INTERRUPTED, Arguments, note
from twinset.errors import RecipeError

# What starts processes is imported where it is used: each command imports this module.
if TYPE_CHECKING:
    import subprocess

ENVIRONMENT, LOG = "TWINSET_PROCESS", "TWINSET_PROCESS_LOG"
GRACE = 12.0  # for the others to say by themselves why they end, once one has


@dataclass(frozen=True)
class Place:
    """What a process is told of the training that it takes part in."""

    coordinator: str | None  # None: the cluster says it
    number: int | None
    index: int | None
    device: int | None = None  # the only accelerator to use
    cores: Sequence[int] = ()  # on which it trains; none: on all
    timeout: int = 300


def declare(takes: Arguments) -> None:
    """Take the options of a command that can run in several processes."""
    takes.option(
        "--processes",
        "Train in so many processes on this machine, which share its cores or accelerators.",
        type=int,
        metavar="N",
    )
    takes.option(
        "--coordinator",
        "Train in processes on several machines: where process 0 is, which all can reach. Start "
        "the same command on each. `auto` asks Slurm, Open MPI or Kubernetes for all three.",
        metavar="HOST:PORT",
    )
    takes.option("--num-processes", "With --coordinator: how many there are.", type=int)
    takes.option("--process-id", "With --coordinator: which one this is, from 0.", type=int)


def asked(args: Namespace) -> bool:
    """Whether a command is to run in several processes; a RecipeError says what is missing."""
    rest = (args.num_processes, args.process_id)
    if args.coordinator is None and rest != (None, None):
        raise RecipeError(
            "Expected --coordinator HOST:PORT with --num-processes and --process-id. Received "
            "none: give the address of process 0, the same to all."
        )
    if args.processes is not None and args.coordinator is not None:
        raise RecipeError(
            "Expected --processes N for one machine, or --coordinator for several. Received both: "
            "leave one out."
        )
    if args.processes is not None and args.processes < 1:
        raise RecipeError(f"Expected --processes of 1 or more. Received {args.processes}.")
    if args.coordinator not in (None, "auto") and (
        None in rest or not 0 <= args.process_id < args.num_processes
    ):
        raise RecipeError(
            "Expected --num-processes N and --process-id from 0 to N − 1 with --coordinator. "
            f"Received {args.num_processes} and {args.process_id}."
        )
    return args.coordinator is not None or (args.processes or 1) > 1


def given() -> Place | None:
    """Read which process of a training this is, where it was started as one."""
    told = os.environ.get(ENVIRONMENT)
    return None if told is None else Place(**json.loads(told))


@contextmanager
def joined(place: Place | None) -> Iterator[None]:
    """Take part in a training of several processes within, if this is one of them."""
    if place is None:
        yield
        return
    import threading

    _apart()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    from twinset.training.processes import together

    with together(
        place.coordinator,
        place.number,
        place.index,
        local_device=place.device,
        cores=place.cores,
        timeout=place.timeout,
    ):
        yield


def _apart() -> None:
    # What JAX's C++ has to say goes elsewhere: it greets on stdout, and dies with its stack. Python
    # keeps the streams, and a terminal stays one.
    elsewhere = os.open(os.environ[LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream: Any = getattr(sys, name)
        stream.flush()
        kept = os.fdopen(os.dup(number), "w", encoding=stream.encoding, errors="backslashreplace")
        os.dup2(elsewhere, number)
        setattr(sys, name, kept)


def _end_with(parent: int) -> None:
    # who started this was killed, and could not end it
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)


def supervise(args: Namespace) -> int:
    """Run the same command in processes of its own, until all have ended."""
    if os.name == "nt":
        raise RecipeError(
            "Expected Linux or macOS for several processes, as JAX joins none on Windows. Take "
            "one process, or WSL."
        )
    if os.environ.get("KERAS_BACKEND") != "jax":
        raise RecipeError(
            f"Expected --backend jax for several processes. Received "
            f"{os.environ.get('KERAS_BACKEND')}, on which twinset trains in one."
        )
    count = args.processes
    if count is None:
        auto = args.coordinator == "auto"
        where = None if auto else args.coordinator
        places = [Place(where, args.num_processes, args.process_id)]
    else:
        address = f"127.0.0.1:{_free_port()}"
        allowed = getattr(os, "sched_getaffinity", lambda _: ())
        own = shares(sorted(allowed(0)), count)
        places = [Place(address, count, i, i, own[i], 60) for i in range(count)]
    with ExitStack() as held:
        return _Children(args.words, places, held).run()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shares(cores: Sequence[int], count: int) -> list[list[int]]:
    """Divide cores among processes; of fewer cores than processes none has its own."""
    edges = [len(cores) * i // count for i in range(count + 1)]
    return [list(cores[a:b]) if len(cores) >= count else [] for a, b in pairwise(edges)]


class _Children:
    # the processes of a training that run on this machine, and what becomes of them

    def __init__(self, words: Sequence[str], places: Sequence[Place], held: ExitStack) -> None:
        import tempfile

        self._held = held
        self._folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="twinset-")))
        self._numbers = [place.index for place in places]
        self._interrupts = 0
        self._running: list[subprocess.Popen[bytes]] = []
        for each in (signal.SIGINT, signal.SIGTERM):
            held.callback(signal.signal, each, signal.signal(each, self._pass_on))
        held.callback(self._stop)
        command = [sys.executable, "-m", "twinset", *words]
        for place in places:
            self._running.append(self._start(command, place, shown=place is places[0]))

    def _start(
        self, command: Sequence[str], place: Place, *, shown: bool
    ) -> subprocess.Popen[bytes]:
        import subprocess

        log: IO[bytes] | None = None
        if not shown:
            log = self._held.enter_context(self._log(place.index).open("wb"))
        noise = str(self._folder / f"{place.index}.noise")
        return subprocess.Popen(
            command,
            env={**os.environ, ENVIRONMENT: json.dumps(asdict(place)), LOG: noise},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches this process alone, which passes it on to the one that decides
            start_new_session=True,
        )

    def _log(self, index: Any) -> Path:
        return self._folder / f"{index}.log"

    def run(self) -> int:
        """Wait for all; return the exit code of the first."""
        lost = None  # the first that ended with an error, and when
        while any(code is None for code in self._codes()):
            time.sleep(0.1)
            if lost is None:
                lost = self._lost()
            # who was killed told the others nothing
            elif self._codes()[lost[0]] < 0 or time.monotonic() > lost[1] + GRACE:
                break
        codes, lost = self._codes(), lost or self._lost()
        self._stop()
        if lost is not None:
            return self._explain(lost[0], codes[lost[0]], codes[0])
        return int(codes[0])

    def _lost(self) -> tuple[int, float] | None:
        if not any(self._codes()):
            return None
        # JAX aborts those who lost process 0 at once: that they did so is no cause
        time.sleep(0.3)
        codes = self._codes()
        # who was interrupted has told process 0, which has more to do
        told = (INTERRUPTED, 128 + signal.SIGTERM)
        bad = [i for i, code in enumerate(codes) if code and not (i and code in told)]
        if not bad:
            return None
        return min(bad, key=lambda i: (codes[i] == -signal.SIGABRT, i)), time.monotonic()

    def _codes(self) -> list[Any]:
        return [process.poll() for process in self._running]

    def _explain(self, place: int, code: int, first: int | None) -> int:
        number = self._numbers[place]
        who = "A process" if number is None else f"Process {number}"
        if code == -signal.SIGABRT and number != 0:
            note(
                "twinset: Expected process 0 to the end. It was lost: it was killed, or its "
                "machine cannot be reached. Start all again with --resume, which goes on from the "
                "last checkpoint."
            )
            return 2
        if code < 0:
            name = signal.Signals(-code).name
            note(
                f"twinset: Expected all processes to the end. {who} was ended by {name}; the "
                "others end as well. Start all again with --resume, which goes on from the last "
                "checkpoint."
            )
            return 128 - code
        if place and first is None:  # which would have said why
            tail = self._log(number).read_text(encoding="utf-8", errors="replace").strip()
            note(f"twinset: {who} ended. {tail.splitlines()[-1] if tail else ''}")
        return code if first in (None, 0) else int(first)

    def _pass_on(self, signum: int, _: Any) -> None:
        # the first ends the training after the current steps, the next Ctrl-C everything
        self._interrupts += signum == signal.SIGINT
        for process in self._running if self._interrupts > 1 else self._running[:1]:
            if process.poll() is None:
                process.send_signal(signum)

    def _stop(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()
