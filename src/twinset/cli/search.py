"""The commands that ask an index: `search` what is similar, `identify` who is shown."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from twinset import tables
from twinset.cli.arguments import Arguments, note, say
from twinset.errors import StoreError

if TYPE_CHECKING:
    from twinset.search.answer import Answer
    from twinset.search.identification import Identification


def search(args: Namespace) -> int:
    """Find the images that are most similar to a query.

    The nearest come first. Each is a match or not, by the model's threshold. With --within
    threshold, "nothing similar enough" is an answer too: the image is of a kind that the index does
    not hold.

        twinset search photos.index query.png
        twinset search photos.index query.png --within threshold --where label=shoe
    """
    from twinset.search.index import Index

    if not args.queries and args.item is None:
        raise StoreError("Expected images to search for, or --item with the id of an item.")
    with Index.open(args.index, args.model) as opened:
        if args.item is not None:
            # what was decided comes first however far, so that a limit would say two things
            if args.queries or args.all or args.within != "any":
                raise StoreError("Expected --item without images, --within and --all.")
            told = {"k": args.k, "where": args.where, "exact": args.exact, "point": args.point}
            answers = [opened.similar(args.item, **told)]
        else:
            found = opened.search(
                args.queries,
                k=None if args.all else args.k,
                within=_limit(args.within),
                where=args.where,
                exact=args.exact,
                point=args.point,
                together=args.together,
            )
            answers = [found] if args.together else found
    _tell(args, answers, "draw_answers", _print_answer)
    if not args.json and all(answer.nearest is None for answer in answers):
        _explain(args.where)
    return 1 if args.exit_code and not all(answer.found for answer in answers) else 0


def _search(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("queries", "Image files.", type=Path, nargs="*", metavar="QUERY")
    takes.option(
        "--item",
        "Search by this item of the index instead. What was decided to be the same comes first, "
        "what is different is left out.",
        metavar="ID",
    )
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
    takes.shared("--where")
    takes.flag("--together", "All images show the same thing: they are one query.")
    takes.shared("--point")
    takes.flag("--exact", "Search exactly, even if the index is approximate.")
    takes.flag("--exit-code", "Exit with 1 if any query has no result.")
    takes.shared("--model", "--picture", "--json")


def _tell(args: Namespace, answers: Sequence[Any], draw: str, show: Callable[[Any], None]) -> None:
    if args.picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures
        from twinset.report import index_page

        figures.save(getattr(index_page, draw)(answers), args.picture)
    if args.json:
        say(json.dumps([answer.to_dict() for answer in answers]))
        return
    for answer in answers:
        show(answer)


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
    from twinset.search.checked import is_number
    from twinset.search.where import conditions

    for each in conditions(where):
        if not isinstance(each.value, str):  # size=42 is a number, and no text equals it
            asked, kind = f"{each.name}{each.operator}", "the number " * is_number(each.value)
            note(
                f"search: {asked}{each.typed} asks for {kind}{json.dumps(each.value)}, not for the "
                f"text: {asked}'{each.typed}'"
            )


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


def identify(args: Namespace) -> int:
    """Say who or what is shown, or that it is nobody known.

    Items of the index are references of identities, by the column that `twinset index --identity`
    named. The nearest identities come first, each with its verdict; several images of one person,
    animal or thing are one query with --together.

        twinset index runs/faces people/ --out people.index --identity label
        twinset identify people.index unknown.jpg
        twinset identify people.index visit/1.jpg visit/2.jpg --together
    """
    from twinset.search.index import Index

    with ExitStack() as stack:
        opened = stack.enter_context(Index.open(args.index, args.model))
        other = None
        if args.other is not None:
            other = stack.enter_context(Index.open(args.other, args.other_model))
        found = opened.identify(
            args.queries,
            k=args.k,
            together=args.together,
            where=args.where,
            prior=args.prior,
            other=other,
            point=args.point,
        )
    answers: list[Identification] = [found] if args.together else found
    _tell(args, answers, "draw_identities", _print_identities)
    return 1 if args.exit_code and not all(answers) else 0


def _identify(takes: Arguments) -> None:
    takes.shared("index")
    takes.option("queries", "Image files.", type=Path, nargs="+", metavar="IMAGE")
    takes.option(
        "-k", "Maximum number of identities per query.", type=int, default=5, metavar="COUNT"
    )
    takes.flag("--together", "All images show the same person or thing: they are one query.")
    takes.option(
        "--with",
        "A second index of the same items, made by another model: the distances of both count, "
        "each by how much it tells. It is an index and no run, as a model knows the references by "
        "their embeddings only.",
        dest="other",
        metavar="INDEX2",
    )
    takes.option(
        "--with-model",
        "The model that built INDEX2, where that is a database.",
        dest="other_model",
        type=Path,
        metavar="RUN2",
    )
    takes.shared("--where")
    takes.shared("--point")
    takes.option(
        "--prior",
        "Share of queries that show somebody known, for the probabilities.",
        type=float,
        default=0.5,
    )
    takes.flag("--exit-code", "Exit with 1 if any query shows nobody known.")
    takes.shared("--model", "--picture", "--json")


def _print_identities(answer: Identification) -> None:
    say(answer.sentence())
    rows = [
        [
            f"{one.distance:.4f}",
            "match" if one.match else "-",
            "" if one.probability is None else f"{one.probability:.3f}",
            str(one.name),
            f"{one.references:,}",
            one.nearest.id,
        ]
        for one in answer.identities
    ]
    if rows:
        header = [">distance", "verdict", ">probability", "identity", ">references", "nearest"]
        say(tables.text(header, rows))


COMMANDS = {search: _search, identify: _identify}
