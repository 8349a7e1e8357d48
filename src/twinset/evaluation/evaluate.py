"""A trained model on labelled images: measured beside baselines, compared, and calibrated."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from twinset import tables
from twinset.data.data_set import labelled
from twinset.data.decoding.decode import ImageLike
from twinset.data.labelled import Labelled
from twinset.data.pair_parts import listed
from twinset.errors import DataError
from twinset.evaluation import folds
from twinset.evaluation.baselines import baseline_of, baselines_of, left_out
from twinset.files import plain, write_bytes, write_json
from twinset.metrics.comparison import Comparison, differences
from twinset.metrics.intervals import Interval
from twinset.metrics.measure import Calibration, Measurements, OperatingPoint, measure
from twinset.metrics.measured import Part
from twinset.metrics.table import METRICS
from twinset.progress import Progress, Wanted, reporting

if TYPE_CHECKING:
    from twinset.models.embedder import Embedder

SCHEMA = 3
HARDEST = 10


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measurements of a model and of its baselines on the same images.

    Args:
        title: names model and data.
        results: name → measurements; "model" first, then the baselines.
        class_names: of the data.
        facts: sections of keys and values: data, digests, seeds, versions.
    """

    title: str
    results: Mapping[str, Measurements]
    class_names: tuple[str, ...]
    facts: Mapping[str, Mapping[str, Any]]

    @property
    def model(self) -> Measurements:
        """The model's own measurements."""
        return self.results["model"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON.

        Schema 3:

        - `schema`: 3.
        - `title`, `class_names`.
        - `facts`: section → key → value: "Data", "Model", "Versions", "Seconds to embed and
          measure", and "Left out" where a baseline is impossible or would cost too much.
        - `results`: name → measurements; "model" first, then the baselines.

        Each of the results:

        - `images`, `pairs`, `positives`: numbers of test images, of their pairs, of same pairs.
        - `numbers`: key of a metric → `value`, `low`, `high`, `error`, `level`, `enough_errors`,
          and what else defines the metric, such as `fpr` or `k`. The keys, and what they mean, are
          those of `twinset.metrics.table`.
        - `near`: list of the same for classes that are alike, with the `key` of the metric and
          the labels in `classes`.
        - `points`: for each threshold `rule`, `origin`, `promised_fmr`, `promised_fnmr`,
          `promised_fmr_range`, `promised_fnmr_range` (their intervals, or None), `rates`
          (threshold and counts), `fmr` and `fnmr` with intervals, `precision`, a list of `prior`
          and `precision`, `fmr_spread`, `fnmr_spread`, `accuracy`, `balanced_accuracy`,
          `enough_errors`, `even_odds` (the distance of a probability of one half, or None).
        - `class_errors`: `classes`, `fnmr`, `fmr` by class at the first threshold, or None.
        - `scores`: key → value, of the probability; empty without a calibration.
        - `reliability`: `predicted`, `observed`, `mass` by bin, or None.
        - `health`: key → value, of the embedding.
        - `curve`: `threshold`, `fmr`, `fnmr`, thinned.
        - `distances`: of all pairs: `upper`, the largest distance of each bar, and how many are
          `same` and `different`, or None.
        - `bands`: `fmr`, `tpr`, `low`, `high`, the ROC curve with 95% intervals, or None; the
          model's alone.
        - `hardest`: `false_matches`, the closest different pairs, and `false_non_matches`, the
          farthest same ones: lists of [position, position, distance], hardest first; mistakes
          only on the wrong side of a threshold. Or None; the model's alone.
        - `open_set`: how well test classes are identified as identities, as
          `twinset.metrics.open_set.OpenSet` has it, or None where fewer than 20 have two images;
          the model's alone.

        Numbers that are not finite are None.
        """
        return {
            "schema": SCHEMA,
            "title": self.title,
            "class_names": list(self.class_names),
            "facts": plain(self.facts),
            "results": {name: each.to_dict() for name, each in self.results.items()},
        }

    def write_json(self, path: str | Path) -> None:
        """Write the JSON file in one step."""
        write_json(path, self.to_dict())

    def to_markdown(self) -> str:
        """Write a model card: what the model is, how good with 95% intervals, beside what."""
        rows = [
            [METRICS[key].label, *(_cell(each.numbers.get(key)) for each in self.results.values())]
            for key in self._headlines()
        ]
        lines = [f"# {self.title}", "", tables.markdown(["95% intervals", *self.results], rows)]
        lines += ["", "## Thresholds", "", *(f"- {_sentence(each)}" for each in self.model.points)]
        if self.model.open_set is not None:
            lines += ["", "## Identification", "", *self.model.open_set.sentences()]
        for section, facts in self.facts.items():
            lines += ["", f"## {section}", ""]
            lines += [f"- {key}: {value}" for key, value in facts.items()]
        return "\n".join(lines) + "\n"

    def write_markdown(self, path: str | Path) -> None:
        """Write the model card in one step."""
        write_bytes(path, self.to_markdown().encode(errors="backslashreplace"))

    def summary(self) -> str:
        """Lay the headline numbers out as a table for a terminal, with 95% intervals."""
        rows = []
        for key in self._headlines():
            numbers = [each.numbers.get(key) for each in self.results.values()]
            cells = ["-" if n is None else f"{n.value:.4f}" for n in numbers]
            rows.append([METRICS[key].label, _cell(numbers[0]), *cells[1:]])
        table = tables.text(["", *(f">{name}" for name in self.results)], rows)
        crossed = self.facts.get("Data", {}).get("cross-fitted")
        head = [self.title, *([crossed] if crossed else []), ""]
        known = self.model.open_set
        identified = [] if known is None else ["", *known.sentences()]
        return "\n".join([*head, table, "", *map(_sentence, self.model.points), *identified])

    def _headlines(self) -> list[str]:
        # those that at least one of model and baselines has
        known = set().union(*(each.numbers for each in self.results.values()))
        return [key for key, metric in METRICS.items() if metric.headline and key in known]


def evaluate(
    model: Embedder,
    data: Labelled | ArrayLike | Sequence[ImageLike],
    labels: ArrayLike | None = None,
    *,
    fitted: Labelled | None = None,
    tune: Labelled | None = None,
    baselines: bool = True,
    near: Sequence[Sequence[int]] | None = None,
    allow_seen: bool = False,
    progress: Wanted = True,
) -> Evaluation:
    """Measure a model on images it has not seen: all pairs, all queries, with 95% intervals.

    Beside the model stand raw pixels, or the features as they came, the same network untrained
    (or, of one that others trained, what it finds as it is), and, where the training images are at
    hand, their first 64 principal components: what the model must beat.

    Args:
        model: a trained model, as `fit` or `load_model` returns it.
        data: the test images, as those of `fit`: at least two of some class, of at least two
            classes.
        labels: of these, where they have none themselves.
        fitted: the images that the model was fitted on: for the principal components, the votes
            and the probe. Defaults to none.
        tune: images for the probe's choice of its penalty, neither fitted on nor tested on.
            Defaults to none.
        baselines: measure them as well. Defaults to True.
        near: labels of classes that are alike. Defaults to Fashion-MNIST's tops and shoes for
            that data set, and to none elsewhere.
        allow_seen: measure even on the very images that the model was fitted or calibrated on,
            which flatters it. Defaults to False.
        progress: as for `fit`; models and baselines are counted. Defaults to True.

    Raises:
        DataError: the data has no pairs of both kinds, an image of another shape, or is what the
            model was fitted or calibrated on.

    Example:
        >>> import numpy as np
        >>> from twinset import LabelledImages, fit
        >>> labels = np.arange(60) % 3
        >>> pixels = np.full((60, 4, 4), 60 * labels[:, None, None], np.uint8)
        >>> train, test = (LabelledImages(pixels + i, labels, tuple("abc")) for i in range(2))
        >>> model = fit(train, epochs=1, encoder={"units": [4]}, progress=False)
        >>> found = evaluate(model, test, baselines=False, progress=False)
        >>> 0 <= found.model.numbers["auc"].low <= found.model.numbers["auc"].value <= 1
        True
        >>> found.summary().splitlines()[0] in found.to_markdown(), found.to_dict()["schema"]
        (True, 3)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found.write_json(f"{folder}/found.json")
        ...     found.write_markdown(f"{folder}/found.md")
        ...     sorted(path.name for path in Path(folder).iterdir())
        ['found.json', 'found.md']
    """
    data = labelled(data, labels, use="evaluate on", class_names=model.class_names)
    check_unseen({"the model": model}, data, allow_seen=allow_seen)
    if data.judged is not None:
        near = ()  # of classes, which are not all known
    elif near is None:
        near = folds.near_classes(data)
    skipped = left_out(model, fitted, baseline_of(data)) if baselines else {}
    embedders: dict[str, Any] = {"model": model.embed}
    embedders |= baselines_of(model, data, fitted) if baselines else {}
    embedders = {name: each for name, each in embedders.items() if name not in skipped}
    results: dict[str, Measurements] = {}
    seconds: dict[str, float] = {}
    with reporting(progress) as tell:
        for number, (name, embed) in enumerate(embedders.items()):
            tell(Progress("evaluate", number, len(embedders), "models"))
            started = time.perf_counter()
            own = name == "model"
            known = None if f"votes on {name}" in skipped or data.judged is not None else fitted
            results[name] = measure(
                Part(embed(data), data.labels, judged=listed(data)),
                near=near,
                seed=_seed(model),
                with_bands=own,
                hardest=HARDEST if own else 0,
                gallery=None if known is None else Part(embed(known), known.labels),
                tune=None if tune is None else Part(embed(tune), tune.labels),
                calibration=calibration_of(model) if own else None,
            )
            seconds[name] = round(time.perf_counter() - started, 2)
        tell(Progress("evaluate", len(embedders), len(embedders), "models"))
    facts = {
        "Data": {
            "test set": data.name,
            "test images": len(data),
            "test digest": data.digest,
            **_unseen_in(data, fitted),
            **_training_of(model),
            **pairs_of(data),
        },
        "Model": facts_of(model),
        "Versions": _versions(),
        "Seconds to embed and measure": seconds,
    }
    facts |= {"Left out": skipped} if skipped else {}
    return Evaluation(f"{name_of(model)} on {data.name}", results, data.class_names, facts)


def compare_models(
    a: Embedder,
    b: Embedder,
    data: Labelled | ArrayLike | Sequence[ImageLike],
    labels: ArrayLike | None = None,
    *,
    names: tuple[str, str] = ("A", "B"),
    allow_seen: bool = False,
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
        data: images that neither was fitted or calibrated on, of two classes at least, as those of
            `fit`.
        labels: of these, where they have none themselves.
        names: what to call the models in the summary. Defaults to ("A", "B").
        allow_seen: as for `evaluate`. Defaults to False.

    Raises:
        DataError: no labels, no pairs of both kinds, or a model was fitted or
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
        >>> same.to_dict()["images"], same.summary().splitlines()[0]
        (60, 'A: A (recipe tutorial, seed 0)')
    """
    data = labelled(data, labels, use="compare on")
    check_unseen(dict(zip(names, (a, b), strict=True)), data, allow_seen=allow_seen)
    known = listed(data)
    of_a, of_b = (Part(model.embed(data), data.labels, judged=known) for model in (a, b))
    count = len(data)
    return Comparison(
        names=names,
        differences=differences(of_a, of_b, (a.threshold.value, b.threshold.value)),
        images=count,
        pairs=count * (count - 1) // 2 if known is None else len(known[0]),
        facts={
            "A": facts_of(a) | _training_of(a),
            "B": facts_of(b) | _training_of(b),
            "Data": {"test set": data.name, "test digest": data.digest},
        },
    )


def _unseen_in(data: Labelled, fitted: Labelled | None) -> dict[str, int]:
    # where the test part is of whole classes, all numbers are of unseen ones
    asked = np.unique(data.labels[data.labels >= 0])
    known = fitted is not None and fitted.class_names == data.class_names and data.judged is None
    if not known or fitted is None or np.isin(asked, fitted.labels).any():
        return {}
    return {"unseen classes": len(asked)}


def check_unseen(
    models: Mapping[str, Embedder], data: Labelled, *, allow_seen: bool = False
) -> None:
    """Refuse what a model was fitted or calibrated on."""
    for name, model in {} if allow_seen else models.items():
        used = {"fitted": model.trained_on.digest, "calibrated": model.threshold.data}
        for verb, digest in used.items():
            if digest == data.digest:
                raise DataError(
                    f"Expected images that {name} has not seen. Received {data.name!r}, on which "
                    f"it was {verb}: take other images, or pass allow_seen=True and do not take "
                    "the result for what new images will give."
                )


def calibration_of(model: Embedder) -> Calibration:
    """Take the model's thresholds, its own first, and its probability."""
    return Calibration((model.threshold, *model.alternatives), model.calibrator)


def facts_of(model: Embedder) -> dict[str, Any]:
    """Say which model it is, as far as it knows: an exported graph does not know its recipe."""
    recipe = model.recipe
    known: dict[str, Any] = {} if recipe is None else {"recipe": recipe.name, "seed": recipe.seed}
    known |= {"epochs": len(model.history)} if model.history else {}
    return known | {"threshold": model.threshold.value, "threshold rule": model.threshold.origin}


def pairs_of(data: Labelled) -> dict[str, Any]:
    """Say what is known of the images: classes of some size, or pairs."""
    if data.judged is None:
        return {"smallest class": int(np.min(data.class_counts[data.class_counts > 0]))}
    return {"judged pairs": len(data.judged), "judged the same": int(data.judged.same.sum())}


def _training_of(model: Embedder) -> dict[str, Any]:
    # the digest tells whether two results are of one training set, which a name does not
    return {"training set": model.trained_on.name, "training digest": model.trained_on.digest}


def name_of(model: Embedder) -> str:
    """Name a model for people: its recipe, or what it was trained on."""
    return f"a model of {model.trained_on.name}" if model.recipe is None else model.recipe.name


def _seed(model: Embedder) -> int:
    return 0 if model.recipe is None else model.recipe.seed


def _versions() -> dict[str, str]:
    if "keras" in sys.modules:
        from twinset.models.keras_model import versions

        return versions()
    # it is not loaded for a model that runs without it
    found = {name: importlib.metadata.version(name) for name in ("twinset", "numpy")}
    return {"python": platform.python_version(), **found}


def _cell(number: Interval | None) -> str:
    return "-" if number is None else f"{number:.4f}"


def _sentence(point: OperatingPoint) -> str:
    threshold = point.threshold
    promise = f" ({threshold.promise})" if threshold.promise else ""
    few = "" if point.rates.enough_errors else ", rests on fewer than 30 errors"
    return (
        f"threshold {threshold.value:.4f}, {threshold.origin}: false match rate {point.fmr:.2%}, "
        f"false non-match rate {point.fnmr:.2%}{promise}{few}"
    )
