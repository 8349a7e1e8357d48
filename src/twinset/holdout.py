"""Training images that are kept out of the fit, and the thresholds that are chosen on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinset.data.images import LabelledImages
from twinset.data.split import protocol_split
from twinset.decision import Threshold
from twinset.evaluate.protocol import RULES, Part, calibrate
from twinset.evaluate.thresholds import parse_rule
from twinset.recipe import Recipe

if TYPE_CHECKING:
    from twinset.embed.model import SiameseModel


def calibrated(model: SiameseModel, kept: LabelledImages) -> SiameseModel:
    """Choose a model's thresholds, and fit its probability, on images it was not fitted on.

    The recipe's rule gives the threshold of the verdicts; those of the protocol's other rules go
    to `alternatives`.

    Args:
        model: as `fit` returns it.
        kept: the calibration part; never test data.
    """
    rules = dict.fromkeys([parse_rule(model.recipe.rule).name, *RULES])
    found = calibrate(
        Part(model.embed(kept), kept.labels), rules=list(rules), seed=model.recipe.seed
    )
    first, *others = (
        Threshold(
            chosen.value,
            f"{chosen.rule} on {len(kept):,} images kept out",
            kept.digest,
            chosen.fmr,
            chosen.fnmr,
        )
        for chosen in found.thresholds
    )
    return replace(model, threshold=first, alternatives=tuple(others), calibrator=found.calibrator)


def held_out(
    images: LabelledImages, recipe: Recipe
) -> tuple[LabelledImages, LabelledImages | None]:
    """Take the calibration part off the training images, if the recipe asks for one.

    Args:
        images: the training images.
        recipe: its `holdout` tells.

    Returns:
        The images to fit on, and those to calibrate on; None without a holdout.

    Raises:
        DataError: the recipe asks for the protocol's split of images that are not
            Fashion-MNIST's training part.
    """
    if recipe.holdout == "none":
        return images, None
    parts = protocol_split(images.labels).parts
    return (
        images.subset(parts["fit"], f"{images.name}[fit]"),
        images.subset(parts["calib"], f"{images.name}[calib]"),
    )
