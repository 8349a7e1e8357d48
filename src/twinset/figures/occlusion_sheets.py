"""Two images, and over them how far each covered patch moves their distance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from twinset.figures import canvas

# Lengths in inches.
CELL, BAR = 2.3, 0.12
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
    tall = CELL * canvas.proportion((1, *images[0].shape))
    width = 2 * CELL + 3 * canvas.MARGIN
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
            x = canvas.MARGIN + column * (CELL + canvas.MARGIN)
            (name,) = canvas.wrap(names[column], CELL, canvas.SMALL, lines=1) or [""]
            canvas.write(figure, x + CELL / 2, y + 0.14, name, color=canvas.MUTED)
            canvas.show(figure, image, x, y + 0.22, CELL, tall)
            below = y + 0.22 + tall + canvas.MARGIN
            canvas.show(figure, _coloured(image, numbers, step, limit), x, below, CELL, tall)
            _frame(figure, image, numbers / limit, framed, x, below, CELL, tall)
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


def _frame(
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
