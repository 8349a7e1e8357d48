"""Two models on the same images, A against B: the answer, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twinset import tables
from twinset.files import plain
from twinset.metrics.differences import Difference
from twinset.metrics.pairs import ENOUGH_ERRORS

SCHEMA = 2


@dataclass(frozen=True, eq=False)
class Comparison:
    """Which of two models is better on the same test images, number by number.

    Do not read it as a comparison of two recipes: another seed gives another model, and the
    intervals hold the two models fixed. For that, train each recipe with several seeds. Nor read
    the rows as one verdict: of twenty comparisons of equally good models, each row gets about one
    wrong, so choose the row that matters before looking.

    Args:
        names: of A and of B.
        differences: one for each number.
        images: number of test images.
        pairs: number of their pairs; all of them count.
        facts: "A", "B" and "Data" → key → value: recipe, seed, threshold, digests.
    """

    names: tuple[str, str]
    differences: tuple[Difference, ...]
    images: int
    pairs: int
    facts: Mapping[str, Mapping[str, Any]]

    def __getitem__(self, key: str) -> Difference:
        """Return the difference in the metric of this key."""
        return {each.key: each for each in self.differences}[key]

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values for JSON.

        Schema 2: `schema`, `a` and `b` (name and facts of each model), `data`, `images`, `pairs`,
        and `differences`: key of the metric → a, b, difference, low, high, error, level, better,
        enough_errors, verdict.
        """
        content: dict[str, Any] = plain(
            {
                "schema": SCHEMA,
                "a": {"name": self.names[0], **self.facts.get("A", {})},
                "b": {"name": self.names[1], **self.facts.get("B", {})},
                "data": dict(self.facts.get("Data", {})),
                "images": self.images,
                "pairs": self.pairs,
                "differences": {each.key: each.to_dict() for each in self.differences},
            }
        )
        return content

    def summary(self) -> str:
        """Lay the differences out as an aligned table of plain text, a verdict in each row."""
        rows = []
        for each in self.differences:
            few = "" if each.enough_errors else f" (fewer than {ENOUGH_ERRORS} errors)"
            ends = f"{each.interval.low:+.4f} to {each.interval.high:+.4f}"
            rows.append(
                (
                    f"{each.metric.label}{' *' if each.metric.kind == 'threshold' else ''}",
                    f"{each.a:.4f}",
                    f"{each.b:.4f}",
                    f"{each.interval.value:+.4f}",
                    ends,
                    each.verdict + few,
                )
            )
        columns = ("", ">A", ">B", ">A - B", ">95% interval", "verdict")
        heads = [
            f"{key}: {name}{_told(self.facts.get(key, {}))}"
            for key, name in zip("AB", self.names, strict=True)
        ]
        return "\n".join(
            [
                *heads,
                f"on {self.images:,} images, {self.pairs:,} pairs",
                "",
                tables.text(columns, rows),
                "",
                "* at each model's own threshold",
                "This is about these two models. A claim about their recipes takes several seeds.",
            ]
        )


def _told(facts: Mapping[str, Any]) -> str:
    known = [f"{key} {facts[key]}" for key in ("recipe", "seed") if key in facts]
    return f" ({', '.join(known)})" if known else ""
