"""Numbers of each epoch as curves, and how distances spread around the threshold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import DIFFERENT, INK, MUTED, SAME, SMALL, WIDTH

BINS = 50
COLUMNS, HEIGHT, ACROSS = 2, 1.2, 1.82  # of small panels, in inches
# Of the lines that have a colour of their own, and the others.
COLOURS = {"same": SAME, "different": DIFFERENT}
STYLES = ("-", "--", ":")


def loss_curve(epochs: ArrayLike, loss: ArrayLike) -> Figure:
    """Draw the loss of each epoch, with a gap where it is not finite."""
    x, y = canvas.columns("epochs and losses", epochs, loss)
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 2.9))
        axes = canvas.inset(figure, 0.78, 0.15, WIDTH - 1.4, 2.2)
        marker = "o" if len(x) <= 40 else ""
        axes.plot(x, y, color=INK, linewidth=1.4, marker=marker, markersize=3.5)
        axes.set_xlim(x[0] - 0.5, x[-1] + 0.5)
        # from zero, so that a small gain does not look like a large one
        top = np.max(y, initial=0.0, where=np.isfinite(y))
        axes.set_ylim(0.0, 1.15 * top or 1.0)
        axes.xaxis.set_major_locator(
            MaxNLocator(8, integer=True, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        canvas.quiet(axes)
        # beside its point, where the curve never is
        end, place = (float(x[-1]), float(y[-1])), "offset points"
        if math.isfinite(y[-1]):
            axes.annotate(f"{y[-1]:.3g}", end, (7, 0), textcoords=place, va="center", weight="bold")
    return figure


@dataclass(frozen=True)
class Panel:
    """One of the small plots: label → value of each epoch."""

    title: str
    lines: Mapping[str, ArrayLike]
    guard: float | None = None  # a training that stays at or beyond this is stopped
    share: bool = False  # in [0, 1], shown in percent
    zero: bool = True  # is on the axis


def training_health(epochs: ArrayLike, panels: Sequence[Panel]) -> Figure:
    """Draw the statistics of each epoch; a dashed grey line is where a guard stops the training."""
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
            _draw_panel(axes, x, panel)
            if i >= len(panels) - COLUMNS:
                axes.set_xlabel("epoch")
    return figure


def _draw_panel(axes: Axes, x: np.ndarray, panel: Panel) -> None:
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


def distance_histogram(
    distances: ArrayLike, same: ArrayLike, threshold: float, *, counts: ArrayLike | None = None
) -> Figure:
    """Draw how the distances of same and of different pairs spread around the threshold.

    Each kind adds up to 100% by itself, so the rarer kind shows as well. The errors are hatched:
    false match, different pairs at or under the threshold; false non-match, same pairs above it.
    `counts` tell how many pairs each entry stands for.
    """
    d, labels = canvas.columns("distances and ground truth", distances, same)
    if not (np.isfinite(d).all() and math.isfinite(threshold)):
        raise DataError(
            "Expected finite distances and a finite threshold. Received "
            f"{np.sum(~np.isfinite(d))} distances that are not, and threshold {threshold}."
        )
    n = np.ones(len(d)) if counts is None else canvas.columns("distances and counts", d, counts)[1]
    if not (n >= 0).all() or not n.any():
        raise DataError(
            "Expected counts of 0 or more, of one pair at least. "
            f"Received {n.sum():g} pairs in all, and {n.min():g} as the smallest count."
        )
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 4.1))
        axes = canvas.inset(figure, 0.78, 0.45, WIDTH - 1.0, 2.3)
        cuts = _cuts(d, threshold)
        legend = [
            *_draw_kind(axes, "same", d[labels == 1], n[labels == 1], cuts),
            *_draw_kind(axes, "different", d[labels != 1], n[labels != 1], cuts),
        ]
        axes.axvline(threshold, color=INK, linewidth=1.4, label="threshold")
        axes.set_xlim(cuts[0][0], cuts[1][-1])
        _name_threshold(axes, threshold)
        axes.yaxis.set_major_formatter(canvas.percent)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
        axes.set_xlabel("distance (smaller is closer)")
        axes.set_ylabel("share of each kind")
        canvas.quiet(axes)
        figure.legend(handles=legend, loc="lower left", bbox_to_anchor=(0.13, 0.0), frameon=False)
    return figure


def _cuts(
    d: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # bins that end at the threshold, and bins that begin there: one across it would hold right and
    # wrong verdicts in one bar
    low = min(float(d.min()), threshold, 0.0)
    # the line stays in the left four fifths, so that "no match" fits beside it
    high = max(float(d.max()), low + (threshold - low) / 0.8)
    step = float((high - low) or 1.0) / BINS
    below = round((threshold - low) / step)
    if below:
        left = np.linspace(low, threshold, below + 1)
        step = (threshold - low) / below
    else:
        left = np.array([min(low, threshold - step), threshold])
    above = int((high - threshold) / step) + 1
    return left, np.linspace(threshold, threshold + step * above, above + 1)


def _draw_kind(
    axes: Axes,
    kind: str,
    d: NDArray[np.float64],
    counts: NDArray[np.float64],
    cuts: tuple[NDArray[np.float64], ...],
) -> list[Patch]:
    threshold, pairs = cuts[1][0], counts.sum()
    weights = counts / max(pairs, 1.0)
    # np.histogram closes the last bin only: a distance equal to the threshold counts as a match
    near = d <= threshold
    match = np.histogram(d[near], cuts[0], weights=weights[near])[0]
    no_match = np.histogram(d[~near], cuts[1], weights=weights[~near])[0]
    name, color, hatch, errors, where = (
        ("false non-match", SAME, "\\\\\\\\", no_match, cuts[1])
        if kind == "same"
        else ("false match", DIFFERENT, "////", match, cuts[0])
    )
    shares, edges = np.r_[match, no_match], np.r_[cuts[0], cuts[1][1:]]
    axes.stairs(shares, edges, fill=True, color=color, alpha=0.35, label=kind)
    axes.stairs(shares, edges, color=color, linewidth=1.0)
    look: dict[str, Any] = {"facecolor": "none", "edgecolor": color, "hatch": hatch, "linewidth": 0}
    axes.stairs(errors, where, fill=True, label=name, **look)
    rate = f"{errors.sum():.2%}" if pairs else "not defined"
    return [
        Patch(facecolor=color, alpha=0.35, label=f"{kind}: {pairs:,.0f} pairs"),
        Patch(label=f"{name}: {rate} of the {kind} pairs", **look),
    ]


def _name_threshold(axes: Axes, threshold: float) -> None:
    low, high = axes.get_xlim()
    share = (threshold - low) / (high - low)
    for text, align, place in (
        (f"threshold {threshold:.4g}", "center", (0, 18)),
        ("match ◂", "right", (-3, 5)),
        ("▸ no match", "left", (3, 5)),
    ):
        axes.annotate(
            text,
            (share, 1.0),
            place,
            xycoords="axes fraction",
            textcoords="offset points",
            ha=align,
            fontsize=SMALL,
        )
