"""The commands that change or describe an index: `index`, `inspect`, `remove` and `switch`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from twinset import tables
from twinset.cli.arguments import (
    A_SOURCE,
    INDEX_PLACE,
    Arguments,
    columns_of,
    note,
    plural,
    say,
    tell_skipped,
)
from twinset.errors import StoreError

LABELS = 20  # so many get a line


def index(args: Namespace) -> int:
    """Build an index of images, or update the one that is there.

    New files are added and changed ones replaced; unchanged ones cost nothing. The ID of an image
    is its path below SOURCE, or its value in a table's column `id`; a table's other columns can be
    searched with --where. Files that cannot be read are listed and skipped. A folder keeps a copy
    of the model, so it can be moved. If interrupted, the same command continues.

        twinset index runs/first photos/ --out photos.index
    """
    from twinset.search.indexing import index_images

    with index_images(
        args.run,
        args.source,
        args.out,
        identity=args.identity,
        strangers=args.strangers,
        columns=columns_of(args),
        overwrite=args.overwrite,
        remove_missing=args.remove_missing,
        progress=not args.json,
    ) as made:
        found = made.store.build_approximate() if args.approximate else None
        changes, count, who = made.changes, len(made), made.identities
    if args.json:
        told: dict[str, Any] = {"index": args.out, "items": count, **changes.to_dict()}
        if who is not None:
            told["identities"] = who.to_dict()
        if found is not None:
            told["approximation"] = {"kind": found.kind, "recall": found.recall}
        say(json.dumps(told))
        return 0
    tell_skipped("index", changes.skipped)
    say(f"{args.out}: {plural(count, 'item')}; {changes.sentence()}")
    if found is not None:
        say(f"approximate: {found.kind}, recall@10 {found.recall:.3f}")
    if who is not None:
        say(who.sentence())
        if who.advice:
            note(f"index: {who.advice}")
    return 0


def _index(takes: Arguments) -> None:
    takes.shared("run")
    takes.option("source", A_SOURCE.format(" or embeddings (.npy, .npz, .parquet)"))
    takes.shared("--image", "--label", "--classes")
    takes.option("--out", f"The index: {INDEX_PLACE}.", required=True, metavar="INDEX")
    takes.option(
        "--identity",
        "Items with equal values in this column are references of one identity, for `identify`: "
        "label, or a table's column. Remembered.",
        metavar="COLUMN",
    )
    takes.option(
        "--strangers",
        "Share of unknown images that `identify` may take for somebody, such as 0.01. Default: by "
        "the rule of the model's threshold.",
        type=float,
        metavar="SHARE",
    )
    takes.flag("--overwrite", "Build the index from scratch.")
    takes.flag("--remove-missing", "Remove items that came from SOURCE and are no longer there.")
    takes.flag("--approximate", "Speed up searches of a large collection; a few results get lost.")
    takes.shared("--json")


def inspect(args: Namespace) -> int:
    """Show what an index holds.

    That is its number of items, their labels, and the model that built it. No model is loaded.

        twinset inspect photos.index
    """
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        labels = Counter(known.get("label") for _, known in opened.items())
        signature, count = opened.store.signature, len(opened)
        approximation, who = opened.store.approximation, opened.identities
    told = {
        "index": args.index,
        "items": count,
        "model": signature.model,
        "dim": signature.dim,
        "labels": {str(name): times for name, times in labels.most_common() if name is not None},
        "approximation": None if approximation is None else approximation.kind,
        "identities": None if who is None else who.to_dict(),
    }
    if args.json:
        say(json.dumps(told))
        return 0
    size, model = signature.dim, signature.model[:12]
    say(f"{args.index}: {plural(count, 'item')} of size {size}, model {model}")
    if approximation is not None:
        recall = f"recall@10 {approximation.recall:.3f}"
        say(f"approximate: {approximation.kind}, over {approximation.items:,} items, {recall}")
    if who is not None:
        say(who.sentence())
        if who.advice:
            note(f"inspect: {who.advice}")
    rows = [["(none)" if name is None else str(name), f"{n:,}"] for name, n in labels.most_common()]
    say(tables.text(["label", ">items"], rows[:LABELS]))
    if len(rows) > LABELS:
        say(f"and {len(rows) - LABELS:,} more labels")
    return 0


def _inspect(takes: Arguments) -> None:
    takes.shared("index", "--model", "--json")


def remove(args: Namespace) -> int:
    """Remove items from an index.

    All that are named, or none if one of them is not there.

    twinset remove photos.index cats/17.jpg
    """
    from twinset.search.index import Index

    with Index.open(args.index) as opened:
        opened.remove(args.ids)
        count, gone = len(opened), len(args.ids)
    if args.json:
        say(json.dumps({"index": args.index, "removed": gone, "items": count}))
    else:
        say(f"{args.index}: {plural(count, 'item')}; {gone:,} removed")
    return 0


def _remove(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("ids", "IDs, as `search` and `duplicates` print them.", nargs="+", metavar="ID")
    takes.shared("--json")


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


COMMANDS = {index: _index, inspect: _inspect, remove: _remove, switch: _switch}
