"""Images that are alike, or there twice, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.contact_sheets import Pixels, check_range

# Lengths in inches.
_CELL, _IMAGE, _BETWEEN = 0.94, 0.86, 0.1
_COLUMNS = 5


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
    canvas.check_images(images.shape)
    check_range([place for group in groups for place in group], "positions", images.shape[0])
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
            canvas.write(
                figure,
                x,
                y + canvas.LINE * 0.8,
                "".join(row),
                ha="left",
                weight="bold",
                size=canvas.TEXT,
            )
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
