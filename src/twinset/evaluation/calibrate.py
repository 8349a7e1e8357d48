"""The thresholds of a model, chosen on images that were kept out of its fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinset.data.labelled import Labelled
from twinset.metrics.measure import RULES, calibrate
from twinset.metrics.measured import Part
from twinset.metrics.pairs import parse_rule

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel


def calibrated(model: SiameseModel, kept: Labelled) -> SiameseModel:
    """Choose a model's thresholds, and fit its probability, on images it was not fitted on."""
    # The recipe's rule decides; thresholds by the protocol's other rules go to `alternatives`.
    rules = dict.fromkeys([parse_rule(model.recipe.rule).name, *RULES])
    part = Part(model.embed(kept), kept.labels)
    found = calibrate(part, rules=list(rules), seed=model.recipe.seed)
    first, *others = (
        replace(chosen, data=kept.digest, images=len(kept)) for chosen in found.thresholds
    )
    return replace(model, threshold=first, alternatives=tuple(others), calibrator=found.calibrator)
