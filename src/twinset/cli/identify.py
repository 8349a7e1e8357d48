"""The command that tells who is shown, or that it is nobody known: `identify`."""

from __future__ import annotations

import json
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from twinset import tables
from twinset.cli.arguments import Arguments, say

if TYPE_CHECKING:
    from twinset.search.identification import Identification


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
    if args.picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures
        from twinset.report.index_page import draw_identities

        figures.save(draw_identities(answers), args.picture)
    if args.json:
        say(json.dumps([answer.to_dict() for answer in answers]))
    else:
        for answer in answers:
            _print(answer)
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


def _print(answer: Identification) -> None:
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


COMMANDS = {identify: _identify}
