"""Augmentation on the device, the same on every back end: a function of (seed, step)."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal, TypeAlias

import keras
import numpy as np
from keras import ops
from pydantic import Field

from twinset.networks.seeded import random_words
from twinset.settings import Share, checked

Part: TypeAlias = Annotated[float, Field(ge=0, le=1, strict=True)]

# Columns of random words, one row per image: what each decides.
FLIP, DOWN, RIGHT, ERASE, TOP, LEFT, HEIGHT, WIDTH, BRIGHTNESS, CONTRAST = range(10)
COLUMNS = 10
# Likewise, of words of their own: a further column would change what all others decide.
CROP_TOP, CROP_LEFT, CROP_HEIGHT, CROP_WIDTH, SATURATION, HUE = range(6)
MORE_COLUMNS = 6
# Keep the words apart from those of the dropout layers, whose seeds are small numbers.
STREAM, MORE_STREAM = 0x5EEDA06E, 0x5EEDC209


# Least and largest side of the rectangle that is erased, as shares of the image's: both sides are
# drawn apart, on average 12 % of the area.
ERASED = (0.2, 0.5)


@checked
@dataclass(frozen=True)
class Augmentation:
    """What may differ between an image and what the network sees of it.

    An image is mirrored, moved, cropped, changed in brightness and contrast, in saturation and
    hue, and a rectangle of it is erased, in this order. What is 0 or False is left out.

    Args:
        flip: mirror left and right with probability ½. "auto": where the data says that a mirror
            image shows the same; clothes do, digits do not. Defaults to False.
        shift: move by a whole number of pixels from −shift to shift, down and right, each with
            the same probability; the border's pixels are repeated. Defaults to 0.
        erase: probability to erase one rectangle, which lies anywhere inside the image; it becomes
            the image's mean colour. Defaults to 0.
        brightness: multiply by a factor from 1 − brightness to 1 + brightness. Defaults to 0.
        contrast: multiply the distance to the image's mean colour by such a factor. Defaults to 0.
        crop: cut out a rectangle and stretch it to the whole, bilinearly. Its height and width
            are drawn apart, as shares from 1 − crop to 1, and so is its place. Defaults to 0.
        saturation: multiply each pixel's distance to its own gray, the mean of its channels, by
            such a factor. Without effect on gray images, as hue. Defaults to 0.
        hue: turn the colours about the gray axis by an angle from −hue to hue half circles: with
            1, red may become anything; with 0.05, a little warmer or colder. Defaults to 0.
        mirrors: whether the data says that a mirror image shows the same. Defaults to False.

    Reference:
        Zhong et al. (2020), Random Erasing Data Augmentation.

    Example:
        >>> import numpy as np
        >>> images = np.tile(np.array([1.0, 0.5, 0.0], "float32"), (6, 1, 1))  # 6 rows of pixels
        >>> seen = Augmentation(flip=True).apply(images, seed=0, step=0)
        >>> keras.ops.convert_to_numpy(seen)[:, 0, 0].tolist()
        [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    """

    flip: Literal["auto"] | bool = False
    shift: Annotated[int, Field(ge=0, lt=2**15, strict=True)] = 0
    erase: Part = 0.0
    brightness: Part = 0.0
    contrast: Part = 0.0
    crop: Share = 0.0  # below 1, or nothing would be left
    saturation: Part = 0.0
    hue: Part = 0.0
    mirrors: bool = False

    @property
    def settings(self) -> dict[str, float]:
        """Those that do something to an image of this data, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        mirrors = found.pop("mirrors")
        if self.flip == "auto":
            found["flip"] = mirrors
        return {name: value for name, value in found.items() if value}

    def apply(self, images: Any, step: Any, *, seed: int) -> Any:
        """Augment images (b, h, w) or (b, h, w, 3): floats in [0, 1], or uint8, scaled to it.

        What becomes of row i depends on its pixels, the seed, the step and i, and on nothing else.
        Works eagerly and inside compiled graphs and loops.
        """
        x = ops.convert_to_tensor(images)
        if keras.backend.standardize_dtype(x.dtype) == "uint8":
            x = ops.cast(x, "float32") * np.float32(1 / 255)
        if not self.settings:
            return x
        count = ops.shape(x)[0]
        words = random_words((seed ^ STREAM) % 2**32, step, (count, COLUMNS))
        # Of the image as it came: to sum what was just gathered takes XLA twenty times as long.
        mean = _mean(x) if self.contrast or self.erase else None
        if "flip" in self.settings or self.shift:
            x = self._moved(x, words)
        tinted = (self.saturation or self.hue) and len(x.shape) == 4
        if self.crop or tinted:
            more = random_words((seed ^ MORE_STREAM) % 2**32, step, (count, MORE_COLUMNS))
        if self.crop:
            x = self._cropped(x, more)
        if self.brightness or self.contrast:
            x = self._lit(x, mean, words)
        if tinted:
            x = self._tinted(x, more)
        return self._erased(x, mean, words) if self.erase else x

    def _moved(self, x: Any, words: Any) -> Any:
        # One gather for both: pixel (y, x) becomes the pixel (rows[y], columns[x]).
        _, height, width = x.shape[:3]
        rows = ops.arange(height, dtype="int32")[None, :]
        columns = ops.arange(width, dtype="int32")[None, :]
        if self.shift:
            steps = 2 * self.shift + 1
            rows = ops.clip(rows - below(words, DOWN, steps) + self.shift, 0, height - 1)
            columns = ops.clip(columns - below(words, RIGHT, steps) + self.shift, 0, width - 1)
        if "flip" in self.settings:
            mirrored = below(words, FLIP, 2) == 1
            columns = ops.where(mirrored, width - 1 - columns, columns)
        return _gathered(x, rows, columns)

    def _cropped(self, x: Any, words: Any) -> Any:
        for axis, size, start in ((1, CROP_HEIGHT, CROP_TOP), (2, CROP_WIDTH, CROP_LEFT)):
            length = x.shape[axis]
            side = length * (1 - np.float32(self.crop) * uniform(words, size))  # (b, 1)
            first = (length - side) * uniform(words, start)
            # pixel i is a point of the image as it was, between two of its pixels
            centre = ops.arange(length, dtype="float32")[None, :] + np.float32(0.5)
            place = first + side * (centre / length) - np.float32(0.5)  # (b, length)
            place = ops.clip(place, 0.0, length - 1.0)
            before = ops.cast(ops.floor(place), "int32")
            share = place - ops.cast(before, "float32")
            after = ops.minimum(before + 1, length - 1)
            x = _between(_along(x, axis, before), _along(x, axis, after), share, axis)
        return x

    def _lit(self, x: Any, mean: Any, words: Any) -> Any:
        factor = _per_image(_factor(words, BRIGHTNESS, self.brightness), x)
        x = x * factor
        if self.contrast:
            mean = mean * factor
            x = mean + (x - mean) * _per_image(_factor(words, CONTRAST, self.contrast), x)
        return ops.clip(x, 0.0, 1.0)

    def _tinted(self, x: Any, words: Any) -> Any:
        # Rodrigues' rotation about (1, 1, 1)/√3: with the gray g and the colour c = x − g,
        # x' = g + s (cos θ c + sin θ/√3 (c₃ − c₂, c₁ − c₃, c₂ − c₁))
        gray = ops.mean(x, axis=-1, keepdims=True)
        colour = x - gray
        factor = _per_image(_factor(words, SATURATION, self.saturation), x)
        if self.hue:
            angle = np.float32(math.pi * self.hue) * (2 * uniform(words, HUE) - 1)
            across = ops.roll(colour, 1, axis=-1) - ops.roll(colour, -1, axis=-1)
            turn = _per_image(ops.sin(angle) * np.float32(3**-0.5), x)
            colour = _per_image(ops.cos(angle), x) * colour + turn * across
        return ops.clip(gray + factor * colour, 0.0, 1.0)

    def _erased(self, x: Any, mean: Any, words: Any) -> Any:
        inside = []
        for axis, start, size in ((1, TOP, HEIGHT), (2, LEFT, WIDTH)):
            length = x.shape[axis]
            least, largest = (max(1, round(share * length)) for share in ERASED)
            side = least + below(words, size, largest - least + 1)  # (b, 1)
            first = below(words, start, length + 1 - side)
            places = ops.arange(length, dtype="int32")[None, :]
            inside.append((places >= first) & (places < first + side))  # (b, length)
        chosen = uniform(words, ERASE) < np.float32(self.erase)  # (b, 1)
        hole = (inside[0] & chosen)[:, :, None] & inside[1][:, None, :]  # (b, h, w)
        hole = ops.reshape(hole, (-1, *x.shape[1:3], *(1 for _ in x.shape[3:])))
        return ops.where(hole, mean, x)


def _factor(words: Any, column: int, spread: float) -> Any:
    return 1 + np.float32(spread) * (2 * uniform(words, column) - 1)


def _per_image(values: Any, like: Any) -> Any:
    # (b, 1) → (b, 1, 1) or (b, 1, 1, 1)
    shape = (-1, *(1 for _ in like.shape[1:]))
    return ops.cast(ops.reshape(values, shape), like.dtype)


def _mean(x: Any) -> Any:
    # One axis after the other: at once, with the channels innermost, takes XLA ten times as long.
    return ops.mean(ops.mean(x, axis=1, keepdims=True), axis=2, keepdims=True)


def _between(before: Any, after: Any, share: Any, axis: int) -> Any:
    shape = [1] * len(before.shape)
    shape[0], shape[axis] = -1, before.shape[axis]
    return before + (after - before) * ops.reshape(share, shape)


def _along(x: Any, axis: int, places: Any) -> Any:
    # whole rows (axis 1) or columns (axis 2) of each image, (b, length) of them
    _, height, width = x.shape[:3]
    if axis == 1:
        return _gathered(x, places, ops.arange(width, dtype="int32")[None, :])
    return _gathered(x, ops.arange(height, dtype="int32")[None, :], places)


def _gathered(x: Any, rows: Any, columns: Any) -> Any:
    if keras.backend.backend() == "jax":
        # a gather of all places at once: 0.1 ms for 256 × 28 × 28, where a product with one-hot
        # matrices takes 1.2 ms, and a choice among all shifts 0.3
        import jax

        # image by image: else XLA would send all pixels to all devices that share a batch
        def of_one(image: Any, down: Any, right: Any) -> Any:
            return image.at[down[:, None], right[None, :]].get(mode="promise_in_bounds")

        own = [0 if len(each) == len(x) else None for each in (rows, columns)]
        shared = [
            each[0] if axis is None else each
            for each, axis in zip((rows, columns), own, strict=True)
        ]
        return jax.vmap(of_one, (0, *own))(x, *shared)
    count, height, width = ops.shape(x)[:3]
    first = ops.reshape(ops.arange(count, dtype="int32") * (height * width), (-1, 1, 1))
    places = first + (rows * width)[:, :, None] + columns[:, None, :]  # (b, h, w)
    pixels = ops.reshape(x, (-1, *x.shape[3:]))
    return ops.reshape(ops.take(pixels, ops.reshape(places, (-1,)), axis=0), ops.shape(x))


# --- Decisions from random words of 16 bits: one row for each image, one column for each.


def uniform(words: Any, column: int) -> Any:
    """Turn a column of words into floats, uniform on {0, 2⁻¹⁶, …, 1 − 2⁻¹⁶}, (b, 1)."""
    return ops.cast(words[:, column : column + 1], "float32") * np.float32(2**-16)


def below(words: Any, column: int, bound: Any) -> Any:
    """Turn a column of words into integers, uniform on {0, …, bound − 1}, (b, 1)."""
    # exact up to one part in 2¹⁶ / bound, for bounds below 2¹⁵
    return ops.right_shift(words[:, column : column + 1] * bound, 16)
