"""Images of a data set, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from twinset.errors import DataError
from twinset.figures import canvas

# Lengths in inches.
_GAP = 0.03
_NAMES = 1.2  # the column of class names


class Pixels(Protocol):
    """Images of uint8, (n, h, w) or (n, h, w, 3); they need not all be in memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""

    def __getitem__(self, rows: Any, /) -> Any: ...


def contact_sheet(
    images: Pixels,
    labels: ArrayLike,
    class_names: Sequence[str],
    *,
    per_class: int = 8,
    classes: int = 30,
    counts: bool = True,
    heading: str | None = None,
) -> Figure:
    """Draw some images of each class, one row per class, with its name and number of images.

    Only the images drawn are read; of each class, at even steps from its first to its last. A line
    tells how many classes there are beyond `classes`.
    """
    values = np.asarray(labels)
    canvas.check_images(images.shape)
    check_range(values, "labels", len(class_names))
    if values.shape != (images.shape[0],) or per_class < 1 or classes < 1:
        raise DataError(
            "Expected one label per image, and at least 1 image and 1 class to draw. Received "
            f"labels of shape {values.shape} for images of shape {images.shape}, "
            f"per_class={per_class}, classes={classes}."
        )
    rows = min(len(class_names), classes)
    cell = (canvas.WIDTH - 2 * canvas.MARGIN - _NAMES) / per_class
    tall = (cell - _GAP) * canvas.proportion(images.shape)
    row = max(tall + 2 * _GAP, 3 * canvas.LINE + 0.08)
    more = len(class_names) - rows
    with canvas.style():
        figure, top = canvas.sheet(rows * row + canvas.LINE * bool(more) + canvas.MARGIN, heading)
        for k in range(rows):
            own = np.flatnonzero(values == k)
            count = f"{len(own):,} image{'s' * (len(own) != 1)}" if counts else ""
            _name_class(figure, class_names[k], count, top + k * row, row)
            if not len(own):
                continue
            # at even steps, as neighbours in a folder are often alike
            picked = np.unique(np.linspace(0, len(own) - 1, per_class).round().astype(int))
            y = top + k * row + (row - tall) / 2
            for place, image in enumerate(images[own[picked]]):
                x = canvas.MARGIN + _NAMES + place * cell
                canvas.show(figure, image, x, y, cell - _GAP, tall)
        if more:
            text = f"and {more:,} more class{'es' * (more > 1)}"
            canvas.write(
                figure,
                canvas.WIDTH / 2,
                top + rows * row + canvas.LINE * 0.7,
                text,
                color=canvas.MUTED,
            )
    return figure


def _name_class(figure: Figure, name: str, count: str, y: float, row: float) -> None:
    lines = canvas.wrap(name, _NAMES - 0.1, canvas.TEXT)
    y += (row - (len(lines) + bool(count)) * canvas.LINE) / 2 + 0.75 * canvas.LINE
    for k, text in enumerate(lines):
        canvas.write(figure, canvas.MARGIN, y + k * canvas.LINE, text, ha="left", size=canvas.TEXT)
    if count:
        canvas.write(
            figure,
            canvas.MARGIN,
            y + len(lines) * canvas.LINE,
            count,
            ha="left",
            color=canvas.MUTED,
        )


def check_range(values: ArrayLike, what: str, count: int) -> None:
    """Refuse what is not from 0 up to below a count."""
    least, most = np.min(values, initial=0), np.max(values, initial=0)
    if least < 0 or most >= count:
        raise DataError(
            f"Expected {what} from 0 to {count - 1}. Received {least if least < 0 else most}."
        )
