"""A plan of which files of duplicates to keep, as a table or a script; nothing is touched here."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePath

from twinset import tables
from twinset.data.image_sources import FileSource, picture_of
from twinset.errors import DataError, StoreError
from twinset.files import write_bytes
from twinset.search.duplicates import PICTURE, THING, DuplicateGroup, Duplicates
from twinset.search.items import Neighbour


def _pixels(source: FileSource) -> tuple[int, ...]:
    width, height, _ = source.probe()
    return width * height, os.stat(source.path).st_size  # noqa: PTH116 - as for many files


def _age(source: FileSource) -> tuple[int, ...]:
    return (-os.stat(source.path).st_mtime_ns,)  # noqa: PTH116


# Rule → what is kept: the largest of these; among equals the one nearest to the group's middle.
RULES: dict[str, Callable[[FileSource], tuple[int, ...]]] = {
    "largest": _pixels,
    "middle": lambda source: (),
    "newest": lambda source: tuple(-one for one in _age(source)),
    "oldest": _age,
}


@dataclass(frozen=True)
class Step:
    """One file that a plan would move aside."""

    keep: str  # the path that stays in its place
    aside: str
    kind: str  # of their group


@dataclass(frozen=True)
class KeepPlan:
    """Which files of each group would be moved aside, and which one stays.

    Example:
        >>> plan = KeepPlan((Step("a.png", "b.png", "same picture"),), "largest", 0)
        >>> plan.sentence(), plan.to_csv().splitlines()[1]
        ('1 file to move aside, 1 to keep (largest of a group)', 'a.png,b.png,same picture,largest')
        >>> "mv -- b.png" in plan.to_sh(), "Move-Item -LiteralPath 'b.png'" in plan.to_ps1()
        (True, True)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plan.write(f"{folder}/plan.sh")
        ...     Path(folder, "plan.sh").read_text("utf-8") == plan.to_sh()
        True
    """

    steps: tuple[Step, ...]
    rule: str
    left_out: int  # items without a file of their own, or whose file is gone

    def sentence(self) -> str:
        """Say it in one line."""
        kept = len({step.keep for step in self.steps})
        files = f"{len(self.steps):,} file{'s' * (len(self.steps) != 1)}"
        told = f"{files} to move aside, {kept:,} to keep ({self.rule} of a group)"
        return told + (f"; without a file: {self.left_out:,}" if self.left_out else "")

    def to_csv(self) -> str:
        """Write a table with the columns keep, aside, kind and rule."""
        rows = ((step.keep, step.aside, step.kind, self.rule) for step in self.steps)
        return tables.csv(["keep", "aside", "kind", "rule"], rows)

    def to_sh(self) -> str:
        """Write a POSIX shell script that moves files into the folder it is given."""
        lines = ["#!/bin/sh", f"# {self.sentence()}", "set -eu"]
        lines += ['aside="${1:?the folder to move the files to}"', 'mkdir -p -- "$aside"']
        for step, name in zip(self.steps, self._names(), strict=True):
            keep, aside, new = map(shlex.quote, (step.keep, step.aside, name))
            # only while the one to keep is there, and over nothing
            there = f'[ -f {keep} ] && [ ! -e "$aside"/{new} ]'
            lines.append(f'if {there}; then mv -- {aside} "$aside"/{new}; fi')
        return "\n".join([*lines, ""])

    def to_ps1(self) -> str:
        """Write a PowerShell script that does the same."""
        lines = [f"# {self.sentence()}", "param([Parameter(Mandatory)][string]$Aside)"]
        lines += ["$ErrorActionPreference = 'Stop'"]
        lines += ["New-Item -ItemType Directory -Force -Path $Aside | Out-Null"]
        for step, name in zip(self.steps, self._names(), strict=True):
            keep, aside, new = map(_powershell, (step.keep, step.aside, name))
            move = f"Move-Item -LiteralPath {aside} -Destination (Join-Path $Aside {new})"
            lines.append(f"if (Test-Path -LiteralPath {keep}) {{ {move} }}")
        return "\n".join([*lines, ""])

    def write(self, path: str | Path) -> None:
        """Write it as the suffix says: .csv, .sh or .ps1."""
        # Windows PowerShell takes a file without the mark for one of the old code pages
        kinds = {".csv": (self.to_csv, "utf-8"), ".sh": (self.to_sh, "utf-8")}
        kinds[".ps1"] = (self.to_ps1, "utf-8-sig")
        if Path(path).suffix not in kinds:
            raise StoreError(f"Expected a plan as {', '.join(kinds)}. Received {str(path)!r}.")
        make, encoding = kinds[Path(path).suffix]
        write_bytes(path, make().encode(encoding))

    def _names(self) -> list[str]:
        # numbered, as files of several folders may have one name
        return [f"{k:05} {PurePath(step.aside).name}" for k, step in enumerate(self.steps, start=1)]


def _powershell(text: str) -> str:
    # PowerShell takes typographic quotes for plain ones
    return "'" + "".join(c * 2 if c in "'\u2018\u2019\u201a\u201b" else c for c in text) + "'"


def keep_plan(found: Duplicates, rule: str = "largest", *, things: bool = False) -> KeepPlan:
    """Plan which file of each group of duplicates to keep; no file is touched.

    Args:
        found: as `twinset.duplicates` found them.
        rule: what is kept of a group: "largest" (most pixels, then bytes), "newest", "oldest" (by
            the time of the last change) or "middle" (the medoid). Defaults to "largest".
        things: plan for what is the same thing as well, not only for the same picture. Defaults to
            False.

    Returns:
        The plan; `write` makes a table of it, or a script for a POSIX shell or PowerShell, which
        moves files into a folder that it is given, and deletes none.

    Raises:
        StoreError: no such rule.

    Example:
        >>> import numpy as np, twinset
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in (0, 0, 3, 3)])
        >>> grays = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "light"), "grays")
        >>> model = twinset.fit(grays, epochs=1, encoder={"units": [8]})
        >>> with twinset.Index.build(model, grays) as index:
        ...     found = twinset.duplicates(index, 0)
        >>> print(twinset.keep_plan(found, things=True).sentence())
        0 files to move aside, 0 to keep (largest of a group); without a file: 4
    """
    if rule not in RULES:
        raise StoreError(f"Expected a rule out of {', '.join(RULES)}. Received {rule!r}.")
    steps = list[Step]()
    gone, kept = set[str](), set[str]()
    left_out = 0
    for kind in (PICTURE, THING)[: 1 + things]:
        for group in found.groups:
            if group.kind == kind:
                ranked, without = _ranked(group, rule, gone)
                left_out += without
                kept |= set(ranked[:1])
                steps += [Step(ranked[0], path, kind) for path in ranked[1:]]
                gone |= set(ranked[1:])
    # a file that is kept for one group stays, whatever another group says
    return KeepPlan(tuple(step for step in steps if step.aside not in kept), rule, left_out)


def _ranked(group: DuplicateGroup, rule: str, gone: set[str]) -> tuple[list[str], int]:
    # paths, the one to keep first, and how many members have none
    worth: dict[str, tuple[int, ...]] = {}
    without = 0
    for one in group.members:
        source = _file(one)
        try:
            value = None if source is None else RULES[rule](source)
        except (DataError, OSError):
            value = None
        if source is None or value is None:
            without += 1
        elif str(source.path) not in gone:
            worth.setdefault(str(source.path), value)
    # stable: of equals the one nearest to the middle stays first
    return sorted(worth, key=lambda path: tuple(-v for v in worth[path])), without


def _file(one: Neighbour) -> FileSource | None:
    # a row of a table is no file that could be moved
    source = picture_of(one.metadata)
    there = isinstance(source, FileSource) and os.path.isfile(source.path)  # noqa: PTH113
    return source if isinstance(source, FileSource) and there else None
