"""Images of a data set, class by class; and those that are there twice, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import (
    LINE,
    MARGIN,
    SMALL,
    TEXT,
    WIDTH,
    check_images,
    proportion,
    sheet,
    show,
    wrap,
    write,
    write_lines,
)

# Lengths in inches.
_GAP = 0.03
_NAMES = 1.2  # the column of class names
_COLUMNS = 5  # of look-alikes
_CELL, _IMAGE, _BETWEEN = 0.94, 0.86, 0.1


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
    check_images(images.shape)
    _check_range(values, "labels", len(class_names))
    if values.shape != (images.shape[0],) or per_class < 1 or classes < 1:
        raise DataError(
            "Expected one label per image, and at least 1 image and 1 class to draw. Received "
            f"labels of shape {values.shape} for images of shape {images.shape}, "
            f"per_class={per_class}, classes={classes}."
        )
    rows = min(len(class_names), classes)
    cell = (WIDTH - 2 * MARGIN - _NAMES) / per_class
    tall = (cell - _GAP) * proportion(images.shape)
    row = max(tall + 2 * _GAP, 3 * LINE + 0.08)
    more = len(class_names) - rows
    with canvas.style():
        figure, top = sheet(rows * row + LINE * bool(more) + MARGIN, heading)
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
                x = MARGIN + _NAMES + place * cell
                show(figure, image, x, y, cell - _GAP, tall)
        if more:
            text = f"and {more:,} more class{'es' * (more > 1)}"
            write(figure, WIDTH / 2, top + rows * row + LINE * 0.7, text, color=canvas.MUTED)
    return figure


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
    sizes = [[len(each) for each in values] for values in (groups, names, marks)]
    if not groups or not all(sizes[0]) or any(size != sizes[0] for size in sizes[1:]):
        raise DataError(
            "Expected groups of images, with a name and a mark for each image. Received groups of "
            f"{sizes[0]} images, {sizes[1]} names and {sizes[2]} marks."
        )
    if len(titles) != len(groups):
        raise DataError(
            f"Expected one title per group, {len(groups)}. Received {len(titles)} titles."
        )
    check_images(images.shape)
    _check_range([place for group in groups for place in group], "positions", images.shape[0])
    tall = _IMAGE * proportion(images.shape)
    places, bands = _flow([min(len(group), _COLUMNS) for group in groups])
    with canvas.style():
        captions = [
            [
                (wrap(name, _IMAGE, SMALL), wrap(mark, _IMAGE, SMALL))
                for name, mark in list(zip(*words, strict=True))[:_COLUMNS]
            ]
            for words in zip(names, marks, strict=True)
        ]
        deepest = max(len(name) + len(mark) for own in captions for name, mark in own)
        band = LINE + 0.06 + tall + deepest * LINE + 0.2
        figure, top = sheet(bands * band, heading)
        for g, (x, line) in enumerate(places):
            y = top + line * band
            drawn = list(groups[g])[:_COLUMNS]
            rest = len(groups[g]) - len(drawn)
            title = titles[g] + (f", {rest:,} more" if rest else "")
            row = wrap(title, len(drawn) * _CELL - 0.04, TEXT, lines=1, weight="bold")
            write(figure, x, y + LINE * 0.8, "".join(row), ha="left", weight="bold", size=TEXT)
            for k, image in enumerate(images[np.asarray(drawn)]):
                left, under = x + k * _CELL, y + LINE + 0.06
                show(figure, image, left, under, _IMAGE, tall)
                name, mark = captions[g][k]
                middle, under = left + _IMAGE / 2, under + tall + 0.02
                write_lines(figure, middle, under, name, color=canvas.MUTED)
                write_lines(figure, middle, under + len(name) * LINE, mark)
    return figure


def _flow(sizes: Sequence[int]) -> tuple[list[tuple[float, int]], int]:
    # side by side while they fit: left edge and line of each; number of lines
    places, x, line = [], MARGIN, 0
    for size in sizes:
        if x > MARGIN and x + size * _CELL > WIDTH - MARGIN + 1e-9:
            x, line = MARGIN, line + 1
        places.append((x, line))
        x += size * _CELL + _BETWEEN
    return places, line + 1


def _name_class(figure: Figure, name: str, count: str, y: float, row: float) -> None:
    lines = wrap(name, _NAMES - 0.1, TEXT)
    y += (row - (len(lines) + bool(count)) * LINE) / 2 + 0.75 * LINE
    for k, text in enumerate(lines):
        write(figure, MARGIN, y + k * LINE, text, ha="left", size=TEXT)
    if count:
        write(figure, MARGIN, y + len(lines) * LINE, count, ha="left", color=canvas.MUTED)


def _check_range(values: ArrayLike, what: str, count: int) -> None:
    least, most = np.min(values, initial=0), np.max(values, initial=0)
    if least < 0 or most >= count:
        raise DataError(
            f"Expected {what} from 0 to {count - 1}. Received {least if least < 0 else most}."
        )
