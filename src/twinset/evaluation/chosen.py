"""What a choice found: its candidates as a table, and the one that was taken."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from twinset import tables
from twinset.data.labelled import Labelled
from twinset.errors import TwinsetError
from twinset.evaluation.crossfit import CrossFitted
from twinset.files import plain, write_json
from twinset.metrics.intervals import Estimate, Interval
from twinset.recipe import Recipe

FILE = "choice.json"
FOUND = "choice.npz"  # until the model is there, whose crossfit.npz it becomes
HEADS = ("AUC", "MAP@R", ">recall@1", ">numbers", ">time")


def _cell(number: Interval | None) -> str:
    return "-" if number is None else f"{number.value:.3f} ({number.low:.3f} to {number.high:.3f})"


@dataclass(frozen=True, eq=False)
class Judged:
    """One candidate, and how good it was on images that it was not fitted on."""

    name: str
    seconds: float
    dim: int = 0
    auc: Interval | None = None
    map_at_r: Interval | None = None
    recall_at_1: float = math.nan
    left_out: str = ""  # why it was not tried, or why it failed
    score: Estimate | None = field(default=None, repr=False)
    found: CrossFitted | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "name": self.name,
            "seconds": self.seconds,
            "numbers": self.dim,
            "auc": None if self.auc is None else asdict(self.auc),
            "map_at_r": None if self.map_at_r is None else asdict(self.map_at_r),
            "recall_at_1": self.recall_at_1,
            "left_out": self.left_out,
        }

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Judged:
        """Make it of what `to_dict` returned, as JSON has it."""

        def number(value: float | None) -> float:
            return math.nan if value is None else value

        auc, map_at_r = (
            None if told[key] is None else Interval(*map(number, told[key].values()))
            for key in ("auc", "map_at_r")
        )
        return cls(
            name=told["name"],
            seconds=told["seconds"],
            dim=told["numbers"],
            auc=auc,
            map_at_r=map_at_r,
            recall_at_1=number(told["recall_at_1"]),
            left_out=told["left_out"],
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidates in order of simplicity, and the one that was taken.

    Args:
        rows: one for each candidate, simplest first.
        chosen: name of the one that was taken.
        best: name of the one with the highest score.
        recipe: of the one that was taken, whole.
        across: what was left out in turn, for people.
        by: "class" or "image".
        asked: the recipe that they were chosen for.
        found: its embeddings of what was left out, for thresholds and promised rates.
    """

    rows: tuple[Judged, ...]
    chosen: str
    best: str
    recipe: Recipe
    across: str
    by: str
    asked: Recipe
    found: CrossFitted = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        told: dict[str, Any] = plain(
            {
                "schema": 1,
                "chosen": self.chosen,
                "best": self.best,
                "by": self.by,
                "across": self.across,
                "rule": self.rule,
                "candidates": [row.to_dict() for row in self.rows],
                "recipe": self.recipe.model_dump(mode="json"),
                "asked": self.asked.model_dump(mode="json"),
            }
        )
        return told

    @property
    def rule(self) -> str:
        """How it was chosen, for people."""
        judged_by = "AUC of the judged pairs" if self.found.judged.size else "mean of AUC and MAP@R"
        return (
            f"the simplest candidate whose {judged_by} is within one standard error of the best, "
            f"on images left out in turn: {self.across}"
        )

    def summary(self) -> str:
        """Lay the candidates out as a table for a terminal, and say which were left out."""
        rows = [
            ["->" if name == self.chosen else "", name, *cells] for name, cells in self._tried()
        ]
        left_out = [f"left out: {name}: {why}" for name, why in self._left_out()]
        lines = [tables.text(["", "candidate", *HEADS], rows), *left_out]
        return "\n".join([*lines, f"{self.chosen}: {self.rule}."])

    def facts(self) -> dict[str, dict[str, str]]:
        """Return a section of facts for a report."""
        told = {"chosen": f"{self.chosen}: {self.rule}"}
        for name, cells in self._tried():
            words = zip(HEADS, cells, strict=True)
            told[name] = ", ".join(f"{head.strip('>')} {cell}" for head, cell in words)
        told |= {name: f"left out: {why}" for name, why in self._left_out()}
        return {"Candidates": told}

    def _tried(self) -> Iterator[tuple[str, list[str]]]:
        for row in self.rows:
            if not row.left_out:
                yield (
                    row.name,
                    [
                        _cell(row.auc),
                        _cell(row.map_at_r),
                        "-" if math.isnan(row.recall_at_1) else f"{row.recall_at_1:.3f}",
                        f"{row.dim:,}",
                        f"{row.seconds:.1f} s",
                    ],
                )

    def _left_out(self) -> list[tuple[str, str]]:
        return [(row.name, row.left_out) for row in self.rows if row.left_out]

    def write(self, folder: Path) -> None:
        """Write choice.json, and choice.npz with what was found, which `read` takes."""
        (folder / FILE).unlink(missing_ok=True)  # whatever ends this, the two are of one choice
        self.found.write(folder / FOUND)
        write_json(folder / FILE, self.to_dict())

    @classmethod
    def read(cls, folder: Path, data: Labelled, asked: Recipe) -> Choice | None:
        """Read what `write` wrote for the same data and recipe; None where there is no such."""
        try:
            told = json.loads((folder / FILE).read_text("utf-8"))
            found = CrossFitted.read(folder / FOUND)
            rows = tuple(Judged.of(row) for row in told["candidates"])
            if told["asked"] != plain(asked.model_dump(mode="json")) or found.data != data.digest:
                return None
            recipe = Recipe.parse(told["recipe"])
            words = {key: told[key] for key in ("chosen", "best", "across", "by")}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, TwinsetError):
            return None  # damaged, or of another version: it is chosen anew
        return cls(rows, **words, recipe=recipe, asked=asked, found=found)
