"""Plots of the ledger's figures: tables with bars, which follow light and dark and the width.

The directive `ledger-bars` has a title, how the section of benchmarks/LEDGER.md begins, and a line
for each bar, whose label begins with * where the figure is ours:

    label; how the ledger's row begins; column (default 1); number in that cell (default 1)

A number's range, where the ledger has it in brackets behind the number, is drawn as well.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

LEDGER = Path(__file__).parents[1] / "benchmarks/LEDGER.md"
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?|\.\d+")
_RANGE = re.compile(rf"\s*%?\s*\(({_NUMBER.pattern})%? to ({_NUMBER.pattern})")


class Bar(NamedTuple):
    """A figure of the ledger and its range, which is the figure twice where there is none."""

    label: str
    value: float
    low: float
    high: float
    text: str


def cells(section: str, row: str) -> list[str]:
    """Find the one row of a section's tables that begins so."""
    parts = re.split(r"^##+ ", LEDGER.read_text("utf-8"), flags=re.MULTILINE)
    lines = [line for part in parts if part.startswith(section) for line in part.splitlines()]
    found = [line for line in lines if line.startswith(f"| {row}")]
    if len(found) != 1:
        raise ValueError(f"Expected one row {row!r} in {section!r}. Received {len(found)}.")
    return [cell.strip() for cell in found[0].strip().strip("|").split(" | ")]


def bar(section: str, line: str) -> Bar:
    """Read one figure."""
    label, row, column, which = ([part.strip() for part in line.split(";")] + ["1", "1"])[:4]
    cell = cells(section, row)[int(column)].replace("*", "")
    found = list(_NUMBER.finditer(cell))[int(which) - 1]
    spread = _RANGE.match(cell, found.end())
    value, *ends = (
        float(text.replace(",", "")) for text in (found[0], *(spread.groups() if spread else ()))
    )
    text = found[0] + (f" <small>{spread[1]} to {spread[2]}</small>" if spread else "")
    return Bar(label, value, *(ends or (value, value)), text)


class LedgerBars(SphinxDirective):
    """A plot of figures of the ledger."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec = {  # noqa: RUF012
        "section": directives.unchanged,
        "from": float,
        "to": float,
        "unit": directives.unchanged,
    }

    def run(self) -> list[nodes.Node]:
        """Draw a table with a bar in each row; a dot where the scale does not begin at 0."""
        self.env.note_dependency(str(LEDGER))
        section = self.options.get("section", "")
        try:
            bars = [bar(section, line) for line in self.content if line.strip()]
        except (ValueError, IndexError) as problem:
            raise self.error(f"{self.arguments[0]}: {problem}") from None
        start = self.options.get("from", 0.0)
        end = self.options.get("to", max(each.high for each in bars))
        rows = "".join(self._row(each, start, end) for each in bars)
        unit = self.options.get("unit", "")
        scale = f"{start:g} to {end:g}" if start else ""
        caption = f"{self.arguments[0]} <small>{escape(unit or scale)}</small>"
        table = f'<table class="bars"><caption>{caption}</caption><tbody>{rows}</tbody></table>'
        return [nodes.raw("", table, format="html")]

    def _row(self, each: Bar, start: float, end: float) -> str:
        at, low, high = (
            f"{100 * min(1, max(0, (value - start) / (end - start))):.2f}%"
            for value in (each.value, each.low, each.high)
        )
        drawn = f'<i class="{"dot" if start else "fill"}" style="--at:{at}"></i>'
        if each.low < each.high:
            drawn += f'<i class="range" style="left:{low};right:calc(100% - {high})"></i>'
        return (
            f"<tr{' class=ours' if each.label.startswith('*') else ''}>"
            f'<th scope="row">{escape(each.label.lstrip("*"))}</th>'
            f'<td><span class="track">{drawn}</span></td><td>{each.text}</td></tr>'
        )


def setup(app: Any) -> dict[str, bool]:
    """Add the directive to Sphinx."""
    app.add_directive("ledger-bars", LedgerBars)
    return {"parallel_read_safe": True}
