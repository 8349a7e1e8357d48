"""What a run achieved: one JSON file for machines, one self-contained HTML file for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from twinset import tables
from twinset.errors import DataError
from twinset.files import plain, write_bytes
from twinset.metrics.pairs import PairScores
from twinset.metrics.table import METRICS, Metric
from twinset.report.page import Picture, check_names, number_text, one_line, render

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
        return (
            f"Accuracy, cross-fitted over {self.across}"
            if self.across
            else ("Accuracy on test set")
        )

    @property
    def right(self) -> int:
        """The number of right verdicts."""
        return self.scores.pairs - self.scores.false_matches - self.scores.false_non_matches

    @property
    def guessing(self) -> float:
        """The accuracy of giving the commoner answer to every pair."""
        return max(self.scores.positives, self.scores.negatives) / self.scores.pairs
