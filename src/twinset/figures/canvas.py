"""The one look of all figures: sheets of small images, text that fits, PNG equal byte by byte."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.textpath import text_to_path
from numpy.typing import ArrayLike, NDArray

from twinset.errors import DataError
from twinset.files import write_bytes

# The Okabe-Ito blue and vermilion, the latter darkened until text in it reads on white (4.8 : 1).
SAME, DIFFERENT = "#0072B2", "#C24E00"
INK, MUTED, RULE, WASH = "#1F2430", "#5C6370", "#C9CDD3", "#F4F5F7"

WIDTH = 5.0  # inches
TEXT, SMALL, LARGE = 9.0, 8.5, 11.0  # points
LINE = 0.165  # inches from one line of text to the next
DPI = 200
MARGIN = 0.1  # inches, around a sheet
_MAX_SIDE = 65_000 / DPI  # the renderer ends at 2^16 pixels

# Class names come in every script, and DejaVu Sans, which matplotlib ships, has no CJK.
_FALLBACKS = (
    "Noto Sans CJK JP",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def style() -> AbstractContextManager[None]:
    """Enter the look, whatever the user's own matplotlib settings are."""
    installed = {font.name for font in fontManager.ttflist}
    look = {
        "figure.dpi": DPI,
        "font.family": ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)],
        "font.size": TEXT,
        "text.color": INK,
        "text.parse_math": False,  # the "$" in a class name is a dollar
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
    }
    return matplotlib.style.context(["default", look])


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure whose one axes spans it in inches, y counted from the top."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def inset(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes at a place given in inches from the top left corner of the figure."""
    across, down = figure.get_size_inches()
    return figure.add_axes((x / across, 1 - (y + height) / down, width / across, height / down))


def quiet(axes: Axes) -> None:
    """Leave of the frame what helps to read the numbers."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(color=RULE, labelcolor=MUTED, labelsize=SMALL, length=3)
    axes.grid(axis="y", color=RULE, linewidth=0.5, alpha=0.6)
    axes.set_axisbelow(True)


def percent(rate: float, _: object = None) -> str:
    """Write a rate in percent, as a label of an axis."""
    return f"{100 * rate:.4g}%"


def columns(what: str, *values: ArrayLike) -> list[NDArray[np.float64]]:
    """Read numbers that belong together one by one; a DataError tells if lengths differ."""
    found = [np.asarray(each, np.float64) for each in values]
    shapes = [each.shape for each in found]
    if len(set(shapes)) > 1 or len(shapes[0]) != 1 or not found[0].size:
        raise DataError(
            f"Expected {what} of one length, 1 or more. "
            f"Received shapes {', '.join(map(str, shapes[:-1]))} and {shapes[-1]}."
        )
    return found


def fit(
    text: str, width: float, size: float, *, lines: int = 1, weight: str = "normal"
) -> list[str]:
    """Break text into lines no wider than `width` inches; an ellipsis shows what was cut.

    What no font here has, such as half a character of a broken file name, becomes "�".
    """
    font = FontProperties(size=size, weight=weight)

    def fits(line: str) -> bool:
        return text_to_path.get_text_width_height_descent(line, font, False)[0] <= width * 72

    words = _drawable(text).split()
    rows = words[:1]
    for word in words[1:]:
        joined = f"{rows[-1]} {word}"
        if fits(joined):
            rows[-1] = joined
        else:
            rows.append(word)
    if len(rows) > lines:
        rows[lines - 1 :] = [f"{rows[lines - 1]} …"]
    for i, row in enumerate(rows):
        while not fits(rows[i]) and row:
            row = row.removesuffix("…")[:-1].rstrip()
            rows[i] = f"{row}…"
    return rows


def sheet(height: float, heading: str | None, width: float = WIDTH) -> tuple[Figure, float]:
    """Make a figure with a heading, and tell where what follows, of a height in inches, begins."""
    lines = wrap(heading or "", width - 2 * MARGIN, LARGE, weight="bold")
    top = MARGIN + 0.2 * len(lines) + 0.12 * bool(lines)
    size = max(width, top + height)
    if size > _MAX_SIDE:
        raise DataError(
            f"Expected a picture of at most {_MAX_SIDE:.0f} inches. Received what needs "
            f"{size:.0f}: draw fewer."
        )
    figure, _ = blank(width, top + height)
    for row, text in enumerate(lines):
        write(figure, width / 2, MARGIN + 0.16 + 0.2 * row, text, size=LARGE, weight="bold")
    return figure, top


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
        interpolation="antialiased" if across > wide * DPI else "nearest",
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

    The width is in inches, and there are one or two lines.
    """
    text = " ".join(_drawable(text).split())
    # Measuring takes its time: no line has more characters, the letter i being 0.28 em wide.
    most = int(width * 72 / (0.25 * size))
    if len(text) > 2 * most + 1:
        text = f"{text[:most]}…{text[-most:]}"

    def fits(line: str) -> bool:
        return fit(line, width, size, weight=weight) == [line]

    rows = fit(text, width, size, lines=lines, weight=weight)
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
    # a name by itself would be read as a pattern, in which "sans-serif" is none
    names = mpl.rcParams["font.family"]
    fonts = [get_font(findfont(FontProperties(family=[name]))) for name in names]
    kept = []
    for character in text:
        if character.isspace() or any(font.get_char_index(ord(character)) for font in fonts):
            kept.append(character)
        # what only joins or colours the one before has no place of its own
        elif unicodedata.category(character) not in ("Cf", "Mn", "Me", "Sk"):
            kept.append("\ufffd")
    return "".join(kept)


def legend(figure: Figure, x: float, width: float, **look: Any) -> None:
    """Say below the axes what lines and marks are, in two columns; long names are cut."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, names = axes.get_legend_handles_labels()
        found |= dict(zip(names, handles, strict=True))
    # the dots first, then the lines, which have no marks, as a band has none
    order = sorted(found, key=lambda name: _mark(found[name]) in ("None", None, ""))
    short = [" ".join(fit(name, width, TEXT)) for name in order]
    look |= {"loc": "lower left", "bbox_to_anchor": (x, 0.0), "ncols": 2, "frameon": False}
    figure.legend([found[name] for name in order], short, **look)


def _mark(handle: Any) -> Any:
    return handle.get_marker() if hasattr(handle, "get_marker") else None


def png_bytes(figure: Figure) -> bytes:
    """Render a figure as PNG; equal figures give equal bytes, as no date or version goes in."""
    buffer = io.BytesIO()
    with style():
        # compressed a little: hardly larger files in half the time
        figure.savefig(
            buffer, format="png", metadata={"Software": None}, pil_kwargs={"compress_level": 3}
        )
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file, in one step: nobody ever sees half a picture."""
    write_bytes(path, png_bytes(figure))
