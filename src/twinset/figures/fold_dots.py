"""Rates of several trainings, each with a fold held out, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import INK, LINE, MUTED, RULE, SMALL, WIDTH

NAMES, GAP = 1.42, 0.17  # inches
# Shape and filling tell the series apart, so that print in grey loses nothing.
# A dot on an equal ring is still a dot in a ring.
_MARKS: tuple[dict[str, Any], ...] = (
    {"marker": "o", "markersize": 4.5, "color": INK},
    {"marker": "o", "markersize": 8, "color": INK, "markerfacecolor": "white"},
    {"marker": "D", "markersize": 5, "color": INK, "markerfacecolor": RULE},
)


def folds(
    names: Sequence[str],
    panels: Mapping[str, Mapping[str, ArrayLike]],
    *,
    marks: Mapping[str, float] | None = None,
    mark: str = "",
) -> Figure:
    """Draw rates in [0, 1] as dots: a row for each of n folds, a panel for each kind of rate.

    Panels are title → series → values, (n,), NaN where there is none; three series at the most.
    `marks` are title → a value that all rows are held against, a dashed line that `mark` explains.
    """
    series = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    values = {
        title: {name: np.asarray(each, np.float64) for name, each in panel.items()}
        for title, panel in panels.items()
    }
    _check_folds(names, values, series)
    rows = [canvas.fit(name, NAMES - 0.14, SMALL, lines=3) for name in names]
    step = LINE * max(len(lines) for lines in rows) + 0.06
    height, below = step * len(names), 0.5 + 0.2 * ((len(series) + 2) // 2)
    width = (WIDTH - NAMES - 0.22 - GAP * (len(panels) - 1)) / len(panels)
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 0.3 + height + below))
        for i, (title, panel) in enumerate(values.items()):
            axes = canvas.inset(figure, NAMES + i * (width + GAP), 0.3, width, height)
            looks = {name: _MARKS[series.index(name)] for name in panel}
            _draw_fold_panel(axes, panel, looks, (marks or {}).get(title), mark)
            axes.set_title(canvas.fit(title, width, SMALL)[0], fontsize=SMALL, color=INK, pad=6)
            axes.set_yticks(range(len(names)), map("\n".join, rows) if i == 0 else [])
            axes.tick_params(axis="y", labelcolor=INK, length=0)
        canvas.legend(figure, 0.02, 1.85)
    return figure


def _check_folds(
    names: Sequence[str],
    values: Mapping[str, Mapping[str, NDArray[np.float64]]],
    series: Sequence[str],
) -> None:
    shapes = {each.shape for panel in values.values() for each in panel.values()}
    if not names or shapes != {(len(names),)} or len(series) > len(_MARKS):
        raise DataError(
            f"Expected one to {len(_MARKS)} series with a value for each of the folds. Received "
            f"{len(names)} folds, {len(series)} series, and values of shapes {sorted(shapes)}."
        )


def _draw_fold_panel(
    axes: Axes,
    panel: Mapping[str, NDArray[np.float64]],
    looks: Mapping[str, dict[str, Any]],
    at: float | None,
    mark: str,
) -> None:
    count = len(next(iter(panel.values())))
    axes.set_xlim(0, 1)
    axes.set_ylim(count - 0.5, -0.5)
    for row, dots in enumerate(np.transpose(list(panel.values()))):
        # a line from dot to dot makes the gap the thing that is seen
        known = dots[np.isfinite(dots)]
        if len(known) > 1:
            axes.plot([known.min(), known.max()], [row, row], color=MUTED, linewidth=1.2, zorder=2)
    if at is not None:
        axes.axvline(at, color=MUTED, linewidth=1.3, linestyle=(0, (3, 2)), zorder=1, label=mark)
    # the first on top: it is what the picture is about
    for i, (name, dots) in enumerate(panel.items()):
        look = {"linestyle": "none", "clip_on": False, "zorder": 5 - i, **looks[name]}
        axes.plot(dots, range(count), label=name, **look)
    axes.set_xticks([0, 0.5, 1], ["0", "50", "100%"])
    canvas.quiet(axes)
    axes.grid(axis="x", color=RULE, linewidth=0.5, alpha=0.6)
    # within the panel: the next one begins close by
    left, _, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
