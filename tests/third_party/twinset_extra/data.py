"""A source of data: `stripes://20` is 20 images of stripes that stand and 20 that lie."""

import numpy as np

from twinset.data.image_sources import HeldSource
from twinset.data.listing import Listing
from twinset.data.sources import Asked, Source
from twinset.errors import DataError


def _read(place: str, asked: Asked) -> Listing:
    asked.refuse(place, SOURCE.takes, "classes", "image", "label", "group", "split")
    number = place.removeprefix("stripes://")
    if not number.isdigit():
        raise DataError(f"{place}: expected a number of images, as in stripes://20.")
    count = int(number)
    rng = np.random.default_rng(0)
    standing = np.repeat(rng.integers(0, 256, (count, 1, 16), np.uint8), 16, axis=1)
    lying = np.repeat(rng.integers(0, 256, (count, 16, 1), np.uint8), 16, axis=2)
    pixels = np.concatenate([standing, lying])
    return Listing(
        [HeldSource(pixels, row) for row in range(len(pixels))],
        "stripes",
        np.repeat([0, 1], count),
        ("standing", "lying"),
        place=place,
        rows=pixels,
    )


SOURCE = Source("stripes://NUMBER", lambda place: False, _read, is_path=False)
