"""Plots with axes: the loss of each epoch, and how distances spread around the threshold."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import DIFFERENT, INK, SAME, SMALL, WIDTH

BINS = 50


def loss_curve(epochs: ArrayLike, loss: ArrayLike) -> Figure:
    """Draw the loss of each epoch.

    Args:
        epochs: numbers of the epochs, shape (e,), ascending.
        loss: mean loss of each, shape (e,); a gap where it is not finite.

    Raises:
        DataError: lengths differ, or there is no epoch.
    """
    x, y = _columns(epochs, loss, "epochs and losses")
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


def distance_histogram(
    distances: ArrayLike,
    same: ArrayLike,
    threshold: float,
    *,
    counts: ArrayLike | None = None,
) -> Figure:
    """Draw how the distances of same and of different pairs spread around the threshold.

    Each kind adds up to 100% by itself, so the rarer kind shows as well. The errors are hatched:
    false match, different pairs at or under the threshold; false non-match, same pairs above it.

    Args:
        distances: finite numbers of shape (p,).
        same: ground truth of shape (p,), 1 or True for the same class.
        threshold: a match is `distance <= threshold`.
        counts: how many pairs each entry stands for, (p,). Defaults to one each.

    Raises:
        DataError: lengths differ, there is no pair, a number is not finite, or a count is
            negative.
    """
    d, labels = _columns(distances, same, "distances and ground truth")
    if not (np.isfinite(d).all() and math.isfinite(threshold)):
        raise DataError(
            "Expected finite distances and a finite threshold. Received "
            f"{np.sum(~np.isfinite(d))} distances that are not, and threshold {threshold}."
        )
    n = np.ones(len(d)) if counts is None else _columns(d, counts, "distances and counts")[1]
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


def _columns(
    x: ArrayLike, y: ArrayLike, names: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    columns = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if columns[0].ndim != 1 or columns[0].shape != columns[1].shape or not columns[0].size:
        raise DataError(
            f"Expected {names} of one length, 1 or more. "
            f"Received shapes {columns[0].shape} and {columns[1].shape}."
        )
    return columns


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
