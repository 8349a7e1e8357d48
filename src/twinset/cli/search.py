"""The commands that ask an index: `search` and `duplicates`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from twinset import tables
from twinset.cli.arguments import Arguments, note, say
from twinset.errors import StoreError

if TYPE_CHECKING:
    from twinset.search.answer import Answer
    from twinset.search.duplicates import Duplicates

GROUPS, MEMBERS = 20, 5  # so many groups get a line, with so many of their members


def search(args: Namespace) -> int:
    """Find the images that are most similar to a query.

    The nearest come first. Each is a match or not, by the model's threshold. With --within
    threshold, "nothing similar enough" is an answer too: the image is of a kind that the index does
    not hold.

        twinset search photos.index query.png
        twinset search photos.index query.png --within threshold --where label=shoe
    """
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        answers = opened.search(
            args.queries,
            k=None if args.all else args.k,
            within=_limit(args.within),
            where=args.where,
            exact=args.exact,
        )
    if args.picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures
        from twinset.report.index_pictures import draw_answers

        figures.save(draw_answers(answers), args.picture)
    if args.json:
        say(json.dumps([answer.to_dict() for answer in answers]))
    else:
        for answer in answers:
            _print_answer(answer)
        if all(answer.nearest is None for answer in answers):
            _explain(args.where)
    return 1 if args.exit_code and not all(answer.found for answer in answers) else 0


def _search(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("queries", "Image files.", type=Path, nargs="+", metavar="QUERY")
    takes.option(
        "-k", "Maximum number of results per query.", type=int, default=10, metavar="COUNT"
    )
    takes.option(
        "--within",
        "Maximum distance of a result: a number, `threshold` (the model's) or `any`.",
        default="any",
        metavar="DISTANCE",
    )
    takes.flag("--all", "Return every result within the distance, not just the k nearest.")
    takes.option(
        "--where",
        "Search only items that meet this condition: label=shoe, price<10, size='42'. Repeatable.",
        action="append",
        default=[],
        metavar="CONDITION",
    )
    takes.flag("--exact", "Search exactly, even if the index is approximate.")
    takes.flag("--exit-code", "Exit with 1 if any query has no result.")
    takes.shared("--model", "--picture", "--json")


def duplicates(args: Namespace) -> int:
    """Find groups of items that show the same thing, largest first.

    Two items are linked if their distance is at most the threshold, and a group is everything that
    links connect. So a group may be wider than the threshold; its width is printed.

        twinset duplicates photos.index --threshold 0.05 --picture copies.png
    """
    from twinset.search.duplicates import duplicates as find
    from twinset.search.index import Index

    with Index.open(args.index, args.model) as opened:
        found = find(opened, args.threshold, progress=not args.json)
    if args.csv is not None:
        from twinset.files import write_bytes

        # whole or not at all, as other programs read it
        write_bytes(args.csv, found.to_csv().encode())
    if args.picture is not None and found.groups:  # without groups there is nothing to draw
        from twinset import figures
        from twinset.report.index_pictures import draw_duplicates

        figures.save(draw_duplicates(found), args.picture)
    if args.json:
        say(json.dumps(found.to_dict()))
    else:
        _print_groups(found)
    return 0


def _duplicates(takes: Arguments) -> None:
    takes.shared("index")
    takes.option(
        "--threshold",
        "Maximum distance between two linked items. Default: the model's threshold, which links "
        "items of one class; copies are much closer.",
        type=float,
        metavar="DISTANCE",
    )
    takes.option("--csv", "Write all groups to this file.", type=Path)
    takes.shared("--model", "--picture", "--json")


def _limit(within: str) -> Literal["threshold"] | float | None:
    if within == "any":
        return None
    if within == "threshold":
        return "threshold"
    try:
        return float(within)
    except ValueError:
        raise StoreError(
            f"Expected --within as a number, threshold or any. Received {within!r}."
        ) from None


def _explain(where: list[str]) -> None:
    from twinset.search.where import conditions

    for each in conditions(where):
        if not isinstance(each.value, str):  # size=42 is a number, and no text equals it
            asked, value = f"{each.name}{each.operator}", json.dumps(each.value)
            note(f"search: {asked}{value} asks for {value}, not for the text {asked}'{value}'")


def _print_answer(answer: Answer) -> None:
    say(answer.sentence())
    if not len(answer):
        return
    rows = [
        [
            f"{one.distance:.4f}",
            "match" if answer.is_match(one) else "-",
            str(one.metadata.get("label", "")),
            one.id,
        ]
        for one in answer
    ]
    say(tables.text([">distance", "verdict", "label", "id"], rows))


def _print_groups(found: Duplicates) -> None:
    for sentence in found.sentences():
        say(sentence)
    rows = []
    for number, group in enumerate(found.groups[:GROUPS], start=1):
        more = len(group) - MEMBERS
        names = ", ".join(one.id for one in group.members[:MEMBERS])
        rest = f" and {more:,} more" if more > 0 else ""
        rows.append([str(number), f"{len(group):,}", f"{group.diameter:.4f}", names + rest])
    if rows:
        say(tables.text([">group", ">items", ">width", "ids, the middle first"], rows))
    if len(found.groups) > GROUPS:
        say(f"and {len(found.groups) - GROUPS:,} more groups; --csv or --json lists them")


COMMANDS = {search: _search, duplicates: _duplicates}
