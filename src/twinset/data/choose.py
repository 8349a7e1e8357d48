"""What images become where a recipe leaves it open: size, colour, and what is behind them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource, Remark
from twinset.errors import DataError
from twinset.settings import Count, checked

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
            f"`--set images.background={best}` (or `background` of `load_images`) hides "
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


# headers read to choose size and colour: as many as tell what most are, in a blink
PROBED = 200
# pixels a side that are taken as they are: with more, a training on a CPU takes hours
LARGEST = 128
DECODED = 32  # transparent images that are looked at themselves


class Looked:
    """Some of many images: what their headers say, and what the transparent ones show."""

    # Each is read once: in a large table to go through the images takes as long as to read it.
    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = sources
        self.count = min(PROBED, len(sources))
        self.failure: DataError | None = None
        self._contents: dict[tuple[int, ...], list[Content]] = {}

    @cached_property
    def headers(self) -> list[_Header]:
        """List size and mode of those that can be read."""
        found = []
        for position in _spread(len(self._sources), PROBED):
            try:
                width, height, mode = self._sources[position].probe()
            except DataError as error:
                self.failure = error
                continue
            found.append(_Header(position, (width, height), mode))
        return found

    def contents(self, shape: tuple[int, ...]) -> list[Content]:
        """List what transparent ones show in the colours of a shape, (h, w) or (h, w, 3)."""
        colours = shape[2:]
        if colours not in self._contents:
            clear = [header for header in self.headers if header.mode[-1] in "Aa"]
            chosen = [clear[at] for at in _spread(len(clear), DECODED)]
            seen = (content_of(self._sources[one.position], one.size, colours) for one in chosen)
            self._contents[colours] = [content for content in seen if content is not None]
        return self._contents[colours]

    def remarks(self, preprocessing: Preprocessing) -> tuple[Remark, ...]:
        """Tell what people must know of what a preprocessing makes of them."""
        contents = self.contents(preprocessing.shape)
        return tuple(about_ground(contents, preprocessing.background))


@checked
def choose_preprocessing(
    sources: Sequence[ImageSource] | Looked,
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
        size: "auto", one number for squares, or (h, w); as for `load_images`.
        colour: "auto", "gray" or "rgb".
        resize: "pad", "stretch" or "crop".
        background: gray level for padding and behind transparency, 0 to 255; "auto" is 0, or what
            hides the content of fewer transparent images.
        largest: pixels of the longer side up to which "auto" takes images as they are, where all
            are alike; others become squares of it, or of their own longest side.
    """
    # All but the sources are the section `images` of a recipe, and its words there.
    looked = sources if isinstance(sources, Looked) else Looked(sources)
    if "auto" in (size, colour, background) and not looked.headers:
        raise DataError(
            f"Expected images that can be read. All of {looked.count} failed, the "
            f"last: {looked.failure}"
        )
    if colour == "auto":
        colour = "gray" if all(header.gray for header in looked.headers) else "rgb"
    if size == "auto":
        sizes = {header.size for header in looked.headers}
        longest = max(map(max, sizes))
        alike = len(sizes) == 1 and longest <= largest
        width, height = next(iter(sizes)) if alike else [min(largest, longest)] * 2
        size = (height, width)
    height, width = (size, size) if isinstance(size, int) else size
    shape = (height, width) if colour == "gray" else (height, width, 3)
    if background == "auto":
        background = best_ground(looked.contents(shape))
    return Preprocessing(shape, resize=resize, background=background)


class _Header(NamedTuple):
    position: int
    size: tuple[int, int]  # width, height
    mode: str

    @property
    def gray(self) -> bool:
        return self.mode in ("1", "L", "LA", "F") or self.mode.startswith("I")


def _spread(count: int, most: int) -> list[int]:
    # evenly, since the first of a folder may all be of one class
    chosen: list[int] = np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
    return chosen if count else []
