"""Any image (file, PIL, array) → the pixels a model takes; one code for training and for use."""

from __future__ import annotations

import operator
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from twinset.errors import DataError, ImageFileError

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[np.uint8]"

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 2**20


@dataclass(frozen=True)
class Preprocessing:
    """States how any image becomes the uint8 array that a model was trained on.

    In this order: the EXIF orientation is applied, transparency is laid over the background, the
    first frame is kept, the colour mode becomes that of `shape`, and the size is adapted.

    Args:
        shape: (h, w) for grayscale or (h, w, 3) for colour.
        resize: "pad" keeps the proportions and fills up with the background; "stretch" does not
            keep them. Images that have the size already are not touched. Defaults to "pad".
        background: gray level from 0 (black) to 255 (white). Defaults to 0.

    Raises:
        DataError: a value out of range.

    Example:
        >>> import numpy as np
        >>> wide = np.full((2, 4), 200, np.uint8)
        >>> Preprocessing((4, 4)).pixels(wide).tolist()
        [[0, 0, 0, 0], [200, 200, 200, 200], [200, 200, 200, 200], [0, 0, 0, 0]]
    """

    shape: tuple[int, ...]
    resize: Literal["pad", "stretch"] = "pad"
    background: int = 0

    def __post_init__(self) -> None:
        try:
            shape = tuple(operator.index(size) for size in self.shape)
        except TypeError:
            shape = ()
        if min(shape, default=0) < 1 or not (
            len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)
        ):
            raise DataError(f"Expected a shape (h, w) or (h, w, 3). Received {self.shape}.")
        if self.resize not in ("pad", "stretch"):
            raise DataError(f"Expected resize 'pad' or 'stretch'. Received {self.resize!r}.")
        if not (isinstance(self.background, int) and 0 <= self.background <= 255):
            raise DataError(f"Expected a background from 0 to 255. Received {self.background}.")
        object.__setattr__(self, "shape", shape)

    def pixels(self, image: ImageLike) -> NDArray[np.uint8]:
        """Turn one image into pixels.

        Args:
            image: the path of a file, a PIL image, or uint8 pixels of shape (h, w), (h, w, 3)
                or (h, w, 4).

        Returns:
            uint8 of this preprocessing's `shape`.

        Raises:
            ImageFileError: the file is missing, empty, too large, damaged or not an image.
            DataError: the array is not an image.
        """
        if isinstance(image, Image.Image):
            picture = image
        elif isinstance(image, np.ndarray):
            picture = _from_array(image)
        elif isinstance(image, str | os.PathLike):
            picture = open_image(image)
        else:
            raise DataError(
                "Expected an image: a path, a PIL image or a uint8 array. "
                f"Received {type(image).__name__}."
            )
        if 0 in picture.size:
            raise DataError(
                f"Expected an image with pixels. Received {picture.width} x {picture.height}."
            )
        return self._adapt(picture)

    def _adapt(self, picture: Image.Image) -> NDArray[np.uint8]:
        picture = _eight_bit(_upright(picture))
        if picture.has_transparency_data:
            picture = picture.convert("RGBA")
            ground = Image.new("RGBA", picture.size, (self.background,) * 3 + (255,))
            picture = Image.alpha_composite(ground, picture)
        if picture.mode == "LAB":  # Pillow converts it to colour only
            picture = picture.convert("RGB")
        picture = picture.convert("RGB" if len(self.shape) == 3 else "L")
        size = (self.shape[1], self.shape[0])
        if picture.size != size and self.resize == "pad":
            picture = _padded(picture, size, self.background)
        elif picture.size != size:
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        return np.asarray(picture)


def open_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read an image file completely, refusing what could exhaust memory.

    Raises:
        ImageFileError: the file is missing, empty, too large, damaged or not an image.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(f"{file}: expected an image file. {reason}.") from None
    if not file.is_file():
        raise ImageFileError(f"{file}: expected an image file. Received a folder or a device.")
    if size == 0:
        raise ImageFileError(f"{file}: expected an image file. Received an empty file.")
    if size > MAX_FILE_BYTES:
        raise ImageFileError(
            f"{file}: expected at most {MAX_FILE_BYTES >> 20} MiB. Received {size >> 20} MiB: "
            "scale the image down first."
        )
    return _decode(file)


def _decode(file: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            # Pillow warns before its own limit on pixels, and of oddities in readable files.
            warnings.simplefilter("ignore")
            with Image.open(file) as picture:
                width, height = picture.size
                if width * height > MAX_PIXELS:
                    raise ImageFileError(
                        f"{file}: expected at most {MAX_PIXELS / 1e6:.0f} million pixels. "
                        f"Received {width} x {height}: scale the image down first."
                    )
                picture.load()
                return picture.copy() if getattr(picture, "is_animated", False) else picture
    except ImageFileError:
        raise
    except UnidentifiedImageError:
        raise ImageFileError(
            f"{file}: expected an image (PNG, JPEG, GIF, TIFF, WebP, …). Received something else."
        ) from None
    except Image.DecompressionBombError:
        raise ImageFileError(
            f"{file}: expected at most {MAX_PIXELS / 1e6:.0f} million pixels. "
            "Received far more: scale the image down first."
        ) from None
    except Exception as error:  # noqa: BLE001 - decoders meet hostile bytes with any exception
        raise ImageFileError(
            f"{file}: expected a whole image. Received a damaged one "
            f"({type(error).__name__}: {error})."
        ) from None


def _from_array(array: NDArray[Any]) -> Image.Image:
    good_shape = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not good_shape or 0 in array.shape:
        raise DataError(
            "Expected an image as uint8 of shape (h, w), (h, w, 3) or (h, w, 4). "
            f"Received {array.dtype} of shape {array.shape}."
        )
    return Image.fromarray(array)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(picture: Image.Image) -> Image.Image:
    """Turn a picture as its EXIF block says; a block that cannot be read says nothing.

    Not by PIL's `exif_transpose`: that also rewrites the block, and breaks where any other entry
    of it is damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - hostile bytes meet several parsers
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _padded(picture: Image.Image, size: tuple[int, int], background: int) -> Image.Image:
    """Fit a picture into the middle of a frame.

    Not by PIL's `ImageOps.pad`: it rounds the short side of a thin picture to 0, which leaves the
    background alone.
    """
    scale = min(size[0] / picture.width, size[1] / picture.height)
    inner = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    frame = Image.new(picture.mode, size, (background,) * len(picture.getbands()))
    corner = ((size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2)
    frame.paste(picture.resize(inner, Image.Resampling.BICUBIC), corner)
    return frame


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Scale 16-bit and float grays to 8 bit, where PIL's own `convert` would clip them."""
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.float64) / 257
    elif picture.mode == "F":
        with np.errstate(invalid="ignore"):  # some NaNs signal
            deep = np.nan_to_num(np.asarray(picture, dtype=np.float64))
        deep = deep * 255 if deep.max() <= 1 else deep
    else:
        return picture
    gray = Image.fromarray(np.clip(deep, 0, 255).round().astype(np.uint8))
    clear = picture.info.get("transparency")
    if clear is None:
        return gray
    # a PNG may declare one of its 65,536 grays transparent: two become one above, so find it here
    opaque = np.where(np.asarray(picture) == clear, 0, 255).astype(np.uint8)
    return Image.merge("LA", (gray, Image.fromarray(opaque)))
