"""The command that asks which pairs of an index are worth a look: `review`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from twinset.cli.arguments import Arguments, say


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
    takes.option("--out", "Where to: PLACE.csv and PLACE.html.", default="review", metavar="PLACE")
    takes.option("--count", "Maximum number of questions.", type=int, default=100)
    takes.option(
        "--label",
        "The metadata that claims which items are the same. Default: the column of the "
        "identities, else label, else the groups of `duplicates`.",
        metavar="COLUMN",
    )
    takes.shared("--model", "--json")


COMMANDS = {review: _review}
