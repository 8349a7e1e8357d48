"""A whole run, from a data set to a folder with model, scores, pictures and report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.data.addresses import is_address
from twinset.data.decoding.decode import Preprocessing
from twinset.data.labelled import Labelled
from twinset.data.load import DEFAULT, Origin, load_parts, write_members
from twinset.data.pair_parts import pairs_to_show
from twinset.data.pair_tables import read_pair_table
from twinset.data.parts import Parts
from twinset.data.purpose import settled
from twinset.data.sources import is_path, source_for
from twinset.data.split import comparable
from twinset.errors import DataError, TrainingError, TwinsetError, UnfinishedError
from twinset.evaluation.candidates import check_own
from twinset.evaluation.choice import choose
from twinset.evaluation.chosen import FOUND, Choice
from twinset.evaluation.crossfit import CROSSFIT, CrossFitted, cross_calibrated, crossfit
from twinset.evaluation.of_test_pairs import judged_on, score
from twinset.exporters.export import ready
from twinset.files import alone, run_folder
from twinset.metrics.pairs import parse_rule
from twinset.progress import Wanted
from twinset.recipe import Recipe
from twinset.report.run_report import Report

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

CHECKPOINT = "checkpoint.npz"
# by a run of another model
_WRITTEN = (CROSSFIT, "encoder.onnx", "report.*", "evaluation.*", "*.png")


@dataclass(frozen=True)
class Run:
    """What `train` made: the folder, the model in it, and the report on it."""

    folder: Path
    model: SiameseModel
    report: Report | None  # None in all processes of a training but the first


def train(
    data: str | Path | None = None,
    recipe: str | Path | Recipe | None = None,
    *,
    pairs: str | Path | None = None,
    columns: Mapping[str, str] | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    resume: bool = False,
    allow_leaks: bool = False,
    progress: Wanted = True,
    tell: Callable[[str], None] | None = None,
    **overrides: Any,
) -> Run:
    """Train on a data set, score on its test pairs, and write everything to a folder.

    The folder holds the model (see `SiameseModel.save`), its graph for ONNX Runtime, report.html,
    report.json and the pictures. The model is saved as soon as it is trained: whatever fails later
    loses nothing, and its error names the folder.

    Args:
        data: "fashion-mnist", or the path of images, as for `load_images`, or of features, as for
            `load_features`. They are checked, and divided by the recipe's `holdout` and `split`.
            Defaults to "fashion-mnist"; with pairs, to the images that these name.
        recipe: a built-in name, the path of a TOML file, or a `Recipe`. Defaults to "tutorial" for
            a data set that has a name, and to "auto" for one's own and for judged pairs.
        pairs: a table of judged pairs (.csv, .tsv, .parquet): columns left, right and same, perhaps
            group. Left and right are ids of the data, or paths. Classes of the data, where it has
            some, give pairs as well; a judgement goes before them. "tutorial" and "batch" are the
            recipe's own field. Defaults to none.
        columns: of a table of images, those that are not called as usual: {"image": "photo",
            "label": "person"}, and "group" and "split" if there are any; of a folder
            {"classes": "top"}, as for `load_images`. Remembered by the run. Defaults to the usual
            names.
        out: the folder. Defaults to a new one, `runs/<recipe's name>` or that with a number.
        overwrite: replace the run in `out`, if there is one. Defaults to False.
        resume: go on with the training that was stopped in `out`; begin where there was none.
            Defaults to False.
        allow_leaks: train though images or groups are in two parts of the data's owner. Defaults
            to False.
        progress: as for `fit`.
        tell: is told what the reading and the check of the data find. Defaults to none.
        **overrides: fields of the recipe to replace, as in `Recipe.load`.

    Raises:
        DataError: no such data, or it is not fit for training; `out` exists or cannot be written.
        ModelError: what is to be resumed is of another training.
        RecipeError, TrainingError: the recipe or an override is wrong; the training broke down.
        UnfinishedError: the model is trained and saved, but something later failed.

    Example:
        >>> import tempfile
        >>> points = np.random.default_rng(0).normal(size=(60, 3)) + np.repeat(5 * np.eye(3), 20, 0)
        >>> labels = np.repeat(["a", "b", "c"], 20)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/points.npz", embedding=points, label=labels)
        ...     settings = {"head.kind": "lda", "progress": False}
        ...     made = train(f"{folder}/points.npz", "head", out=f"{folder}/run", **settings)
        ...     made.folder.name, (made.folder / "report.html").exists()
        ('run', True)
        >>> made.model.compare(points[0], points[20]).same, made.report.to_dict()["schema"]
        (False, 2)
    """
    if pairs in ("tutorial", "batch"):  # the recipe's own field, as for `fit`
        overrides, pairs = {**overrides, "pairs": pairs}, None
    data = DEFAULT if data is None and pairs is None else data
    usual = _usual(data, pairs)
    chosen = Recipe.load(usual if recipe is None else recipe, **overrides)
    _check(chosen)
    # here, as Keras takes long to import, and what is said wrong above should not
    from twinset.training import processes

    folder = Path(
        processes.from_first(
            lambda: str(run_folder(out, chosen.name, overwrite=overwrite, resume=resume))
        )
    )
    first = not processes.index()  # who writes, and speaks
    if not first:
        progress, tell = False, None
    state = folder / CHECKPOINT
    with _held(folder, first):
        told: dict[str, Any] = {"allow_leaks": allow_leaks, "progress": progress, "tell": tell}
        parts = load_parts(data, chosen, pairs=pairs, columns=columns, **told)
        if not resume and first:
            state.unlink(missing_ok=True)

        from twinset.training.fit import fit
        from twinset.training.guards import sigterm_put_off

        shown = pairs_to_show(parts.fit, seed=chosen.seed)
        chosen, choice = _choice(parts, chosen, folder, resume=resume, progress=progress, tell=tell)
        started = time.perf_counter()
        with sigterm_put_off():
            model = fit(
                parts.fit,
                chosen,
                pairs=shown if chosen.pairs == "tutorial" and pairs is None else None,
                validation=_validation(parts, tell),
                progress=progress,
                checkpoint=state,
                keep_checkpoint=True,
            )
            seconds = time.perf_counter() - started
            processes.leave()
            if not first:
                return Run(folder, model, None)
            _save(model, folder, parts, Origin(data, pairs, columns or {}))
        found = None if choice is None else choice.found
        model, found = _calibrated(model, folder, parts, found, progress, tell)
        with _step(folder, "its graph for ONNX Runtime"):
            if isinstance(model.preprocessing, Preprocessing):  # a graph takes pixels, not vectors
                ready(model, folder, tell)
        with _step(folder, "its evaluation"):
            judged = judged_on(parts, found, model)
            report = score(model, parts.fit, judged, shown, fit_seconds=seconds, choice=choice)
        _write(report, model, folder)
    return Run(folder, model, report)


@contextmanager
def _held(folder: Path, first: bool) -> Iterator[None]:
    # by one training at a time; of one that came to nothing no empty folder is left behind
    if not first:
        yield
        return
    try:
        with alone(folder):
            yield
    except BaseException as error:
        if not any(folder.iterdir()):
            folder.rmdir()
        elif isinstance(error, KeyboardInterrupt) and (folder / CHECKPOINT).exists():
            error.args = error.args or ("To go on: the same command with --resume.",)
        raise


def _calibrated(
    model: SiameseModel,
    folder: Path,
    parts: Parts,
    found: CrossFitted | None,
    progress: Wanted,
    tell: Callable[[str], None] | None,
) -> tuple[SiameseModel, CrossFitted | None]:
    with _step(folder, "the cross-fitting", f"evaluate {folder} on other images"):
        if found is not None:  # by the choice
            (folder / FOUND).replace(folder / CROSSFIT)
        elif parts.turns is not None:
            found = _left_out(parts, model, progress, tell)
            if found is not None:
                found.write(folder / CROSSFIT)
    with _step(folder, "the choice of its threshold"):
        if parts.calibration is not None:
            model = model.calibrate(parts.calibration)
            model.save_decision(folder)
        elif found is not None and model.recipe.holdout != "none":
            model = cross_calibrated(model, found)
            model.save_decision(folder)
    return model, found


def _usual(data: str | Path | None, pairs: str | Path | None) -> str:
    # first: to read a recipe takes an import of Keras, to misspell a path does not
    if data is not None:
        source_for(str(data))
    if pairs is not None:
        read_pair_table(pairs)
    own = pairs is not None or is_path(str(data)) or is_address(data)
    return "auto" if own else "tutorial"


def _check(recipe: Recipe) -> None:
    # what is wrong with it costs no second of reading or training
    parse_rule(recipe.rule)
    if recipe.choice.candidates != "none":
        check_own(recipe)


def _choice(
    parts: Parts,
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool,
    progress: Wanted,
    tell: Callable[[str], None] | None,
) -> tuple[Recipe, Choice | None]:
    from twinset.training.processes import from_first

    if recipe.choice.candidates == "none":
        return recipe, None
    held: list[Choice] = []

    def make() -> dict[str, Any]:
        # by the purpose that all images together have, of which the fit is a part
        known = settled(recipe, parts.by)
        # not anew for what is resumed: it may take as long as its budget, and end otherwise
        found = Choice.read(folder, parts.fit, known) if resume else None
        if found is None:
            found = choose(parts.fit, known, turns=parts.turns, progress=progress)
            found.write(folder)
        held.append(found)
        if tell is not None:
            tell(f"candidates\n{found.summary()}")
        return found.recipe.model_dump(mode="json")

    values = from_first(make)
    return (held[0].recipe, held[0]) if held else (Recipe.parse(values), None)


def _validation(parts: Parts, tell: Callable[[str], None] | None) -> Labelled | None:
    if parts.tune is None or all(comparable(parts.tune.labels)):
        return parts.tune
    if tell is not None:
        tell(
            f"no validation: of {len(parts.tune)} images for it no two are of one class beside "
            "one of another"
        )
    return None


def _left_out(
    parts: Parts, model: SiameseModel, progress: Wanted, tell: Callable[[str], None] | None
) -> CrossFitted | None:
    from twinset.training.fit import fit

    recipe = model.recipe
    if model.interrupted:
        recipe = Recipe.load(recipe, epochs=len(model.history))

    def train(kept: Labelled) -> SiameseModel | None:
        pairs = None
        if recipe.pairs == "tutorial" and kept.judged is None:
            pairs = pairs_to_show(kept, seed=recipe.seed)
        choosing = None
        if parts.tune is not None and not recipe.stopping.nothing:
            # no epoch is chosen on classes that were left out
            known = np.isin(parts.tune.labels, kept.labels)
            choosing = parts.tune.subset(np.flatnonzero(known))
            choosing = choosing if all(comparable(choosing.labels)) else None
        try:
            found = fit(kept, recipe, pairs=pairs, validation=choosing, progress=False)
        except TrainingError:  # of so few images that nothing can be learned
            return None
        if found.interrupted:  # half a training says nothing of a whole one
            raise KeyboardInterrupt
        return found

    try:
        return crossfit(parts.fit, train, turns=parts.turns, seed=recipe.seed, progress=progress)
    except DataError as error:
        if parts.test is None:  # nothing is left to say how good the model is
            raise
        if tell is not None:
            tell(f"the threshold stays at what the recipe says: {error}")
        return None


def _save(model: SiameseModel, folder: Path, parts: Parts, origin: Origin) -> None:
    try:
        for pattern in _WRITTEN:
            for path in filter(Path.is_file, folder.glob(pattern)):
                path.unlink()
        # first: without them nobody knows which images the model must not be judged on
        write_members(folder, parts, origin)
        model.save(folder)
    except OSError as error:
        raise DataError(
            f"{folder}: the trained model could not be saved. {error.strerror or error}: make "
            "room, and go on with resume, which trains again from the last checkpoint only."
        ) from error
    if not model.interrupted:
        # not before: a full disk would cost the whole training
        (folder / CHECKPOINT).unlink(missing_ok=True)


def _write(report: Report, model: SiameseModel, folder: Path) -> None:
    with _step(folder, "its report"):
        report.write_json(folder / "report.json")
        report.write_html(folder / "report.html")
    with _step(folder, "a picture"):
        for picture in report.pictures:
            picture.write(folder)


@contextmanager
def _step(folder: Path, what: str, next_: str = "") -> Iterator[None]:
    # whatever fails after a training: the model is there
    go_on = f"To go on: {next_ or f'twinset evaluate {folder}'}."
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (f"{folder}: the model is trained and saved; {what} is not done. {go_on}",)
        raise
    except Exception as error:
        reason = str(error)
        if isinstance(error, OSError):
            reason = f"{error.strerror or error}"
        elif not isinstance(error, TwinsetError):  # a defect of ours, or no memory
            reason = f"{type(error).__name__}: {error}"
        raise UnfinishedError(
            f"{folder}: the model is trained and saved, but {what} failed. {reason.rstrip('.')}. "
            f"{go_on}"
        ) from error
