"""Pairs of images, one above the other, with ground truth and verdict in words under each."""

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
from twinset.figures.canvas import LINE, SMALL, TEXT
from twinset.figures.sheet import MARGIN, check_images, proportion, sheet, show, write, write_lines

# Lengths in inches, here and below.
CELL, IMAGE, GAP = 1.0, 0.82, 0.03


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

    Args:
        left: uint8 images of shape (p, h, w) or (p, h, w, 3).
        right: uint8 images of the same shape.
        same: ground truth of shape (p,), 1 or True for the same class.
        distances: shape (p,), written under each pair. Defaults to no distances.
        threshold: a match is `distance <= threshold`. The verdict is written under each pair; a
            wrong one gets a cross and a dashed frame. Defaults to no verdicts.
        titles: the class names of each pair, such as "Shirt / Coat". Defaults to none.
        columns: pairs side by side before the next band begins. Defaults to 5.
        heading: a line above all pairs. Defaults to none.

    Raises:
        DataError: no pairs, more than one picture can hold, or shapes that do not fit together.
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
