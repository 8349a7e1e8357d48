"""A sheet of small images with words between them: placed in inches, text that keeps its bounds."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import LARGE, LINE, SMALL, WIDTH

MARGIN = 0.1  # inches
_MAX_SIDE = 65_000 / canvas.DPI  # the renderer ends at 2^16 pixels


def sheet(height: float, heading: str | None, width: float = WIDTH) -> tuple[Figure, float]:
    """Make a figure, its heading in one or two lines, and tell where what follows begins.

    Args:
        height: of what follows, in inches, with the lower margin.
        heading: a line above; None for none.
        width: in inches. Defaults to that of all figures.

    Raises:
        DataError: it would be too large to be drawn.
    """
    lines = wrap(heading or "", width - 2 * MARGIN, LARGE, weight="bold")
    top = MARGIN + 0.2 * len(lines) + 0.12 * bool(lines)
    size = max(width, top + height)
    if size > _MAX_SIDE:
        raise DataError(
            f"Expected a picture of at most {_MAX_SIDE:.0f} inches. Received what needs "
            f"{size:.0f}: draw fewer."
        )
    figure, _ = canvas.blank(width, top + height)
    for row, text in enumerate(lines):
        write(figure, width / 2, MARGIN + 0.16 + 0.2 * row, text, size=LARGE, weight="bold")
    return figure, top


def check_images(shape: tuple[int, ...], dtype: Any = np.uint8) -> None:
    """Refuse what is not a set of images (n, h, w) or (n, h, w, 3) of uint8.

    Raises:
        DataError: another shape or dtype, or no image.
    """
    good = len(shape) == 3 or (len(shape) == 4 and shape[3] == 3)
    if not good or 0 in shape or dtype != np.uint8:
        raise DataError(
            "Expected uint8 images of shape (n, h, w) or (n, h, w, 3), at least one. "
            f"Received {np.dtype(dtype)} of shape {shape}."
        )


def proportion(shape: tuple[int, ...]) -> float:
    """Give the height over the width of images (n, h, w, …), within what a row can bear."""
    return float(np.clip(shape[1] / shape[2], 0.25, 3))


def show(
    figure: Figure, image: NDArray[np.uint8], x: float, y: float, width: float, height: float
) -> None:
    """Draw an image (h, w) or (h, w, 3) in the middle of a place, in inches from the top left."""
    tall, across = image.shape[:2]
    scale = min(width / across, height / tall)
    # a panorama does not fill its place, and what is as thin as a hair still shows
    wide, high = (max(0.02, size * scale) for size in (across, tall))
    left, top = x + (width - wide) / 2, y + (height - high) / 2
    # on the figure's one axes: with axes of its own for each, a sheet takes three times as long
    figure.axes[0].imshow(
        image,
        cmap="gray",
        vmin=0,
        vmax=255,
        aspect="auto",
        extent=(left, left + wide, top + high, top),
        interpolation="antialiased" if across > wide * canvas.DPI else "nearest",
        zorder=2,  # over frames and hatches
    )


def write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Write one line with its baseline at y, centred at x and small unless told otherwise."""
    # on the baseline: tops and bottoms depend on the letters, so neighbours would not align
    look = {"ha": "center", "va": "baseline", "size": SMALL, **look}
    figure.axes[0].text(x, y, text, **look)


def write_lines(figure: Figure, x: float, y: float, lines: list[str], **look: Any) -> None:
    """Write lines one under the other, the first below y."""
    for row, text in enumerate(lines):
        write(figure, x, y + (row + 0.8) * LINE, text, **look)


def wrap(text: str, width: float, size: float, lines: int = 2, weight: str = "normal") -> list[str]:
    """Break a name into lines; what does not fit loses its middle, as begin and end tell most.

    Args:
        text: any; what no font here has becomes "�".
        width: in inches.
        size: of the letters, in points.
        lines: 1 or 2. Defaults to 2.
        weight: "normal" or "bold". Defaults to "normal".
    """
    text = " ".join(_drawable(text).split())
    # Measuring takes its time: no line has more characters, the letter i being 0.28 em wide.
    most = int(width * 72 / (0.25 * size))
    if len(text) > 2 * most + 1:
        text = f"{text[:most]}…{text[-most:]}"

    def fits(line: str) -> bool:
        return canvas.fit(line, width, size, weight=weight) == [line]

    rows = canvas.fit(text, width, size, lines=lines, weight=weight)
    if " ".join(rows) == text:
        return rows
    # file names have few spaces to break at
    if lines == 1:
        half = _longest(lambda k: f"{text[:k]}…{text[-k:]}", len(text) // 2, fits)
        return [f"{text[:half]}…{text[-half:]}"]
    head = _longest(lambda k: text[:k].rstrip(), len(text), fits)
    first, rest = text[:head].rstrip(), text[head:].lstrip()
    if fits(rest):
        return [first, rest]
    tail = _longest(lambda k: f"…{rest[-k:].lstrip()}", len(rest), fits)
    return [first, f"…{rest[-tail:].lstrip()}"]


def _longest(line: Callable[[int], str], most: int, fits: Callable[[str], bool]) -> int:
    # the length of the longest line that fits, 1 at least
    count = 1
    while count < most and fits(line(count + 1)):
        count += 1
    return count


def _drawable(text: str) -> str:
    # matplotlib warns of each character that no font here has, such as most emoji
    # the lone surrogates of broken file names among them
    fonts = [
        get_font(findfont(FontProperties(family=name))) for name in mpl.rcParams["font.family"]
    ]
    kept = []
    for character in text:
        if character.isspace() or any(font.get_char_index(ord(character)) for font in fonts):
            kept.append(character)
        # what only joins or colours the one before has no place of its own
        elif unicodedata.category(character) not in ("Cf", "Mn", "Me", "Sk"):
            kept.append("\ufffd")
    return "".join(kept)
