"""Pairs of images, one above the other, with the verdict in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from twinset.decision import truth
from twinset.errors import DataError
from twinset.figures import canvas

# Lengths in inches, of a pair's column.
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

    Images are uint8 of shape (p, h, w) or (p, h, w, 3); `same` is the ground truth, (p,). Under
    each pair stand its distance and, given a threshold, the verdict: a wrong one gets a cross and a
    dashed frame. `titles` are the class names of each pair.
    """
    left, right, labels = np.asarray(left), np.asarray(right), truth(same)
    apart = None if distances is None else np.asarray(distances, np.float64)
    _check(left, right, same=labels, distances=apart, titles=titles)
    if threshold is not None and apart is None:
        raise DataError("Expected distances along with the threshold. Received no distances.")
    if columns < 1:
        raise DataError(f"Expected at least 1 column. Received {columns}.")
    far = [None] * len(labels) if apart is None else apart.tolist()
    captions = [_Caption(*each, threshold) for each in zip(labels.tolist(), far, strict=True)]
    titles = [""] * len(labels) if titles is None else titles
    legend = [] if threshold is None else _legend(captions, threshold)
    tall = IMAGE * canvas.proportion(left.shape)
    above = 2 * canvas.LINE * any(titles)
    band = above + 2 * tall + GAP + 0.06 + canvas.LINE * len(captions[0].lines) + 0.22
    used = min(columns, len(labels))
    # at least three columns, so that a heading over one pair has room
    width = max(3, used) * CELL + 2 * canvas.MARGIN
    height = math.ceil(len(labels) / columns) * band
    with canvas.style():
        bottom = canvas.MARGIN + canvas.LINE * len(legend) if legend else 0.0
        figure, top = canvas.sheet(height + bottom, heading, width)
        canvas.write_lines(figure, width / 2, top + height, legend, color=canvas.MUTED)
        for i, caption in enumerate(captions):
            row, column = divmod(i, columns)
            x, y = (width - used * CELL) / 2 + column * CELL, top + row * band
            # marked by shape, not by colour, for print and for the colour-blind
            if caption.wrong:
                _frame(figure, x, y, band)
            names = canvas.fit(titles[i], CELL - 0.1, canvas.SMALL, lines=2)
            for k, text in enumerate(reversed(names)):  # the last line is next to the images
                up = 0.065 + k * canvas.LINE
                canvas.write(figure, x + CELL / 2, y + above - up, text, color=canvas.MUTED)
            _draw_pair(figure, [left[i], right[i]], caption, x + CELL / 2, y + above)
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


def _draw_pair(
    figure: Figure, images: list[NDArray[np.uint8]], caption: _Caption, middle: float, y: float
) -> None:
    for image in images:
        tall = IMAGE * canvas.proportion((1, *image.shape))
        canvas.show(figure, image, middle - IMAGE / 2, y, IMAGE, tall)
        y += tall + GAP
    same, *rest = caption.lines
    color = canvas.SAME if caption.same else canvas.DIFFERENT
    canvas.write(figure, middle, y + 0.14, same, size=canvas.TEXT, color=color, weight="bold")
    for row, text in enumerate(rest, start=1):
        weight = "bold" if text.startswith("✗") else "normal"
        canvas.write(figure, middle, y + 0.14 + row * canvas.LINE, text, weight=weight)


def _distinct(distance: float, threshold: float | None) -> str:
    # with as many digits as tell it from the threshold
    same = threshold is None or distance == threshold
    told = (n for n in range(3, 7) if same or _number(distance, n) != _number(threshold or 0, n))
    return _number(distance, next(told, 7))


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.{digits - 2}f}"


def _check(left: NDArray[np.uint8], right: NDArray[np.uint8], **captions: ArrayLike | None) -> None:
    canvas.check_images(left.shape, left.dtype)
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
