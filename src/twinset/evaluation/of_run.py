"""What is in a run's folder, judged: the model on the test part, or its recipe by all folds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinset.data import load as run_data
from twinset.data.labelled import Labelled
from twinset.data.parts import Parts
from twinset.errors import DataError
from twinset.evaluation.evaluate import Assessment, evaluate
from twinset.evaluation.study import SCHEMA as STUDY_SCHEMA
from twinset.evaluation.study import markdown, run_study, study_key
from twinset.metrics.comparison import Comparison
from twinset.recipe import Recipe
from twinset.report.evaluation_page import SCHEMA, write_page
from twinset.report.evaluation_pictures import pictures

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel


from typing import TYPE_CHECKING

from twinset.metrics.comparison import differences
from twinset.metrics.judge import Part

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

STUDY, NUMBERS, PAGE = "protocol", "evaluation.json", "evaluation.html"


def evaluate_run(
    run: str | Path,
    data: str | None = None,
    *,
    baselines: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Judge the model of a run on a data set's test part.

    Writes evaluation.json, .md (a model card) and .html (with pictures) beside the model. The page
    also tells of classes that the training never saw, if `study_run` was there before.

    Args:
        run: the folder.
        data: "fashion-mnist", or the path of a folder or a table of images; of these, the ones
            that the run has not used. Defaults to the data that it was trained on.
        baselines: judge raw pixels, principal components and an untrained network as well.
        progress: is told what comes next. Defaults to none.

    Raises:
        ModelError: the folder holds no model.
        DataError: an unknown data set, or no image that the model has not seen.
    """
    data = data or run_data.source_of(run)
    model, parts = _loaded(run, data, progress)
    test = _test_of(parts, data)
    found = evaluate(
        model,
        test,
        fitted=parts.fit if len(parts.fit) else None,
        tune=parts.tune,
        baselines=baselines,
        progress=progress,
    )
    found.write_json(Path(run) / NUMBERS)
    found.write_markdown(Path(run) / "evaluation.md")
    _write_page(Path(run), found.to_dict(), model, test, _stored_study(Path(run), model, data))
    return found


def study_run(
    run: str | Path,
    data: str | None = None,
    *,
    progress: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], str]:
    """Run the whole protocol for the recipe of a run, in its folder `protocol`.

    An evaluation.html that is there already is written anew, with what the protocol found.

    Args:
        run: the folder.
        data: "fashion-mnist", whose split and folds the protocol names, or the path of a folder
            or a table of images, whose classes are dealt into folds. Defaults to the run's own.
        progress: is told what comes next. Defaults to none.

    Returns:
        The summary, and the same as Markdown.

    Raises:
        ModelError: the folder holds no model.
        DataError: no such data, too little of it, or results of another recipe in the folder.
    """
    from twinset.models.keras_model import SiameseModel

    model = SiameseModel.load(run)
    data = data or run_data.source_of(run)
    parts = _study_parts(data, model, progress)
    summary = run_study(parts, model.recipe, Path(run) / STUDY, progress=progress)
    found = _read(Path(run) / NUMBERS)
    test = _test_of(parts, data)
    if _of_this_test(found, test):
        _write_page(Path(run), found, model, test, summary)
    return summary, markdown(summary)


def compare_runs(run: str | Path, other: str | Path, data: str | None = None) -> Comparison:
    """Tell which of two runs has the better model, on the same test images.

    Writes nothing: a comparison belongs to neither folder.

    Args:
        run: the folder of A.
        other: the folder of B.
        data: as for `evaluate_run`.

    Raises:
        ModelError: a folder holds no model.
        DataError: as `compare_models`, an unknown data set, or the runs have not left the same
            images out of their training.
    """
    data = data or run_data.source_of(run)
    (a, of_a), (b, of_b) = (_loaded(each, data, None) for each in (run, other))
    tests = [_test_of(parts, data) for parts in (of_a, of_b)]
    if tests[0].digest != tests[1].digest:
        raise DataError(
            f"Expected two runs with the same test images. Of {data}, {run} has not used "
            f"{len(tests[0]):,} and {other} {len(tests[1]):,}, and these are not the same: compare "
            "on images that neither has used, or train both with one seed and one image size."
        )
    return compare_models(a, b, tests[0], names=(str(run), str(other)))


def _loaded(
    run: str | Path, data: str, progress: Callable[[str], None] | None
) -> tuple[SiameseModel, Parts]:
    from twinset.models.keras_model import SiameseModel

    model = SiameseModel.load(run)
    return model, run_data.evaluation_parts(
        run, data, model.recipe, model.preprocessing, tell=progress
    )


def _test_of(parts: Parts, data: str) -> Labelled:
    if parts.test is None:
        raise DataError(f"{data}: expected a test part. Received none: evaluate on other images.")
    return parts.test


def _write_page(
    run: Path,
    assessment: Mapping[str, Any],
    model: SiameseModel,
    test: Labelled,
    study: Mapping[str, Any] | None,
) -> None:
    write_page(run / PAGE, assessment, pictures(assessment, model, test, study), study)


def _of_this_test(assessment: Mapping[str, Any], test: Labelled) -> bool:
    """Tell whether a stored evaluation can be shown: of this version, and of these images."""
    digest = assessment.get("facts", {}).get("Data", {}).get("test digest")
    return assessment.get("schema") == SCHEMA and bool(digest == test.digest)


def _stored_study(run: Path, model: SiameseModel, data: str) -> dict[str, Any] | None:
    """Read the run's study; None if there is none, or it is of another recipe or other data."""
    found = _read(run / STUDY / "protocol.json")
    if found.get("schema") != STUDY_SCHEMA:
        return None
    parts = _study_parts(data, model, None)
    return found if found.get("key") == study_key(model.recipe, parts) else None


def _study_parts(data: str, model: SiameseModel, progress: Callable[[str], None] | None) -> Parts:
    """Divide the data as the protocol does, with a calib part whatever the recipe says."""
    return run_data.load_parts(data, Recipe.load(model.recipe, holdout="auto"), tell=progress)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError:
        raise DataError(f"{path}: expected JSON. Remove the file, and evaluate again.") from None
    return found if isinstance(found, dict) else {}


# --- Two trained models on the same labelled images: A against B.


def compare_models(
    a: SiameseModel,
    b: SiameseModel,
    data: Labelled,
    *,
    names: tuple[str, str] = ("A", "B"),
) -> Comparison:
    """Tell, number by number, which of two models is better on the same test images.

    Each difference a − b has a 95% interval over images: what both models find hard cancels out.
    Where the interval holds 0, one cannot tell. To ask whether two *images* show the same, there
    is `SiameseModel.compare`.

    A claim about two recipes takes several trainings of each: the intervals hold these two models
    fixed, and another seed gives another model.

    Args:
        a: the first model.
        b: the second; its recipe, width and image size may be others.
        data: images that neither was fitted or calibrated on, of two classes at least.
        names: what to call the models in the summary. Defaults to ("A", "B").

    Raises:
        DataError: no `LabelledImages`, no pairs of both kinds, or a model was fitted or
            calibrated on these very images.

    Example:
        >>> import numpy as np
        >>> from twinset import LabelledImages, fit
        >>> labels = np.arange(60) % 3
        >>> pixels = np.full((60, 4, 4), 60 * labels[:, None, None], np.uint8)
        >>> train, test = (LabelledImages(pixels + i, labels, tuple("abc")) for i in range(2))
        >>> model = fit(train, epochs=1, encoder={"units": [4]}, progress=False)
        >>> same = compare_models(model, model, test)
        >>> same["auc"].interval.value, same["auc"].verdict
        (0.0, 'cannot tell')
    """
    if not isinstance(data, Labelled):
        raise DataError(
            f"Expected LabelledImages to compare on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    for name, model in zip(names, (a, b), strict=True):
        used = {"fitted": model.trained_on.digest, "calibrated": model.threshold.data}
        for verb, digest in used.items():
            if digest == data.digest:
                raise DataError(
                    f"Expected images that neither model has seen. Received {data.name!r}, which "
                    f"{name} was {verb} on: compare on other images."
                )
    of_a, of_b = (Part(model.embed(data), data.labels) for model in (a, b))
    count = len(data)
    return Comparison(
        names=names,
        differences=differences(of_a, of_b, (a.threshold.value, b.threshold.value)),
        images=count,
        pairs=count * (count - 1) // 2,
        facts={
            "A": _facts(a),
            "B": _facts(b),
            "Data": {"test set": data.name, "test digest": data.digest},
        },
    )


def _facts(model: SiameseModel) -> dict[str, Any]:
    return {
        "recipe": model.recipe.name,
        "seed": model.recipe.seed,
        "epochs": len(model.history),
        "threshold": model.threshold.value,
        "threshold rule": model.threshold.rule,
        "training set": model.trained_on.name,
        "training digest": model.trained_on.digest,
    }
