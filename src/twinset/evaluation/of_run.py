"""What is in a run's folder, evaluated: the model on the test part, or its recipe by all folds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.data import load as run_data
from twinset.data.labelled import Labelled
from twinset.data.load import Origin
from twinset.data.parts import Parts
from twinset.data.sources import is_path
from twinset.errors import DataError
from twinset.evaluation.baselines import baseline_of, baselines_of, left_out
from twinset.evaluation.crossfit import CROSSFIT, CrossFitted
from twinset.evaluation.evaluate import (
    HARDEST,
    SCHEMA,
    Evaluation,
    calibration_of,
    compare_models,
    evaluate,
    facts_of,
    name_of,
    pairs_of,
)
from twinset.evaluation.folds import SCHEMA as STUDY_SCHEMA
from twinset.evaluation.folds import recipe_key
from twinset.evaluation.study import markdown, run_study
from twinset.files import check_writable, plain
from twinset.metrics.comparison import Comparison
from twinset.metrics.measure import measure
from twinset.models.hub import local_folder
from twinset.progress import Progress, Wanted, reporting
from twinset.recipe import Recipe
from twinset.report.evaluation_page import write_page
from twinset.report.evaluation_pictures import pictures

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder
    from twinset.models.keras_model import SiameseModel


def evaluate_left_out(
    model: Embedder,
    found: CrossFitted,
    fitted: Labelled,
    *,
    baselines: bool = True,
    progress: Wanted = True,
) -> tuple[Labelled, Evaluation]:
    """Measure the pairs of images left out together, beside baselines on the same pairs.

    Gives the images, in the order of the measurements, and the evaluation.
    """
    # They stand in the order in which the run had them: the source has not changed, or what was
    # left out cannot be found again.
    if found.data != fitted.digest:
        raise DataError(
            f"Expected the images that the run was trained on. Received {fitted.name!r}, which has "
            "changed since: evaluate on other images, or train again."
        )
    rows = fitted.subset(found.positions)
    # without principal components, which would be those of the very images
    skipped = left_out(model, None, baseline_of(rows)) if baselines else {}
    embedders: dict[str, Any] = baselines_of(model, rows, None) if baselines else {}
    embedders = {name: each for name, each in embedders.items() if name not in skipped}
    results = {}
    with reporting(progress) as tell:
        for number, name in enumerate(("model", *embedders)):
            tell(Progress("evaluate", number, len(embedders) + 1, "models"))
            own = name == "model"
            embedded = found.embeddings if own else embedders[name](rows)
            results[name] = measure(
                replace(found.part, embeddings=embedded),
                with_bands=own,
                hardest=HARDEST if own else 0,
                calibration=calibration_of(model) if own else None,
            )
        tell(Progress("evaluate", len(embedders) + 1, len(embedders) + 1, "models"))
    note = f" Here {found.note}." if found.note else ""
    about = (
        f"Cross-fitted over {found.across}, as there were too few images for a test part: the "
        "distances are those of images left out of the fit in turn, each under a model of the "
        f"same recipe that was fitted on the rest.{note}"
    )
    facts = {
        "Data": {
            "cross-fitted": about,
            "test images": len(np.unique(found.positions)),
            "test digest": rows.digest,
            **pairs_of(rows),
            "training set": model.trained_on.name,
            "training digest": model.trained_on.digest,
        },
        "Model": facts_of(model),
    }
    facts |= {"Left out": skipped} if skipped else {}
    title = f"{name_of(model)} on {fitted.name}"
    return rows, Evaluation(title, results, rows.class_names, facts)


STUDY, NUMBERS, PAGE = "protocol", "evaluation.json", "evaluation.html"


def evaluate_run(
    run: str | Path,
    data: str | None = None,
    *,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    baselines: bool = True,
    progress: Wanted = True,
    tell: Callable[[str], None] | None = None,
) -> Evaluation:
    """Evaluate the model of a run on the images that it has not used."""
    # Writes evaluation.json, .md (a model card) and .html (with pictures) beside the model. The
    # page also tells of classes that the training never saw, if `study_run` was there before.
    check_writable(Path(run) / NUMBERS)
    origin = run_data.origin_of(run, Origin(data, pairs, columns or {}))
    model, parts = _loaded(run, origin, tell)
    fit = parts.fit if len(parts.fit) else None
    if parts.test is None and fit is not None:
        left = CrossFitted.read(Path(run) / CROSSFIT)
        test, found = evaluate_left_out(model, left, fit, baselines=baselines, progress=progress)
    else:
        test = _test_of(parts, origin)
        found = evaluate(
            model, test, fitted=fit, tune=parts.tune, baselines=baselines, progress=progress
        )
    found.write_json(Path(run) / NUMBERS)
    found.write_markdown(Path(run) / "evaluation.md")
    study = None if origin.data is None else _stored_study(Path(run), model, str(origin.data))
    _write_page(Path(run), found.to_dict(), test, study)
    return found


def study_run(
    run: str | Path,
    data: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    progress: Wanted = True,
    tell: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], str]:
    """Run the whole protocol for the recipe of a run; give the summary, and it as Markdown."""
    # An evaluation.html that is there already is written anew, with what the protocol found.
    from twinset.models.keras_model import SiameseModel
    from twinset.training.one_step import in_one_step

    model = SiameseModel.load(run)
    check_writable(Path(run) / STUDY)
    own = run_data.origin_of(run)
    origin = run_data.origin_of(run, Origin(data, columns=columns or {}))
    if origin.data is None or origin.pairs is not None:
        raise DataError(
            f"{run}: expected classes for the full protocol, which leaves some of them out. "
            "Received a run on judged pairs: name data with classes, or take --protocol test."
        )
    # The run's own data passed the check when it was trained on, or its leaks were allowed then: to
    # ask again would refuse for good what --allow-leaks let pass.
    source = str(origin.data)
    parts = run_data.load_parts(
        source,
        # a calibration part, unless to leave images out in turn costs next to nothing
        Recipe.load(model.recipe, holdout="cross" if in_one_step(model.recipe) else "auto"),
        columns=origin.columns,
        allow_leaks=origin.lasting.data == own.data,
        tell=tell,
    )
    test = _test_of(parts, origin)
    summary = run_study(
        parts, model.recipe, Path(run) / STUDY, about=_about(model, source), progress=progress
    )
    found = _read(Path(run) / NUMBERS)
    # shown with it only if it is of this version, and of these images
    digest = found.get("facts", {}).get("Data", {}).get("test digest")
    if found.get("schema") == SCHEMA and digest == test.digest:
        _write_page(Path(run), found, test, summary)
    return summary, markdown(summary)


def compare_runs(
    run: str | Path,
    other: str | Path,
    data: str | None = None,
    *,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Comparison:
    """Tell which of two runs has the better model, on images that neither has used."""
    # Writes nothing: a comparison belongs to neither folder.
    folders = [local_folder(each) for each in (run, other)]
    origin = run_data.origin_of(folders[0], Origin(data, pairs, columns or {}))
    (a, of_a), (b, of_b) = (_loaded(each, origin, None) for each in folders)
    tests = [_test_of(parts, origin) for parts in (of_a, of_b)]
    if tests[0].digest != tests[1].digest:
        raise DataError(
            f"Expected two runs with the same test images. Of {origin.name}, {run} has not used "
            f"{len(tests[0]):,} and {other} {len(tests[1]):,}, and these are not the same: compare "
            "on images that neither has used, or train both with one seed and one image size."
        )
    return compare_models(a, b, tests[0], names=(str(run), str(other)))


def _loaded(
    run: str | Path, origin: Origin, tell: Callable[[str], None] | None
) -> tuple[SiameseModel, Parts]:
    from twinset.models.keras_model import SiameseModel

    model = SiameseModel.load(run)
    return model, run_data.evaluation_parts(
        run,
        origin,
        model.recipe,
        model.preprocessing,
        cross_fitted=(Path(run) / CROSSFIT).is_file(),
        tell=tell,
    )


def _test_of(parts: Parts, origin: Origin) -> Labelled:
    if parts.test is None:
        raise DataError(
            f"{origin.name}: expected a test part. Received none: evaluate on other images."
        )
    return parts.test


def _write_page(
    run: Path, evaluation: Mapping[str, Any], test: Labelled, study: Mapping[str, Any] | None
) -> None:
    write_page(run / PAGE, evaluation, pictures(evaluation, test, study), study)


def _about(model: SiameseModel, source: str) -> dict[str, Any]:
    place = str(Path(source).absolute()) if is_path(source) else source
    return {"source": place, "trained_on": model.trained_on.digest}


def _stored_study(run: Path, model: SiameseModel, source: str) -> dict[str, Any] | None:
    # None where there is none, or it is of another recipe, training or data. What it was made from
    # stands in it: the data need not be read, checked and divided again to know.
    found = _read(run / STUDY / "protocol.json")
    own = {"schema": STUDY_SCHEMA, "recipe": plain(recipe_key(model.recipe))}
    own |= _about(model, source)
    return found if {name: found.get(name) for name in own} == own else None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise DataError(f"{path}: expected JSON. Remove the file, and evaluate again.") from None
    return found if isinstance(found, dict) else {}
