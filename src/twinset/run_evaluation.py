"""What is in a run's folder, judged: the model on the test part, or its recipe by all folds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twinset import run as run_module
from twinset.assessment import Assessment, evaluate
from twinset.assessment_pictures import pictures
from twinset.evaluate.evaluation_page import write_page
from twinset.holdout import held_out
from twinset.study import markdown, run_study


def evaluate_run(
    run: str | Path,
    data: str = "fashion-mnist",
    *,
    baselines: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Judge the model of a run on a data set's test part.

    Writes evaluation.json, .md (a model card) and .html (with pictures) beside the model.

    Args:
        run: the folder.
        data: the name of a data set: "fashion-mnist".
        baselines: judge raw pixels, principal components and an untrained network as well.
        progress: is told what comes next. Defaults to none.

    Raises:
        ModelError: the folder holds no model.
        DataError: an unknown data set.
    """
    from twinset.embed.model import SiameseModel

    model = SiameseModel.load(run)
    images, test = run_module.load_data(data, None)
    fitted, _ = held_out(images, model.recipe)
    found = evaluate(model, test, fitted=fitted, baselines=baselines, progress=progress)
    found.write_json(Path(run) / "evaluation.json")
    found.write_markdown(Path(run) / "evaluation.md")
    write_page(Path(run) / "evaluation.html", found.to_dict(), pictures(found, model, test))
    return found


def study_run(
    run: str | Path,
    data: str = "fashion-mnist",
    *,
    progress: Callable[[str], None] | None = None,
) -> tuple[dict[str, Any], str]:
    """Run the whole protocol for the recipe of a run, in its folder `protocol`.

    Args:
        run: the folder.
        data: the name of a data set: "fashion-mnist".
        progress: is told what comes next. Defaults to none.

    Returns:
        The summary, and the same as Markdown.

    Raises:
        ModelError: the folder holds no model.
        DataError: an unknown data set, or results of another recipe in the folder.
    """
    from twinset.embed.model import SiameseModel

    model = SiameseModel.load(run)
    images, test = run_module.load_data(data, None)
    summary = run_study(images, test, model.recipe, Path(run) / "protocol", progress=progress)
    return summary, markdown(summary)
