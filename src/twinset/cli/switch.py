"""The command that switches an index to another model: `switch`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from twinset import tables
from twinset.cli.arguments import Arguments, note, plural, say
from twinset.errors import StoreError

LISTED = 10  # labels, and items that are left out, that get a line


def switch(args: Namespace) -> int:
    """Switch an index to another model, without an outage.

    Every image is embedded again beside the index, which answers by its old model until all is
    done; then both are exchanged at one moment. Shows how the answers to a sample change.
    Decisions and identities stay. If interrupted, the same command continues.

        twinset switch photos.index runs/second
        twinset switch photos.index --rollback
    """
    from twinset.search.index import Index

    if (args.run is None) != args.rollback:
        raise StoreError("Expected the folder of a run, or --rollback: one of both.")
    with Index.open(args.index, args.model) as opened:
        if args.rollback:
            opened.roll_back()
            count, digest = len(opened), opened.store.signature.model
            told = {"index": args.index, "items": count, "model": digest}
            back = f"{args.index}: back to model {digest[:12]}, {plural(count, 'item')}"
            say(json.dumps(told) if args.json else back)
            return 0
        found = opened.switch(
            args.run,
            source=args.source,
            drop_missing=args.drop_missing,
            compare_only=args.compare_only,
            progress=not args.json,
        )
    if args.json:
        say(json.dumps({"index": args.index, **found.to_dict()}))
        return 0
    for bad in found.dropped[:LISTED]:
        note(f"switch: left out {bad.name}: {bad.reason}")
    say(f"{args.index}: {found.sentence()}")
    rows = [[name, f"{up:,}", f"{down:,}"] for name, (up, down) in found.labels.items()]
    if rows:  # those that lose the most come first
        say(tables.text([found.column, ">gain", ">lose"], rows[:LISTED]))
        if len(rows) > LISTED:
            say(f"and {len(rows) - LISTED:,} more; --json lists them")
    return 0


def _switch(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("run", "Folder of the other model's run.", type=Path, nargs="?")
    takes.option(
        "--source",
        "Find the images in this folder or table, by ID. Default: the files that the items came "
        "from.",
        metavar="SOURCE",
    )
    takes.flag("--drop-missing", "Leave out items whose image is gone. Otherwise nothing is done.")
    takes.flag("--compare-only", "Embed and show how answers change, but do not switch yet.")
    takes.flag("--rollback", "Go back to the model before; once more goes forth.")
    takes.shared("--model", "--json")


COMMANDS = {switch: _switch}
