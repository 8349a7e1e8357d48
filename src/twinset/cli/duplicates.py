"""The command that finds what an index holds more than once: `duplicates`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from twinset import tables
from twinset.cli.arguments import Arguments, say

if TYPE_CHECKING:
    from twinset.search.duplicates import Duplicates

GROUPS, MEMBERS = 20, 5  # so many groups get a line, with so many of their members


def duplicates(args: Namespace) -> int:
    """Find groups of items that are the same picture or the same thing.

    The tightest come first. Items of a group are within the threshold of each other on average.
    Where only a chain of small steps connects two parts they are two groups, and the step that
    would join them is printed. The same picture is told by the pixels, mirrored copies included, as
    long as the files are there.

        twinset duplicates photos.index --threshold 0.05 --picture copies.png
    """
    from twinset.search.duplicates import duplicates as find
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        found = find(opened, args.threshold, pictures=not args.no_pixels, progress=not args.json)
    if args.csv is not None:
        from twinset.files import write_bytes

        # whole or not at all, as other programs read it
        write_bytes(args.csv, found.to_csv().encode())
    if args.picture is not None and found.groups:  # without groups there is nothing to draw
        from twinset import figures
        from twinset.report.index_page import draw_duplicates

        figures.save(draw_duplicates(found), args.picture)
    plan = None
    if args.plan is not None:
        from twinset.search.keep import keep_plan

        plan = keep_plan(found, args.keep, things=args.things)
        plan.write(args.plan)
    if args.json:
        say(json.dumps(found.to_dict()))
        return 0
    _print_groups(found)
    if plan is not None:
        say(f"{args.plan}: {plan.sentence()}")
    return 0


def _duplicates(takes: Arguments) -> None:
    takes.shared("index")
    takes.option(
        "--threshold",
        "Maximum distance between two linked items. Default: the index's threshold, which links "
        "items of one class; copies are much closer.",
        type=float,
        metavar="DISTANCE",
    )
    takes.option("--csv", "Write all groups to this file.", type=Path)
    takes.flag("--no-pixels", "Do not read the images to tell the same picture.")
    takes.option(
        "--plan",
        "Write which files to keep to this .csv, or to a script (.sh, .ps1) that moves the others "
        "into a folder. No file is touched before you run it.",
        type=Path,
        metavar="FILE",
    )
    takes.option(
        "--keep",
        "What a plan keeps of a group: largest, newest, oldest or middle.",
        default="largest",
        metavar="RULE",
    )
    takes.flag("--things", "Plan for the same thing as well, not only for the same picture.")
    takes.shared("--model", "--picture", "--json")


def _print_groups(found: Duplicates) -> None:
    for sentence in found.sentences():
        say(sentence)
    rows = []
    for number, group in enumerate(found.groups[:GROUPS], start=1):
        more = len(group) - MEMBERS
        names = ", ".join(one.id for one in group.members[:MEMBERS])
        rest = f" and {more:,} more" if more > 0 else ""
        width = f"{group.diameter:.4f}"
        rows.append([str(number), group.kind, f"{len(group):,}", width, names + rest])
    if rows:
        say(tables.text([">group", "kind", ">items", ">width", "ids, the middle first"], rows))
    if len(found.groups) > GROUPS:
        say(f"and {len(found.groups) - GROUPS:,} more groups; --csv or --json lists them")


COMMANDS = {duplicates: _duplicates}
