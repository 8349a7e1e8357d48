"""What the page tells of a recipe on classes that its training never saw, from a study's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinset.metrics.measure import RATES, Rate
from twinset.metrics.table import METRICS, Metric


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


@dataclass(frozen=True)
class UnseenSection:
    """The study, laid out for a page."""

    seeds: int  # how many trainings on all classes there are
    baseline: str
    # over the seeds: number with value, low and high, and in `total` the interval over seeds and
    # test images, where it is known
    seen: Sequence[Mapping[str, Any]]
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
