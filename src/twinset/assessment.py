"""A trained model and labelled images → a judgement, beside those of the baselines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from twinset.atomic import write_bytes
from twinset.data.images import LabelledImages
from twinset.errors import DataError
from twinset.evaluate.baselines import fit_pca, raw_pixels, unit_norm
from twinset.evaluate.intervals import Interval
from twinset.evaluate.protocol import Calibration, Judgement, Part, judge
from twinset.evaluate.report import plain
from twinset.evaluate.thresholds import ChosenThreshold

if TYPE_CHECKING:
    from twinset.embed.model import SiameseModel

# Classes of Fashion-MNIST that resemble each other: tops, and shoes.
NEAR_CLASSES = {"fashion-mnist": ((0, 2, 3, 4, 6), (5, 7, 9))}
SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Assessment:
    """Judgements of a model and of its baselines on the same images.

    Args:
        title: names model and data.
        judgements: name → judgement; "model" first, then the baselines.
        class_names: of the data.
        facts: sections of keys and values: data, digests, seeds, versions.
    """

    title: str
    judgements: Mapping[str, Judgement]
    class_names: tuple[str, ...]
    facts: Mapping[str, Mapping[str, Any]]

    @property
    def model(self) -> Judgement:
        """The model's own judgement."""
        return self.judgements["model"]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON.

        Schema 1: `schema`, `title`, `class_names`, `facts`, and `judgements`: name → an object
        with the fields of `Judgement`. Numbers that are not finite are None.
        """
        return {
            "schema": SCHEMA,
            "title": self.title,
            "class_names": list(self.class_names),
            "facts": plain(self.facts),
            "judgements": {name: each.to_dict() for name, each in self.judgements.items()},
        }

    def write_json(self, path: str | Path) -> None:
        """Write the JSON file in one step."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1)
        write_bytes(path, text.encode() + b"\n")

    def to_markdown(self) -> str:
        """Write a model card: what the model is, how good with 95% intervals, beside what."""
        names = list(self.judgements)
        lines = [f"# {self.title}", "", f"| 95% intervals | {' | '.join(names)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        for label, key in HEADLINES:
            cells = [_cell(self.judgements[name].numbers.get(key)) for name in names]
            lines.append(f"| {label} | {' | '.join(cells)} |")
        lines += ["", "## Thresholds", "", *(f"- {line}" for line in self._points())]
        for section, facts in self.facts.items():
            lines += ["", f"## {section}", ""]
            lines += [f"- {key}: {value}" for key, value in facts.items()]
        return "\n".join(lines) + "\n"

    def write_markdown(self, path: str | Path) -> None:
        """Write the model card in one step."""
        write_bytes(path, self.to_markdown().encode(errors="backslashreplace"))

    def summary(self) -> str:
        """Lay the headline numbers out as an aligned table of plain text, with 95% intervals."""
        names = list(self.judgements)
        rows = [["", *names]]
        for label, key in HEADLINES:
            numbers = [self.judgements[name].numbers.get(key) for name in names]
            rows.append([label, *("-" if n is None else f"{n.value:.4f}" for n in numbers)])
            first = numbers[0]
            if first is not None:
                rows[-1][1] += f" [{first.low:.4f}, {first.high:.4f}]"
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(
                [
                    row[0].ljust(widths[0]),
                    *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
                ]
            )
            for row in rows
        ]
        return "\n".join([self.title, "", *lines, "", *self._points()])

    def _points(self) -> list[str]:
        lines = []
        for point in self.model.points:
            promise = (
                ""
                if point.promised_fmr is None
                else (f" (promised {point.promised_fmr:.2%} / {point.promised_fnmr:.2%})")
            )
            few = "" if point.rates.enough_errors else ", rests on fewer than 30 errors"
            lines.append(
                f"threshold {point.rates.threshold:.4f}, {point.rule}: false match rate "
                f"{point.fmr.value:.2%} [{point.fmr.low:.2%}, {point.fmr.high:.2%}], false "
                f"non-match rate {point.fnmr.value:.2%} [{point.fnmr.low:.2%}, "
                f"{point.fnmr.high:.2%}]{promise}{few}"
            )
        return lines


HEADLINES = (
    ("ROC AUC", "auc"),
    ("EER", "eer"),
    ("TPR at FPR 10%", "tpr@fpr=0.1"),
    ("TPR at FPR 1%", "tpr@fpr=0.01"),
    ("TPR at FPR 0.1%", "tpr@fpr=0.001"),
    ("recall@1", "recall_at_1"),
    ("R-precision", "r_precision"),
    ("MAP@R", "map_at_r"),
    ("MAP@10", "map_at_10"),
)


def _cell(number: Interval | None) -> str:
    return "-" if number is None else f"{number.value:.4f} [{number.low:.4f}, {number.high:.4f}]"


def evaluate(
    model: SiameseModel,
    data: LabelledImages,
    *,
    fitted: LabelledImages | None = None,
    baselines: bool = True,
    near: Sequence[Sequence[int]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Judge a model on images it has not seen: all pairs, all queries, with intervals.

    Beside the model stand raw pixels, the same network untrained, and, where the training images
    are at hand, their first 64 principal components: what the model must beat.

    Args:
        model: a trained model.
        data: the test images, at least two of some class, of at least two classes.
        fitted: training images, for the principal components. Defaults to none.
        baselines: judge them as well. Defaults to True.
        near: labels of classes that are alike. Defaults to Fashion-MNIST's tops and shoes for
            that data set, and to none elsewhere.
        progress: is told what comes next. Defaults to none.

    Raises:
        DataError: the data has no pairs of both kinds, or an image of another shape.
    """
    if not isinstance(data, LabelledImages):
        raise DataError(
            f"Expected LabelledImages to evaluate on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    groups = NEAR_CLASSES.get(data.name.split("/")[0], ()) if near is None else near
    say = progress or (lambda _: None)
    contestants: list[tuple[str, Callable[[], Any]]] = [("model", lambda: model.embed(data))]
    contestants += _baselines(model, data, fitted) if baselines else []
    judgements: dict[str, Judgement] = {}
    seconds: dict[str, float] = {}
    for name, vectors in contestants:
        say(name)
        started = time.perf_counter()
        decisions = _decisions(model) if name == "model" else {}
        judgements[name] = judge(
            Part(vectors(), data.labels), near=groups, seed=model.recipe.seed, **decisions
        )
        seconds[name] = round(time.perf_counter() - started, 2)
    facts = _facts(model, data) | {"Seconds to embed and judge": seconds}
    return Assessment(f"{model.recipe.name} on {data.name}", judgements, data.class_names, facts)


def _decisions(model: SiameseModel) -> dict[str, Any]:
    """Hand the model's thresholds and probability to the protocol."""
    own = model.threshold
    if model.calibrator is None or own.fmr is None or own.fnmr is None:
        return {"fixed": {own.rule: own.value}}
    chosen = tuple(
        ChosenThreshold(each.value, each.rule, each.fmr, each.fnmr)
        for each in (own, *model.alternatives)
        if each.fmr is not None and each.fnmr is not None
    )
    return {"calibration": Calibration(chosen, model.calibrator)}


def _baselines(
    model: SiameseModel, data: LabelledImages, fitted: LabelledImages | None
) -> list[tuple[str, Callable[[], Any]]]:
    from twinset.embed import networks
    from twinset.embed.encode import encode

    def untrained() -> Any:
        shape = model.preprocessing.shape
        network = networks.build(model.recipe.encoder, shape, seed=model.recipe.seed)
        return encode(network, data.images)

    def components() -> Any:
        assert fitted is not None, "listed only where there are training images"
        known = raw_pixels(fitted.images)
        return unit_norm(fit_pca(known, min(64, *known.shape)).apply(raw_pixels(data.images)))

    found: list[tuple[str, Callable[[], Any]]] = [
        ("raw pixels", lambda: unit_norm(raw_pixels(data.images))),
        ("untrained", untrained),
    ]
    if fitted is not None:
        found.insert(1, ("PCA-64", components))
    return found


def _facts(model: SiameseModel, data: LabelledImages) -> dict[str, dict[str, Any]]:
    from twinset.embed.model import versions

    return {
        "Data": {
            "test set": data.name,
            "test images": len(data),
            "test digest": data.digest,
            "training set": model.trained_on.name,
            "training digest": model.trained_on.digest,
            "smallest class": int(np.min(data.class_counts[data.class_counts > 0])),
        },
        "Model": {
            "recipe": model.recipe.name,
            "seed": model.recipe.seed,
            "epochs": len(model.history),
            "threshold": model.threshold.value,
            "threshold rule": model.threshold.rule,
        },
        "Versions": versions(),
    }
