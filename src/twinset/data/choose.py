"""What images become where a recipe leaves it open: size, colour, and what is behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource, Remark
from twinset.errors import DataError
from twinset.settings import Count, checked

# headers read to choose size and colour: as many as tell what most are, in a blink
PROBED = 200
# pixels a side that are taken as they are: with more, a training on a CPU takes hours
LARGEST = 128
# gray levels to lay transparent images over; of equally good ones the first
GROUNDS = (0, 255, 128)
_LOOKED_AT, _SIDE = 32, 64  # transparent images that are decoded for it, and their pixels a side
_CLOSE = 32  # gray levels: content no farther from what is behind it is hardly seen
_CLEAR = 0.02  # with less of its area transparent, an image has next to nothing behind it


@checked
def choose_preprocessing(
    sources: Sequence[ImageSource],
    *,
    size: Literal["auto"] | Count | tuple[Count, Count] = "auto",
    colour: Literal["auto", "gray", "rgb"] = "auto",
    resize: Literal["pad", "stretch", "crop"] = "pad",
    background: Literal["auto"] | Annotated[int, Field(ge=0, le=255, strict=True)] = "auto",
    largest: Count = LARGEST,
) -> Preprocessing:
    """Decide what images become, by the headers of 200 of them where that is left open.

    Args:
        sources: the images; those looked at are spread evenly over the list.
        size: "auto", one number for squares, or (h, w); as for `read_images`.
        colour: "auto", "gray" or "rgb".
        resize: "pad", "stretch" or "crop".
        background: gray level for padding and behind transparency, 0 to 255; "auto" is 0, or what
            hides the content of fewer transparent images.
        largest: pixels of the longer side up to which "auto" takes images as they are, where all
            are alike; others become squares of it, or of their own longest side.
    """
    # All but the sources are the section `images` of a recipe, and its words there.
    looks, failure = list[_Look](), None
    if "auto" in (size, colour, background):
        looks, failure = _looks(sources)
        if not looks:
            raise DataError(
                f"Expected images that can be read. All of {min(PROBED, len(sources))} failed, the "
                f"last: {failure}"
            )
    if colour == "auto":
        colour = "gray" if all(look.gray for look in looks) else "rgb"
    if size == "auto":
        longest = max(max(look.size) for look in looks)
        alike = len({look.size for look in looks}) == 1 and longest <= largest
        width, height = looks[0].size if alike else [min(largest, longest)] * 2
        size = (height, width)
    height, width = (size, size) if isinstance(size, int) else size
    shape = (height, width) if colour == "gray" else (height, width, 3)
    if background == "auto":
        background = _best_ground(list(_contents(sources, looks, shape)))
    return Preprocessing(shape, resize=resize, background=background)


def about_background(
    sources: Sequence[ImageSource], preprocessing: Preprocessing
) -> Iterator[Remark]:
    """Tell whether transparent images can be seen on what is behind them."""
    contents = list(_contents(sources, _looks(sources)[0], preprocessing.shape))
    ground, best = preprocessing.background, _best_ground(contents)
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


class _Look(NamedTuple):
    # what the header of an image says
    position: int
    size: tuple[int, int]
    mode: str

    @property
    def gray(self) -> bool:
        return self.mode in ("1", "L", "LA", "F") or self.mode.startswith("I")


def _looks(sources: Sequence[ImageSource]) -> tuple[list[_Look], DataError | None]:
    looks, failure = list[_Look](), None
    for position in _spread(len(sources), PROBED):
        try:
            width, height, mode = sources[position].probe()
        except DataError as error:
            failure = error
            continue
        looks.append(_Look(position, (width, height), mode))
    return looks, failure


def _spread(count: int, most: int) -> list[int]:
    # evenly, since the first of a folder may all be of one class
    chosen: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return chosen if count else []


class _Content(NamedTuple):
    # what a transparent image shows where it is not transparent
    opacity: NDArray[np.float64]  # (h, w)
    levels: NDArray[np.float64]  # (h, w, channels)

    def hidden(self, ground: int) -> bool:
        close = (np.abs(self.levels - ground) <= _CLOSE).all(2)
        return bool(self.opacity[close].sum() > self.opacity.sum() / 2)


def _contents(
    sources: Sequence[ImageSource], looks: Sequence[_Look], shape: tuple[int, ...]
) -> Iterator[_Content]:
    clear = [look for look in looks if look.mode[-1] in "Aa"]
    for at in _spread(len(clear), _LOOKED_AT):
        width, height = clear[at].size
        small = (min(height, _SIDE), min(width, _SIDE), *shape[2:])
        try:
            image = sources[clear[at].position].encoded()
            # on black and on white: what differs is what is behind it
            black, white = (
                Preprocessing(small, "stretch", ground).pixels(image).astype(np.float64)
                for ground in (0, 255)
            )
        except DataError:  # told where it is decoded for good
            continue
        opacity = 1 - (white - black).reshape(*small[:2], -1).mean(2) / 255
        if np.mean(1 - opacity) < _CLEAR:
            continue
        # thin strokes are faint when small; the faintest pixels have no level that can be told
        opacity[opacity < min(0.05, opacity.max() / 2)] = 0
        if opacity.any():
            levels = black.reshape(*small[:2], -1) / np.maximum(opacity, 1e-9)[..., None]
            yield _Content(opacity, levels)


def _best_ground(contents: Sequence[_Content]) -> int:
    return min(GROUNDS, key=lambda ground: sum(one.hidden(ground) for one in contents))
