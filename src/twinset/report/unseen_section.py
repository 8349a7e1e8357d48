"""What the page tells of a recipe on classes that its training never saw, from a study's JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SCORES = {"auc": "ROC AUC", "recall_at_1": "Recall@1", "map_at_r": "MAP@R"}
ONE_SHOT = "5-way 1-shot"
ACROSS = "unseen x seen fmr"


@dataclass(frozen=True)
class Rate:
    """One column of the table that says whether a threshold carries over.

    Args:
        key: in the study's `transfer`.
        label: what people call it.
        format: format specification of a value.
        seen: what `UnseenSection.on_seen` calls it; "" if seen classes have no such number.
    """

    key: str
    label: str
    format: str = ".2%"
    seen: str = ""

    @property
    def promised(self) -> bool:
        """Whether it is a promise, and not what came true."""
        return self.key.startswith("promised")


RATES = (
    Rate("promised fmr", "FMR promised"),
    Rate("fmr", "FMR realised", seen="FMR"),
    Rate(ACROSS, "FMR with seen"),
    Rate("promised fnmr", "FNMR promised"),
    Rate("fnmr", "FNMR realised", seen="FNMR"),
    Rate("cllr", "Cllr", ".4f", seen="cllr"),
)


@dataclass(frozen=True)
class Fold:
    """One training that left classes out, and its judgement on those.

    Args:
        name: of the unit: "U1-06".
        classes: the unseen classes, for people.
        numbers: the model's, by name.
        floor: likewise those of raw pixels.
        transfer: promised and realised rates at the threshold from the seen classes.
    """

    name: str
    classes: str
    numbers: Mapping[str, float | None]
    floor: Mapping[str, float | None]
    transfer: Mapping[str, float | None]

    def below(self, name: str) -> bool:
        """Whether the model is worse than raw pixels in a number of which more is better."""
        own, floor = self.numbers.get(name), self.floor.get(name)
        return own is not None and floor is not None and own < floor


@dataclass(frozen=True)
class UnseenSection:
    """The study, laid out for a page.

    Args:
        seeds: how many trainings on all classes there are.
        seen: number → value, low and high over these; in `total`, if it is there, the interval
            over seeds and test images.
        near: number → model, floor and gain, each with value, low, high, over the near folds.
        carried: likewise key of `transfer` → value, low, high; "gap fmr" is realised − promised.
        folds: in the order of the study.
        columns: number → what people call it: those that some fold has.
        rule: by which the threshold was chosen that is carried over; "" if there is none.
        rates: the columns of the table of thresholds: those that some fold has.
    """

    seeds: int
    seen: Mapping[str, Mapping[str, Any]]
    near: Mapping[str, Mapping[str, Mapping[str, Any]]]
    carried: Mapping[str, Mapping[str, Any]]
    folds: tuple[Fold, ...]
    columns: Mapping[str, str]
    rule: str
    rates: tuple[Rate, ...]

    @property
    def across(self) -> bool:
        """Whether the study tells of pairs of an unseen with a seen class."""
        return any(rate.key == ACROSS for rate in self.rates)

    @property
    def joined(self) -> bool:
        """Whether the intervals on seen classes hold the test images' chance, too."""
        return any(each.get("total") for each in self.seen.values())

    @property
    def verdicts(self) -> dict[str, list[str]]:
        """The near folds against raw pixels: "ahead", "behind", "cannot tell" → numbers."""
        found: dict[str, list[str]] = {"ahead": [], "behind": [], "cannot tell": []}
        for name, label in SCORES.items():
            gain = self.near.get(name, {}).get("gain", {})
            low, high = gain.get("low"), gain.get("high")
            if low is not None and high is not None:
                verdict = "ahead" if low > 0 else "behind" if high < 0 else "cannot tell"
                found[verdict].append(label)
        return found

    def on_seen(self, name: str) -> Mapping[str, Any]:
        """Return what "FMR", "FNMR", at this threshold, or another number is on seen classes."""
        key = f"{name} at {self.rule}" if name in ("FMR", "FNMR") else name
        return self.seen.get(key, {})


def unseen_section(study: Mapping[str, Any], class_names: Sequence[str]) -> UnseenSection:
    """Lay out a study's summary.

    Args:
        study: what `run_study` returns, or `protocol.json` holds.
        class_names: of the data.

    Example:
        >>> unit = {"numbers": {"auc": 0.6}, "floor": {"auc": 0.7}, "transfer": {"fmr": 0.5}}
        >>> found = unseen_section({"seen": {}, "U1": {}, "units": {"U1-02": unit}}, "abc")
        >>> [(fold.name, fold.classes, fold.below("auc")) for fold in found.folds]
        [('U1-02', 'a, c', True)]
    """
    units = study["units"]
    folds = tuple(
        Fold(name, _classes(name, class_names), unit["numbers"], unit["floor"], unit["transfer"])
        for name, unit in units.items()
        if not name.startswith("seed-")
    )
    columns = {**SCORES, ONE_SHOT: ONE_SHOT}
    return UnseenSection(
        seeds=len(units) - len(folds),
        seen=study["seen"],
        near=study["U1"],
        carried=study.get("U1 transfer", {}),
        folds=folds,
        columns={
            name: label
            for name, label in columns.items()
            if any(fold.numbers.get(name) is not None for fold in folds)
        },
        rule=_rule(units),
        rates=tuple(
            rate for rate in RATES if any(fold.transfer.get(rate.key) is not None for fold in folds)
        ),
    )


def _classes(name: str, class_names: Sequence[str]) -> str:
    """Name the classes of a fold, whose name ends in their labels, a digit each."""
    labels = [int(digit) for digit in name.partition("-")[2] if digit.isdecimal()]
    return ", ".join(class_names[i] if i < len(class_names) else str(i) for i in labels)


def _rule(units: Mapping[str, Mapping[str, Any]]) -> str:
    for unit in units.values():
        for point in unit.get("judgement", {}).get("points", ())[:1]:
            return str(point["rule"].split(" on ")[0])
    return ""
