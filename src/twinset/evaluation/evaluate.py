"""A trained model and labelled images → a judgement, beside those of the baselines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from twinset import tables
from twinset.data.labelled import Labelled
from twinset.errors import DataError
from twinset.files import plain, write_bytes
from twinset.metrics.baselines import Projection, fit_pca, raw_pixels, unit_norm
from twinset.metrics.intervals import Interval
from twinset.metrics.judge import Calibration, Judgement, Part, judge
from twinset.metrics.pairs import ChosenThreshold

if TYPE_CHECKING:
    from twinset.models.keras_model import SiameseModel

# Classes of Fashion-MNIST that resemble each other: tops, and shoes.
NEAR_CLASSES = {"fashion-mnist": ((0, 2, 3, 4, 6), (5, 7, 9))}
SCHEMA = 2
HARDEST = 10
SIDE = 64  # larger images are shrunk to this for raw pixels and principal components
# Pixels of all training images, as numbers of 8 bytes; and of one, for principal components, whose
# time grows with the cube. Beyond these a baseline would outgrow memory or patience.
LARGEST, WIDEST = 10**8, 4096

Embedder: TypeAlias = Callable[[Labelled], Any]


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

        Schema 2:

        - `schema`: 2.
        - `title`, `class_names`.
        - `facts`: section → key → value: "Data", "Model", "Versions", "Seconds to embed and
          judge", and "Left out" where training images are too many for a baseline.
        - `judgements`: name → judgement; "model" first, then the baselines.

        Each judgement:

        - `images`, `pairs`, `positives`: numbers of test images, of their pairs, of same pairs.
        - `numbers`: name → `value`, `low`, `high`, `error`, `level`. Over pairs "auc", "eer",
          "tpr@fpr=0.1", "tpr@fpr=0.01", "tpr@fpr=0.001", "near auc 5-7-9" (different pairs among
          these labels alone); over queries "recall_at_1", "recall_at_2", "recall_at_4",
          "recall_at_8", "r_precision", "map_at_r", "map_at_10", "mean_average_precision"; where
          the fitted images were at hand "1-nn accuracy" and "20-nn accuracy", and with a tune
          part "linear probe accuracy".
        - `points`: for each threshold `rule`, `promised_fmr`, `promised_fnmr`, `rates` (threshold
          and counts), `fmr` and `fnmr` with intervals, `precision` by prior, `fmr_spread`,
          `fnmr_spread`, `accuracy`, `balanced_accuracy`, `enough_errors`.
        - `class_errors`: `classes`, `fnmr`, `fmr` by class at the first threshold, or None.
        - `scores`: "brier", "cllr", "min cllr"; empty without a calibration.
        - `reliability`: `predicted`, `observed`, `mass` by bin, or None.
        - `health`: of the embedding, as `EmbeddingHealth`.
        - `curve`: `threshold`, `fmr`, `fnmr`, thinned.
        - `bands`: `fmr`, `tpr`, `low`, `high`, the ROC curve with 95% intervals, or None; the
          model's alone.
        - `hardest`: `false_matches`, the closest different pairs, and `false_non_matches`, the
          farthest same ones: lists of [position, position, distance], hardest first; mistakes
          only on the wrong side of a threshold. Or None; the model's alone.

        Numbers that are not finite are None.
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
        rows = [
            [label, *(_cell(self.judgements[name].numbers.get(key)) for name in names)]
            for label, key in self._headlines()
        ]
        lines = [f"# {self.title}", "", tables.markdown(["95% intervals", *names], rows)]
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
        rows = []
        for label, key in self._headlines():
            numbers = [self.judgements[name].numbers.get(key) for name in names]
            rows.append([label, *("-" if n is None else f"{n.value:.4f}" for n in numbers)])
            first = numbers[0]
            if first is not None:
                rows[-1][1] += f" [{first.low:.4f}, {first.high:.4f}]"
        table = tables.text(["", *(f">{name}" for name in names)], rows)
        return "\n".join([self.title, "", table, "", *self._points()])

    def _headlines(self) -> list[tuple[str, str]]:
        """List label and key of the headlines that at least one contestant has."""
        known = set().union(*(each.numbers for each in self.judgements.values()))
        return [row for row in HEADLINES if row[1] in known]

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
    ("1-NN accuracy", "1-nn accuracy"),
    ("20-NN accuracy", "20-nn accuracy"),
    ("linear probe", "linear probe accuracy"),
)


def _cell(number: Interval | None) -> str:
    return "-" if number is None else f"{number.value:.4f} [{number.low:.4f}, {number.high:.4f}]"


def evaluate(
    model: SiameseModel,
    data: Labelled,
    *,
    fitted: Labelled | None = None,
    tune: Labelled | None = None,
    baselines: bool = True,
    near: Sequence[Sequence[int]] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Assessment:
    """Judge a model on images it has not seen: all pairs, all queries, with intervals.

    Beside the model stand raw pixels, or the features as they came, the same network untrained,
    and, where the training images
    are at hand, their first 64 principal components: what the model must beat.

    Args:
        model: a trained model.
        data: the test images, at least two of some class, of at least two classes.
        fitted: the images that the model was fitted on: for the principal components, the votes
            and the probe. Defaults to none.
        tune: images for the probe's choice of its penalty, neither fitted on nor tested on.
            Defaults to none.
        baselines: judge them as well. Defaults to True.
        near: labels of classes that are alike. Defaults to Fashion-MNIST's tops and shoes for
            that data set, and to none elsewhere.
        progress: is told what comes next. Defaults to none.

    Raises:
        DataError: the data has no pairs of both kinds, or an image of another shape.
    """
    if not isinstance(data, Labelled):
        raise DataError(
            f"Expected LabelledImages to evaluate on. Received {type(data).__name__}: "
            "wrap arrays as `LabelledImages(images, labels, class_names)`."
        )
    groups = NEAR_CLASSES.get(data.name.split("/")[0], ()) if near is None else near
    say = progress or (lambda _: None)
    left_out = _left_out(model, fitted, floor_of(data)) if baselines else {}
    contestants: list[tuple[str, Embedder]] = [("model", model.embed)]
    contestants += _baselines(model, data, fitted) if baselines else []
    contestants = [each for each in contestants if each[0] not in left_out]
    judgements: dict[str, Judgement] = {}
    seconds: dict[str, float] = {}
    for name, embedder in contestants:
        say(name)
        started = time.perf_counter()
        own = name == "model"
        known = None if f"votes on {name}" in left_out else fitted
        judgements[name] = judge(
            Part(embedder(data), data.labels),
            near=groups,
            seed=model.recipe.seed,
            with_bands=own,
            hardest=HARDEST if own else 0,
            gallery=None if known is None else Part(embedder(known), known.labels),
            tune=None if tune is None else Part(embedder(tune), tune.labels),
            **(_decisions(model) if own else {}),
        )
        seconds[name] = round(time.perf_counter() - started, 2)
    facts = _facts(model, data) | {"Seconds to embed and judge": seconds}
    facts |= {"Left out": left_out} if left_out else {}
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


def floor_of(data: Labelled) -> str:
    """Name what a model has to beat: the rows as they are.

    Args:
        data: images or features.
    """
    return "raw pixels" if data.rows.dtype == np.uint8 else "raw features"


def plain_rows(rows: Any, *, side: int | None = None) -> Any:
    """Take rows as embeddings that have learned nothing.

    Args:
        rows: pixels, flattened as `raw_pixels` does, or features, left as they are.
        side: as for `raw_pixels`. Defaults to none.
    """
    return raw_pixels(rows, side=side) if rows.dtype == np.uint8 else rows


def _baselines(
    model: SiameseModel, data: Labelled, fitted: Labelled | None
) -> list[tuple[str, Embedder]]:
    from twinset import networks
    from twinset.models.keras_model import encode

    @cache
    def network() -> Any:
        shape = model.preprocessing.shape
        return networks.build(model.recipe.encoder, shape, seed=model.recipe.seed)

    def untrained(images: Labelled) -> Any:
        return _by_parts(images, lambda part: encode(network(), part))

    def raw(images: Labelled) -> Any:
        return _by_parts(images, lambda part: unit_norm(plain_rows(part, side=SIDE)))

    @cache
    def projection() -> Projection:
        assert fitted is not None, "listed only where there are training images"
        known = plain_rows(fitted.rows[:], side=SIDE)
        return fit_pca(known, min(64, *known.shape), fewer=True)

    def components(images: Labelled) -> Any:
        return _by_parts(
            images, lambda part: unit_norm(projection().apply(plain_rows(part, side=SIDE)))
        )

    found: list[tuple[str, Embedder]] = [(floor_of(data), raw), ("untrained", untrained)]
    if fitted is not None:
        found.insert(1, ("PCA-64", components))
    return found


def _left_out(model: SiameseModel, fitted: Labelled | None, floor: str) -> dict[str, str]:
    """Name what of the baselines is impossible or would cost too much, and why."""
    found = {}
    if model.recipe.encoder.name == "own":
        found = {"untrained": "a network of your own may have learned before"}
    if fitted is None:
        return found
    pixels = math.prod(fitted.row_shape)
    if len(fitted) * pixels > LARGEST:
        reason = f"{len(fitted):,} training images of {pixels:,} pixels are too many"
        found |= {f"votes on {floor}": reason, "PCA-64": reason}
    elif pixels > WIDEST:
        found |= {"PCA-64": f"{pixels:,} pixels are more than {WIDEST:,}"}
    return found


def _by_parts(images: Labelled, embed: Callable[[Any], Any], size: int = 1024) -> Any:
    """Embed some images at a time: float64 pixels of 50,000 take 0.3 GB, and each step a copy."""
    first = embed(images.rows[:size])
    result = np.empty((len(images), *first.shape[1:]), first.dtype)
    result[:size] = first
    for start in range(size, len(images), size):
        result[start : start + size] = embed(images.rows[start : start + size])
    return result


def _facts(model: SiameseModel, data: Labelled) -> dict[str, dict[str, Any]]:
    from twinset.models.keras_model import versions

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
