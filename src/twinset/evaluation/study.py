"""The whole protocol for a recipe: seeds on seen classes, folds of unseen ones; can be resumed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset import tables
from twinset.data.labelled import Labelled
from twinset.data.parts import Parts
from twinset.data.split import UNSEEN_FOLDS, UnseenFold, class_folds
from twinset.errors import DataError
from twinset.evaluation.calibrate import calibrated
from twinset.evaluation.evaluate import evaluate, plain_rows
from twinset.files import plain, write_bytes
from twinset.metrics.baselines import unit_norm
from twinset.metrics.few_shot import one_shot_accuracy
from twinset.metrics.intervals import Estimate, Interval, normal_quantile, t_interval
from twinset.metrics.judge import Judgement, Part, judge
from twinset.metrics.transfer import headline, transfer
from twinset.recipe import Recipe

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

SCHEMA = 2
SEEDS = (0, 1, 2, 3, 4)
ONE_SHOT = "5-way 1-shot"
_SIDES = ("numbers", "floor")  # of a unit: the model's, and raw pixels'


@dataclass(frozen=True)
class Unit:
    """One training and its judgement: a seed on all classes, or a fold of unseen classes.

    Args:
        name: of its file: "seed-0", "U1-06".
        seed: of the training.
        fold: the classes held out; None for all ten seen.
    """

    name: str
    seed: int
    fold: UnseenFold | None = None


UNITS = (
    *(Unit(f"seed-{seed}", seed) for seed in SEEDS),
    *(Unit(fold.name, 0, fold) for fold in UNSEEN_FOLDS),
)


def run_study(
    parts: Parts,
    recipe: Recipe,
    folder: str | Path,
    *,
    units: tuple[Unit, ...] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train and judge every unit of the protocol; skip those whose file is there already.

    Each unit is fitted on the fit images (of its seen classes), calibrated on the calib images,
    and judged on test images: all of them, with a vote of the nearest fit images and a linear
    probe, or those of the unseen classes, alone and with those of the seen ones.

    Args:
        parts: of the data, with a test and a calib part.
        recipe: how to train; its seed and holdout are set by the protocol.
        folder: holds a JSON file per unit, and the summary. A unit of another recipe is refused.
        units: what to run. Defaults to five seeds and Fashion-MNIST's eight folds, or five of
            other data, fewer where it has few classes.
        progress: is told what comes next. Defaults to none.

    Returns:
        The summary, as `summarise` makes it; also written to `protocol.json`.

    Raises:
        DataError: the folder holds units of another recipe or data set, or a split leaks.
    """
    say = progress or (lambda _: None)
    target = Path(folder)
    units = units_of(parts) if units is None else units
    key = study_key(recipe, parts)
    results = {}
    for number, unit in enumerate(units, 1):
        path = target / f"{unit.name}.json"
        result = _stored(path, key)
        say(f"{unit.name} ({number} of {len(units)})" + (": done before" if result else ""))
        if result is None:
            found = _run_unit(unit, parts, recipe)
            result = plain({"schema": SCHEMA, "key": key, **found})
            write_bytes(path, json.dumps(result, allow_nan=False).encode())
        results[unit.name] = result
    summary = {"schema": SCHEMA, "key": key, **summarise(results)}
    write_bytes(target / "protocol.json", json.dumps(summary, allow_nan=False, indent=1).encode())
    write_bytes(target / "protocol.md", markdown(summary).encode())
    return summary


def units_of(parts: Parts) -> tuple[Unit, ...]:
    """List what a study of these images runs: seeds, then folds of unseen classes.

    Args:
        parts: of the data.
    """
    if parts.fit.name.startswith("fashion-mnist"):
        return UNITS
    folds = class_folds(len(parts.fit.class_names))
    return (*(Unit(f"seed-{s}", s) for s in SEEDS), *(Unit(f.name, 0, f) for f in folds))


def study_key(recipe: Recipe, parts: Parts) -> dict[str, Any]:
    """Say which study it is: the recipe without its seed, holdout and name, and all digests.

    Args:
        recipe: of the trainings.
        parts: of the data.
    """
    return {
        "recipe": recipe.model_dump(mode="json", exclude={"seed", "holdout", "name"}),
        **{name: part.digest for name, part in parts.named().items()},
    }


def summarise(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Gather the units: means with t-intervals over seeds and over the U1 folds.

    Args:
        results: name of the unit → its result.

    Returns:
        `seen`: number → value, low, high over seeds, and `total`, the interval that holds seeds
        and test images both to be drawn anew, where a standard error over images is known; `U1`:
        number → model, floor and gain over the five near folds; `U1 transfer`: likewise what the
        thresholds did there, by the names of `Transfer.values`, and Cllr; `units`: the results.
    """
    seeds = [result for name, result in results.items() if name.startswith("seed-")]
    near = [result for name, result in results.items() if name.startswith(("U1", "fold"))]
    seen: dict[str, Any] = {}
    for name in seeds[0]["numbers"] if seeds else ():
        seen[name] = _spread([result["numbers"][name] for result in seeds])
        seen[name]["total"] = _total(seen[name], seeds, name)
    unseen: dict[str, Any] = {}
    for name in ("auc", "eer", "recall_at_1", "map_at_r"):
        if near:
            model = [result["numbers"][name] for result in near]
            floor = [result["floor"][name] for result in near]
            unseen[name] = {
                "model": _spread(model),
                "floor": _spread(floor),
                "gain": _spread([a - b for a, b in zip(model, floor, strict=True)]),
            }
    carried = {
        name: _spread([result["transfer"][name] for result in near])
        for name in (near[0]["transfer"] if near else ())
        if all(result["transfer"].get(name) is not None for result in near)
    }
    return {"seen": seen, "U1": unseen, "U1 transfer": carried, "units": dict(results)}


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the summary as Markdown tables."""
    head = ("seen classes", "mean over seeds", "95%, seeds", "95%, seeds and images", "min", "max")
    rows = [
        (
            name,
            f"{each['value']:.4f}",
            _range(each),
            _range(each["total"]) if each["total"] else "-",
            f"{each['min']:.4f}",
            f"{each['max']:.4f}",
        )
        for name, each in summary["seen"].items()
    ]
    lines = [tables.markdown(head, rows), ""]
    folds = {k: v for k, v in summary["units"].items() if not k.startswith("seed-")}
    lines += [_unseen_table(folds), "", _transfer_table(folds)]
    for name, result in folds.items():
        lines += _test_sets(name, result.get("test sets", {}))
    for name, each in summary["U1"].items():
        lines.append("")
        lines.append(
            f"U1 {name}: model {each['model']['value']:.4f} {_range(each['model'])}, "
            f"raw pixels {each['floor']['value']:.4f}, gain {each['gain']['value']:+.4f} "
            f"{_range(each['gain'])} over {len(each['gain']['values'])} folds."
        )
    for name, each in summary["U1 transfer"].items():
        if name.startswith("gap"):
            lines.append("")
            lines.append(
                f"U1 {name}, realised - promised: {each['value']:+.4f} {_range(each)} "
                f"over {len(each['values'])} folds."
            )
    return "\n".join(lines) + "\n"


def _unseen_table(folds: Mapping[str, Mapping[str, Any]]) -> str:
    keys = {"AUC": "auc", "R@1": "recall_at_1", "MAP@R": "map_at_r", ONE_SHOT: ONE_SHOT}
    head = ["unseen classes", *(cell for label in keys for cell in (label, "floor"))]
    rows = [
        [name, *(_cell(result[part].get(key)) for key in keys.values() for part in _SIDES)]
        for name, result in folds.items()
    ]
    return tables.markdown(head, rows)


def _transfer_table(folds: Mapping[str, Mapping[str, Any]]) -> str:
    """Set promises beside what came true, at the first threshold, with intervals over images."""
    head = ["unseen classes, threshold from seen ones", "promised FMR", "FMR", "unseen x seen FMR"]
    head += ["promised FNMR", "FNMR", "Cllr", "min Cllr"]
    rows = []
    for name, result in folds.items():
        values, known = result["transfer"], result["transfers"][0]
        realised = {
            key: f"{known[key]['value']:.4f} {_range(known[key])}"
            for key in ("fmr", "unseen x seen fmr", "fnmr")
        }
        order = ("promised fmr", "fmr", "unseen x seen fmr", "promised fnmr", "fnmr")
        cells = [realised.get(key) or _cell(values[key]) for key in order]
        rows.append([name, *cells, _cell(values.get("cllr")), _cell(values.get("min cllr"))])
    return tables.markdown(head, rows)


def _test_sets(fold: str, sets: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    if not sets:
        return []
    keys = {"AUC": "auc", "EER": "eer", "R@1": "recall_at_1", "MAP@R": "map_at_r"}
    rows = [
        [name, *(f"{found[key]['value']:.4f} {_range(found[key])}" for key in keys.values())]
        for name, found in sets.items()
    ]
    return ["", tables.markdown([f"{fold}, test images", *keys], rows)]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _run_unit(
    unit: Unit,
    parts: Parts,
    recipe: Recipe,
) -> dict[str, Any]:
    from twinset.training.fit import fit

    test, calib = parts.test, parts.calib
    if test is None or calib is None:
        raise DataError("Expected a test part and a calib part for the protocol. Received none.")
    classes = range(len(test.class_names)) if unit.fold is None else unit.fold.seen
    fitted, tune, kept = (
        None if part is None else part.subset(np.flatnonzero(np.isin(part.labels, classes)))
        for part in (parts.fit, parts.tune, calib)
    )
    assert fitted is not None
    assert kept is not None
    chosen = Recipe.load(recipe, seed=unit.seed, holdout="auto")
    model = calibrated(fit(fitted, chosen, progress=False), kept)
    if unit.fold is None:
        return _numbers(evaluate(model, test, fitted=fitted, tune=tune, baselines=False).model)
    return _judge_fold(unit.fold, model, test)


def _judge_fold(fold: UnseenFold, model: SiameseModel, test: Labelled) -> dict[str, Any]:
    """Judge a model on classes that it never saw, alone and with those that it did."""
    apart = test.subset(np.flatnonzero(np.isin(test.labels, fold.unseen)))
    found = evaluate(model, apart, baselines=False, near=()).model
    whole = Part(model.embed(test), test.labels)
    unseen, seen = whole.only(fold.unseen), whole.only(fold.seen)
    raw = Part(unit_norm(plain_rows(apart.rows)), apart.labels)
    floor = _numbers(judge(raw, near=(), with_bands=False, hardest=0))["numbers"]
    carried = [transfer(point, unseen, seen) for point in found.points]
    scores = {name: found.scores[name] for name in ("cllr", "min cllr") if name in found.scores}
    result = _numbers(found) | {
        "floor": floor,
        "transfer": carried[0].values() | scores,
        "transfers": [each.to_dict() for each in carried],
    }
    if fold.name.startswith("U2"):
        sets = {"seen x seen": seen, "seen + unseen": whole, "unseen x unseen": unseen}
        result["test sets"] = {
            name: {key: asdict(each) for key, each in headline(part).items()}
            for name, part in sets.items()
        }
    if fold.name.startswith("U3"):
        shots = {
            side: one_shot_accuracy(part.embeddings, part.labels)
            for side, part in zip(_SIDES, (unseen, raw), strict=True)
        }
        for side, interval in shots.items():
            result[side][ONE_SHOT] = interval.value
        result["one shot"] = {side: asdict(interval) for side, interval in shots.items()}
    return result


def _numbers(judgement: Judgement) -> dict[str, Any]:
    """Flatten what is compared over units: numbers, calibration scores, and realised rates.

    `errors` has their standard errors over images, of those that have one.
    """
    intervals = dict(judgement.numbers)
    for point in judgement.points:
        rule = point.rule.split(" on ")[0]
        intervals |= {f"FMR at {rule}": point.fmr, f"FNMR at {rule}": point.fnmr}
    numbers = {name: each.value for name, each in judgement.numbers.items()}
    numbers |= judgement.scores
    numbers |= {name: each.value for name, each in intervals.items()}
    return {
        "numbers": numbers,
        "errors": {name: each.error for name, each in intervals.items()},
        "judgement": judgement.to_dict(),
    }


def _stored(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        same, schema = found["key"] == key, found.get("schema")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"{path}: expected a unit of the protocol. Remove the file.") from None
    if schema != SCHEMA:
        raise DataError(
            f"{path}: expected a unit of schema {SCHEMA}. Received schema {schema!r}, of another "
            "version of twinset: choose another folder, or remove the old files."
        )
    if not same:
        raise DataError(
            f"{path}: expected a unit of this recipe and this data. It is of another one: "
            "choose another folder, or remove the old files."
        )
    return found


def _spread(values: list[float]) -> dict[str, Any]:
    interval: Interval = t_interval(values)
    finite = len(values) > 1
    return {
        "value": interval.value,
        "low": interval.low if finite else None,
        "high": interval.high if finite else None,
        "min": min(values),
        "max": max(values),
        "values": values,
    }


def _total(
    spread: Mapping[str, Any], seeds: Sequence[Mapping[str, Any]], name: str
) -> dict[str, Any] | None:
    """Join the errors of seeds and of images: √(SE_seed² + SE_image²); None where one lacks.

    SE_image is that of one model, root mean square over the seeds: all are judged on the same
    images. So few seeds tell their own spread badly; in the interval it weighs as much more as
    Student's quantile is above the normal one, so that it is never narrower than theirs.
    """
    errors = [result.get("errors", {}).get(name) for result in seeds]
    known = [error for error in errors if error is not None]
    n = len(seeds)
    if n < 2 or len(known) < n:
        return None
    of_images = math.sqrt(sum(error**2 for error in known) / n)
    of_seeds = t_interval(spread["values"])
    normal = normal_quantile((1 + of_seeds.level) / 2)
    weighed = (of_seeds.high - of_seeds.value) / normal
    images = int(seeds[0]["judgement"]["images"])
    # the images' share of the error, spread evenly: only their sum of squares counts
    pulls = np.full(images, of_images / math.sqrt(images))
    joined = Estimate(spread["value"], pulls, 0.0).interval(extra_error=weighed)
    return {
        "low": joined.low,
        "high": joined.high,
        "error": math.hypot(of_images, of_seeds.error),
        "error of seeds": of_seeds.error,
        "error of images": of_images,
    }


def _range(each: Mapping[str, Any]) -> str:
    if each["low"] is None:
        return "(one value)"
    return f"[{each['low']:.4f}, {each['high']:.4f}]"
