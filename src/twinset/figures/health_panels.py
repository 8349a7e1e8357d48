"""The health of a training, epoch by epoch, in small panels with the limits of the guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import DIFFERENT, INK, MUTED, SAME, SMALL, WIDTH

COLUMNS, HEIGHT, ACROSS = 2, 1.2, 1.82
COLOURS = {"same": SAME, "different": DIFFERENT}
STYLES = ("-", "--", ":")


@dataclass(frozen=True)
class Panel:
    """One of the small plots.

    Args:
        title: what is plotted.
        lines: label → value of each epoch, (e,); "same" and "different" have their colours.
        guard: a training that stays at or beyond this is stopped. Defaults to none.
        share: whether values are shares, shown in per cent from 0 to 100.
        zero: whether 0 is on the axis. Defaults to True.
    """

    title: str
    lines: Mapping[str, ArrayLike]
    guard: float | None = None
    share: bool = False
    zero: bool = True


def training_health(epochs: ArrayLike, panels: Sequence[Panel]) -> Figure:
    """Draw the statistics of each epoch; a dashed grey line is where a guard stops the training.

    Args:
        epochs: numbers of the epochs, shape (e,), ascending.
        panels: what to draw, at least one.

    Raises:
        DataError: a line has another length, or there is no epoch or no panel.
    """
    x = np.asarray(epochs, np.float64)
    if not len(panels) or not x.size:
        raise DataError(f"Expected panels and epochs. Received {len(panels)} and {x.size}.")
    rows = -(-len(panels) // COLUMNS)
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 0.3 + rows * (HEIGHT + 0.62)))
        for i, panel in enumerate(panels):
            row, column = divmod(i, COLUMNS)
            left = 0.52 + column * (ACROSS + 0.66)
            axes = canvas.inset(figure, left, 0.36 + row * (HEIGHT + 0.62), ACROSS, HEIGHT)
            _draw(axes, x, panel)
            if i >= len(panels) - COLUMNS:
                axes.set_xlabel("epoch")
    return figure


def _draw(axes: Axes, x: np.ndarray, panel: Panel) -> None:
    tops = []
    for (label, values), style in zip(panel.lines.items(), STYLES, strict=False):
        y = np.asarray(values, np.float64) * (100 if panel.share else 1)
        if y.shape != x.shape:
            raise DataError(f"Expected {x.size} values of {label!r}. Received shape {y.shape}.")
        axes.plot(
            x,
            y,
            style,
            color=COLOURS.get(label, INK),
            linewidth=1.3,
            marker="o" if len(x) <= 12 else "",
            markersize=2.5,
            label=label,
        )
        tops += y[np.isfinite(y)].tolist()
    axes.set_title(panel.title, fontsize=SMALL, loc="left", color=INK, pad=4)
    axes.set_xlim(x[0] - 0.5, x[-1] + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
    # few numbers, as the panels are small
    axes.yaxis.set_major_locator(MaxNLocator(3))
    if panel.share:
        axes.set_ylim(-4, 104)
        axes.set_yticks([0, 50, 100], ["0%", "50%", "100%"])
    elif panel.zero:
        top = 1.15 * max(tops, default=0) or 1
        axes.set_ylim(-0.04 * top, top)  # room for a guard at 0
    if panel.guard is not None:
        limit = panel.guard * (100 if panel.share else 1)
        axes.axhline(limit, color=MUTED, linewidth=1, linestyle=(0, (4, 2)))
    canvas.quiet(axes)
    if len(panel.lines) > 1:
        axes.legend(loc="best", fontsize=SMALL, frameon=False, handlelength=1.5, labelspacing=0.2)
