"""The commands that compare two images: `compare`, and `explain` where they differ."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from twinset import tables
from twinset.cli.arguments import A_MODEL, Arguments, choose_backend, load, note, output, say
from twinset.errors import DataError, ModelError

if TYPE_CHECKING:
    from twinset.models.compare_pairs import Joint, PairVerdicts
    from twinset.models.embedder import Embedder
    from twinset.models.onnx_model import Engine

PROBLEMS = 20  # so many files that cannot be read get a line


def compare(args: Namespace) -> int:
    """Say whether two images show the same thing.

    Images of any size and colour mode are adapted to what the model was trained on. Two images
    match if their distance is at most the model's threshold. A file of a table that cannot be read
    is reported in its rows and stops nothing.

        twinset compare runs/first a.png b.png
        twinset compare runs/first --pairs pairs.csv --out verdicts.csv
        twinset compare runs/first a.png b.png --with runs/second --judged judged.csv
    """
    if args.backend is not None and args.engine == "onnx":
        raise ModelError(
            "Expected --backend with --engine keras. Received --engine onnx, which has no "
            "backends: leave one out."
        )
    if args.pairs is not None:
        if args.images:
            raise DataError("Expected two images, or --pairs. Received both: leave one out.")
        same = _table(args)
    elif len(args.images) != 2:
        raise DataError(
            "Expected two images, or a table of pairs with --pairs. "
            f"Received {len(args.images) or 'no'} image{'s' * (len(args.images) != 1)}."
        )
    elif args.out is not None:
        raise DataError("Expected --out with --pairs. Received it for two images: use --json.")
    else:
        same = _two(args)
    return 1 if args.exit_code and not same else 0


def _compare(takes: Arguments) -> None:
    takes.option("run", A_MODEL, type=Path)
    takes.option("images", "The files of two images.", type=Path, nargs="*", metavar="IMAGE")
    takes.option(
        "--pairs",
        "Compare many pairs: a table with columns left and right, of paths relative to the table's "
        "folder.",
        type=Path,
        metavar="CSV",
    )
    takes.option("--out", "Write the verdicts of --pairs to this file.", type=output, metavar="CSV")
    takes.option(
        "--with",
        "A second model, or more, that judges together with the first. Repeatable. How much each "
        "distance tells is learnt from --judged.",
        type=Path,
        action="append",
        default=[],
        dest="others",
        metavar="RUN2",
    )
    takes.option(
        "--evidence",
        "A column of the tables with a number for each pair that tells something: a difference "
        "in price, a similarity of texts. Repeatable.",
        action="append",
        default=[],
        metavar="COLUMN",
    )
    takes.option(
        "--judged",
        "For --with and --evidence: a table with columns left, right and same, of images that no "
        "model was trained on.",
        type=Path,
        metavar="CSV",
    )
    takes.option(
        "--prior",
        "Share of same pairs that you expect, for the probability.",
        type=float,
        default=0.5,
    )
    takes.option(
        "--engine",
        "auto: ONNX Runtime if the folder holds an ONNX graph, else Keras. Default: auto; keras "
        "with --backend.",
        choices=("auto", "onnx", "keras"),
    )
    takes.flag("--exit-code", "Exit with 1 if any verdict is 'different'.")
    takes.shared("--backend", "--json")


def _two(args: Namespace) -> bool:
    from twinset.data.decoding.image_file import open_image

    for path in args.images:
        open_image(path)  # a bad file is reported at once, not after an engine has been loaded
    verdict = _judge(args).compare(*args.images, prior=args.prior)
    say(json.dumps(verdict.to_dict()) if args.json else verdict.sentence())
    return verdict.same


def _table(args: Namespace) -> bool:
    from twinset.data.pair_tables import read_pair_table
    from twinset.models.compare_pairs import compare_pairs

    read_pair_table(args.pairs, judged=False, evidence=args.evidence)  # likewise
    model = _judge(args)
    found = compare_pairs(model, args.pairs, prior=args.prior, progress=not args.json)
    if args.out is not None:
        found.write_csv(args.out)
    if args.json:
        say(json.dumps(found.to_dict()))
    else:
        _print(found, args.out)
    # a file that cannot be read is no verdict
    return all(row.verdict is None or row.verdict.same for row in found.rows)


def _print(found: PairVerdicts, out: Path | None) -> None:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    if out is None:  # else the file holds them
        rows = []
        for each in found.rows:
            row = each.row()
            word = {True: "same", False: "different", None: "-"}[row["same"]]
            numbers = (cell(row["distance"]), cell(row["probability"]))
            rows.append((word, *numbers, each.left, each.right))
        say(tables.text(("verdict", ">distance", ">probability", "left", "right"), rows))
    for each in found.problems[:PROBLEMS]:
        note(f"compare: {each.problem}")
    if len(found.problems) > PROBLEMS:
        note(f"compare: {len(found.problems) - PROBLEMS:,} more; --json lists them")
    say(found.sentence())
    if out is not None:
        say(f"verdicts: {out}")


def _judge(args: Namespace) -> Embedder | Joint:
    if not (args.others or args.evidence or args.judged):
        return _load(args, args.run)
    if args.judged is None or not (args.others or args.evidence):
        raise DataError(
            "Expected --judged together with --with or --evidence: a table of judged pairs, from "
            "which twinset learns how much each score tells. Received "
            f"{'no --judged' if args.judged is None else '--judged alone'}."
        )
    if args.evidence and args.pairs is None:
        raise DataError(
            "Expected --evidence with --pairs, a table that has these columns. Received it for two "
            "images."
        )
    from twinset.data.pair_tables import read_pair_table
    from twinset.models.compare_pairs import Joint

    read_pair_table(args.judged, evidence=args.evidence)  # before a model is loaded
    models = [_load(args, run) for run in (args.run, *args.others)]
    joint = Joint.fit(models, args.judged, columns=args.evidence, progress=not args.json)
    if not args.json:
        note(f"compare: {joint.fusion.sentence()}")
    return joint


def _load(args: Namespace, run: Path) -> Embedder:
    engine: Engine = args.engine or ("auto" if args.backend is None else "keras")
    if engine == "keras":
        choose_backend(args.backend)
    return load("compare", run, engine=engine)


def explain(args: Namespace) -> int:
    """Show where two images agree and differ for a model.

    A patch of one image at a time is covered, and the distance measured again: nearer, and the
    images differ there; farther, and they agree there. This shows which patches the distance
    depends on, not why a person would call the images alike.

        twinset explain runs/first a.png b.png --picture why.png
    """
    from twinset.data.decoding.image_file import open_image

    for path in args.images:
        open_image(path)  # a bad file is reported at once, not after an engine has been loaded
    found = load("explain", args.run).explain(*args.images, patch=args.patch)
    if args.picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures

        figures.save(found.draw([str(path) for path in args.images]), args.picture)
    if args.json:
        say(json.dumps(found.to_dict()))
    else:
        say(found.sentence())
        note(f"explain: {found.about()}")
    return 0


def _explain(takes: Arguments) -> None:
    takes.option("run", A_MODEL, type=Path)
    takes.option("images", "The files of two images.", type=Path, nargs=2, metavar="IMAGE")
    takes.option(
        "--patch",
        "Side of a patch in pixels, as the model sees the images. Default: a sixth of the image.",
        type=int,
        metavar="PIXELS",
    )
    takes.shared("--picture", "--json")


COMMANDS = {compare: _compare, explain: _explain}
