"""Both error rates as the threshold moves: ROC and DET curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import INK, RULE, WIDTH

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
    if not curves:
        raise DataError("Expected at least one curve. Received none.")
    for i, (name, rates) in enumerate(curves.items()):
        # the model is drawn last, over the others
        look = {**_LINES[min(i, len(_LINES) - 1)], "zorder": 2 if i else 4}
        axes.plot(*place(*_dense(name, *rates)), label=name, **look)
    axes.plot(line[0], line[0], color=RULE, linewidth=1.1, zorder=1, label=line[1])
    if bands is None:
        return
    edges = np.array(canvas.columns("false match rates and both ends of the band", *bands))
    x, low, high = edges[:, np.isfinite(edges).all(axis=0)]
    (across, bottom), (_, top) = place(x, 1 - high), place(x, 1 - low)
    # the thin edge is for print, where a light fill may get lost
    shade: dict[str, Any] = {"facecolor": to_rgba(INK, 0.14), "edgecolor": to_rgba(INK, 0.4)}
    name = f"{next(iter(curves))}, 95% interval"
    axes.fill_between(across, bottom, top, linewidth=0.6, zorder=3, label=name, **shade)


def _dense(name: str, fmr: ArrayLike, fnmr: ArrayLike) -> tuple[Floats, Floats]:
    # with points in between: what is a straight line between two rates is none on these axes
    x, y = np.asarray(fmr, np.float64), np.asarray(fnmr, np.float64)
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not np.isfinite([x, y]).all():
        raise DataError(
            f"Expected two or more finite rates of both kinds as curve {name!r}. "
            f"Received shapes {x.shape} and {y.shape}."
        )
    grid = np.geomspace(LOWEST / 10, 1, 400)
    across, down = np.r_[x, grid], np.r_[y, np.interp(grid, x, y)]
    # where one rate stands still, the other tells the order
    order = np.lexsort((-down, across))
    return across[order], down[order]


def _with_legend(height: float, entries: int) -> tuple[Figure, Axes]:
    rows = math.ceil(entries / 2)
    figure = Figure(figsize=(WIDTH, 0.12 + height + 0.62 + 0.2 * rows))
    return figure, canvas.inset(figure, 0.78, 0.12, WIDTH - 1.0, height)
