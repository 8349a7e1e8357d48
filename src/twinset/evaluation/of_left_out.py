"""A model whose training left no image over, judged on those that were left out in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.data.labelled import Labelled
from twinset.errors import DataError
from twinset.evaluation.baselines import baseline_of, baselines_of, left_out
from twinset.evaluation.crossfit import CrossFitted
from twinset.evaluation.evaluate import (
    HARDEST,
    Evaluation,
    calibration_of,
    facts_of,
    name_of,
    pairs_of,
)
from twinset.metrics.measure import measure
from twinset.progress import Progress, Wanted, reporting

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder


def evaluate_left_out(
    model: Embedder,
    found: CrossFitted,
    fitted: Labelled,
    *,
    baselines: bool = True,
    progress: Wanted = True,
) -> tuple[Labelled, Evaluation]:
    """Measure the pairs of images left out together, beside baselines on the same pairs.

    Gives the images, in the order of the measurements, and the evaluation.
    """
    # They stand in the order in which the run had them: the source has not changed, or what was
    # left out cannot be found again.
    if found.data != fitted.digest:
        raise DataError(
            f"Expected the images that the run was trained on. Received {fitted.name!r}, which has "
            "changed since: evaluate on other images, or train again."
        )
    rows = fitted.subset(found.positions)
    # without principal components, which would be those of the very images
    skipped = left_out(model, None, baseline_of(rows)) if baselines else {}
    embedders: dict[str, Any] = baselines_of(model, rows, None) if baselines else {}
    embedders = {name: each for name, each in embedders.items() if name not in skipped}
    results = {}
    with reporting(progress) as tell:
        for number, name in enumerate(("model", *embedders)):
            tell(Progress("evaluate", number, len(embedders) + 1, "models"))
            own = name == "model"
            embedded = found.embeddings if own else embedders[name](rows)
            results[name] = measure(
                replace(found.part, embeddings=embedded),
                with_bands=own,
                hardest=HARDEST if own else 0,
                calibration=calibration_of(model) if own else None,
            )
        tell(Progress("evaluate", len(embedders) + 1, len(embedders) + 1, "models"))
    note = f" Here {found.note}." if found.note else ""
    about = (
        f"Cross-fitted over {found.across}, as there were too few images for a test part: the "
        "distances are those of images left out of the fit in turn, each under a model of the "
        f"same recipe that was fitted on the rest.{note}"
    )
    facts = {
        "Data": {
            "cross-fitted": about,
            "test images": len(np.unique(found.positions)),
            "test digest": rows.digest,
            **pairs_of(rows),
            "training set": model.trained_on.name,
            "training digest": model.trained_on.digest,
        },
        "Model": facts_of(model),
    }
    facts |= {"Left out": skipped} if skipped else {}
    title = f"{name_of(model)} on {fitted.name}"
    return rows, Evaluation(title, results, rows.class_names, facts)
