"""Curves: numbers of each epoch, distances around the threshold, error rates as it moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import DIFFERENT, INK, MUTED, RULE, SAME, SMALL, WIDTH

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


Floats: TypeAlias = NDArray[np.float64]
# name → false match rates and false non-match rates, (k,) each, from the lowest threshold to the
# highest; the model's first
Rates: TypeAlias = Mapping[str, tuple[ArrayLike, ArrayLike]]
# false match rates, (b,), and both ends of the model's true match rate's 95% interval there
Bands: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike]
# false match rates and false non-match rates → where they are drawn
Place: TypeAlias = Callable[[Floats, Floats], tuple[Floats, Floats]]

LOWEST = 1e-4  # false match rate at the left end of the ROC curve, and both ends of the DET curve
DET_TICKS = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.5, 0.8)
DET_HIGHEST = 0.9
# In the order of the curves; the first, the model's, is bold. Dashes tell them apart in print.
_LINES: tuple[dict[str, Any], ...] = (
    {"color": INK, "linewidth": 2.2},
    {"color": "#5C6370", "linewidth": 1.1, "linestyle": (0, (6, 2))},
    {"color": "#5C6370", "linewidth": 1.1, "linestyle": (0, (1, 1.5))},
    {"color": "#5C6370", "linewidth": 1.1, "linestyle": (0, (6, 2, 1, 2))},
    {"color": "#9AA1AB", "linewidth": 1.1, "linestyle": "-"},
)


def roc(curves: Rates, bands: Bands | None = None) -> Figure:
    """Draw ROC curves over a logarithmic axis, where rare false matches can be read."""
    with canvas.style():
        figure, axes = _with_legend(3.3, len(curves) + 1 + (bands is not None))
        axes.set_xscale("log")
        axes.set_xlim(LOWEST, 1)
        axes.set_ylim(0, 1.02)  # a curve along the upper edge keeps its width
        guess = np.geomspace(LOWEST, 1, 200)
        _draw_rates(axes, curves, bands, lambda x, y: (x, 1 - y), (guess, "guessing"))
        axes.set_xticks([0.0001, 0.001, 0.01, 0.1, 1])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(canvas.percent)
        axes.set_yticks(np.linspace(0, 1, 6), [f"{rate}%" for rate in range(0, 101, 20)])
        axes.set_xlabel("false match rate (different pairs that match)")
        axes.set_ylabel("true match rate (same pairs that match)")
        canvas.quiet(axes)
        canvas.legend(figure, 0.13, 1.5, handlelength=3)
    return figure


def det(
    curves: Rates,
    bands: Bands | None = None,
    *,
    names: tuple[str, str] = ("false match rate", "false non-match rate"),
) -> Figure:
    """Draw DET curves: both error rates over probit axes, where normal scores give a line.

    Reference:
        Martin et al. (1997), The DET Curve in Assessment of Detection Task Performance.
    """
    from scipy.special import ndtri  # here, as most pictures do without

    far = 1e-9  # a rate of 0 lies at −∞: far enough outside will do

    def place(fmr: Floats, fnmr: Floats) -> tuple[Floats, Floats]:
        return ndtri(np.clip(fmr, far, 1 - far)), ndtri(np.clip(fnmr, far, 1 - far))

    with canvas.style():
        figure, axes = _with_legend(3.9, len(curves) + 1 + (bands is not None))
        ends = ndtri([LOWEST, DET_HIGHEST])
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        _draw_rates(axes, curves, bands, place, (ends, "equal error rates"))
        ticks = [canvas.percent(rate) for rate in DET_TICKS]
        axes.set_xticks(ndtri(DET_TICKS), ticks)
        axes.set_yticks(ndtri(DET_TICKS), ticks)
        axes.set_xlabel(names[0])
        axes.set_ylabel(names[1])
        canvas.quiet(axes)
        canvas.legend(figure, 0.13, 1.5, handlelength=3)
        axes.grid(axis="x", color=RULE, linewidth=0.5, alpha=0.6)
    return figure


def growth(sizes: ArrayLike, rates: Mapping[str, ArrayLike], measured: int) -> Figure:
    """Draw error rates, each (low, value, high), over the size of a gallery, (k,) and (k, 3).

    Up to the size that was measured lines are whole, beyond it they are dashed.
    """
    x = np.asarray(sizes, np.float64)
    looks = zip(rates.items(), (canvas.DIFFERENT, canvas.SAME), strict=True)
    with canvas.style():
        figure, axes = _with_legend(2.6, 2 * len(rates))
        axes.set_xscale("log")
        for (name, ends), colour in looks:
            low, value, high = np.asarray(ends, np.float64).T
            axes.fill_between(x, low, high, color=to_rgba(colour, 0.18), linewidth=0)
            inside = x <= measured
            axes.plot(x[inside], value[inside], color=colour, linewidth=2, label=name)
            beyond = np.flatnonzero(x >= measured)
            axes.plot(x[beyond], value[beyond], "--", color=colour, linewidth=1.6)
        axes.axvline(measured, color=RULE, linewidth=1)
        axes.set_ylim(0, None)
        axes.set_xticks(x, [f"{size:,.0f}" for size in x])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(canvas.percent)
        axes.set_xlabel("identities in the gallery (dashed: extrapolated)")
        canvas.quiet(axes)
        canvas.legend(figure, 0.13, 1.5, handlelength=3)
    return figure


def _draw_rates(
    axes: Axes, curves: Rates, bands: Bands | None, place: Place, line: tuple[Floats, str]
) -> None:
    """Draw curves, a line to hold them against, and the band of the first."""
    for i, (name, rates) in enumerate(curves.items()):
        # the model is drawn last, over the others
        look = {**_LINES[min(i, len(_LINES) - 1)], "zorder": 2 if i else 4}
        axes.plot(*place(*_dense(*rates)), label=name, **look)
    axes.plot(line[0], line[0], color=RULE, linewidth=1.1, zorder=1, label=line[1])
    if bands is None:
        return
    edges = np.asarray(bands, np.float64)
    x, low, high = edges[:, np.isfinite(edges).all(axis=0)]
    (across, bottom), (_, top) = place(x, 1 - high), place(x, 1 - low)
    # the thin edge is for print, where a light fill may get lost
    shade: dict[str, Any] = {"facecolor": to_rgba(INK, 0.14), "edgecolor": to_rgba(INK, 0.4)}
    name = f"{next(iter(curves))}, 95% interval"
    axes.fill_between(across, bottom, top, linewidth=0.6, zorder=3, label=name, **shade)


def _dense(fmr: ArrayLike, fnmr: ArrayLike) -> tuple[Floats, Floats]:
    # with points in between: what is a straight line between two rates is none on these axes
    x, y = np.asarray(fmr, np.float64), np.asarray(fnmr, np.float64)
    grid = np.geomspace(LOWEST / 10, 1, 400)
    across, down = np.r_[x, grid], np.r_[y, np.interp(grid, x, y)]
    # where one rate stands still, the other tells the order
    order = np.lexsort((-down, across))
    return across[order], down[order]


def _with_legend(height: float, entries: int) -> tuple[Figure, Axes]:
    rows = math.ceil(entries / 2)
    figure = Figure(figsize=(WIDTH, 0.12 + height + 0.62 + 0.2 * rows))
    return figure, canvas.inset(figure, 0.78, 0.12, WIDTH - 1.0, height)
