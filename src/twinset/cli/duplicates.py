"""The commands on what is there more than once: `duplicates`, `review`, `decide`, `decisions`."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from twinset import tables
from twinset.cli.arguments import Arguments, note, output, plural, say

if TYPE_CHECKING:
    from twinset.search.decisions import Decision
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
    takes.option("--csv", "Write all groups to this file.", type=output)
    takes.flag("--no-pixels", "Do not read the images to tell the same picture.")
    takes.option(
        "--plan",
        "Write which files to keep to this .csv, or to a script (.sh, .ps1) that moves the others "
        "into a folder. No file is touched before you run it.",
        type=output,
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


def review(args: Namespace) -> int:
    """Write the pairs that are worth asking a person about.

    They are the weakest links of groups, items that look the same and are recorded as different,
    and pairs nearest to the threshold. PLACE.csv has an empty column `same` to fill in; PLACE.html
    shows both images of each pair, takes the answers by keys and saves such a table. Take it back
    with `twinset decide`: what was decided is not asked again.

        twinset review photos.index --out doubts
    """
    from twinset.files import write_bytes
    from twinset.report.index_page import write_review
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        found = opened.review(args.count, column=args.label, progress=not args.json)
    # no `with_suffix`, which would take the end of "photos.v2" for one
    table, page = (Path(f"{args.out}{suffix}") for suffix in (".csv", ".html"))
    write_bytes(table, found.to_csv().encode())
    write_review(found, page, title=f"Review of {args.index}")
    if args.json:
        say(json.dumps(found.to_dict()))
    else:
        say(f"{found.sentence()}; {table}, {page}")
    return 0


def _review(takes: Arguments) -> None:
    takes.shared("index")
    takes.option(
        "--out",
        "Where to: PLACE.csv and PLACE.html.",
        type=output,
        default="review",
        metavar="PLACE",
    )
    takes.option("--count", "Maximum number of questions.", type=int, default=100)
    takes.option(
        "--label",
        "The metadata that claims which items are the same. Default: the column of the "
        "identities, else label, else the groups of `duplicates`.",
        metavar="COLUMN",
    )
    takes.shared("--model", "--json")


LINES = 20  # so many decisions get a line


def decide(args: Namespace) -> int:
    """Take decisions about pairs of items into an index.

    TABLE has the columns left, right and same, as `twinset review` writes it: 1 for the same, 0 for
    different, nothing where you are not sure. From then on `duplicates`, `review` and
    `search --item` answer by them, and those near the threshold move it if it predicts them better
    then. Nothing is removed: --undo takes the decisions on these pairs
    back, and `twinset decisions` lists all.

        twinset decide photos.index review.csv --who anna
    """
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        told = opened.decide(args.table, who=args.who, undo=args.undo)
    if args.json:
        say(json.dumps(told.to_dict()))
        return 0
    say(f"{args.index}: {told.sentence()}")
    if told.threshold:
        say(told.threshold)
    for each in told.contradictions:
        note(f"decide: {each}")
    return 0


def _decide(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("table", "A table of pairs (.csv, .tsv, .parquet).", type=Path)
    takes.option("--who", "Name of the person who decided. Default: your login name.")
    takes.flag("--undo", "Take the latest decisions on these pairs back.")
    takes.shared("--model", "--json")


def decisions(args: Namespace) -> int:
    """List what people decided about pairs of items.

    twinset decisions photos.index --csv pairs.csv
    """
    from twinset.files import write_bytes
    from twinset.search.decisions import pairs_csv
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        found = opened.decisions(all=args.all)
        if args.csv is not None:
            paths = {own: known.get("path") for own, known in opened.items()}
            write_bytes(args.csv, pairs_csv(found, paths).encode(errors="surrogateescape"))
        told = opened.settled.contradictions()
    if args.json:
        rows = [asdict(one) for one in found]
        say(json.dumps({"decisions": rows, "contradictions": told}))
        return 0
    say(f"{args.index}: {plural(len(found), 'decision')}")
    shown = [
        [one.when[:10], one.who, _answer(one), f"{one.distance:.4f}", one.left, one.right]
        for one in found[-LINES:]
    ]
    if shown:
        say(tables.text(["when", "who", "answer", ">distance", "left", "right"], shown))
    if len(found) > LINES:
        say(f"the latest {LINES}; --csv or --json lists all")
    for each in told:
        note(f"decisions: {each}")
    return 0


def _answer(one: Decision) -> str:
    return "undone" if one.undone else "same" if one.same else "different"


def _decisions(takes: Arguments) -> None:
    takes.shared("index")
    takes.flag("--all", "List those that were overruled or taken back as well.")
    takes.option("--csv", "Write them to this file, for `twinset train --pairs`.", type=output)
    takes.shared("--model", "--json")


COMMANDS = {duplicates: _duplicates, review: _review, decide: _decide, decisions: _decisions}
