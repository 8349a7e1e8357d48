"""The pictures of a recipe on classes that its training never saw, fold by fold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twinset import figures
from twinset.metrics.table import METRICS
from twinset.report.unseen import UnseenSection

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fold_pictures(study: UnseenSection) -> Iterator[tuple[str, str, Figure]]:
    """Draw the metrics and both errors of each fold: name, caption and figure."""
    names = [fold.heading for fold in study.folds]
    if not names:
        return

    def column(part: str, key: str) -> NDArray[np.float64]:
        return np.array([getattr(fold, part).get(key) for fold in study.folds], np.float64)

    shown = [metric for metric in study.columns if metric.better > 0 and metric.kind == "test"]
    seen = {metric.label: study.on_seen(metric.key) for metric in shown}
    yield (
        "unseen_classes",
        f"The recipe and {study.baseline} on classes that the training never saw, a training in "
        "each row. The dashed line is what it reaches on seen classes.",
        figures.folds(
            names,
            {
                metric.label: {
                    "trained": column("numbers", metric.key),
                    study.baseline: column("baseline", metric.key),
                }
                for metric in shown
            },
            marks={label: each["value"] for label, each in seen.items() if each},
            mark="trained, seen classes",
        ),
    )
    rates, marks = {}, {}
    for key in ("fmr", "fnmr"):
        label = METRICS[key].label
        rates[label] = {
            "realised among unseen": column("transfer", key),
            "promised": column("transfer", f"promised_{key}"),
        }
        on_seen = study.on_seen(key)
        if on_seen:
            marks[label] = on_seen["value"]
        if key == "fmr" and study.across:
            rates[label]["realised, unseen with seen"] = column("transfer", "cross_fmr")
    yield (
        "threshold_transfer",
        "Both errors at the threshold that was chosen on the seen classes: promised there, and "
        "realised on unseen ones; the dashed line is what is realised on seen ones. Where dot and "
        "ring are apart, the threshold does not carry over.",
        figures.folds(names, rates, marks=marks, mark="realised on seen classes"),
    )
