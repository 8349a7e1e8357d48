"""The progress of a training on stderr: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress

    from twinset.embed.monitor import EpochRecord


class Display:
    """A bar on a terminal, a line per epoch elsewhere, nothing if not wanted; on stderr."""

    def __init__(self, epochs: int, steps: int, wanted: bool | None) -> None:
        terminal = sys.stderr.isatty()
        self._epochs = epochs
        self._steps = steps
        self._lines = bool(wanted) and not terminal
        self._bar: Progress | None = None
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

    def epoch(self, record: EpochRecord) -> None:
        """Print the epoch's line, where there is no bar."""
        if self._lines:
            print(  # noqa: T201
                f"epoch {record.epoch}/{self._epochs}  loss {record.loss:.4f}  "
                f"{record.images_per_second:,.0f} images/s  {record.seconds:.1f} s",
                file=sys.stderr,
            )


def _bar() -> Progress:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("loss {task.fields[loss]:.4f}"),
        progress.TextColumn("{task.fields[speed]:,.0f} images/s"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
    )
