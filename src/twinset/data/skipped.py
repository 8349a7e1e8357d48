"""What was found and cannot be used, with the reason: not dropped in silence, not fatal alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Skipped:
    """One file or row that was skipped.

    Args:
        name: as shown to people, relative to the data: "shirts/a.png", "row 17".
        reason: one line.
    """

    name: str
    reason: str
