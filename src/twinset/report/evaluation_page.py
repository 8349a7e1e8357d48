"""An evaluation as one self-contained HTML page, made from the values of its JSON file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.metrics.pairs import ENOUGH_ERRORS
from twinset.metrics.table import METRICS, Metric, of_kind
from twinset.report.page import Picture, check_names, render
from twinset.report.unseen import unseen_section

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
