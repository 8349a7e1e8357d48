"""The commands about what people decide: `decide` and `decisions`."""

from __future__ import annotations

import json
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from twinset import tables
from twinset.cli.arguments import Arguments, note, plural, say

if TYPE_CHECKING:
    from twinset.search.decisions import Decision

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
    takes.option("--csv", "Write them to this file, for `twinset train --pairs`.", type=Path)
    takes.shared("--model", "--json")


COMMANDS = {decide: _decide, decisions: _decisions}
