"""The progress of long work: what callers are told, and the bar that is drawn by default."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

LINE_EVERY = 5.0  # seconds between two lines, where there is no terminal to draw a bar on


@dataclass(frozen=True)
class Progress:
    """How far one piece of long work is.

    Args:
        task: what is being done: "decode", "epoch 3/20", "download".
        done: units that are done.
        total: units in all; None while that is unknown.
        unit: what is counted: "images", "bytes". Defaults to "".
        numbers: what else is known by name, such as loss. Defaults to nothing.
    """

    task: str
    done: int
    total: int | None = None
    unit: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def count(self) -> str:
        """How far it is, in words."""
        of = "" if self.total is None else f" of {self.total:,}"
        return f"{self.task} {self.done:,}{of} {self.unit}".rstrip()

    @property
    def values(self) -> str:
        """The numbers, each with its name."""
        return "  ".join(
            f"{name} {value:,.0f}" if abs(value) >= 1000 else f"{name} {value:.3g}"
            for name, value in self.numbers.items()
        )

    @property
    def text(self) -> str:
        """One line for people."""
        return f"{self.count}  {self.values}".rstrip()


Report: TypeAlias = Callable[[Progress], None]
# True: a bar on stderr, or a line every few seconds where that is no terminal. False: nothing. A
# function: is called.
Wanted: TypeAlias = bool | Report


@contextmanager
def reporting(progress: Wanted) -> Iterator[Report]:
    """Give long work one function to tell its progress to.

    A function that was passed in is handed on as it is, so inner work can share the outer bar.
    """
    if callable(progress):
        yield progress
    elif not progress or sys.stderr is None:  # as of a Windows program without a console
        yield lambda _: None
    elif sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _Lines()


class _Lines:
    # A log wants the end of each task and a sign of life now and then, not a line for each step.
    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, now: Progress) -> None:
        if now.done == now.total or time.monotonic() - self._last >= LINE_EVERY:
            self._last = time.monotonic()
            print(now.text, file=sys.stderr)  # noqa: T201


@contextmanager
def _bar() -> Iterator[Report]:
    # here, as rich takes a tenth of a second to import
    from rich import progress as bars
    from rich.console import Console, RenderableType
    from rich.text import Text

    class Panel(bars.Progress):
        # one line of numbers under the bars, as a training has more than fit beside one
        values = ""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if self.values:
                yield Text(self.values, style="dim")

    # What is printed to stderr meanwhile appears above the bars.
    shown = Panel(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    rows: dict[str, Any] = {}
    with shown:

        def tell(now: Progress) -> None:
            if now.task not in rows:
                for row in shown.tasks:
                    if row.finished:  # its place is wanted
                        shown.remove_task(row.id)
                        del rows[row.fields["name"]]
                rows[now.task] = shown.add_task("", total=now.total, name=now.task)
            shown.values = now.values
            shown.update(rows[now.task], description=now.count, total=now.total, completed=now.done)

        yield tell
