"""The thresholds of a model, chosen on images that were kept out of its fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from twinset.data.labelled import Labelled
from twinset.decision import Threshold
from twinset.metrics.judge import RULES, Part, calibrate
from twinset.metrics.pairs import parse_rule

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel


def calibrated(model: SiameseModel, kept: Labelled) -> SiameseModel:
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
