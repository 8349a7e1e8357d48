"""The one look of all figures, text that fits, and PNG files that are equal byte by byte."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.textpath import text_to_path

from twinset.files import write_bytes

# The Okabe-Ito blue and vermilion, the latter darkened until text in it reads on white (4.8 : 1).
SAME, DIFFERENT = "#0072B2", "#C24E00"
INK, MUTED, RULE, WASH = "#1F2430", "#5C6370", "#C9CDD3", "#F4F5F7"

WIDTH = 5.0  # inches
TEXT, SMALL, LARGE = 9.0, 8.5, 11.0  # points
LINE = 0.165  # inches from one line of text to the next
DPI = 200

# Class names come in every script, and DejaVu Sans, which matplotlib ships, has no CJK.
_FALLBACKS = (
    "Noto Sans CJK JP",
    "Hiragino Sans",
    "PingFang SC",
    "Microsoft YaHei",
    "Malgun Gothic",
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


def legend(figure: Figure, found: Mapping[str, Any], x: float, width: float, **look: Any) -> None:
    """Say below the axes what lines and marks are, in two columns; long names are cut."""
    names = [" ".join(fit(name, width, TEXT)) for name in found]
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (x, 0.0), "ncols": 2}
    figure.legend(list(found.values()), names, frameon=False, **place, **look)


def named(axes: Axes) -> dict[str, Any]:
    """List what is drawn on axes by its label."""
    handles, names = axes.get_legend_handles_labels()
    return dict(zip(names, handles, strict=True))


def fit(
    text: str, width: float, size: float, *, lines: int = 1, weight: str = "normal"
) -> list[str]:
    """Break text into lines no wider than `width` inches; an ellipsis shows what was cut.

    What cannot be printed, such as half a character of a broken file name, becomes "�".
    """
    font = FontProperties(size=size, weight=weight)

    def fits(line: str) -> bool:
        return text_to_path.get_text_width_height_descent(line, font, False)[0] <= width * 72

    words = "".join(c if c.isprintable() or c.isspace() else "\ufffd" for c in text).split()
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


def png_bytes(figure: Figure) -> bytes:
    """Render a figure as PNG; equal figures give equal bytes, as no date or version goes in."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file, in one step: nobody ever sees half a picture."""
    write_bytes(path, png_bytes(figure))
