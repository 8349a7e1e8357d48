"""Queries beside what was found for each, with the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from twinset.errors import DataError
from twinset.figures import canvas

# Lengths in inches, of a square beside its query.
_CELL, _SQUARE, _BESIDE = 0.94, 0.86, 0.1
_COLUMNS = 4  # beside the query

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

    def __post_init__(self) -> None:
        sizes = [len(v) for v in (self.names, self.images, self.labels, self.distances)]
        if len(set(sizes)) > 1:
            raise DataError(
                "Expected a name, an image, a label and a distance of each that was found. "
                f"Received {', '.join(map(str, sizes))}."
            )

    @property
    def bands(self) -> int:
        """How many lines of images it takes."""
        return max(1, math.ceil(len(self.names) / _COLUMNS))


def neighbours(rows: Sequence[Row], *, threshold: float, heading: str | None = None) -> Figure:
    """Draw queries and what was found for each: distance, verdict, label and name under it.

    Images are fitted into squares; what has no picture is a hatched square.
    """
    if not rows:
        raise DataError("Expected at least one query to draw. Received none.")
    with canvas.style():
        captions = [_captions(row, threshold) for row in rows]
        bands = [_SQUARE + canvas.LINE * max(map(len, words)) + 0.2 for words in captions]
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
    return [(line, color, "normal") for line in canvas.wrap(text, _SQUARE, canvas.SMALL)]


def _draw_row(figure: Figure, row: Row, captions: list[_Words], y: float, band: float) -> None:
    left = canvas.MARGIN + _CELL + _BESIDE
    places = [(canvas.MARGIN, y)]
    for place in range(len(row.names)):
        line, column = divmod(place, _COLUMNS)
        places.append((left + column * _CELL, y + line * band))
    for (x, top), image, words in zip(places, (row.image, *row.images), captions, strict=True):
        _picture(figure, image, x, top)
        for k, (text, color, weight) in enumerate(words):
            baseline = top + _SQUARE + 0.02 + (k + 0.8) * canvas.LINE
            canvas.write(figure, x + _SQUARE / 2, baseline, text, color=color, weight=weight)
    if not row.names:
        for k, text in enumerate(
            canvas.wrap(row.note, canvas.WIDTH - left - canvas.MARGIN, canvas.TEXT)
        ):
            canvas.write(
                figure, left, y + _SQUARE / 2 + k * canvas.LINE, text, ha="left", size=canvas.TEXT
            )


def _picture(figure: Figure, image: Picture, x: float, y: float) -> None:
    if image is None:
        square = Rectangle((x, y), _SQUARE, _SQUARE, facecolor=canvas.WASH, hatch="///")
        square.set(edgecolor=canvas.RULE, linewidth=0)
        figure.axes[0].add_patch(square)
        return
    canvas.check_images((1, *image.shape), image.dtype)
    canvas.show(figure, image, x, y, _SQUARE, _SQUARE)
