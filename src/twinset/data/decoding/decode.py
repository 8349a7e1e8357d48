"""Any image (file, bytes, PIL, array) → the pixels a model takes; one code for training and use."""

from __future__ import annotations

import io
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, JpegImagePlugin

from twinset.data.decoding.image_file import SIDEWAYS, Box, EncodedImage, decoded, read_bytes, turn
from twinset.errors import DataError

ImageLike: TypeAlias = "str | os.PathLike[str] | EncodedImage | Image.Image | NDArray[np.uint8]"
Resize: TypeAlias = Literal["pad", "crop", "stretch"]
# Floats beyond are no gray levels, some room left for what resizing overshoots: clipped, a picture
# of heights or of a CT would be all white.
_BRIGHTEST = 300.0


@dataclass(frozen=True)
class Preprocessing:
    """How any image becomes the uint8 array that a model was trained on.

    As if in this order: the first frame is kept, the EXIF orientation is applied, the colours of
    an embedded profile become sRGB, transparency is laid over the background, the colour mode
    becomes that of `shape`, and the size is adapted (antialiased; by Hamming's kernel where it
    shrinks both ways, else bicubic). An image that has the size already keeps its pixels.

    A file that is made smaller is not decoded whole where its format allows less (JPEG at 1/2,
    1/4 or 1/8), which differs from the whole by half a gray level on average. The same file gives
    the same pixels everywhere, from a path or as `EncodedImage`.

    Example:
        >>> import numpy as np
        >>> wide = np.full((2, 4), 200, np.uint8)
        >>> Preprocessing((4, 4)).pixels(wide).tolist()
        [[0, 0, 0, 0], [200, 200, 200, 200], [200, 200, 200, 200], [0, 0, 0, 0]]
        >>> Preprocessing((2, 2), "crop").pixels(np.uint8([[10, 20, 30, 40]] * 2)).tolist()
        [[20, 30], [20, 30]]
    """

    shape: tuple[int, ...]  # (h, w) for grayscale or (h, w, 3) for colour
    # "pad" keeps the proportions and fills up with the background; "crop" keeps them, fills the
    # frame and cuts the overhang on both sides alike; "stretch" does not keep them
    resize: Resize = "pad"
    background: int = 0  # gray level from 0 (black) to 255 (white)

    def __post_init__(self) -> None:
        try:
            shape = tuple(operator.index(size) for size in self.shape)
        except TypeError:
            shape = ()
        if min(shape, default=0) < 1 or not (
            len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        ):
            raise DataError(f"Expected a shape (h, w) or (h, w, 3). Received {self.shape}.")
        if self.resize not in get_args(Resize):
            raise DataError(
                f"Expected resize 'pad', 'crop' or 'stretch'. Received {self.resize!r}."
            )
        if not (isinstance(self.background, int) and 0 <= self.background <= 255):
            raise DataError(f"Expected a background from 0 to 255. Received {self.background}.")
        object.__setattr__(self, "shape", shape)

    def pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        """Turn one image into pixels of `shape`; safe to call from many threads at once."""
        if isinstance(image, str | os.PathLike):
            image = EncodedImage(read_bytes(image), str(image))
        if isinstance(image, EncodedImage):
            with decoded(image.data, image.name, self._draft, most=image.most) as (picture, box):
                return self._adapt(picture, box)
        if isinstance(image, np.ndarray):
            return self._adapt(_from_array(image))
        if not isinstance(image, Image.Image):
            raise DataError(
                "Expected an image: a path, an EncodedImage, a PIL image or a uint8 array. "
                f"Received {type(image).__name__}."
            )
        if 0 in image.size:
            raise DataError(
                f"Expected an image with pixels. Received {image.width} x {image.height}."
            )
        return self._adapt(image)

    def _draft(self, picture: ImageFile.ImageFile) -> Box | None:
        """Ask a JPEG for 1/2, 1/4 or 1/8 of its size, where that is still enough."""
        # its box may be narrower than its last column of pixels: 1/2 of 641 are 320.5
        if not isinstance(picture, JpegImagePlugin.JpegImageFile):
            return None
        inner, box = self._fit((0, 0, *picture.size), turn(picture) in SIDEWAYS)
        # the frame is reached in both directions, or what follows would enlarge one
        reduction = min((box[2] - box[0]) / inner[0], (box[3] - box[1]) / inner[1])
        if reduction < 2:
            return None
        scale = 8 if reduction >= 8 else 4 if reduction >= 4 else 2
        gray = len(self.shape) == 2 and picture.mode == "RGB" and _transform(picture) is None
        drafted = picture.draft(
            "L" if gray else None, (picture.width // scale, picture.height // scale)
        )
        return drafted[1] if drafted else None

    def _fit(self, whole: Box, sideways: bool) -> tuple[tuple[int, int], Box]:
        """Give the size that a picture is resized to, and which box of it."""
        width, height = whole[2], whole[3]
        frame = (self.shape[0], self.shape[1]) if sideways else (self.shape[1], self.shape[0])
        if self.resize == "stretch":
            return frame, whole
        scales = frame[0] / width, frame[1] / height
        if self.resize == "pad":
            # Not by PIL's `ImageOps.pad`: it rounds the short side of a thin picture to 0, which
            # leaves the background alone.
            inner = (max(1, round(width * min(scales))), max(1, round(height * min(scales))))
            return inner, whole
        kept = min(width, frame[0] / max(scales)), min(height, frame[1] / max(scales))
        left, top = (width - kept[0]) / 2, (height - kept[1]) / 2
        return frame, (left, top, min(width, left + kept[0]), min(height, top + kept[1]))

    def _adapt(self, picture: Image.Image, whole: Box | None = None) -> NDArray[np.uint8]:
        wanted = "RGB" if len(self.shape) == 3 else "L"
        turned, transform = turn(picture), _transform(picture)
        picture = _eight_bit(picture)
        if picture.has_transparency_data:
            picture, transform = self._over_background(picture, transform), None
        if picture.mode != "L":  # gray becomes colour at the end, when it is small
            picture = _in_mode(picture, transform.input_mode if transform else wanted)
        inner, box = self._fit(whole or (0, 0, *picture.size), turned in SIDEWAYS)
        if picture.size != inner or box != (0, 0, *inner):
            # Averages by whole numbers first where it shrinks by 4 or more: up to 5 times as fast,
            # and a quarter of a gray level away on average.
            picture = picture.resize(inner, _filter(inner, box), box, reducing_gap=2.0)
        if transform:  # on the few pixels that are left
            picture = transform.apply(picture)
        picture = _in_mode(picture, wanted)
        if turned is not None:
            picture = picture.transpose(turned)
        return self._framed(np.asarray(picture))

    def _framed(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if pixels.shape == self.shape:
            return pixels
        frame = np.full(self.shape, self.background, np.uint8)
        top, left = ((self.shape[axis] - pixels.shape[axis]) // 2 for axis in (0, 1))
        frame[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return frame

    def _over_background(
        self, picture: Image.Image, transform: ImageCms.ImageCmsTransform | None
    ) -> Image.Image:
        picture = picture.convert("RGBA")
        opacity = picture.getchannel("A")
        if transform:
            gray = transform.input_mode == "L"
            picture = transform.apply(picture.getchannel("R") if gray else picture.convert("RGB"))
            picture.putalpha(opacity)
        if opacity.getextrema() == (255, 255):  # as most of the transparent files of the Web
            return picture
        ground = Image.new("RGBA", picture.size, (self.background,) * 3 + (255,))
        return Image.alpha_composite(ground, picture)


def _filter(size: tuple[int, int], box: Box) -> Image.Resampling:
    """Choose how to resize: where it shrinks, half of bicubic's taps keep as much detail."""
    # both ways: a picture that grows one way wants bicubic's smoothness there
    shrinks = size[0] <= box[2] - box[0] and size[1] <= box[3] - box[1]
    return Image.Resampling.HAMMING if shrinks else Image.Resampling.BICUBIC


_PROFILED = {
    **dict.fromkeys(("1", "L", "LA", "I;16", "I;16L", "I;16B", "I"), "L"),
    **dict.fromkeys(("RGB", "RGBA", "RGBX", "P", "PA", "YCbCr"), "RGB"),
    "CMYK": "CMYK",
}


def _transform(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Give the transform from the profile embedded in a picture to sRGB, if it needs one."""
    profile, mode = picture.info.get("icc_profile"), _PROFILED.get(picture.mode)
    if not isinstance(profile, bytes) or not profile or mode is None:
        return None
    return to_srgb(profile, mode)


def _in_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == "LAB":  # Pillow converts it to colour only
        picture = picture.convert("RGB")
    return picture if picture.mode == mode else picture.convert(mode)


def _from_array(array: NDArray[Any]) -> Image.Image:
    good_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not good_shape or 0 in array.shape:
        raise DataError(
            "Expected an image as uint8 of shape (h, w), (h, w, 3) or (h, w, 4). "
            f"Received {array.dtype} of shape {array.shape}."
        )
    return Image.fromarray(array)


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale 16-bit and float grays to 8 bit, where PIL's own `convert` would clip them."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture)
        # v / 257, rounded: no 16-bit number lies half-way between two levels
        gray = _by_bands(deep, lambda band: (band.clip(0, 65535).astype(np.uint32) + 128) // 257)
    elif picture.mode == "F":
        deep = np.asarray(picture)
        with np.errstate(invalid="ignore", over="ignore"):  # some NaNs signal
            # below 0 may be a mark for what is missing, which becomes black
            most = float(deep.max(where=np.isfinite(deep), initial=0))
            if most > _BRIGHTEST:
                raise DataError(
                    f"Expected floats in [0, 1], or from 0 to 255. Received {most:g}: scale them, "
                    "or save them as grays of 16 bits."
                )
            scale = 255 if most <= 1 else 1
            gray = _by_bands(
                deep,
                lambda band: (np.nan_to_num(band.astype(np.float64)) * scale).clip(0, 255).round(),
            )
    else:
        return picture
    clear = picture.info.get("transparency")
    if clear is None:
        return gray
    # a PNG may declare one of its 65,536 grays transparent: two become one above, so find it here
    opaque = _by_bands(deep, lambda band: np.where(band == clear, 0, 255))
    return Image.merge("LA", (gray, opaque))


def _by_bands(deep: NDArray[Any], levels: Callable[[NDArray[Any]], NDArray[Any]]) -> Image.Image:
    """Apply a function to some rows at a time: its numbers may be eight times those of a byte."""
    gray = np.empty(deep.shape, np.uint8)
    rows = max(1, 2**20 // deep.shape[1])
    for top in range(0, len(deep), rows):
        gray[top : top + rows] = levels(deep[top : top + rows])
    return Image.fromarray(gray)


# What an embedded profile can describe: gray, colour, inks.
MODES = ("L", "RGB", "CMYK")

# CMYK profiles are the largest, at one or two MiB.
_MAX_PROFILE_BYTES = 4 * 2**20
_LEVELS = np.arange(0, 256, 17, dtype=np.uint8)  # 0 and 255 are among them
_CUBE = np.stack(np.meshgrid(_LEVELS, _LEVELS, _LEVELS), axis=-1).reshape(1, -1, 3)
_RAMP = np.arange(256, dtype=np.uint8)[np.newaxis]


@lru_cache(maxsize=16)
def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Make the transform from an embedded profile to sRGB, where that changes colours."""
    # A profile that moves no colour of a coarse cube by more than two levels is sRGB itself, which
    # has many names and spellings. Making a transform takes 2 ms to 200 ms; it serves many threads.
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
