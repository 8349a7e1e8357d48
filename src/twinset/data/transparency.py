"""What is behind transparent images: a gray level on which they can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource, Remark
from twinset.errors import DataError

# of equally good ones the first
GROUNDS = (0, 255, 128)
SIDE = 64  # pixels at which they are looked at
_CLOSE = 32  # gray levels: content no farther from what is behind it is hardly seen
_CLEAR = 0.02  # with less of its area transparent, an image has next to nothing behind it


class Content(NamedTuple):
    """What a transparent image shows where it is not transparent."""

    opacity: NDArray[np.float64]  # (h, w)
    levels: NDArray[np.float64]  # (h, w, channels)

    def hidden(self, ground: int) -> bool:
        """Tell whether most of it is of about a gray level."""
        close = (np.abs(self.levels - ground) <= _CLOSE).all(2)
        return bool(self.opacity[close].sum() > self.opacity.sum() / 2)


def content_of(
    source: ImageSource, size: tuple[int, int], colours: tuple[int, ...]
) -> Content | None:
    """Look at an image of a size; None for one that has nothing behind it, or cannot be read."""
    width, height = size
    small = (min(height, SIDE), min(width, SIDE), *colours)
    try:
        image = source.encoded()
        # on black and on white: what differs is what is behind it
        black, white = (
            Preprocessing(small, "stretch", ground).pixels(image).astype(np.float64)
            for ground in (0, 255)
        )
    except DataError:  # told where it is decoded for good
        return None
    opacity = 1 - (white - black).reshape(*small[:2], -1).mean(2) / 255
    if np.mean(1 - opacity) < _CLEAR:
        return None
    # thin strokes are faint when small; the faintest pixels have no level that can be told
    opacity[opacity < min(0.05, opacity.max() / 2)] = 0
    levels = black.reshape(*small[:2], -1) / np.maximum(opacity, 1e-9)[..., None]
    return Content(opacity, levels) if opacity.any() else None


def best_ground(contents: Sequence[Content]) -> int:
    """Choose the gray level that hides the fewest."""
    return min(GROUNDS, key=lambda ground: sum(one.hidden(ground) for one in contents))


def about_ground(contents: Sequence[Content], ground: int) -> Iterator[Remark]:
    """Tell whether they can be seen, and why the gray level is what it is."""
    best = best_ground(contents)
    hidden, least, usual = (
        sum(one.hidden(at) for one in contents) for at in (ground, best, GROUNDS[0])
    )
    if hidden:
        instead = (
            f"`--set images.background={best}` (or `background` of `read_images`) hides "
            f"{least or 'none'}"
            if least < hidden
            else "no gray level shows all of them, so lay them over a colour of your own"
        )
        yield Remark(
            "warning",
            f"{hidden} of {len(contents)} transparent images that were looked at can hardly be "
            f"seen on a background of {ground}, as most of what they show is of about that gray: "
            f"{instead}.",
        )
    elif usual:
        yield Remark(
            "note",
            f"Transparent images are laid over a background of {ground}: on {GROUNDS[0]}, {usual} "
            f"of {len(contents)} that were looked at could hardly be seen.",
        )
