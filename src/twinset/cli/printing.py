"""What commands print: lines, tables, progress."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer

LINE_EVERY = 5.0  # seconds, where there is no terminal to draw a bar on


def say(text: str) -> None:
    """Print a line to stdout; half a character of a broken file name ends in no traceback.

    Args:
        text: any.
    """
    typer.echo(text.encode(errors="backslashreplace").decode())


def say_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to stdout; numbers to the right, and no word is lost to a narrow terminal.

    Args:
        columns: their names; one that begins with ">" is set to the right.
        rows: of texts.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        justify: Any = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, overflow="fold")
    for row in rows:
        # Text, as names in [brackets] are no markup
        table.add_row(*(Text(cell.encode(errors="backslashreplace").decode()) for cell in row))
    # in a file or a pipe a line is as long as it must be
    wide = None if sys.stdout.isatty() else 10_000
    console = Console(width=wide, highlight=False)
    with console.capture() as shown:
        console.print(table)
    say("\n".join(line.rstrip() for line in shown.get().splitlines()))


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
