"""The progress of a training on stderr: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from twinset.models.history import EpochRecord


class Display:
    """A bar on a terminal, a line per epoch elsewhere, nothing if not wanted; on stderr."""

    def __init__(self, epochs: int, steps: int, wanted: bool | None) -> None:
        terminal = sys.stderr.isatty()
        self._epochs = epochs
        self._steps = steps
        self._lines = bool(wanted) and not terminal
        self._bar: Any = None
        self._task: Any = None
        if terminal and wanted is not False:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=epochs * steps, loss=0.0, speed=0.0)

    def __enter__(self) -> None:
        if self._bar:
            self._bar.start()

    def __exit__(self, *exc_info: object) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, epoch: int, done: int, loss: float, speed: float) -> None:
        """Show how far the epoch is."""
        if self._bar:
            self._bar.update(
                self._task,
                description=f"epoch {epoch}/{self._epochs}",
                completed=(epoch - 1) * self._steps + done,
                loss=loss,
                speed=speed,
            )

    def note(self, text: str) -> None:
        """Print a line that must not be missed, whether or not progress is wanted."""
        line = f"twinset: {text}"
        if self._bar:
            self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr)  # noqa: T201

    def epoch(self, record: EpochRecord) -> None:
        """Print the epoch's line, where there is no bar."""
        if self._lines:
            print(  # noqa: T201
                f"epoch {record.epoch}/{self._epochs}  loss {record.loss:.4f}  "
                f"{health(record)}  "
                f"{record.images_per_second:,.0f} images/s  {record.seconds:.1f} s",
                file=sys.stderr,
            )
        if self._bar:
            self._bar.health = f"epoch {record.epoch}  {health(record)}"


def health(record: EpochRecord) -> str:
    """Write the health of an epoch in one line; what is not known is left out.

    Args:
        record: of the epoch.

    Example:
        >>> from twinset.training.monitor import EpochRecord
        >>> from twinset.models.history import BatchStatistics
        >>> health(EpochRecord(1, 9, 0.5, active=0.25, statistics=BatchStatistics(0.25, 1.0)))
        'same 0.25 different 1  active 25%'
    """
    statistics = record.statistics
    known = [
        (f"same {statistics.positive_distance:.3g} ", statistics.positive_distance),
        (f"different {statistics.negative_distance:.3g}  ", statistics.negative_distance),
        (f"active {record.active:.0%}  ", record.active),
        (f"alignment {statistics.alignment:.3g}  ", statistics.alignment),
        (f"uniformity {statistics.uniformity:.3g}  ", statistics.uniformity),
        (f"rank {statistics.effective_rank:.1f}  ", statistics.effective_rank),
        (f"gradient {record.gradient_norm:.3g}  ", record.gradient_norm),
    ]
    return "".join(text for text, value in known if math.isfinite(value)).strip()


@contextmanager
def counting(
    done: str, what: str, wanted: bool | None
) -> Iterator[Callable[[int, int], None] | None]:
    """Show how many things are done: a bar on a terminal, a line now and then elsewhere.

    Args:
        done: what is done to them: "encoded".
        what: they are: "images".
        wanted: as for `Display`.
    """
    terminal = sys.stderr.isatty()
    if wanted is False or not (wanted or terminal):
        yield None
        return
    if not terminal:
        yield lambda count, all_: print(  # noqa: T201
            f"{done} {count:,} of {all_:,} {what}", file=sys.stderr
        )
        return
    from rich import progress
    from rich.console import Console

    columns = ("{task.description}", progress.BarColumn(), progress.TimeRemainingColumn())
    with progress.Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda count, all_: bar.update(
            task, completed=count, total=all_, description=f"{done} {count:,} of {all_:,} {what}"
        )


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console, RenderableType
    from rich.text import Text

    class Panel(progress.Progress):
        """A bar, and under it the health of the last epoch."""

        health = ""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield from super().get_renderables()
            if self.health:
                yield Text(self.health, style="dim")

    return Panel(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("loss {task.fields[loss]:.4f}"),
        progress.TextColumn("{task.fields[speed]:,.0f} images/s"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
