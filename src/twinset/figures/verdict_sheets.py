"""Images with verdicts in words: pairs one above the other, and queries beside what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

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

# Lengths in inches: of a pair's column, and of a square beside its query.
CELL, IMAGE, GAP = 1.0, 0.82, 0.03
_SQUARE_CELL, _SQUARE, _BESIDE = 0.94, 0.86, 0.1
_COLUMNS = 4  # beside the query

Picture = NDArray[np.uint8] | None
_Words = list[tuple[str, str, str]]  # text, colour, weight of each line


def pairs(
    left: NDArray[np.uint8],
    right: NDArray[np.uint8],
    same: ArrayLike,
    *,
    distances: ArrayLike | None = None,
    threshold: float | None = None,
    titles: Sequence[str] | None = None,
    columns: int = 5,
    heading: str | None = None,
) -> Figure:
    """Draw pairs of images, one column per pair: left image above, right image below.

    Images are uint8 of shape (p, h, w) or (p, h, w, 3); `same` is the ground truth, (p,). Under
    each pair stand its distance and, given a threshold, the verdict: a wrong one gets a cross and a
    dashed frame. `titles` are the class names of each pair.
    """
    left, right, labels = np.asarray(left), np.asarray(right), np.asarray(same).astype(bool)
    apart = None if distances is None else np.asarray(distances, np.float64)
    _check(left, right, same=labels, distances=apart, titles=titles)
    if threshold is not None and apart is None:
        raise DataError("Expected distances along with the threshold. Received no distances.")
    if columns < 1:
        raise DataError(f"Expected at least 1 column. Received {columns}.")
    captions = [
        _Caption(bool(labels[i]), None if apart is None else float(apart[i]), threshold)
        for i in range(len(labels))
    ]
    legend = [] if threshold is None else _legend(captions, threshold)
    tall = IMAGE * proportion(left.shape)
    above = 0.0 if titles is None else 2 * LINE
    band = above + 2 * tall + GAP + 0.06 + LINE * len(captions[0].lines) + 0.22
    used = min(columns, len(labels))
    # at least three columns, so that a heading over one pair has room
    width = max(3, used) * CELL + 2 * MARGIN
    height = math.ceil(len(labels) / columns) * band
    with canvas.style():
        bottom = MARGIN + LINE * len(legend) if legend else 0.0
        figure, top = sheet(height + bottom, heading, width)
        write_lines(figure, width / 2, top + height, legend, color=canvas.MUTED)
        for i, caption in enumerate(captions):
            row, column = divmod(i, columns)
            x, y = (width - used * CELL) / 2 + column * CELL, top + row * band
            # marked by shape, not by colour, for print and for the colour-blind
            if caption.wrong:
                _frame(figure, x, y, band)
            _draw_title(figure, "" if titles is None else titles[i], x + CELL / 2, y + above)
            _draw_pair(figure, (left[i], right[i]), caption, x + CELL / 2, y + above, tall)
    return figure


@dataclass(frozen=True)
class _Caption:
    same: bool
    distance: float | None
    threshold: float | None

    @property
    def match(self) -> bool | None:
        if self.distance is None or self.threshold is None:
            return None
        return self.distance <= self.threshold

    @property
    def wrong(self) -> bool:
        return self.match is not None and self.match != self.same

    @property
    def lines(self) -> list[str]:
        lines = ["same" if self.same else "different"]
        if self.distance is not None:
            lines.append(f"{_distinct(self.distance, self.threshold)} apart")
        if self.match is not None:
            lines.append(f"{'✗' if self.wrong else '✓'} {'match' if self.match else 'no match'}")
        return lines


def _legend(captions: list[_Caption], threshold: float) -> list[str]:
    wrong = sum(caption.wrong for caption in captions)
    mark = f"✗ in a dashed frame: wrong verdict ({wrong:,} of {len(captions):,})"
    return [f"match: {_number(threshold)} apart or less", mark if wrong else "no wrong verdict"]


def _frame(figure: Figure, x: float, y: float, band: float) -> None:
    frame = Rectangle((x + 0.02, y - 0.06), CELL - 0.04, band - 0.08, fill=False)
    frame.set(edgecolor=canvas.INK, linewidth=1.2, linestyle=(0, (4, 2.5)))
    figure.axes[0].add_patch(frame)


def _draw_title(figure: Figure, title: str, middle: float, y: float) -> None:
    names = canvas.fit(title, CELL - 0.1, SMALL, lines=2)
    for row, text in enumerate(reversed(names)):  # the last line is next to the images
        write(figure, middle, y - 0.065 - row * LINE, text, color=canvas.MUTED)


def _draw_pair(
    figure: Figure,
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    caption: _Caption,
    middle: float,
    y: float,
    tall: float,
) -> None:
    for image in images:
        show(figure, image, middle - IMAGE / 2, y, IMAGE, tall)
        y += tall + GAP
    same, *rest = caption.lines
    color = canvas.SAME if caption.same else canvas.DIFFERENT
    y += 0.14
    write(figure, middle, y, same, size=TEXT, color=color, weight="bold")
    for row, text in enumerate(rest, start=1):
        weight = "bold" if text.startswith("✗") else "normal"
        write(figure, middle, y + row * LINE, text, weight=weight)


def _distinct(distance: float, threshold: float | None) -> str:
    # with as many digits as tell it from the threshold
    for digits in range(3, 8):
        text = _number(distance, digits)
        if threshold is None or distance == threshold or text != _number(threshold, digits):
            break
    return text


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.{digits - 2}f}"


def _check(left: NDArray[np.uint8], right: NDArray[np.uint8], **captions: ArrayLike | None) -> None:
    check_images(left.shape, left.dtype)
    if right.shape != left.shape or right.dtype != left.dtype:
        raise DataError(
            f"Expected left and right images of one shape and dtype. Received {left.shape} and "
            f"{right.shape}, {left.dtype} and {right.dtype}."
        )
    for name, values in captions.items():
        if values is not None and np.shape(values) != left.shape[:1]:
            raise DataError(
                f"Expected one entry of `{name}` per pair, shape ({len(left)},). "
                f"Received shape {np.shape(values)}."
            )


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
        bands = [_SQUARE + LINE * max(map(len, words)) + 0.2 for words in captions]
        whole = sum(row.bands * band for row, band in zip(rows, bands, strict=True))
        figure, y = sheet(whole + LINE + MARGIN, heading)
        for k, (row, words, band) in enumerate(zip(rows, captions, bands, strict=True)):
            if k:
                rule = [MARGIN, WIDTH - MARGIN]
                figure.axes[0].plot(rule, [y - 0.06] * 2, color=canvas.RULE, linewidth=0.8)
            _draw_row(figure, row, words, y, band)
            y += row.bands * band
        told = f"match: {threshold:.4g} apart or less"
        write(figure, WIDTH / 2, y + LINE * 0.7, told, color=canvas.MUTED)
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
    return [(line, color, "normal") for line in wrap(text, _SQUARE, SMALL)]


def _draw_row(figure: Figure, row: Row, captions: list[_Words], y: float, band: float) -> None:
    left = MARGIN + _SQUARE_CELL + _BESIDE
    places = [(MARGIN, y)]
    for place in range(len(row.names)):
        line, column = divmod(place, _COLUMNS)
        places.append((left + column * _SQUARE_CELL, y + line * band))
    for (x, top), image, words in zip(places, (row.image, *row.images), captions, strict=True):
        _picture(figure, image, x, top)
        for k, (text, color, weight) in enumerate(words):
            baseline = top + _SQUARE + 0.02 + (k + 0.8) * LINE
            write(figure, x + _SQUARE / 2, baseline, text, color=color, weight=weight)
    if not row.names:
        for k, text in enumerate(wrap(row.note, WIDTH - left - MARGIN, TEXT)):
            write(figure, left, y + _SQUARE / 2 + k * LINE, text, ha="left", size=TEXT)


def _picture(figure: Figure, image: Picture, x: float, y: float) -> None:
    if image is None:
        square = Rectangle((x, y), _SQUARE, _SQUARE, facecolor=canvas.WASH, hatch="///")
        square.set(edgecolor=canvas.RULE, linewidth=0)
        figure.axes[0].add_patch(square)
        return
    check_images((1, *image.shape), image.dtype)
    show(figure, image, x, y, _SQUARE, _SQUARE)
