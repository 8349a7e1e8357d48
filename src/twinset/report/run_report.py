"""What a run achieved, and how healthy its training was: JSON for machines, HTML for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from twinset import tables
from twinset.errors import DataError, no_drawing
from twinset.files import plain, write_bytes
from twinset.metrics.intervals import share_interval
from twinset.metrics.pairs import PairScores
from twinset.metrics.table import METRICS, Metric
from twinset.models.history import EpochRecord, best_epoch
from twinset.report.page import Picture, check_names, number_text, one_line, render
from twinset.training.guards import COLLAPSED, DEAD, PATIENCE

SCHEMA = 2
Fact: TypeAlias = str | int | float

# What the report shows, and the counts that a rate is a share of.
ROWS: tuple[tuple[Metric, tuple[str, str] | None], ...] = (
    (METRICS["accuracy"], None),
    (METRICS["fmr"], ("false_matches", "negatives")),
    (METRICS["fnmr"], ("false_non_matches", "positives")),
    (METRICS["auc"], None),
    (METRICS["threshold"], None),
)


@dataclass(frozen=True)
class Report:
    """The scores of a run, the baseline they stand beside, and how they came about."""

    title: str  # names the run, such as "twinset run: tutorial on fashion-mnist"
    scores: PairScores  # the model's, on the test pairs
    # on the same pairs; a model that does not beat it has learned nothing
    baseline: PairScores
    threshold_rule: str  # a sentence that says where the model's threshold comes from
    pictures: tuple[Picture, ...]  # in the order of the page, as are the sections of facts
    facts: Mapping[str, Mapping[str, Fact]]
    baseline_name: str = "raw pixels"
    # what was left out in turn, such as "48 images of 6 classes", where there is no test part
    across: str = ""

    def __post_init__(self) -> None:
        check_names(self.pictures)
        for section, facts in self.facts.items():
            for key, value in facts.items():
                if not isinstance(value, str | int | float | np.number):
                    raise DataError(
                        f"Expected text or a number as fact {key!r} of {section!r}. "
                        f"Received {type(value).__name__}."
                    )

    def to_dict(self) -> dict[str, Any]:
        """Return what the JSON file holds: everything but the pixels, in plain Python types.

        Schema 2:

        - `schema`: 2.
        - `title`, `threshold_rule`, `baseline_name`: text; `across`: what was left out in turn
          and compared, where there is no test part, else empty.
        - `scores`, `baseline`: objects with the fields of `PairScores`; rates are in [0, 1].
        - `pictures`: list of objects with `name`, `caption` and `notes`, in the order of the page.
        - `facts`: object of sections, each an object of text and numbers.

        A number that is not finite is None, in JSON null.
        """
        content: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "title": self.title,
                "threshold_rule": self.threshold_rule,
                "scores": asdict(self.scores),
                "baseline": asdict(self.baseline),
                "baseline_name": self.baseline_name,
                "across": self.across,
                "pictures": [
                    {"name": each.name, "caption": each.caption, "notes": each.notes}
                    for each in self.pictures
                ],
                "facts": self.facts,
            }
        )
        return content

    def to_json(self) -> str:
        """Write `to_dict` as JSON with sorted keys."""
        return json.dumps(
            self.to_dict(), ensure_ascii=False, allow_nan=False, indent=2, sort_keys=True
        )

    def write_json(self, path: str | Path) -> None:
        """Write the JSON file in one step."""
        # half a character of a broken file name becomes \udcXX, which is how JSON spells it
        write_bytes(path, f"{self.to_json()}\n".encode(errors="backslashreplace"))

    def to_html(self) -> str:
        """Write the report as one page that needs no network, no script and no other file."""
        return render("report.html.j2", report=self, schema=SCHEMA, rows=ROWS)

    def write_html(self, path: str | Path) -> None:
        """Write the page in one step."""
        write_bytes(path, self.to_html().encode(errors="replace"))

    def summary(self) -> str:
        """Lay the scores out as a table for a terminal."""
        rows = [
            (
                metric.label,
                *(
                    number_text(getattr(scores, metric.key), metric.format)
                    for scores in (self.scores, self.baseline)
                ),
            )
            for metric, _ in ROWS
        ]
        accuracy = METRICS["accuracy"]
        return "\n".join(
            [
                one_line(self.title),
                f"* {self.headline}: {number_text(self.scores.accuracy, accuracy.format)} "
                f"({self.right:,} of {self.scores.pairs:,} pairs)",
                "",
                tables.text(("", ">model", f">{self.baseline_name}"), rows),
                "",
                f"Threshold of the model: {one_line(self.threshold_rule)}",
            ]
        )

    @property
    def headline(self) -> str:
        """What the first number is."""
        # that of the tutorial, word for word, where there is a test set
        across = self.across
        return f"Accuracy, cross-fitted over {across}" if across else "Accuracy on test set"

    @property
    def right(self) -> int:
        """The number of right verdicts."""
        return self.scores.pairs - self.scores.false_matches - self.scores.false_non_matches

    @property
    def guessing(self) -> float:
        """The accuracy of giving the commoner answer to every pair."""
        return max(self.scores.positives, self.scores.negatives) / self.scores.pairs


# Rules of thumb beside the guards that stop a training: different pairs so many times as far apart
# as same ones, more than one direction, more than nothing, and no gradient that grows by much.
APART, RANK, LEAST, RISING = 1.5, 1.5, 0.01, 3.0
FELL = 0.02  # of the AUC, which is worth a look


def health_picture(
    history: Sequence[EpochRecord], *, scale: float = 1.0, by: str = "AUC", best: bool = False
) -> Picture:
    """Draw how healthy a training was, and say of each statistic what is healthy."""
    # by what the best epoch is found, and whether the model has its weights
    return Picture(
        "health",
        "Statistics of the last batch of each epoch; active share and gradient norm are means "
        "over its steps. A dashed grey line is where a guard stops the training.",
        b"" if no_drawing() else _health_drawn(history, scale),
        notes=(*validation_sentences(history, by, best), *sentences(history)),
    )


def _health_drawn(history: Sequence[EpochRecord], scale: float) -> bytes:
    from twinset import figures  # here, as a report itself needs no matplotlib

    rows = [record.flat() for record in history]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    panels = [
        figures.Panel(
            "mean distance",
            {"same": values["positive_distance"], "different": values["negative_distance"]},
            COLLAPSED * scale,
        ),
        figures.Panel("active share of a batch", {"active": values["active"]}, 0.0, share=True),
        figures.Panel("effective rank", {"rank": values["effective_rank"]}),
        figures.Panel("dead coordinates", {"dead": values["dead_share"]}, DEAD, share=True),
        figures.Panel(
            "on the unit sphere",
            {"alignment": values["alignment"], "uniformity": values["uniformity"]},
            zero=False,
        ),
        figures.Panel("gradient norm", {"norm": values["gradient_norm"]}, 0.0),
    ]
    if "validation_auc" in values:
        scores = {"recall@1": values["validation_recall_at_1"], "AUC": values["validation_auc"]}
        panels.append(figures.Panel("validation images", scores, share=True, zero=False))
    return figures.png_bytes(figures.training_health(values["epoch"], panels))


def validation_sentences(history: Sequence[EpochRecord], by: str, best: bool) -> tuple[str, ...]:
    """Say which epoch was best on the validation images, and how much these can tell."""
    top, last = best_epoch(history, by), history[-1]
    if top is None or top.validation is None or last.validation is None:
        return ()
    scores = top.validation
    sure = share_interval(scores.recall_at_1, int(scores.images))
    text = (
        f"epoch {top.epoch} of {last.epoch} was the best by {by} on {scores.images:.0f} "
        f"validation images: AUC {scores.auc:.4f}, recall@1 {scores.recall_at_1:.1%}, which so "
        f"many images tell to lie between {sure.low:.0%} and {sure.high:.0%}."
    )
    if best:
        return (f"Healthy: {text} The model has its weights.",)
    fell = sure.low > last.validation.recall_at_1 or scores.auc - last.validation.auc > FELL
    advice = ' The last epochs made it worse: take stopping.keep = "best".' if fell else ""
    return (f"{'Look here' if fell else 'Healthy'}: {text}{advice}",)


def sentences(history: Sequence[EpochRecord]) -> tuple[str, ...]:
    """Say what each statistic was in the last epoch, and what is healthy."""
    # Each begins with "Healthy:" or "Look here:"; nothing is said of what is not known.
    last, batch = history[-1], history[-1].statistics
    ratio = batch.negative_distance / max(batch.positive_distance, 1e-12)
    usual = float(np.median([record.gradient_norm for record in history]))
    found = [
        (
            ratio,
            ratio >= APART,
            f"different pairs are {ratio:.1f} times as far apart as same ones "
            f"({batch.negative_distance:.3g} and {batch.positive_distance:.3g}).",
        ),
        (
            last.active,
            last.active >= LEAST,
            f"the loss moves {last.active:.0%} of the embeddings of a batch. It falls as the "
            f"network learns; at 0 in {PATIENCE} batches the training stops.",
        ),
        (
            batch.effective_rank,
            batch.effective_rank >= RANK,
            f"embeddings of a batch spread over {batch.effective_rank:.1f} of "
            f"{batch.dimensions:.0f} dimensions. "
            "About the number of classes less one is usual; 1 is a line, 0 a single point.",
        ),
        (
            batch.dead_share,
            batch.dead_share <= DEAD / 2,
            f"{batch.dead_share:.0%} of the coordinates are constant. Above {DEAD:.0%} after two "
            "epochs in a row the training stops.",
        ),
        (
            batch.uniformity,
            batch.uniformity < -LEAST,
            f"alignment {batch.alignment:.3g}, how far apart same pairs are on the unit sphere, "
            f"and uniformity {batch.uniformity:.3g}, 0 where all is one point, -4 where it is "
            "spread evenly. Lower is better in both.",
        ),
        (
            last.gradient_norm,
            0 < last.gradient_norm <= RISING * usual,
            f"the gradient's norm at the embeddings is {last.gradient_norm:.3g}, over all epochs "
            f"{usual:.3g} in the median. It should not rise by much, nor vanish.",
        ),
    ]
    return tuple(
        f"{'Healthy' if healthy else 'Look here'}: {text}"
        for value, healthy, text in found
        if np.isfinite(value)
    )
