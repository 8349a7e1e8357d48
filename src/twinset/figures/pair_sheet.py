"""Pairs of images, one above the other, with the truth and the verdict in words under each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import LARGE, LINE, SMALL, TEXT

# Lengths in inches, here and below.
CELL, IMAGE, GAP, MARGIN = 1.0, 0.82, 0.03, 0.1
MAX_HEIGHT = 65_000 / canvas.DPI  # the renderer ends at 2^16 pixels


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
        same: truth of shape (p,), 1 or True for the same class.
        distances: shape (p,), written under each pair. Defaults to no distances.
        threshold: a match is `distance <= threshold`. The verdict is written under each pair; a
            wrong one gets a cross and a dashed frame. Defaults to no verdicts.
        titles: the class names of each pair, such as "Shirt / Coat". Defaults to none.
        columns: pairs side by side before the next band begins. Defaults to 5.
        heading: a line above all pairs. Defaults to none.

    Raises:
        DataError: no pairs, more than one picture can hold, or shapes that do not fit together.
    """
    left, right, truth = np.asarray(left), np.asarray(right), np.asarray(same).astype(bool)
    d = None if distances is None else np.asarray(distances, np.float64)
    _check(left, right, same=truth, distances=d, titles=titles)
    if threshold is not None and d is None:
        raise DataError("Expected distances along with the threshold. Received no distances.")
    captions = [
        _Caption(bool(truth[i]), None if d is None else float(d[i]), threshold)
        for i in range(len(truth))
    ]
    with canvas.style():
        layout = _Layout(
            len(truth),
            columns,
            heading or "",
            image=IMAGE * min(max(left.shape[1] / left.shape[2], 0.25), 3.0),
            above=0.0 if titles is None else 2 * LINE,
            below=LINE * len(captions[0].lines),
            legend=[] if threshold is None else _legend(captions, threshold),
        )
        layout.check()
        figure = layout.sheet()
        for i, caption in enumerate(captions):
            title = "" if titles is None else titles[i]
            _draw_pair(figure, layout, i, (left[i], right[i]), title, caption)
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


@dataclass(frozen=True)
class _Layout:
    """Says where things go: a pair is titles (`above`), two images, and a caption (`below`)."""

    count: int
    columns: int
    heading: str
    image: float
    above: float
    below: float
    legend: list[str]

    @property
    def band(self) -> float:
        return self.above + 2 * self.image + GAP + 0.06 + self.below + 0.22

    @property
    def width(self) -> float:
        """At least three columns, so that a heading over one pair has room."""
        return max(3, min(self.columns, self.count)) * CELL + 2 * MARGIN

    @property
    def heading_lines(self) -> list[str]:
        width = self.width - 2 * MARGIN
        return canvas.fit(self.heading, width, LARGE, lines=2, weight="bold")

    @property
    def top(self) -> float:
        lines = len(self.heading_lines)
        return MARGIN + (lines * 0.2 + 0.12 if lines else 0.0)

    @property
    def bottom(self) -> float:
        return MARGIN + LINE * len(self.legend) if self.legend else 0.0

    @property
    def height(self) -> float:
        return self.top + math.ceil(self.count / self.columns) * self.band + self.bottom

    def place(self, i: int) -> tuple[float, float]:
        """Give the top left corner of pair i."""
        band, column = divmod(i, self.columns)
        used = min(self.columns, self.count)
        return (self.width - used * CELL) / 2 + column * CELL, self.top + band * self.band

    def check(self) -> None:
        if self.columns < 1:
            raise DataError(f"Expected at least 1 column. Received {self.columns}.")
        if max(self.width, self.height) > MAX_HEIGHT:
            raise DataError(
                f"Expected pairs that fit a picture of {MAX_HEIGHT:.0f} inches. Received "
                f"{self.count} in {self.columns} columns, which need {self.width:.0f} by "
                f"{self.height:.0f}: draw fewer."
            )

    def sheet(self) -> Figure:
        """Make the figure with its heading and legend."""
        figure, _ = canvas.blank(self.width, self.height)
        for row, text in enumerate(self.heading_lines):
            y = MARGIN + 0.17 + 0.2 * row
            _write(figure, self.width / 2, y, text, size=LARGE, weight="bold")
        for row, text in enumerate(self.legend):
            y = self.height - self.bottom + 0.06 + row * LINE
            _write(figure, self.width / 2, y, text, size=SMALL, color=canvas.MUTED)
        return figure


def _draw_pair(
    figure: Figure,
    layout: _Layout,
    i: int,
    images: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    title: str,
    caption: _Caption,
) -> None:
    x, y = layout.place(i)
    middle = x + CELL / 2
    if caption.wrong:
        frame = Rectangle((x + 0.02, y - 0.06), CELL - 0.04, layout.band - 0.08, fill=False)
        frame.set(edgecolor=canvas.INK, linewidth=1.2, linestyle=(0, (4, 2.5)))
        figure.axes[0].add_patch(frame)
    y += layout.above
    names = canvas.fit(title, CELL - 0.1, SMALL, lines=2)
    for row, text in enumerate(reversed(names)):
        _write(figure, middle, y - 0.065 - row * LINE, text, size=SMALL, color=canvas.MUTED)
    for image in images:
        tall, across = image.shape[:2]
        scale = min(IMAGE / across, layout.image / tall)  # a panorama does not fill its place
        width, height = across * scale, tall * scale
        top = y + (layout.image - height) / 2
        canvas.picture(figure, image, (middle - width / 2, top, width, height))
        y += layout.image + GAP
    truth, *rest = caption.lines
    color = canvas.SAME if caption.same else canvas.DIFFERENT
    y += 0.14
    _write(figure, middle, y, truth, size=TEXT, color=color, weight="bold")
    for row, text in enumerate(rest, start=1):
        weight = "bold" if text.startswith("✗") else "normal"
        _write(figure, middle, y + row * LINE, text, size=SMALL, weight=weight)


def _write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    # on the baseline: tops and bottoms depend on the letters, so neighbours would not align
    figure.axes[0].text(x, y, text, ha="center", va="baseline", **look)


def _distinct(distance: float, threshold: float | None) -> str:
    """Write a distance with as many digits as tell it from the threshold."""
    for digits in range(3, 8):
        text = _number(distance, digits)
        if threshold is None or distance == threshold or text != _number(threshold, digits):
            break
    return text


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.{digits - 2}f}"


def _check(left: NDArray[Any], right: NDArray[Any], **captions: Any) -> None:
    shape = left.shape
    if shape != right.shape or not (left.ndim == 3 or (left.ndim == 4 and shape[3] == 3)):
        raise DataError(
            "Expected left and right images of one shape, (p, h, w) or (p, h, w, 3). "
            f"Received {shape} and {right.shape}."
        )
    if {left.dtype, right.dtype} != {np.dtype(np.uint8)}:
        raise DataError(
            "Expected images as uint8 pixels from 0 to 255. "
            f"Received dtypes {left.dtype} and {right.dtype}."
        )
    if left.size == 0:
        raise DataError(f"Expected at least one pair to draw. Received images of shape {shape}.")
    for name, values in captions.items():
        if values is not None and np.shape(values) != shape[:1]:
            raise DataError(
                f"Expected one entry of `{name}` per pair, shape ({shape[0]},). "
                f"Received shape {np.shape(values)}."
            )
