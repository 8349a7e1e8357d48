"""Plots of an evaluation: probability, errors between classes, rates of each fold."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from twinset.figures import canvas
from twinset.figures.canvas import DIFFERENT, INK, LINE, MUTED, RULE, SAME, SMALL, WIDTH

Floats: TypeAlias = NDArray[np.float64]
MANY_CLASSES = 25
CELL, NAMES = 0.385, 1.0  # inches, of the matrix


def reliability(predicted: ArrayLike, observed: ArrayLike, mass: ArrayLike) -> Figure:
    """Draw the observed share of same pairs over the predicted probability, bin by bin.

    `mass` is the share of all pairs in each bin. An empty bin (no mass, or a NaN) is left out.
    """
    p, o, m = (np.asarray(each, np.float64) for each in (predicted, observed, mass))
    full = (m > 0) & np.isfinite(p) & np.isfinite(o)
    p, o, m = p[full], o[full], m[full]
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 5.25))
        axes = canvas.inset(figure, 0.78, 0.12, WIDTH - 1.0, 3.3)
        axes.plot([0, 1], [0, 1], color=RULE, linewidth=1.4, zorder=1)
        axes.vlines(p, p, o, color=INK, linewidth=1, alpha=0.5)
        axes.plot(p, o, color=INK, linewidth=1.4, marker="o", markersize=4.5, clip_on=False)
        axes.set_ylim(0, 1)
        axes.set_ylabel("share that is the same")
        # on white, for the line may pass
        look: Any = {"fontsize": SMALL, "color": MUTED, "bbox": {"fc": "w", "ec": "none", "pad": 1}}
        axes.text(0.05, 0.93, "above: more often the same than predicted", **look)
        axes.text(0.95, 0.05, "below: less often", ha="right", **look)
        under = canvas.inset(figure, 0.78, 3.85, WIDTH - 1.0, 0.75)
        # how many pairs a point rests on, or the few of an outer bin would impress
        under.bar(p, m, width=0.012, color=MUTED, clip_on=False)
        under.set_ylim(0, 1.1 * m.max())
        under.set_yticks([float(m.max())], [f"{m.max():.0%}"])
        under.set_ylabel("pairs")
        under.set_xlabel("predicted probability of “same”")
        for each in (axes, under):
            each.set_xlim(0, 1)
            each.xaxis.set_major_formatter(canvas.percent)
            canvas.quiet(each)
        axes.yaxis.set_major_formatter(canvas.percent)
    return figure


def class_matrix(class_names: Sequence[str], fmr: ArrayLike, fnmr: ArrayLike) -> Figure:
    """Draw who is taken for whom: false match rates between classes, in percent.

    On the diagonal stands the share of each class' own pairs that do not match. Above 25 classes
    colours stand alone, and only some of the classes are named. NaN, where there are no such pairs,
    becomes a dash.
    """
    rates, own = np.array(fmr, np.float64), np.asarray(fnmr, np.float64)
    count = len(class_names)
    np.fill_diagonal(rates, own)
    top = float(np.max(rates, initial=0.0, where=np.isfinite(rates)))
    many = count > MANY_CLASSES
    size = WIDTH - NAMES - 0.15 if many else CELL * max(count, 10)
    notes = _matrix_notes(top, many)
    with canvas.style():
        figure = Figure(figsize=(NAMES + size + 0.15, NAMES + size + 0.2 + LINE * len(notes)))
        axes = canvas.inset(figure, NAMES, NAMES, size, size)
        colours = _colours(rates, top)
        axes.imshow(colours, interpolation="nearest", aspect="auto")
        _name_classes(axes, class_names, size / count)
        if not many:
            _write_rates(axes, rates, colours)
        height = figure.get_size_inches()[1]
        for row, note in enumerate(notes):
            down = 1 - (NAMES + size + 0.2 + LINE * row) / height
            figure.text(0.03, down, note, fontsize=SMALL, va="baseline", color=MUTED)
    return figure


def _matrix_notes(top: float, many: bool) -> list[str]:
    unit = "Full colour is" if many else "Numbers are percent; full colour is"
    return [
        "Orange: pairs of two classes that match, wrongly.",
        "Blue: pairs of one class that do not match, wrongly.",
        f"{unit} {top:.1%}.",
    ]


def _colours(rates: Floats, top: float) -> Floats:
    # mixed with white by the root of the rate, so that small ones show
    share = np.sqrt(np.nan_to_num(rates) / (top or 1.0))[..., None]
    hue = np.broadcast_to(to_rgb(DIFFERENT), (*rates.shape, 3)).copy()
    hue[np.diag_indices(len(rates))] = to_rgb(SAME)
    mixed: Floats = 1 - share * (1 - hue)
    return mixed


def _name_classes(axes: Axes, names: Sequence[str], cell: float) -> None:
    step = max(1, math.ceil(0.15 / cell))
    shown = range(0, len(names), step)
    short = [" ".join(canvas.fit(names[i], NAMES - 0.14, SMALL)) for i in shown]
    axes.set_yticks(shown, short)
    axes.set_xticks(shown, short, rotation=90)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK, pad=3, labeltop=True)
    axes.tick_params(labelbottom=False)
    axes.spines[:].set_visible(False)
    if len(names) <= MANY_CLASSES:
        edges = np.arange(1, len(names)) - 0.5
        axes.hlines(edges, -0.5, len(names) - 0.5, color="white", linewidth=1.5)
        axes.vlines(edges, -0.5, len(names) - 0.5, color="white", linewidth=1.5)


def _write_rates(axes: Axes, rates: Floats, colours: Floats) -> None:
    # relative luminance where white and ink read equally well, about
    dark = (colours**2.2) @ [0.2126, 0.7152, 0.0722] < 0.2
    for (row, column), rate in np.ndenumerate(rates):
        look: dict[str, Any] = {"weight": "bold"} if row == column else {}
        look["color"] = "white" if dark[row, column] else INK
        axes.text(column, row, _short(rate), ha="center", va="center", fontsize=SMALL, **look)


def _short(rate: float) -> str:
    # in percent, in four characters at most
    if not math.isfinite(rate):
        return "-"
    percent = 100 * rate
    if percent == 0 or percent >= 9.95:
        return f"{percent:.0f}"
    return "<.1" if percent < 0.05 else f"{percent:.1f}"


FOLD_NAMES, GAP = 1.42, 0.17  # inches
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
    rows = [canvas.fit(name, FOLD_NAMES - 0.14, SMALL, lines=3) for name in names]
    step = LINE * max(len(lines) for lines in rows) + 0.06
    height, below = step * len(names), 0.5 + 0.2 * ((len(series) + 2) // 2)
    width = (WIDTH - FOLD_NAMES - 0.22 - GAP * (len(panels) - 1)) / len(panels)
    with canvas.style():
        figure = Figure(figsize=(WIDTH, 0.3 + height + below))
        for i, (title, panel) in enumerate(values.items()):
            axes = canvas.inset(figure, FOLD_NAMES + i * (width + GAP), 0.3, width, height)
            looks = {name: _MARKS[series.index(name)] for name in panel}
            _draw_fold_panel(axes, panel, looks, (marks or {}).get(title), mark)
            axes.set_title(canvas.fit(title, width, SMALL)[0], fontsize=SMALL, color=INK, pad=6)
            axes.set_yticks(range(len(names)), map("\n".join, rows) if i == 0 else [])
            axes.tick_params(axis="y", labelcolor=INK, length=0)
        canvas.legend(figure, 0.02, 1.85)
    return figure


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
