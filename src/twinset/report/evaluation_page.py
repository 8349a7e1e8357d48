"""An evaluation as one self-contained HTML page, made from the values of its JSON file alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinset import files as atomic
from twinset.errors import DataError
from twinset.metrics.curves import ENOUGH_ERRORS
from twinset.report.run_report import Picture
from twinset.report.unseen_section import ACROSS, unseen_section

SCHEMA = 2


@dataclass(frozen=True)
class Row:
    """Says how one number of a judgement is called, written and explained.

    Args:
        key: its key in the JSON file.
        label: what people call it.
        format: format specification of a finite value.
        meaning: what it is.
        better: 1 if higher is better, -1 if lower is, 0 if neither. Defaults to 1.
    """

    key: str
    label: str
    format: str
    meaning: str = ""
    better: int = 1


NUMBERS = {
    row.key: row
    for row in (
        Row("auc", "ROC AUC", ".4f", "Chance that a same pair is closer than a different one."),
        Row("eer", "Equal error rate", ".2%", "Both errors at the threshold that evens them.", -1),
        Row("recall_at_1", "Recall@1", ".2%", "The nearest other image is of the same class."),
        Row("recall_at_2", "Recall@2", ".2%", "One of the two nearest is."),
        Row("recall_at_4", "Recall@4", ".2%", "One of the four nearest is."),
        Row("recall_at_8", "Recall@8", ".2%", "One of the eight nearest is."),
        Row("r_precision", "R-precision", ".4f", "Share of the R nearest, of R in the class."),
        Row("map_at_r", "MAP@R", ".4f", "The same, where early ranks count more."),
        Row("map_at_10", "MAP@10", ".4f", "Average precision over the ten nearest."),
        Row("mean_average_precision", "Mean average precision", ".4f", "Over all ranks."),
        Row("1-nn accuracy", "1-NN accuracy", ".2%", "Class of the nearest training image."),
        Row("20-nn accuracy", "20-NN accuracy", ".2%", "By a vote of the twenty nearest."),
        Row("linear probe accuracy", "Linear probe", ".2%", "Accuracy of a linear classifier."),
    )
}
SCORES = (
    Row("brier", "Brier score", ".4f", "Mean squared error of the probability; lower is better."),
    Row("cllr", "Cllr", ".4f", "Cost of its log-odds, in bits; 1 is knowing nothing."),
    Row("min cllr", "Min Cllr", ".4f", "What the best monotone calibration would leave of it."),
)
HEALTH = (
    Row("alignment", "Alignment", ".3f", "Mean squared distance of same pairs; 0 to 4.", 0),
    Row("uniformity", "Uniformity", ".3f", "0: all point one way; near −3.9: spread evenly.", 0),
    Row("effective_rank", "Effective rank", ".1f", "Directions in which the variance lies.", 0),
    Row("zero_share", "Zero coordinates", ".1%", "Share that is exactly 0.", 0),
    Row("dead_coordinates", "Dead coordinates", ",d", "The same for all images.", 0),
    Row("within_between", "Within / between", ".3f", "Variance in over between classes.", 0),
)
TITLES = {
    "roc": "ROC curve",
    "det": "DET curve",
    "class_errors": "Errors class by class",
    "unseen_classes": "Unseen classes, fold by fold",
    "threshold_transfer": "The threshold on unseen classes",
}
# Where the pictures of these names belong; the others come last.
PLACES = {
    "numbers": ("roc", "det"),
    "points": ("distances", "class_errors", "hardest_mistakes"),
    "calibration": ("reliability",),
    "unseen": ("unseen_classes",),
    "transfer": ("threshold_transfer",),
}


def write_page(
    path: str | Path,
    assessment: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    study: Mapping[str, Any] | None = None,
) -> None:
    """Write the page in one step.

    Args:
        path: of the HTML file.
        assessment: what `Assessment.to_dict` returns, or the JSON file holds.
        pictures: stand beside the tables they belong to, by name. Defaults to none.
        study: of the same recipe, on unseen classes as well: what `run_study` returns, or
            `protocol.json` holds. Without it the page tells how to get one. Defaults to none.

    Raises:
        DataError: as `to_html`, or the file cannot be written.
    """
    atomic.write_bytes(path, to_html(assessment, pictures, study).encode(errors="replace"))


def to_html(
    assessment: Mapping[str, Any],
    pictures: Sequence[Picture] = (),
    study: Mapping[str, Any] | None = None,
) -> str:
    """Write an assessment as one page that needs no network, no script and no other file.

    Each number stands in a `<data>` element whose `value` is that of the JSON file.

    Args:
        assessment: as for `write_page`.
        pictures: as for `write_page`.
        study: as for `write_page`.

    Raises:
        DataError: another schema, or two pictures of one name.
    """
    # here, as `import twinset.metrics` need not pay for it
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if assessment.get("schema") != SCHEMA:
        raise DataError(
            f"Expected an evaluation of schema {SCHEMA}. Received schema "
            f"{assessment.get('schema')!r}: it was written by another version of twinset."
        )
    names = [picture.name for picture in pictures]
    if len(set(names)) < len(names):
        raise DataError(f"Expected pictures of different names. Received {names}.")
    environment = Environment(
        loader=PackageLoader("twinset.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"as": _text, "fact": _fact, "percent": _percent}
    judgements = assessment["judgements"]
    model = judgements["model"]
    return environment.get_template("evaluation.html.j2").render(
        report=assessment,
        judgements=judgements,
        model=model,
        rows=[_row(key, assessment["class_names"]) for key in model["numbers"]],
        scores=[row for row in SCORES if row.key in model["scores"]],
        health=HEALTH,
        titles=TITLES,
        enough=ENOUGH_ERRORS,
        few={key: _rests_on_few(key, number, model) for key, number in model["numbers"].items()},
        behind=_behind(judgements, assessment["class_names"]),
        placed=_placed(pictures),
        unseen=None if study is None else unseen_section(study, assessment["class_names"]),
        across=ACROSS,
    )


def _row(key: str, class_names: Sequence[str]) -> Row:
    """Name a number, whatever false match rate or group of classes its key holds."""
    if key in NUMBERS:
        return NUMBERS[key]
    if key.startswith("tpr@fpr="):
        rate = float(key.partition("=")[2])
        meaning = f"Same pairs that match where {_percent(rate)} of the different ones do."
        return Row(key, f"TPR at FPR {_percent(rate)}", ".2%", meaning)
    if key.startswith("near auc "):
        labels = [int(label) for label in key.removeprefix("near auc ").split("-")]
        named = [class_names[i] if i < len(class_names) else str(i) for i in labels]
        return Row(key, "ROC AUC of near classes", ".4f", f"Among {', '.join(named)}.")
    return Row(key, key, ".4f")


def _rests_on_few(key: str, number: Mapping[str, Any], model: Mapping[str, Any]) -> bool:
    """Tell whether fewer than 30 pairs are errors of one kind at the threshold of a number."""
    same, different = model["positives"], model["pairs"] - model["positives"]
    value = number["value"]
    if value is None:
        return False
    if key == "eer":
        return bool(value * min(same, different) < ENOUGH_ERRORS)
    if key.startswith("tpr@fpr="):
        rate = float(key.partition("=")[2])
        return bool(min(rate * different, (1 - value) * same) < ENOUGH_ERRORS)
    return False


def _behind(judgements: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Name the baselines whose number is better than the model's."""
    found = {}
    for key, number in judgements["model"]["numbers"].items():
        own, sign = number["value"], _row(key, class_names).better
        others = {
            name: each["numbers"].get(key, {}).get("value")
            for name, each in judgements.items()
            if name != "model"
        }
        found[key] = [
            name
            for name, value in others.items()
            if None not in (own, value) and sign * value > sign * own
        ]
    return found


def _placed(pictures: Sequence[Picture]) -> dict[str, list[Picture]]:
    named = {picture.name: picture for picture in pictures}
    found = {
        place: [named.pop(name) for name in names if name in named]
        for place, names in PLACES.items()
    }
    return {**found, "rest": list(named.values())}


def _text(value: float | None, spec: str) -> str:
    return "not defined" if value is None or not math.isfinite(value) else format(value, spec)


def _percent(rate: float | str) -> str:
    return f"{100 * float(rate):.4g}%"


def _fact(value: Any) -> str:
    """Write a fact for people: thousands apart, four significant digits."""
    if value is None:
        return "not defined"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    if isinstance(value, str | bool):
        return str(value)
    if isinstance(value, int):
        return f"{value:,d}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
