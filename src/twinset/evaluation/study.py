"""The whole protocol for a recipe: seeds on seen classes, folds of unseen ones; can be resumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from twinset import tables
from twinset.data.labelled import Labelled
from twinset.data.parts import Parts
from twinset.data.split import comparable
from twinset.errors import DataError
from twinset.evaluation.baselines import baseline_of, untaught
from twinset.evaluation.crossfit import cross_calibrated, crossfit
from twinset.evaluation.evaluate import calibration_of, evaluate
from twinset.evaluation.folds import (
    COURSE,
    FOLDS,
    SCHEMA,
    Fold,
    Unit,
    deal,
    is_fashion_mnist,
    recipe_key,
    run_units,
)
from twinset.files import plain, write_bytes, write_json
from twinset.metrics import intervals
from twinset.metrics.intervals import NORMAL, Ends, Interval, t_interval
from twinset.metrics.measure import RATES, Measurements, measure, transfer
from twinset.metrics.measured import Measured, Part
from twinset.metrics.table import METRICS, measured_by, of_kind
from twinset.progress import Wanted
from twinset.recipe import Recipe
from twinset.report.evaluation_page import UnseenSection, tested_on, unseen_section

SEEDS = (0, 1, 2, 3, 4)

# A number of a study: `key` of its metric, and where there are several, `rule` or `classes`.
Record: TypeAlias = Mapping[str, Any]


def run_study(
    parts: Parts,
    recipe: Recipe,
    folder: str | Path,
    *,
    units: Sequence[Unit] | None = None,
    about: Mapping[str, Any] | None = None,
    progress: Wanted = True,
) -> dict[str, Any]:
    """Train and judge every unit of the protocol; skip those whose file is there already."""
    # Each unit is fitted on the fit images (of its seen classes), calibrated on those for that, and
    # judged on test images: all of them, with a vote of the nearest fit images and a linear probe,
    # or those of the unseen classes, alone and with those of the seen ones. Where the test part has
    # classes of its own, as of many classes, a fold is judged on the fit images that it left out.
    # `about` is told in the summary, which is also written to protocol.json and protocol.md.
    test, calibration = parts.test, parts.calibration
    if test is None:
        raise DataError(
            "Expected a test part for the protocol. Received none, as there are too few images: "
            "add images."
        )

    def train(kept: Labelled, chosen: Recipe) -> Any:
        from twinset.training.fit import fit

        gone = np.setdiff1d(parts.fit.labels, kept.labels)

        def seen(part: Labelled) -> Labelled:
            # neither threshold nor epoch must be chosen on classes that the model never saw
            return part.subset(np.flatnonzero(~np.isin(part.labels, gone)))

        choosing = None if chosen.stopping.nothing or parts.tune is None else seen(parts.tune)
        model = fit(kept, chosen, validation=choosing, progress=False)
        if calibration is None:
            return _cross_calibrated(model, kept, parts)
        return model.calibrate(seen(calibration))

    def judge(model: Any, unit: Unit, kept: Labelled, held: Labelled | None) -> Mapping[str, Any]:
        if unit.fold is not None:
            assert held is not None
            return _judge_fold(model, unit.fold, test, kept, held)
        found = evaluate(
            model, test, fitted=kept, tune=parts.tune, baselines=False, progress=False
        ).model
        return _told(found)

    others = {name: part.digest for name, part in parts.named().items() if name != "fit"}
    results = run_units(
        parts.fit,
        units_of(parts) if units is None else units,
        recipe,
        judge,
        folder,
        train=train,
        key=others,
        progress=progress,
    )
    content = {
        "schema": SCHEMA,
        "recipe": recipe_key(recipe),
        **(about or {}),
        "class_names": list(test.class_names),
        "baseline": baseline_of(test),
        "tested": tested_on(np.isin(test.labels, parts.fit.labels)),
        **summarise(results),
    }
    summary: dict[str, Any] = plain(content)
    target = Path(folder)
    write_json(target / "protocol.json", summary)
    write_bytes(target / "protocol.md", markdown(summary).encode(errors="backslashreplace"))
    return summary


def _cross_calibrated(model: Any, kept: Labelled, parts: Parts) -> Any:
    # as the run was, whose images were too few for a part; fewer ones may be too few for that
    from twinset.training.fit import fit

    by = "class" if parts.turns is None else parts.turns.by
    try:
        found = crossfit(
            kept,
            lambda rest: fit(rest, model.recipe, progress=False),
            by=by,
            seed=model.recipe.seed,
        )
    except DataError:
        return model
    return cross_calibrated(model, found)


def units_of(parts: Parts) -> tuple[Unit, ...]:
    """List what a study of these images runs: seeds, then folds of unseen classes."""
    own = parts.test is not None and is_fashion_mnist(parts.test)
    folds = FOLDS if own else deal(parts.fit, by="class")
    return (*(Unit(seed) for seed in SEEDS), *(Unit(0, fold) for fold in folds))


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gather the units: means with intervals over seeds, and over the folds of unseen classes."""
    # `seeds`: numbers with value, low, high over seeds, and `total`, the interval that holds seeds
    # and test images both to be drawn anew, where a standard error over images is known;
    # `unseen`: over the folds to average, numbers with model, baseline and gain, and what the first
    # threshold did there; `units`: the results, as they are.
    seeds = [result for result in results if result["unit"]["kind"] == "seed"]
    folds = [
        result
        for result in results
        if result["unit"]["kind"] == "fold" and result["unit"]["averaged"]
    ]
    seen = []
    for record in seeds[0]["numbers"] if seeds else ():
        same = [_like(record, result["numbers"]) for result in seeds]
        if all(each is not None for each in same):
            ends = METRICS[record["key"]].ends
            values, errors = ([each[name] for each in same if each] for name in ("value", "error"))
            # where no seed makes an error, as many tries as one model has
            tries = None if None in errors else int(seeds[0]["measurements"]["images"]) / 2
            spread = _spread(values, ends, tries)
            total = _total(spread, errors, ends, tries)
            seen.append({**_identity(record), **spread, "total": total})
    unseen: dict[str, Any] = {"folds": len(folds), "numbers": [], "transfer": []}
    # what is new where the recipe will be used is classes: each that was held out is one try
    held = sum(len(each["unit"]["held_out"]) for each in folds)
    for key, metric in METRICS.items():
        pairs = [
            (_like({"key": key}, each["numbers"]), _like({"key": key}, each["baseline"]))
            for each in folds
        ]
        known = [(a["value"], b["value"]) for a, b in pairs if a and b]
        if metric.folds and known and len(known) == len(folds):
            model, baseline = zip(*known, strict=True)
            unseen["numbers"].append(
                {
                    "key": key,
                    "model": _spread(model, metric.ends, held),
                    "baseline": _spread(baseline, metric.ends, held),
                    "gain": _spread([a - b for a, b in known], intervals.apart(metric.ends)),
                }
            )
    carried = [each["transfer"][0] for each in folds if each["transfer"]]
    for rate in RATES if carried else ():
        for key, ends in ((rate.key, rate.ends), (rate.gap, intervals.apart(rate.ends))):
            values = [_rate(each.get(key)) for each in carried]
            if all(isinstance(value, float) for value in values):
                unseen["transfer"].append({"key": key, **_spread(values, ends, held)})
    return {"seeds": seen, "unseen": unseen, "units": list(results)}


def _judge_fold(
    model: Any, fold: Fold, test: Labelled, kept: Labelled, held: Labelled
) -> dict[str, Any]:
    # on classes that the model never saw, alone and with those that it did
    own = fold.holds(test)
    whole = Part(model.embed(test), test.labels)
    known = ~own & np.isin(test.labels, kept.labels)
    seen, unseen = (Part(whole.embeddings[rows], whole.labels[rows]) for rows in (known, own))
    pixels = test.subset(np.flatnonzero(own))
    if not all(comparable(unseen.labels)):
        unseen, pixels = Part(model.embed(held), held.labels), held
    found = measure(unseen, calibration=calibration_of(model), seed=model.recipe.seed)
    raw = Part(untaught(pixels.rows[:]), pixels.labels)
    baseline = measure(raw, with_bands=False, hardest=0)
    result = _told(found) | {
        "baseline": _records(baseline) + _unseen(raw),
        "transfer": [
            {**transfer(point, unseen, seen), **({} if k else found.scores)}
            for k, point in enumerate(found.points)
        ],
    }
    result["numbers"] += _unseen(unseen)
    if fold.block == COURSE:
        sets = {"seen x seen": seen, "seen + unseen": whole, "unseen x unseen": unseen}
        shown = [metric for metric in of_kind("test") if metric.folds]
        result["test_sets"] = [
            {"name": name, "numbers": _listed(measured_by(shown, Measured(part)))}
            for name, part in sets.items()
        ]
    return result


def _told(found: Measurements) -> dict[str, Any]:
    # `numbers` are compared over units, `measurements` are what a reader of one unit may want
    return {"numbers": _records(found), "measurements": found.to_dict()}


def _records(found: Measurements) -> list[dict[str, Any]]:
    # what is compared over units: `error` is over images, None where it is not known
    records = _listed(found.numbers)
    records += [
        {"key": each.key, "classes": each.classes, **asdict(each.interval)} for each in found.near
    ]
    records += [{"key": key, "value": each, "error": None} for key, each in found.scores.items()]
    for point in found.points:
        for key, rate in (("fmr", point.fmr), ("fnmr", point.fnmr)):
            records.append({"key": key, "rule": point.threshold.rule, **asdict(rate)})
    return plain(records)  # type: ignore[no-any-return]


def _unseen(part: Part) -> list[dict[str, Any]]:
    return _listed(measured_by(of_kind("unseen"), Measured(part)))


def _listed(numbers: Mapping[str, Interval]) -> list[dict[str, Any]]:
    return [{"key": key, **asdict(each)} for key, each in numbers.items()]


def _identity(record: Record) -> dict[str, Any]:
    return {name: record[name] for name in ("key", "rule", "classes") if name in record}


def _like(record: Record, others: Sequence[Record]) -> Record | None:
    wanted = _identity(record)
    return next((each for each in others if _identity(each) == wanted), None)


def _rate(value: Any) -> Any:
    return value["value"] if isinstance(value, Mapping) else value


def _spread(values: Sequence[float], ends: Ends, tries: float | None = None) -> dict[str, Any]:
    interval = t_interval(values, ends, tries=tries)
    known = len(values) > 1
    return {
        "value": interval.value,
        "low": interval.low if known else None,
        "high": interval.high if known else None,
        "min": min(values),
        "max": max(values),
        "values": list(values),
    }


def _total(
    spread: Mapping[str, Any], errors: Sequence[float | None], ends: Ends, tries: float | None
) -> dict[str, Any] | None:
    # The errors of seeds and of images, joined: √(SE_seed² + SE_image²); None where one lacks.
    # SE_image is that of one model, root mean square over the seeds: all are judged on the same
    # images. So few seeds tell their own spread badly; in the interval it weighs as much more as
    # Student's quantile is above the normal one, so that it is never narrower than theirs.
    known = [error for error in errors if error is not None]
    n = len(errors)
    if n < 2 or len(known) < n:
        return None
    of_images = math.sqrt(sum(error**2 for error in known) / n)
    of_seeds = t_interval(spread["values"], ends).error
    weighed = intervals.student(n) / NORMAL * of_seeds
    joined = intervals.bounded(
        spread["value"], math.hypot(of_images, weighed), ends=ends, tries=tries
    )
    return {
        "low": joined.low,
        "high": joined.high,
        "error": math.hypot(of_images, of_seeds),
        "error_of_seeds": of_seeds,
        "error_of_images": of_images,
    }


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the summary as Markdown tables."""
    names, section = summary["class_names"], unseen_section(summary)
    head = (section.tested, "mean over seeds", "95%, seeds", "95%, seeds and images", "min", "max")
    rows = [
        (
            _title_of(each, names),
            f"{each['value']:.4f}",
            _range(each),
            _range(each["total"]) if each["total"] else "-",
            f"{each['min']:.4f}",
            f"{each['max']:.4f}",
        )
        for each in summary["seeds"]
    ]
    folds = [unit for unit in summary["units"] if unit["unit"]["kind"] == "fold"]
    named = [(fold.heading, unit) for fold, unit in zip(section.folds, folds, strict=True)]
    blocks = [tables.markdown(head, rows)]
    if folds:
        blocks += [_unseen_table(section), _transfer_table(named)]
    blocks += [_test_sets(name, unit["test_sets"]) for name, unit in named if "test_sets" in unit]
    blocks += _means(summary["unseen"], summary["baseline"])
    return "\n\n".join(blocks) + "\n"


def _title_of(record: Mapping[str, Any], class_names: Sequence[str]) -> str:
    """Name a number of a study for people."""
    label = METRICS[record["key"]].label
    if "classes" in record:
        return f"{label}: {', '.join(class_names[i] for i in record['classes'])}"
    return f"{label} at {record['rule']}" if "rule" in record else label


def _unseen_table(section: UnseenSection) -> str:
    head, rows = ["unseen classes"], [[fold.heading] for fold in section.folds]
    for metric in section.columns:
        head += [metric.label, section.baseline]
        for fold, row in zip(section.folds, rows, strict=True):
            row += [_cell(of.get(metric.key)) for of in (fold.numbers, fold.baseline)]
    return tables.markdown(head, rows)


def _transfer_table(folds: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    # promises beside what came true, at the first threshold, with intervals over images
    head = ["unseen classes, threshold from others", *(rate.label for rate in RATES)]
    rows = [
        [name, *(_cell(unit["transfer"][0].get(rate.key)) for rate in RATES)]
        for name, unit in folds
    ]
    return tables.markdown(head, rows)


def _test_sets(name: str, sets: Sequence[Mapping[str, Any]]) -> str:
    labels = [METRICS[record["key"]].label for record in sets[0]["numbers"]]
    rows = [[each["name"], *map(_cell, each["numbers"])] for each in sets]
    return tables.markdown([f"{name}; test images", *labels], rows)


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
