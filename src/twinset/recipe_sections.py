"""The sections of a recipe: what each part of a run can be told, with ranges and defaults."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from twinset.settings import Count, NotNegative, Section, Share


class ImagesRecipe(Section):
    """What the user's own images become; the built-in data has its shape already.

    Args:
        size: "auto", one number for squares, or (h, w); as for `read_images`.
        colour: "auto", "gray" or "rgb".
        resize: "pad", "stretch" or "crop".
        background: gray level for padding and behind transparency, 0 to 255.
    """

    size: Literal["auto"] | Count | tuple[Count, Count] = "auto"
    colour: Literal["auto", "gray", "rgb"] = "auto"
    resize: Literal["pad", "stretch", "crop"] = "pad"
    background: Annotated[int, Field(ge=0, le=255, strict=True)] = 0


class SplitRecipe(Section):
    """Shares of the user's own images, where the data names no parts itself.

    Args:
        test: share of the images, or groups, that the model is judged on.
        calibration: share that thresholds are chosen on, if the recipe's `holdout` asks for any.
        tune: share kept for the choice of epochs and settings.
    """

    test: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.2
    calibration: Annotated[float, Field(gt=0, lt=1, strict=True)] = 0.1
    tune: Share = 0.0


class BlendRecipe(Section):
    """What the embedding is made of when training has ended: parts of length 1, and their weights.

    With `features` or `pixels` the embedding also keeps what the objective had no use for, and
    so serves classes that training did not see; see `twinset.training.blend`. At their defaults the
    embedding is the trained one.

    Args:
        learned: of the trained embedding.
        features: of what goes into the network's last linear layer.
        pixels: of the square roots of the image's pixels.
        mirror: mean of the image's embedding and its mirror image's, for twice the time. "auto":
            where the data says that a mirror image shows the same.
    """

    learned: NotNegative = 1.0
    features: NotNegative = 0.0
    pixels: NotNegative = 0.0
    mirror: Literal["auto"] | bool = False

    @model_validator(mode="after")
    def _something(self) -> BlendRecipe:
        if not (self.learned or self.features or self.pixels):
            raise ValueError("blend: one weight at least must be above 0")
        return self

    @property
    def nothing(self) -> bool:
        """Whether the embedding stays the trained one."""
        return not (self.features or self.pixels or self.mirror)
