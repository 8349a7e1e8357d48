"""What images become where a recipe leaves it open: their size and their colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from twinset.data.decoding.decode import Preprocessing
from twinset.data.image_sources import ImageSource
from twinset.errors import DataError
from twinset.settings import Count, checked

# headers read to choose size and colour: as many as tell what most are, in a blink
PROBED = 200
# pixels a side that are taken as they are: with more, a training on a CPU takes hours
LARGEST = 128


@checked
def choose_preprocessing(
    sources: Sequence[ImageSource],
    *,
    size: Literal["auto"] | Count | tuple[Count, Count] = "auto",
    colour: Literal["auto", "gray", "rgb"] = "auto",
    resize: Literal["pad", "stretch", "crop"] = "pad",
    background: Annotated[int, Field(ge=0, le=255, strict=True)] = 0,
) -> Preprocessing:
    """Decide what images become, by the headers of 200 of them where that is left open.

    Args:
        sources: the images; those looked at are spread evenly over the list.
        size: "auto", one number for squares, or (h, w); as for `read_images`.
        colour: "auto", "gray" or "rgb".
        resize: "pad", "stretch" or "crop".
        background: gray level for padding and behind transparency, 0 to 255.
    """
    # All but the sources are the section `images` of a recipe, and its words there.
    if size == "auto" or colour == "auto":
        sizes, grays = _headers(sources)
        if colour == "auto":
            colour = "gray" if all(grays) else "rgb"
        if size == "auto":
            width, height = sizes[0]
            alike = len(set(sizes)) == 1 and max(width, height) <= LARGEST
            size = (height, width) if alike else LARGEST
    height, width = (size, size) if isinstance(size, int) else size
    shape = (height, width) if colour == "gray" else (height, width, 3)
    return Preprocessing(shape, resize=resize, background=background)


def _headers(sources: Sequence[ImageSource]) -> tuple[list[tuple[int, int]], list[bool]]:
    sizes, grays, failure = [], [], None
    # spread evenly, since the first of a folder may all be of one class
    chosen = np.unique(np.linspace(0, len(sources) - 1, PROBED).round().astype(int))
    for position in chosen.tolist():
        try:
            width, height, mode = sources[position].probe()
        except DataError as error:
            failure = error
            continue
        sizes.append((width, height))
        grays.append(mode in ("1", "L", "LA", "F") or mode.startswith("I"))
    if not sizes:
        raise DataError(
            f"Expected images that can be read. All of {len(chosen)} failed, the last: {failure}"
        )
    return sizes, grays
