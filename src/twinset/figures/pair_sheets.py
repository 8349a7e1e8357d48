"""Pairs of images, with the verdict in words, or coloured by what each patch does to it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.colors import to_rgb
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
    good = left.ndim == 3 or (left.ndim == 4 and left.shape[3] == 3)
    if not good or not left.size or left.dtype != np.uint8:
        raise DataError(
            "Expected uint8 images of shape (n, h, w) or (n, h, w, 3), at least one. "
            f"Received {left.dtype} of shape {left.shape}."
        )
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


# Lengths in inches, of an image under patches that cover it.
WIDE, BAR = 2.3, 0.12
PALE = 0.6  # how much of the image is white under the colours
STRONG = 0.85  # how much the colour of the largest movement covers
CLEAR = 0.05  # of the full colour: a patch that moves less gets no frame
FRAMES = (
    "Solid frame: the patch of an image where they agree most. Dashed: where they differ most. No "
    "frame: hardly anywhere."
)

Box = tuple[int, int, int, int]


def occlusion(
    images: Sequence[NDArray[np.uint8]],
    moved: Sequence[NDArray[np.float64]],
    boxes: Sequence[Sequence[Box]],
    *,
    names: Sequence[str],
    step: int,
    limit: float,
    words: Sequence[str],
    about: str,
) -> Figure:
    """Draw two images (h, w) or (h, w, 3), and below them gray and coloured by what patches move.

    `moved` holds a number for each cell of step x step pixels, `limit` is that of the full colours.
    `boxes` are, of each image, the patches of the largest and the smallest number: top, bottom,
    left and right in pixels; the first gets a solid frame, the second a dashed one.
    """
    tall = WIDE * canvas.proportion((1, *images[0].shape))
    width = 2 * WIDE + 3 * canvas.MARGIN
    across = width - 3 * canvas.MARGIN  # a renderer draws a little wider than was measured
    with canvas.style():
        first = canvas.fit(words[0], across, canvas.SMALL, lines=4, weight="bold")
        rest = [canvas.fit(text, across, canvas.SMALL, lines=4) for text in words[1:]]
        frames = canvas.fit(FRAMES, across, canvas.SMALL, lines=3)
        small = canvas.fit(about, across, canvas.SMALL, lines=9)
        lines = len(first) + sum(map(len, rest)) + len(frames) + len(small)
        height = 2 * tall + 1.2 + lines * canvas.LINE + 0.4
        figure, y = canvas.sheet(height, None, width)
        for column, (image, numbers, framed) in enumerate(zip(images, moved, boxes, strict=True)):
            x = canvas.MARGIN + column * (WIDE + canvas.MARGIN)
            (name,) = canvas.wrap(names[column], WIDE, canvas.SMALL, lines=1) or [""]
            canvas.write(figure, x + WIDE / 2, y + 0.14, name, color=canvas.MUTED)
            canvas.show(figure, image, x, y + 0.22, WIDE, tall)
            below = y + 0.22 + tall + canvas.MARGIN
            canvas.show(figure, _coloured(image, numbers, step, limit), x, below, WIDE, tall)
            _frame_patches(figure, image, numbers / limit, framed, x, below, WIDE, tall)
        y += 0.22 + 2 * tall + 2 * canvas.MARGIN
        _bar(figure, y, limit)
        y += 0.62
        for k, (text, look) in enumerate(
            [
                (first, {"weight": "bold"}),
                *((each, {}) for each in rest),
                (frames, {}),
                (small, {"color": canvas.MUTED}),
            ]
        ):
            y += 0.08 * (k in (1, len(words), len(words) + 1))
            canvas.write_lines(figure, canvas.MARGIN, y, text, ha="left", **look)
            y += len(text) * canvas.LINE
    return figure


def _coloured(
    image: NDArray[np.uint8], numbers: NDArray[np.float64], step: int, limit: float
) -> NDArray[np.uint8]:
    # gray below the colours, or those of the image would be taken for them
    height, width = image.shape[:2]
    gray = image.astype(np.float64)
    if gray.ndim == 3:
        gray = gray @ (0.299, 0.587, 0.114)
    base = (255 * PALE + (1 - PALE) * gray)[..., None]
    far = np.repeat(np.repeat(numbers / limit, step, 0), step, 1)[:height, :width, None]
    return (base + STRONG * np.abs(far) * (_colour(far) - base)).clip(0, 255).astype(np.uint8)


def _colour(far: NDArray[np.float64]) -> NDArray[np.float64]:
    same, different = (255 * np.asarray(to_rgb(name)) for name in (canvas.SAME, canvas.DIFFERENT))
    return np.where(far > 0, same, different)


def _frame_patches(
    figure: Figure,
    image: NDArray[np.uint8],
    numbers: NDArray[np.float64],
    boxes: Sequence[Box],
    x: float,
    y: float,
    width: float,
    height: float,
) -> None:
    scale = min(width / image.shape[1], height / image.shape[0])
    x += (width - scale * image.shape[1]) / 2
    y += (height - scale * image.shape[0]) / 2
    marks = ((numbers.max(), "-"), (-numbers.min(), (0, (3, 2))))
    for (far, line), (top, bottom, left, right) in zip(marks, boxes, strict=True):
        if far > CLEAR:
            place = (x + scale * left, y + scale * top)
            frame = Rectangle(place, scale * (right - left), scale * (bottom - top), fill=False)
            frame.set(edgecolor=canvas.INK, linewidth=1.3, linestyle=line, zorder=3)
            figure.axes[0].add_patch(frame)


def _bar(figure: Figure, y: float, limit: float) -> None:
    width = float(figure.get_size_inches()[0]) - 1.4
    axes = canvas.inset(figure, 0.7, y, width, BAR)
    far = np.linspace(-1, 1, 255)[None, :, None]
    base = np.full_like(far, 255 * (PALE + (1 - PALE) / 2))
    colours = (base + STRONG * np.abs(far) * (_colour(far) - base)).astype(np.uint8)
    axes.imshow(colours, aspect="auto", extent=(-limit, limit, 0, 1))
    said = (
        (f"−{limit:.2g}", "they differ here"),
        ("0", "distance moves, if covered, by"),
        (f"+{limit:.2g}", "they agree here"),
    )
    axes.set_xticks([-limit, 0, limit], ["\n".join(each) for each in said])
    axes.set_yticks([])
    axes.tick_params(color=canvas.RULE, labelcolor=canvas.INK, labelsize=canvas.SMALL, length=3)
