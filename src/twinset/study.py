"""The whole protocol for a recipe: seeds on seen classes, folds of unseen ones; can be resumed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twinset.assessment import evaluate
from twinset.atomic import write_bytes
from twinset.data.images import LabelledImages
from twinset.data.split import UNSEEN_FOLDS, UnseenFold, protocol_split, prove_disjoint
from twinset.errors import DataError
from twinset.evaluate.baselines import raw_pixels, unit_norm
from twinset.evaluate.intervals import Interval, t_interval
from twinset.evaluate.protocol import Part, judge
from twinset.holdout import calibrated
from twinset.recipe import Recipe

SEEDS = (0, 1, 2, 3, 4)


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
    train: LabelledImages,
    test: LabelledImages,
    recipe: Recipe,
    folder: str | Path,
    *,
    units: tuple[Unit, ...] = UNITS,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train and judge every unit of the protocol; skip those whose file is there already.

    Each unit is fitted on the protocol's 50,000 fit images (of its seen classes), calibrated on
    its calib images, and judged on test images: all of them, or those of the unseen classes.

    Args:
        train: Fashion-MNIST's training part.
        test: its test part.
        recipe: how to train; its seed and holdout are set by the protocol.
        folder: holds a JSON file per unit, and the summary. A unit of another recipe is refused.
        units: what to run. Defaults to five seeds and eight folds.
        progress: is told what comes next. Defaults to none.

    Returns:
        The summary, as `summarise` makes it; also written to `protocol.json`.

    Raises:
        DataError: the folder holds units of another recipe or data set, or a split leaks.
    """
    say = progress or (lambda _: None)
    target = Path(folder)
    split = protocol_split(train.labels)
    count = len(train)
    prove_disjoint(
        np.concatenate([train.images, test.images]),
        {**split.parts, "test": np.arange(count, count + len(test))},
    )
    key = {
        "recipe": recipe.model_dump(mode="json", exclude={"seed", "holdout", "name"}),
        "train": train.digest,
        "test": test.digest,
    }
    results = {}
    for number, unit in enumerate(units, 1):
        path = target / f"{unit.name}.json"
        result = _stored(path, key)
        say(f"{unit.name} ({number} of {len(units)})" + (": done before" if result else ""))
        if result is None:
            result = {"key": key, **_run_unit(unit, train, test, recipe, split.parts)}
            write_bytes(path, json.dumps(result, allow_nan=False).encode())
        results[unit.name] = result
    summary = {"schema": 1, "key": key, **summarise(results)}
    write_bytes(target / "protocol.json", json.dumps(summary, allow_nan=False, indent=1).encode())
    write_bytes(target / "protocol.md", markdown(summary).encode())
    return summary


def summarise(results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Gather the units: means with t-intervals over seeds and over the U1 folds.

    Args:
        results: name of the unit → its result.

    Returns:
        `seen`: number → value, low, high over seeds; `folds`: fold → number → model, floor and
        gain; `U1`: the same with intervals over the five near folds; `transfer`: false match and
        non-match rate by fold at the threshold from the seen classes.
    """
    seeds = [result for name, result in results.items() if name.startswith("seed-")]
    folds = {name: result for name, result in results.items() if not name.startswith("seed-")}
    near = [result for name, result in folds.items() if name.startswith("U1")]
    seen: dict[str, Any] = {}
    for name in seeds[0]["numbers"] if seeds else ():
        seen[name] = _spread([result["numbers"][name] for result in seeds])
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
    return {"seen": seen, "U1": unseen, "units": dict(results)}


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the summary as Markdown tables."""
    lines = [
        "| seen classes | mean over seeds | 95% t-interval | min | max |",
        "|---|---|---|---|---|",
    ]
    for name, each in summary["seen"].items():
        lines.append(
            f"| {name} | {each['value']:.4f} | {_range(each)} | {each['min']:.4f} "
            f"| {each['max']:.4f} |"
        )
    lines += ["", "| unseen classes | AUC | floor | R@1 | floor | MAP@R | floor | FMR | FNMR |"]
    lines += ["|---|---|---|---|---|---|---|---|---|"]
    for name, result in summary["units"].items():
        if not name.startswith("seed-"):
            model, floor = result["numbers"], result["floor"]
            cells = [
                f"{each[key]:.4f}"
                for key in ("auc", "recall_at_1", "map_at_r")
                for each in (model, floor)
            ]
            rates = [f"{result['transfer'][key]:.4f}" for key in ("fmr", "fnmr")]
            lines.append(f"| {name} | {' | '.join([*cells, *rates])} |")
    for name, each in summary["U1"].items():
        lines.append("")
        lines.append(
            f"U1 {name}: model {each['model']['value']:.4f} {_range(each['model'])}, "
            f"raw pixels {each['floor']['value']:.4f}, gain {each['gain']['value']:+.4f} "
            f"{_range(each['gain'])} over five folds."
        )
    return "\n".join(lines) + "\n"


def _run_unit(
    unit: Unit,
    train: LabelledImages,
    test: LabelledImages,
    recipe: Recipe,
    parts: Mapping[str, Any],
) -> dict[str, Any]:
    from twinset.embed.training import fit

    seen = np.arange(len(train.class_names)) if unit.fold is None else np.array(unit.fold.seen)
    fitted, kept = (
        train.subset(parts[name][np.isin(train.labels[parts[name]], seen)], f"{train.name}[{name}]")
        for name in ("fit", "calib")
    )
    chosen = Recipe.load(recipe, seed=unit.seed, holdout="protocol")
    model = calibrated(fit(fitted, chosen, progress=False), kept)
    if unit.fold is None:
        found = evaluate(model, test, baselines=False)
        return _numbers(found.model.to_dict())
    part = test.subset(np.flatnonzero(np.isin(test.labels, unit.fold.unseen)))
    found = evaluate(model, part, baselines=False, near=())
    floor = judge(Part(unit_norm(raw_pixels(part.images)), part.labels), near=())
    result = _numbers(found.model.to_dict())
    point = found.model.points[0]
    return result | {
        "floor": _numbers(floor.to_dict())["numbers"],
        "transfer": {
            "promised fmr": point.promised_fmr,
            "promised fnmr": point.promised_fnmr,
            "fmr": point.fmr.value,
            "fnmr": point.fnmr.value,
        },
    }


def _numbers(judgement: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten what is compared over units: numbers, calibration scores, and realised rates."""
    numbers = {name: each["value"] for name, each in judgement["numbers"].items()}
    numbers |= judgement["scores"]
    for point in judgement["points"]:
        rule = point["rule"].split(" on ")[0]
        numbers |= {
            f"FMR at {rule}": point["fmr"]["value"],
            f"FNMR at {rule}": point["fnmr"]["value"],
        }
    return {"numbers": numbers, "judgement": judgement}


def _stored(path: Path, key: Mapping[str, Any]) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
        same = found["key"] == key
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: expected a unit of the protocol. Remove the file.") from None
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


def _range(each: Mapping[str, Any]) -> str:
    if each["low"] is None:
        return "(one value)"
    return f"[{each['low']:.4f}, {each['high']:.4f}]"
