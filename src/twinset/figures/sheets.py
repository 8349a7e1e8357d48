"""Sheets of images: of each class, of look-alikes, and of queries beside what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from twinset.figures import canvas

# Lengths in inches.
_GAP = 0.03
_NAMES = 1.2  # the column of class names


class Pixels(Protocol):
    """Images of uint8, (n, h, w) or (n, h, w, 3); they need not all be in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""

    def __getitem__(self, rows: Any, /) -> Any: ...


def contact_sheet(
    images: Pixels,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    per_class: int = 8,
    classes: int = 30,
    counts: bool = True,
    heading: str | None = None,
) -> Figure:
    """Draw some images of each class, one row per class, with its name and number of images.

    Only the images drawn are read; of each class, at even steps from its first to its last. A line
    tells how many classes there are beyond `classes`.
    """
    values = np.asarray(labels)
    rows = min(len(class_names), classes)
    cell = (canvas.WIDTH - 2 * canvas.MARGIN - _NAMES) / per_class
    tall = (cell - _GAP) * canvas.proportion(images.shape)
    row = max(tall + 2 * _GAP, 3 * canvas.LINE + 0.08)
    more = len(class_names) - rows
    with canvas.style():
        figure, top = canvas.sheet(rows * row + canvas.LINE * bool(more) + canvas.MARGIN, heading)
        for k in range(rows):
            own = np.flatnonzero(values == k)
            count = f"{len(own):,} image{'s' * (len(own) != 1)}" if counts else ""
            _name_class(figure, class_names[k], count, top + k * row, row)
            if not len(own):
                continue
            # at even steps, as neighbours in a folder are often alike
            picked = np.unique(np.linspace(0, len(own) - 1, per_class).round().astype(int))
            y = top + k * row + (row - tall) / 2
            for place, image in enumerate(images[own[picked]]):
                x = canvas.MARGIN + _NAMES + place * cell
                canvas.show(figure, image, x, y, cell - _GAP, tall)
        if more:
            y, text = top + rows * row + canvas.LINE * 0.7, f"and {more:,} more class"
            text += "es" * (more > 1)
            canvas.write(figure, canvas.WIDTH / 2, y, text, color=canvas.MUTED)
    return figure


def _name_class(figure: Figure, name: str, count: str, y: float, row: float) -> None:
    lines = canvas.wrap(name, _NAMES - 0.1, canvas.TEXT)
    y += (row - (len(lines) + bool(count)) * canvas.LINE) / 2 + 0.75 * canvas.LINE
    for text in lines:
        canvas.write(figure, canvas.MARGIN, y, text, ha="left", size=canvas.TEXT)
        y += canvas.LINE
    if count:
        canvas.write(figure, canvas.MARGIN, y, count, ha="left", color=canvas.MUTED)


# Lengths in inches.
_CELL, _IMAGE, _BETWEEN = 0.94, 0.86, 0.1
_COLUMNS = 5  # of look-alikes


def look_alikes(
    images: Pixels,
    groups: Sequence[Sequence[int]],
    titles: Sequence[str],
    names: Sequence[Sequence[str]],
    marks: Sequence[Sequence[str]] | None = None,
    *,
    heading: str | None = None,
) -> Figure:
    """Draw groups of images that are alike, with the name of each image under it.

    A group is positions in `images`, of which the first five are read and drawn. `marks` say more
    of each image, such as its class.
    """
    marks = [[""] * len(group) for group in groups] if marks is None else marks
    tall = _IMAGE * canvas.proportion(images.shape)
    places, bands = _flow([min(len(group), _COLUMNS) for group in groups])
    with canvas.style():
        captions = [
            [
                (canvas.wrap(name, _IMAGE, canvas.SMALL), canvas.wrap(mark, _IMAGE, canvas.SMALL))
                for name, mark in list(zip(*words, strict=True))[:_COLUMNS]
            ]
            for words in zip(names, marks, strict=True)
        ]
        deepest = max(len(name) + len(mark) for own in captions for name, mark in own)
        band = canvas.LINE + 0.06 + tall + deepest * canvas.LINE + 0.2
        figure, top = canvas.sheet(bands * band, heading)
        for g, (x, line) in enumerate(places):
            y = top + line * band
            drawn = list(groups[g])[:_COLUMNS]
            rest = len(groups[g]) - len(drawn)
            title = titles[g] + (f", {rest:,} more" if rest else "")
            row = canvas.wrap(title, len(drawn) * _CELL - 0.04, canvas.TEXT, lines=1, weight="bold")
            look = {"ha": "left", "weight": "bold", "size": canvas.TEXT}
            canvas.write(figure, x, y + canvas.LINE * 0.8, "".join(row), **look)
            for k, image in enumerate(images[np.asarray(drawn)]):
                left, under = x + k * _CELL, y + canvas.LINE + 0.06
                canvas.show(figure, image, left, under, _IMAGE, tall)
                name, mark = captions[g][k]
                middle, under = left + _IMAGE / 2, under + tall + 0.02
                canvas.write_lines(figure, middle, under, name, color=canvas.MUTED)
                canvas.write_lines(figure, middle, under + len(name) * canvas.LINE, mark)
    return figure


def _flow(sizes: Sequence[int]) -> tuple[list[tuple[float, int]], int]:
    # side by side while they fit: left edge and line of each; number of lines
    places, x, line = [], canvas.MARGIN, 0
    for size in sizes:
        if x > canvas.MARGIN and x + size * _CELL > canvas.WIDTH - canvas.MARGIN + 1e-9:
            x, line = canvas.MARGIN, line + 1
        places.append((x, line))
        x += size * _CELL + _BETWEEN
    return places, line + 1


_BESIDE = 4  # columns beside a query

Picture = NDArray[np.uint8] | None
_Words = list[tuple[str, str, str]]  # text, colour, weight of each line


@dataclass(frozen=True, eq=False)
class Row:
    """One query and what was found for it, nearest first; None for what has no picture."""

    name: str
    image: Picture
    names: Sequence[str]
    images: Sequence[Picture]
    labels: Sequence[str]
    distances: Sequence[float]
    note: str = "nothing similar enough"

    @property
    def bands(self) -> int:
        """How many lines of images it takes."""
        return max(1, math.ceil(len(self.names) / _BESIDE))


def neighbours(rows: Sequence[Row], *, threshold: float, heading: str | None = None) -> Figure:
    """Draw queries and what was found for each: distance, verdict, label and name under it.

    Images are fitted into squares; what has no picture is a hatched square.
    """
    with canvas.style():
        captions = [_captions(row, threshold) for row in rows]
        bands = [_IMAGE + canvas.LINE * max(map(len, words)) + 0.2 for words in captions]
        whole = sum(row.bands * band for row, band in zip(rows, bands, strict=True))
        figure, y = canvas.sheet(whole + canvas.LINE + canvas.MARGIN, heading)
        for k, (row, words, band) in enumerate(zip(rows, captions, bands, strict=True)):
            if k:
                rule = [canvas.MARGIN, canvas.WIDTH - canvas.MARGIN]
                figure.axes[0].plot(rule, [y - 0.06] * 2, color=canvas.RULE, linewidth=0.8)
            _draw_row(figure, row, words, y, band)
            y += row.bands * band
        told = f"match: {threshold:.4g} apart or less"
        canvas.write(figure, canvas.WIDTH / 2, y + canvas.LINE * 0.7, told, color=canvas.MUTED)
    return figure


def _captions(row: Row, threshold: float) -> list[_Words]:
    # the lines under the query, then those under each that was found
    captions: list[_Words] = [[("query", canvas.INK, "bold"), *_small(row.name, canvas.MUTED)]]
    for name, label, distance in zip(row.names, row.labels, row.distances, strict=True):
        match = distance <= threshold
        verdict = ("match", canvas.SAME) if match else ("no match", canvas.DIFFERENT)
        words: _Words = [(f"{distance:.4f}", canvas.INK, "normal"), (*verdict, "bold")]
        captions.append([*words, *_small(label, canvas.INK), *_small(name, canvas.MUTED)])
    return captions


def _small(text: str, color: str) -> _Words:
    return [(line, color, "normal") for line in canvas.wrap(text, _IMAGE, canvas.SMALL)]


def _draw_row(figure: Figure, row: Row, captions: list[_Words], y: float, band: float) -> None:
    left = canvas.MARGIN + _CELL + _BETWEEN
    places = [(canvas.MARGIN, y)]
    for place in range(len(row.names)):
        line, column = divmod(place, _BESIDE)
        places.append((left + column * _CELL, y + line * band))
    for (x, top), image, words in zip(places, (row.image, *row.images), captions, strict=True):
        _picture(figure, image, x, top)
        for k, (text, color, weight) in enumerate(words):
            baseline = top + _IMAGE + 0.02 + (k + 0.8) * canvas.LINE
            canvas.write(figure, x + _IMAGE / 2, baseline, text, color=color, weight=weight)
    if not row.names:
        y += _IMAGE / 2
        for text in canvas.wrap(row.note, canvas.WIDTH - left - canvas.MARGIN, canvas.TEXT):
            canvas.write(figure, left, y, text, ha="left", size=canvas.TEXT)
            y += canvas.LINE


def _picture(figure: Figure, image: Picture, x: float, y: float) -> None:
    if image is None:
        square = Rectangle((x, y), _IMAGE, _IMAGE, facecolor=canvas.WASH, hatch="///")
        square.set(edgecolor=canvas.RULE, linewidth=0)
        figure.axes[0].add_patch(square)
        return
    canvas.show(figure, image, x, y, _IMAGE, _IMAGE)
