"""An embedded ICC profile → colours in sRGB."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

# What an embedded profile can describe: gray, colour, inks.
MODES = ("L", "RGB", "CMYK")

# CMYK profiles are the largest, at one or two MiB.
_MAX_PROFILE_BYTES = 4 * 2**20
_LEVELS = np.arange(0, 256, 17, dtype=np.uint8)  # 0 and 255 are among them
_CUBE = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(1, -1, 3)
_RAMP = np.arange(256, dtype=np.uint8)[np.newaxis]


@lru_cache(maxsize=16)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Make the transform from an embedded profile to sRGB, where that changes colours.

    A profile that moves no colour of a coarse cube by more than two levels is sRGB itself, which
    has many names and spellings. The last few transforms are kept: making one takes 2 ms to
    200 ms, and a folder has few. One transform serves many threads: LittleCMS writes into none.

    Args:
        profile: the ICC profile.
        mode: the colour mode of the pixels that it describes, one of `MODES`.

    Returns:
        A transform to mode "RGB"; None for sRGB, and for a profile that is broken or describes
        another colour mode: it says nothing.

    Example:
        >>> srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        >>> to_srgb(srgb, "RGB") is None
        True
    """
    if len(profile) > _MAX_PROFILE_BYTES:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
        )
        if mode == "CMYK":
            return transform
        sample = Image.fromarray(_CUBE if mode == "RGB" else _RAMP)
        moved = np.asarray(transform.apply(sample)).astype(int) - np.asarray(sample.convert("RGB"))
        return transform if np.abs(moved).max() > 2 else None
    except Exception:  # noqa: BLE001 - hostile bytes; LittleCMS, Pillow and io each raise their own
        return None
