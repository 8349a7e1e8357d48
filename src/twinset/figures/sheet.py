"""A sheet of small images with words between them: placed in inches, text that keeps its bounds."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import NDArray

from twinset.errors import DataError
from twinset.figures import canvas
from twinset.figures.canvas import LARGE, SMALL, WIDTH

MARGIN = 0.1  # inches
_MAX_HEIGHT = 65_000 / canvas.DPI  # the renderer ends at 2^16 pixels


def sheet(height: float, head: Sequence[str]) -> Figure:
    """Make a figure as wide as all are, with lines of a heading.

    Args:
        height: inches.
        head: the lines.

    Raises:
        DataError: it would be too high to be drawn.
    """
    if height > _MAX_HEIGHT:
        raise DataError(
            f"Expected rows that fit a picture of {_MAX_HEIGHT:.0f} inches. Received a need of "
            f"{height:.0f}: draw fewer."
        )
    figure, _ = canvas.blank(WIDTH, height)
    for row, text in enumerate(head):
        y = MARGIN + 0.15 + 0.2 * row
        write(figure, WIDTH / 2, y, text, size=LARGE, weight="bold")
    return figure


def show(
    figure: Figure, image: NDArray[np.uint8], x: float, y: float, width: float, height: float
) -> None:
    """Draw an image.

    Args:
        figure: to draw on.
        image: uint8 of shape (h, w) or (h, w, 3).
        x: left edge, in inches.
        y: upper edge, from the top.
        width: in inches.
        height: likewise.
    """
    smooth = max(image.shape[:2]) > width * canvas.DPI
    interpolation = "antialiased" if smooth else "nearest"
    canvas.picture(figure, image, (x, y, width, height), interpolation)


def write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Write one line, centred at x and small unless told otherwise.

    Args:
        figure: to write on.
        x: inches from the left.
        y: inches from the top, of the baseline.
        text: one line.
        **look: as for matplotlib's text.
    """
    # on the baseline: tops and bottoms depend on the letters, so neighbours would not align
    look = {"ha": "center", "va": "baseline", "size": SMALL, **look}
    figure.axes[0].text(x, y, text, **look)


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
    # Measuring takes its time: no line has more signs than this, the letter i being 0.28 em wide.
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
    """Count the signs of the longest line that fits, 1 at least."""
    count = 1
    while count < most and fits(line(count + 1)):
        count += 1
    return count


def _drawable(text: str) -> str:
    """Put "�" for signs that no font here has, such as most emoji: matplotlib warns of each."""
    fonts = [
        get_font(findfont(FontProperties(family=name))) for name in mpl.rcParams["font.family"]
    ]
    kept = []
    for sign in text:
        if sign.isspace() or any(font.get_char_index(ord(sign)) for font in fonts):
            kept.append(sign)
        # what only joins or colours the sign before has no place of its own
        elif unicodedata.category(sign) not in ("Cf", "Mn", "Me", "Sk"):
            kept.append("\ufffd")
    return "".join(kept)
