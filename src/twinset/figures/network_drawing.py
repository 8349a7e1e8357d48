"""The siamese network as a drawing that needs no system package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from twinset.figures import canvas
from twinset.figures.canvas import INK, LARGE, MUTED, RULE, SMALL, WASH, WIDTH

# Lengths in inches, here and below.
EDGE, ROW, BOX, ARROW = 0.15, 0.22, 0.44, 0.34
LEFT, RIGHT, MIDDLE = 0.28 * WIDTH, 0.72 * WIDTH, 0.5 * WIDTH
MAX_ROWS = 40


@dataclass(frozen=True)
class LayerRow:
    """One layer of the encoder; an "InputLayer" names the shape of the images, in no row."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...]  # for one image, without the batch
    weights: int


def network(layers: Sequence[LayerRow], *, heading: str) -> Figure:
    """Draw two images that go through one and the same encoder, and what becomes of them."""
    rows = [layer for layer in layers if layer.kind != "InputLayer"]
    inputs = [layer.output_shape for layer in layers if layer.kind == "InputLayer"]
    total = sum(layer.weights for layer in rows)
    table = [(row.name, row.kind, _shape(row.output_shape), f"{row.weights:,}") for row in rows]
    # a network of hundreds of layers would be a drawing of many pages
    if len(rows) > MAX_ROWS:
        middle = slice(MAX_ROWS // 2, -(MAX_ROWS // 2 - 1))
        hidden = rows[middle]
        weights = sum(layer.weights for layer in hidden)
        table[middle] = [(f"… {len(hidden):,} more layers", "", "", f"{weights:,}")]
    stack = 0.3 + ROW * (len(table) + 1) + 0.1
    with canvas.style():
        figure, sheet = canvas.blank(WIDTH, 2 * EDGE + 0.3 + 4 * BOX + 4 * ARROW + stack)
        _write(sheet, MIDDLE, EDGE + 0.1, heading, WIDTH - 2 * EDGE, size=LARGE, weight="bold")
        y = EDGE + 0.3
        shape = _shape(inputs[0]) if inputs else ""
        y = _twins(sheet, y, "image", shape)
        y = _arrows(sheet, y, (LEFT, LEFT), (RIGHT, RIGHT))
        y = _encoder(sheet, y, stack, table, total)
        y = _arrows(sheet, y, (LEFT, LEFT), (RIGHT, RIGHT))
        y = _twins(sheet, y, "embedding", _shape(rows[-1].output_shape))
        y = _arrows(sheet, y, (LEFT, MIDDLE - 0.2), (RIGHT, MIDDLE + 0.2))
        y = _box(sheet, MIDDLE, y, "Euclidean distance", "of the two embeddings")
        y = _arrows(sheet, y, (MIDDLE, MIDDLE))
        _box(sheet, MIDDLE, y, "output", "one number; smaller is closer")
    return figure


def _shape(shape: tuple[int | None, ...]) -> str:
    return "\N{MULTIPLICATION SIGN}".join("any" if size is None else str(size) for size in shape)


def _twins(sheet: Axes, y: float, what: str, shape: str) -> float:
    _box(sheet, LEFT, y, f"left {what}", shape)
    return _box(sheet, RIGHT, y, f"right {what}", shape)


def _box(sheet: Axes, x: float, y: float, text: str, detail: str) -> float:
    # its centre is at x; gives where it ends
    _panel(sheet, x - 1.02, y, 2.04, BOX, "white")
    middle = y + BOX / 2
    _write(sheet, x, middle - (0.075 if detail else 0.0), text, 1.95, weight="bold")
    _write(sheet, x, middle + 0.09, detail, 1.95, color=MUTED)
    return y + BOX


def _write(sheet: Axes, x: float, y: float, text: str, width: float, **look: Any) -> None:
    look = {"ha": "center", "size": SMALL, "weight": "normal", **look}
    for line in canvas.fit(text, width, look["size"], weight=look["weight"]):
        # up to the baseline: centring on the letters would make a row dance
        sheet.text(x, y + 0.0045 * look["size"], line, va="baseline", **look)


def _panel(sheet: Axes, x: float, y: float, width: float, height: float, color: str) -> None:
    box = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06")
    box.set(facecolor=color, edgecolor=MUTED, linewidth=1.0)
    sheet.add_patch(box)


def _arrows(sheet: Axes, y: float, *lanes: tuple[float, float]) -> float:
    look = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.2, "shrinkA": 2, "shrinkB": 2}
    for start, end in lanes:
        sheet.annotate("", (end, y + ARROW), (start, y), arrowprops=look)
    return y + ARROW


def _encoder(
    sheet: Axes, y: float, height: float, table: list[tuple[str, str, str, str]], total: int
) -> float:
    _panel(sheet, EDGE, y, WIDTH - 2 * EDGE, height, WASH)
    text = f"one shared encoder: {total:,} weights for both images"
    _write(sheet, MIDDLE, y + 0.17, text, WIDTH - 2 * EDGE - 0.2, weight="bold")
    columns = (0.3, "left", 1.3), (1.68, "left", 1.1), (3.83, "right", 0.98), (4.7, "right", 0.82)
    for i, cells in enumerate([("layer", "kind", "output", "weights"), *table]):
        middle = y + 0.3 + (i + 0.5) * ROW
        for cell, (x, align, width) in zip(cells, columns, strict=True):
            _write(sheet, x, middle, cell, width, ha=align, color=INK if i else MUTED)
        if i:
            top = middle - ROW / 2
            sheet.plot((0.3, 4.7), (top, top), color=RULE, linewidth=0.6)
    return y + height
