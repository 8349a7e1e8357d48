"""A study's summary as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinset import tables
from twinset.metrics.measure import RATES
from twinset.metrics.table import METRICS


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the summary as Markdown tables."""
    names = summary["class_names"]
    head = ("seen classes", "mean over seeds", "95%, seeds", "95%, seeds and images", "min", "max")
    rows = [
        (
            title_of(each, names),
            f"{each['value']:.4f}",
            _range(each),
            _range(each["total"]) if each["total"] else "-",
            f"{each['min']:.4f}",
            f"{each['max']:.4f}",
        )
        for each in summary["seeds"]
    ]
    folds = [unit for unit in summary["units"] if unit["unit"]["kind"] == "fold"]
    blocks = [tables.markdown(head, rows)]
    if folds:
        blocks += [_unseen_table(folds, summary["baseline"]), _transfer_table(folds)]
    blocks += [_test_sets(unit) for unit in folds if "test_sets" in unit]
    blocks += _means(summary["unseen"], summary["baseline"])
    return "\n\n".join(blocks) + "\n"


def title_of(record: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Name a number of a study for people."""
    label = METRICS[record["key"]].label
    if "classes" in record:
        return f"{label}: {', '.join(class_names[i] for i in record['classes'])}"
    return f"{label} at {record['rule']}" if "rule" in record else label


def fold_title(unit: Mapping[str, Any]) -> str:
    """Name a fold for people: its block and number, and what it held out."""
    return f"{unit['title']}: {', '.join(map(str, unit['names'] or unit['held_out']))}"


def columns_of(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """List the metrics of unseen classes that some fold has, in the order of the table."""
    found = {record["key"] for fold in folds for record in fold["numbers"]}
    return [key for key, metric in METRICS.items() if metric.folds and key in found]


def value_of(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Look up a number by the key of its metric."""
    return next((record["value"] for record in records if record["key"] == key), None)


def _unseen_table(folds: Sequence[Mapping[str, Any]], baseline: str) -> str:
    keys = columns_of(folds)
    head = ["unseen classes", *(cell for key in keys for cell in (METRICS[key].label, baseline))]
    rows = [
        [
            fold_title(fold["unit"]),
            *(_cell(value_of(fold[of], key)) for key in keys for of in ("numbers", "baseline")),
        ]
        for fold in folds
    ]
    return tables.markdown(head, rows)


def _transfer_table(folds: Sequence[Mapping[str, Any]]) -> str:
    # promises beside what came true, at the first threshold, with intervals over images
    head = ["unseen classes, threshold from seen ones", *(rate.label for rate in RATES)]
    rows = [
        [fold_title(fold["unit"]), *(_cell(fold["transfer"][0].get(rate.key)) for rate in RATES)]
        for fold in folds
    ]
    return tables.markdown(head, rows)


def _test_sets(unit: Mapping[str, Any]) -> str:
    sets = unit["test_sets"]
    labels = [METRICS[record["key"]].label for record in sets[0]["numbers"]]
    rows = [[each["name"], *map(_cell, each["numbers"])] for each in sets]
    return tables.markdown([f"{fold_title(unit['unit'])}; test images", *labels], rows)


def _means(unseen: Mapping[str, Any], baseline: str) -> list[str]:
    over = f"over {unseen['folds']} folds."
    lines = [
        f"{METRICS[each['key']].label}: model {each['model']['value']:.4f} "
        f"{_range(each['model'])}, {baseline} {each['baseline']['value']:.4f}, "
        f"gain {each['gain']['value']:+.4f} {_range(each['gain'])} {over}"
        for each in unseen["numbers"]
    ]
    gaps = {rate.gap: rate.label for rate in RATES if rate.gap}
    lines += [
        f"{gaps[each['key']]}, realised - promised: {each['value']:+.4f} {_range(each)} {over}"
        for each in unseen["transfer"]
        if each["key"] in gaps
    ]
    return lines


def _cell(value: Mapping[str, Any] | float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return f"{value['value']:.4f} {_range(value)}"
    return f"{value:.4f}"


def _range(each: Mapping[str, Any]) -> str:
    return "(one value)" if each["low"] is None else f"[{each['low']:.4f}, {each['high']:.4f}]"
