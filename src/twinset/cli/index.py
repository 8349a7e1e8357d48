"""The commands around an index: `index`, `search`, `duplicates`, `inspect`, `remove`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from twinset import tables
from twinset.cli.printing import say
from twinset.errors import StoreError

if TYPE_CHECKING:
    from twinset.search.answers import Answer
    from twinset.search.duplicates import Duplicates

GROUPS, MEMBERS = 20, 5

IndexArgument = Annotated[
    str,
    typer.Argument(
        metavar="INDEX",
        help="The folder of an index, postgresql://…?index=NAME or milvus://…?index=NAME.",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="The model that made the index; a folder keeps its own, a database does not.",
        show_default=False,
    ),
]
PictureOption = Annotated[
    Path | None,
    typer.Option(metavar="PNG", help="Draw the answer to this file.", show_default=False),
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CONDITION",
        help="Only items of which this holds: label=shoe, price<10, size='42'. Can be repeated.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, no prose.")]


def index(
    run: Annotated[Path, typer.Argument(help="A run's folder, as `train` wrote it.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A folder of images, a table of them (.csv, .tsv, .parquet) or of embeddings "
            "(.npy, .npz, .parquet)."
        ),
    ],
    out: Annotated[
        str,
        typer.Option(help="The index: a folder, postgresql://…?index=NAME, milvus://…?index=NAME."),
    ],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Make the index anew.")] = False,
    remove_missing: Annotated[
        bool,
        typer.Option(
            "--remove-missing", help="Take out what came from SOURCE and is no longer there."
        ),
    ] = False,
    approximate: Annotated[
        bool,
        typer.Option(
            "--approximate", help="For large collections: faster searches that miss a few."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make an index of images, or bring the one that is there up to date.

    New files are added and changed ones replaced; the rest costs nothing. The id of an image is
    its path below SOURCE, or what a table has in a column `id`; a table's other columns can be
    searched by with --where. What cannot be read is listed and left out. A folder keeps a copy of
    the model, so it can be moved; after a kill, the same command goes on.

        twinset index runs/first photos/ --out photos.index
    """
    from twinset.search.indexing import index_images

    with index_images(
        run,
        source,
        out,
        overwrite=overwrite,
        remove_missing=remove_missing,
        progress=not as_json,
    ) as made:
        found = made.store.build_approximate() if approximate else None
        changes, count = made.changes, len(made)
    if as_json:
        told: dict[str, Any] = {"index": out, "items": count, **changes.to_dict()}
        if found is not None:
            told["approximation"] = {"kind": found.kind, "recall": found.recall}
        say(json.dumps(told))
        return
    for bad in changes.skipped[:10]:
        typer.echo(f"index: left out {bad.name}: {bad.reason}", err=True)
    if len(changes.skipped) > 10:
        more = len(changes.skipped) - 10
        typer.echo(f"index: left out {more:,} more; --json lists them", err=True)
    say(f"{out}: {_items(count)}; {changes.sentence()}")
    if found is not None:
        say(f"approximate: {found.kind}, recall@10 {found.recall:.3f}")


def search(
    index: IndexArgument,
    queries: Annotated[list[Path], typer.Argument(metavar="QUERY", help="Image files.")],
    k: Annotated[int, typer.Option("-k", min=1, help="At most so many for each query.")] = 10,
    within: Annotated[
        str,
        typer.Option(
            metavar="DISTANCE",
            help="The largest that counts: a number, `threshold` for the model's, or `any`.",
        ),
    ] = "any",
    everything: Annotated[
        bool, typer.Option("--all", help="Not k, but all that are within.")
    ] = False,
    where: WhereOption = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Leave an approximate index unused.")
    ] = False,
    model: ModelOption = None,
    picture: PictureOption = None,
    as_json: JsonOption = False,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="Exit with 1 if for a query nothing is similar enough."),
    ] = False,
) -> None:
    """Find what is most like an image, nearest first.

    Each answer says whether it is a match by the model's threshold. With --within threshold,
    "nothing similar enough" is an answer too: then the image is of a kind never seen.

        twinset search photos.index query.png

        twinset search photos.index query.png --within threshold --where label=shoe
    """
    from twinset.search.index import Index

    with Index.open(index, model) as opened:
        answers = opened.search(
            queries,
            k=None if everything else k,
            within=_limit(within),
            where=where or (),
            exact=exact,
        )
    if picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures
        from twinset.report.index_pictures import draw_answers

        figures.save(draw_answers(answers), picture)
    if as_json:
        say(json.dumps([answer.to_dict() for answer in answers]))
    else:
        for answer in answers:
            _say_answer(answer)
        if all(answer.nearest is None for answer in answers):
            _explain(where or [])
    if exit_code and not all(answer.found for answer in answers):
        raise typer.Exit(1)


def duplicates(
    index: IndexArgument,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="The largest distance that connects two; default: the model's, for `the same "
            "class`. Copies are much closer.",
            show_default=False,
        ),
    ] = None,
    model: ModelOption = None,
    picture: PictureOption = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", help="Write all groups to this table.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find groups of items that are the same thing, largest first.

    Two items are connected if they are within the threshold, and a group is all that connections
    reach; so a group may be wider than the threshold, which its width tells.

        twinset duplicates photos.index --threshold 0.05 --picture copies.png
    """
    from twinset.search.duplicates import duplicates as find
    from twinset.search.index import Index

    with Index.open(index, model) as opened:
        found = find(opened, threshold, progress=not as_json)
    if table is not None:
        from twinset.files import write_bytes

        write_bytes(table, found.to_csv().encode())
    if picture is not None and found.groups:
        from twinset import figures
        from twinset.report.index_pictures import draw_duplicates

        figures.save(draw_duplicates(found), picture)
    if as_json:
        say(json.dumps(found.to_dict()))
    else:
        _say_groups(found)


def inspect(index: IndexArgument, model: ModelOption = None, as_json: JsonOption = False) -> None:
    """Say what an index holds: how many items, which labels, and of which model.

    No model is loaded for it.

        twinset inspect photos.index
    """
    from twinset.search.index import Index

    with Index.open(index, model) as opened:
        labels = Counter(known.get("label") for _, known in opened.items())
        signature, count = opened.store.signature, len(opened)
        approximation = opened.store.approximation
    told = {
        "index": index,
        "items": count,
        "model": signature.model,
        "dim": signature.dim,
        "distance": signature.distance,
        "labels": {str(name): times for name, times in labels.most_common() if name is not None},
        "approximation": None if approximation is None else approximation.kind,
    }
    if as_json:
        say(json.dumps(told))
        return
    say(f"{index}: {_items(count)} of size {signature.dim}, model {signature.model[:12]}")
    if approximation is not None:
        recall = f"recall@10 {approximation.recall:.3f}"
        say(f"approximate: {approximation.kind}, over {approximation.items:,} items, {recall}")
    rows = [["(none)" if name is None else str(name), f"{n:,}"] for name, n in labels.most_common()]
    say(tables.text(["label", ">items"], rows[:GROUPS]))
    if len(rows) > GROUPS:
        say(f"and {len(rows) - GROUPS:,} more labels")


def remove(
    index: IndexArgument,
    ids: Annotated[list[str], typer.Argument(metavar="ID", help="Of items that are there.")],
    as_json: JsonOption = False,
) -> None:
    """Take items out of an index: all that are named, or none if one is not there.

    The ids are those that `search` and `duplicates` show.

        twinset remove photos.index cats/17.jpg
    """
    from twinset.search.index import Index

    with Index.open(index) as opened:
        opened.remove(ids)
        count = len(opened)
    if as_json:
        say(json.dumps({"index": index, "removed": len(ids), "items": count}))
    else:
        say(f"{index}: {_items(count)}; {len(ids):,} removed")


def _items(count: int) -> str:
    return f"{count:,} item{'s' * (count != 1)}"


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
        if not isinstance(each.value, str):
            value = json.dumps(each.value)
            typer.echo(
                f"search: {each.name}{each.operator}{value} asks for a value that is no text; "
                f"for a text, write {each.name}{each.operator}'{value}'",
                err=True,
            )


def _say_answer(answer: Answer) -> None:
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


def _say_groups(found: Duplicates) -> None:
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
