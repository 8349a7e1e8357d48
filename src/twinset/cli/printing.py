"""What commands print: lines, tables, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

LINE_EVERY = 5.0  # seconds, where there is no terminal to draw a bar on


def say(text: str) -> None:
    """Print a line to stdout; half a character of a broken file name ends in no traceback.

    Args:
        text: any.
    """
    typer.echo(text.encode(errors="backslashreplace").decode())


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None] | None]:
    """Show how far a long job is, on stderr: a bar on a terminal, elsewhere a line now and then.

    Args:
        what: is being done: "index: embedded".
        quiet: show nothing. Defaults to False.
    """
    if quiet:
        yield None
    elif sys.stderr.isatty():
        yield from _bar(what)
    else:
        last = time.monotonic()

        def line(done: int, count: int) -> None:
            nonlocal last
            if done == count or time.monotonic() - last >= LINE_EVERY:
                last = time.monotonic()
                typer.echo(f"{what} {done:,} of {count:,}", err=True)

        yield line


def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich import progress as bars
    from rich.console import Console

    with bars.Progress(
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
    ) as shown:
        task = shown.add_task(what, total=None)

        def step(done: int, count: int) -> None:
            shown.update(task, completed=done, total=count)

        yield step
