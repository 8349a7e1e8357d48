"""Why two images are near or far: which patches the distance depends on, by occlusion."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from twinset.decision import Verdict
from twinset.distance import euclidean
from twinset.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]
Encode = Callable[[Pixels], NDArray[np.float32]]

PARTS = 6  # a patch is as wide as a sixth of an image, of its mean side
LITTLE = 0.01  # of the distance or the threshold: what no patch moves it by is called nothing
FILL = "the image itself, blurred"
CAVEAT = (
    "Occlusion shows which patches this distance depends on, not why a person would call the "
    "images alike. What two patches show together it may miss, and an edge that the fill makes "
    "may count."
)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where two images agree and differ for a model: how far each covered patch moves the distance.

    moved[i, j] = d(image with patch (i, j) covered, the other image) − d(both as they are): above 0
    the images agree there, below 0 they differ there. Patch (i, j) is the square around the cell of
    `step` x `step` pixels in row i, column j; patches overlap by half, and end at the border.

    Args:
        verdict: on both images as they are.
        images: as the model sees them, uint8 of its `preprocessing.shape`.
        left: moved distances of the left image's patches, float64 of shape
            (ceil(h / step), ceil(w / step)).
        right: likewise of the right image's.
        patch: side of a patch, in pixels.
        step: pixels from one patch to the next, half a patch.
        fill: what a covered patch shows.

    Reference:
        Zeiler, Fergus (2014), Visualizing and Understanding Convolutional Networks.

    Example:
        >>> import numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> data = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> model = twinset.fit(data, epochs=1, encoder={"units": [8]}, progress=False)
        >>> found = model.explain(pixels[0], pixels[3])
        >>> found.left.shape, found.largest  # blurred, a plain image is the same
        ((4, 4), 0.0)
        >>> found.box(1, 2), found.to_dict()["patch"], found.about().startswith("A patch of 1 x 1")
        ((1, 2, 2, 3), 1, True)
        >>> found.sentence().splitlines()[-1]
        'no single patch moves the distance by more than 0'
        >>> len(found.draw().axes)
        2
    """

    verdict: Verdict
    images: tuple[Pixels, Pixels]
    left: Floats
    right: Floats
    patch: int
    step: int
    fill: str = FILL

    @property
    def distance(self) -> float:
        """Of both images as they are."""
        return self.verdict.distance

    @property
    def largest(self) -> float:
        """How far one patch moves the distance at most, either way."""
        return max(float(np.abs(moved).max()) for moved in (self.left, self.right))

    @property
    def telling(self) -> bool:
        """Whether one patch moves it by 1% or more of the distance or the threshold."""
        return self.largest > LITTLE * max(self.distance, self.verdict.threshold.value)

    def box(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Give the pixels of a patch: top, bottom, left and right, the ends not included."""
        height, width = self.images[0].shape[:2]
        return _box(row, column, self.patch, self.step, height, width)

    def sentence(self) -> str:
        """Say it for people: the verdict, then where the distance depends on most."""
        said = f"{self.verdict.sentence()}\n"
        if not self.telling:
            return f"{said}no single patch moves the distance by more than {self.largest:.2g}"
        ends = []
        for word, sign in (("agree", 1), ("differ", -1)):
            name, moved = max(
                (("left", self.left), ("right", self.right)),
                key=lambda each: (sign * each[1]).max(),
            )
            at = np.unravel_index(np.argmax(sign * moved), moved.shape)
            far = float(moved[at])
            if sign * far > LITTLE * self.largest:
                top, bottom, left, right = self.box(int(at[0]), int(at[1]))
                after = self.distance + far
                turned = (after <= self.verdict.threshold.value) != self.verdict.same
                ends.append(
                    f"they {word} most at x {_span(left, right)}, y {_span(top, bottom)} of the "
                    f"{name} image: covered, the distance is {after:.4f} ({far:+.4f})"
                    + ", and the verdict another"
                    * turned
                )
            else:
                ends.append(f"no single patch is one where they {word}")
        return said + "\n".join(ends)

    def about(self) -> str:
        """Say how it was measured, and what it cannot tell."""
        return (
            f"A patch of {self.patch} x {self.patch} pixels every {self.step}, covered by "
            f"{self.fill}, one at a time. {CAVEAT}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Say it for programs; moved distances as lists of rows."""
        return {
            "distance": self.distance,
            "verdict": self.verdict.to_dict(),
            "left": self.left.tolist(),
            "right": self.right.tolist(),
            "largest": self.largest,
            "telling": self.telling,
            "patch": self.patch,
            "step": self.step,
            "fill": self.fill,
            "about": self.about(),
        }

    def draw(self, names: Sequence[str] = ("left", "right")) -> Figure:
        """Draw both images, and over them what each patch moves, with a colour bar and words.

        Args:
            names: written above the images. Defaults to ("left", "right").
        """
        from twinset import figures  # here, as a verdict needs no matplotlib

        return figures.occlusion(
            self.images,
            (self.left, self.right),
            [[self.box(*at) for at in self._extremes(moved)] for moved in (self.left, self.right)],
            names=names,
            step=self.step,
            # what is next to nothing stays pale
            limit=max(
                self.largest, LITTLE * max(self.distance, self.verdict.threshold.value), 1e-9
            ),
            words=self.sentence().split("\n"),
            about=self.about(),
        )

    def _extremes(self, moved: Floats) -> Iterator[tuple[int, int]]:
        # the patches where they agree and differ most
        for flat in (int(moved.argmax()), int(moved.argmin())):
            yield flat // moved.shape[1], flat % moved.shape[1]


def explain_pixels(
    images: tuple[Pixels, Pixels],
    encode: Encode,
    judge: Callable[[float], Verdict],
    *,
    batch: int,
    patch: int | None,
) -> Explanation:
    """Cover each patch of both images, one at a time, and measure again."""
    height, width = images[0].shape[:2]
    most = min(height, width)
    if patch is None:
        patch = min(most, max(1, round(math.sqrt(height * width) / PARTS)))
    if not 1 <= patch <= most:
        raise DataError(
            f"Expected a patch of 1 to {most} pixels, as the model sees images of {width} x "
            f"{height}. Received {patch}."
        )
    step = (patch + 1) // 2
    ends = encode(np.stack(images))
    as_is = float(euclidean(*ends))
    shape = (math.ceil(height / step), math.ceil(width / step))
    boxes = [_box(i, j, patch, step, height, width) for i, j in np.ndindex(*shape)]
    moved = []
    for image, other in zip(images, ends[::-1], strict=True):
        covered = _covered(image, boxes, patch)
        found: list[float] = []
        while part := list(itertools.islice(covered, batch)):
            # the order does not matter: each distance is symmetric
            found += euclidean(
                encode(np.stack(part)), np.broadcast_to(other, (len(part), *other.shape))
            ).tolist()
        moved.append(np.asarray(found, np.float64).reshape(shape) - as_is)
    return Explanation(judge(as_is), images, moved[0], moved[1], patch, step)


def _span(start: int, end: int) -> str:
    return f"{start}" if end == start + 1 else f"{start} to {end - 1}"


def _box(
    row: int, column: int, patch: int, step: int, height: int, width: int
) -> tuple[int, int, int, int]:
    top, left = (at * step - (patch - step) // 2 for at in (row, column))
    return max(0, top), min(height, top + patch), max(0, left), min(width, left + patch)


def _covered(
    image: Pixels, boxes: Sequence[tuple[int, int, int, int]], patch: int
) -> Iterator[Pixels]:
    # Not the mean colour: on a plain background that draws a square where nothing was. Blurred as
    # wide as the patch, what is in it is gone and the tone of what is around it stays.
    blurred = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(patch)))
    for top, bottom, left, right in boxes:
        copy = image.copy()
        copy[top:bottom, left:right] = blurred[top:bottom, left:right]
        yield copy
