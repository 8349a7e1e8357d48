"""The command line as a whole: finds the commands, runs one, reports mistakes in plain words."""

from __future__ import annotations

import atexit
import difflib
import gc
import importlib
import inspect
import io
import logging
import os
import pkgutil
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import twinset
from twinset import cli
from twinset.cli.arguments import INTERRUPTED, Arguments, note
from twinset.errors import TwinsetError

_ABOUT = """\
Teach a machine what "the same" means.

Train a siamese network on labelled images, measure how good it is, and ask it whether two images
show the same thing.

    twinset train fashion-mnist --out runs/first
    twinset evaluate runs/first
    twinset compare runs/first a.png b.png
"""


@cache
def commands() -> dict[str, tuple[Callable[[Namespace], int], Callable[[Arguments], None]]]:
    """Find the commands of this folder's modules, and what declares their arguments, by name."""
    found = {}
    for each in pkgutil.iter_modules(cli.__path__):
        if each.name != "app":  # this module, which holds no command
            module = importlib.import_module(f"twinset.cli.{each.name}")
            for command, declare in getattr(module, "COMMANDS", {}).items():
                found[command.__name__] = command, declare
    return dict(sorted(found.items()))


def arguments_of(name: str) -> Arguments:
    """Declare the arguments of one command."""
    command, declare = commands()[name]
    declared = Arguments(f"twinset {name}", inspect.getdoc(command) or "")
    declare(declared)
    return declared


def run(words: Sequence[str]) -> int:
    """Run one command and return its exit code."""
    name = words[0] if words else ""
    if name in commands():
        # intermixed, so that options may stand before, between and after the names of files
        parser = arguments_of(name).parser
        # whole, for who starts the same command in other processes
        given = Namespace(words=list(words))
        return commands()[name][0](parser.parse_intermixed_args(words[1:], given))
    overview = _overview()
    if name.startswith("-"):
        overview.parse_args(words[:1])  # ends here, with what was asked for or an error
    elif name:
        near = difflib.get_close_matches(name, commands(), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        overview.error(f"there is no command {name!r}.{hint}")
    overview.print_help(sys.stderr)
    return 2  # as argparse where an argument is missing


def _overview() -> ArgumentParser:
    lines = (
        f"  {name:<12}{next(iter((inspect.getdoc(command) or '').splitlines()), '')}"
        for name, (command, _) in commands().items()
    )
    parser = Arguments("twinset", "\n".join([_ABOUT, "commands:", *lines])).parser
    parser.usage = "twinset COMMAND ..."
    parser.add_argument("--version", action="version", version=f"twinset {twinset.__version__}")
    return parser


def main() -> None:
    """Run the command line; a user's mistake ends in a message and exit code 2."""
    # to import Keras leaves no garbage, and looking for some is a tenth of the time that it takes
    gc.set_threshold(10_000)
    # and when all ends, to look through what Keras and JAX hold would take most of a second
    atexit.register(gc.freeze)
    # what Pillow complains of, we say by the name of the file
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # closed by who started us (`>&-`, a service): what is printed goes nowhere
    if sys.stdout is None or sys.stderr is None:
        nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as we run
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        # names of files hold half characters, and a terminal may not know all of ours
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _end_as_by_ctrl_c()
    os.environ["MPLBACKEND"] = "agg"  # pictures go to files: a wrong name would end the command
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except TwinsetError as error:
        code = _fail(str(error))
    except BrokenPipeError:
        # who reads has stopped, as in `twinset search … | head`; Python would flush again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:  # a full disk, a folder without permission
        code = _fail(f"{error.filename or 'input or output'}: {error.strerror or error}.")
    except _Ended as end:
        note(f"twinset: ended by SIGTERM. {end}".rstrip())
        code = 128 + signal.SIGTERM
    except KeyboardInterrupt as end:
        note(f"twinset: interrupted. {end}".rstrip())
        code = INTERRUPTED
    sys.exit(code)


class _Ended(KeyboardInterrupt):
    """SIGTERM, by which a scheduler, a container or a shutdown of the machine ends a command."""


def _end_as_by_ctrl_c() -> None:
    # else a draft of a file, or half a folder, would stay
    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the next one ends at once
        raise _Ended

    # who ignores it, or has a handler of their own, knows why
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _fail(message: str) -> int:
    note(f"twinset: {message}")
    return 2
