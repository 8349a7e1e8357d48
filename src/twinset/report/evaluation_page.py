"""An evaluation as one self-contained HTML page, made from the values of its JSON file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.metrics.measure import RATES, Rate
from twinset.metrics.pairs import ENOUGH_ERRORS
from twinset.metrics.table import METRICS, Metric, of_kind
from twinset.report.page import Picture, check_names, render


@dataclass(frozen=True)
class Fold:
    """One training that left classes out, and what was found on those."""

    title: str
    classes: str  # the unseen ones, for people
    numbers: Mapping[str, float | None]  # key → the model's
    baseline: Mapping[str, float | None]
    transfer: Mapping[str, float | None]  # key of a `Rate` → value

    @property
    def heading(self) -> str:
        """What people call it, and what it held out."""
        return f"{self.title}: {self.classes}"

    def below(self, metric: Metric) -> bool:
        """Tell whether the model is worse than the baseline."""
        own, baseline = self.numbers.get(metric.key), self.baseline.get(metric.key)
        if own is None or baseline is None:
            return False
        return metric.better * own < metric.better * baseline


# What the trainings on all classes are tested on.
SEEN, SOME_SEEN, NEVER_SEEN = "seen classes", "seen and unseen classes", "test classes"


def tested_on(known: NDArray[np.bool_]) -> str:
    """Say what is tested on, by whether the class of each test image is among the fitted ones."""
    return SEEN if known.all() else SOME_SEEN if known.any() else NEVER_SEEN


@dataclass(frozen=True)
class UnseenSection:
    """The study, laid out for a page."""

    seeds: int  # how many trainings on all classes there are
    baseline: str
    # over the seeds: number with value, low and high, and in `total` the interval over seeds and
    # test images, where it is known
    seen: Sequence[Mapping[str, Any]]
    tested: str  # what these are measured on, for people
    averaged: int  # how many folds the means are over
    near: Mapping[str, Mapping[str, Any]]  # key → model, baseline and gain over these
    carried: Mapping[str, Mapping[str, Any]]  # key of a rate or gap → value, low, high over these
    folds: tuple[Fold, ...]
    columns: tuple[Metric, ...]  # those that some fold has
    rule: str  # by which the threshold was chosen that is carried over; "" without one
    rates: tuple[Rate, ...]  # those that some fold has

    @property
    def across(self) -> bool:
        """Whether the study tells of pairs of an unseen with a seen class."""
        return any(rate.key == "cross_fmr" for rate in self.rates)

    @property
    def joined(self) -> bool:
        """Whether the intervals on seen classes hold the test images' chance, too."""
        return any(each.get("total") for each in self.seen)

    @property
    def never_seen(self) -> bool:
        """Whether no training has an image of the classes that it is tested on."""
        return self.tested == NEVER_SEEN

    @property
    def verdicts(self) -> dict[str, list[str]]:
        """The folds against the baseline: "ahead", "behind", "cannot tell" → labels."""
        found: dict[str, list[str]] = {"ahead": [], "behind": [], "cannot tell": []}
        for key, each in self.near.items():
            low, high = each["gain"]["low"], each["gain"]["high"]
            if low is not None and high is not None:
                better = METRICS[key].better
                ends = sorted((better * low, better * high))
                verdict = "ahead" if ends[0] > 0 else "behind" if ends[1] < 0 else "cannot tell"
                found[verdict].append(METRICS[key].label)
        return found

    def on_seen(self, key: str) -> Mapping[str, Any] | None:
        """Look up a number on seen classes; error rates at the threshold that is carried over."""
        for each in self.seen:
            named = each["key"] == key and "classes" not in each
            if named and each.get("rule", self.rule) == self.rule:
                return each
        return None


def unseen_section(study: Mapping[str, Any]) -> UnseenSection:
    """Lay out a study's summary, as `run_study` returns it."""
    units = study["units"]
    folds = tuple(_fold(unit) for unit in units if unit["unit"]["kind"] == "fold")
    points: list[Any] = next((unit["transfer"] for unit in units if unit.get("transfer")), [])
    return UnseenSection(
        seeds=len(units) - len(folds),
        baseline=study["baseline"],
        seen=study["seeds"],
        tested=study.get("tested", SEEN),  # studies of before had no other
        averaged=study["unseen"]["folds"],
        near={each["key"]: each for each in study["unseen"]["numbers"]},
        carried={each["key"]: each for each in study["unseen"]["transfer"]},
        folds=folds,
        columns=tuple(
            metric
            for key, metric in METRICS.items()
            if metric.folds and any(fold.numbers.get(key) is not None for fold in folds)
        ),
        rule=points[0]["rule"] if points else "",
        rates=tuple(
            rate for rate in RATES if any(fold.transfer.get(rate.key) is not None for fold in folds)
        ),
    )


def _fold(unit: Mapping[str, Any]) -> Fold:
    fields = unit["unit"]
    first = unit["transfer"][0] if unit["transfer"] else {}
    values = {
        key: each["value"] if isinstance(each, Mapping) else each for key, each in first.items()
    }
    numbers, baseline = (
        {each["key"]: each["value"] for each in unit[name] if "rule" not in each}
        for name in ("numbers", "baseline")
    )
    classes = ", ".join(map(str, fields["names"] or fields["held_out"]))
    return Fold(fields["title"], classes, numbers, baseline, values)


SCHEMA = 3

# Where the pictures of these names belong; the others come last.
PLACES = {
    "numbers": ("roc", "det"),
    "points": ("distances", "class_errors", "hardest_mistakes"),
    "identification": ("identification", "gallery_size"),
    "calibration": ("reliability",),
    "unseen": ("unseen_classes",),
    "transfer": ("threshold_transfer",),
}


@dataclass(frozen=True)
class Row:
    """One number of all models, laid out."""

    id: str
    label: str
    meaning: str
    format: str
    cells: Mapping[str, Mapping[str, Any] | None]  # name of the model or baseline → the number
    few: bool  # whether the model's rests on few errors
    behind: Sequence[str]  # the baselines that are better


def write_page(
    path: str | Path,
    evaluation: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    study: Mapping[str, Any] | None = None,
) -> None:
    """Write the page in one step."""
    write_bytes(path, to_html(evaluation, pictures, study).encode(errors="replace"))


def to_html(
    evaluation: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    study: Mapping[str, Any] | None = None,
) -> str:
    """Write an evaluation, as its JSON file holds it, as one page."""
    # Each number stands in a `<data>` element whose `value` is that of the JSON file. `study` is
    # what `run_study` returns; without it the page tells how to get one.
    if evaluation.get("schema") != SCHEMA:
        raise DataError(
            f"Expected an evaluation of schema {SCHEMA}. Received schema "
            f"{evaluation.get('schema')!r}: it was written by another version of twinset."
        )
    check_names(pictures)
    results = evaluation["results"]
    model = results["model"]
    return render(
        "evaluation.html.j2",
        report=evaluation,
        results=results,
        model=model,
        rows=_rows(results, evaluation["class_names"]),
        scores=[metric for metric in of_kind("probability") if metric.key in model["scores"]],
        health=of_kind("health"),
        enough=ENOUGH_ERRORS,
        placed=_placed(pictures),
        unseen=None if study is None else unseen_section(study),
    )


def _rows(results: Mapping[str, Any], class_names: Sequence[str]) -> list[Row]:
    model = results["model"]
    rows = []
    for key, metric in METRICS.items():
        if key in model["numbers"]:
            cells = {name: each["numbers"].get(key) for name, each in results.items()}
            rows.append(_row(metric, key, metric.meaning, cells))
        for place, near in enumerate(model["near"]):
            if near["key"] == key:
                names = ", ".join(class_names[label] for label in near["classes"])
                cells = {name: each["near"][place] for name, each in results.items()}
                rows.append(_row(metric, f"{key}.{place}", f"Among {names}.", cells))
    return rows


def _row(metric: Metric, ident: str, meaning: str, cells: Mapping[str, Any]) -> Row:
    own = cells["model"]["value"]
    behind = []
    for name, cell in cells.items():
        value = (cell or {}).get("value")
        if own is not None and value is not None and metric.better * (value - own) > 0:
            behind.append(name)
    few = not cells["model"].get("enough_errors", True)
    return Row(ident, metric.label, meaning, metric.format, cells, few, behind)


def _placed(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    named = {picture.name: picture for picture in pictures}
    found = {
        place: [named.pop(name) for name in names if name in named]
        for place, names in PLACES.items()
    }
    return {**found, "rest": list(named.values())}
