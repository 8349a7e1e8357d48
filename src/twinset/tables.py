"""Tables of text, for a terminal and in Markdown; the name of a column of numbers begins with >."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from csv import writer as csv_writer
from typing import Literal

NO_TERMINAL = 10_000  # in a file or a pipe, a line is as long as it must be


def text(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table for a terminal, numbers to the right; a narrow one folds cells."""
    # here, as rich takes a tenth of a second to import
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    def cell(value: str) -> Text:
        # Text, as names in [brackets] are no markup; broken file names hold half characters
        return Text(value.encode(errors="backslashreplace").decode())

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="none")
    for name in columns:
        side: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        table.add_column(cell(name.removeprefix(">")), justify=side, overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    wide = None if sys.stdout is not None and sys.stdout.isatty() else NO_TERMINAL
    console = Console(width=wide, color_system=None)
    with console.capture() as shown:
        console.print(table)
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def csv(columns: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    r"""Write a table in CSV."""
    written = io.StringIO()
    csv_writer(written, lineterminator="\n").writerows([columns, *rows])
    return written.getvalue()


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Write a table in Markdown; a bar in a cell is no border."""
    names = [name.removeprefix(">") for name in columns]
    rule = ["---:" if name.startswith(">") else "---" for name in columns]
    lines = [map(_cell, names), rule, *(map(_cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: str) -> str:
    return " ".join(value.replace("|", r"\|").splitlines())
