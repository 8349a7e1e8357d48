"""The commands that put one model to use: `compare` and `export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinset import tables
from twinset.cli.backend import Backend, choose
from twinset.cli.printing import progress, say
from twinset.errors import DataError, ModelError

if TYPE_CHECKING:
    from twinset.decision import Verdict
    from twinset.models.compare_pairs import PairVerdicts
    from twinset.models.embedder import Embedder

SHOWN = 20


class Engine(StrEnum):
    """What computes the embeddings."""

    auto = "auto"
    onnx = "onnx"
    keras = "keras"


class Format(StrEnum):
    """What a model can be exported to."""

    onnx = "onnx"
    litert = "litert"


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, no prose.")]


def compare(
    run: Annotated[
        Path, typer.Argument(help="A run's folder, as `train` wrote it, or an exported model.")
    ],
    left: Annotated[
        Path | None, typer.Argument(help="The file of one image.", show_default=False)
    ] = None,
    right: Annotated[
        Path | None, typer.Argument(help="The file of another image.", show_default=False)
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Compare many pairs: a table with columns left and right, of paths that begin at "
            "its folder.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="Write the verdicts of --pairs to.", show_default=False),
    ] = None,
    prior: Annotated[
        float,
        typer.Option(help="Share of same pairs where you use this, for the probability."),
    ] = 0.5,
    engine: Annotated[
        Engine,
        typer.Option(help="auto: ONNX Runtime where the run holds a graph, else Keras."),
    ] = Engine.auto,
    backend: Annotated[
        Backend | None,
        typer.Option(help="Keras' back end; implies --engine keras.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with 1 if the verdict is 'different'; of --pairs, if any is."
        ),
    ] = False,
) -> None:
    """Say whether two images show the same, or so for each pair of a table.

    Images of any size and colour mode are adapted to what the model was trained on. A match is a
    distance at or below the model's threshold. Files that cannot be read are told in their rows of
    a table.

        twinset compare runs/first a.png b.png

        twinset compare runs/first --pairs pairs.csv --out verdicts.csv
    """
    if pairs is None and (left is None or right is None):
        raise DataError("Expected two images, or a table of pairs with --pairs. Received fewer.")
    if pairs is not None and left is not None:
        raise DataError("Expected two images, or --pairs. Received both: leave one out.")
    if pairs is None and out is not None:
        raise DataError("Expected --out with --pairs. Received it for two images: use --json.")
    if pairs is not None:
        many = _many(run, pairs, out, prior, engine, backend, quiet=as_json)
        if as_json:
            say(json.dumps(many.to_dict()))
        different = any(row.verdict is not None and not row.verdict.same for row in many.rows)
    else:
        assert left is not None, "checked above"
        assert right is not None, "checked above"
        verdict = _two(run, left, right, prior, engine, backend)
        say(json.dumps(verdict.to_dict()) if as_json else verdict.sentence())
        different = not verdict.same
    if exit_code and different:
        raise typer.Exit(1)


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder, as `train` wrote it.")],
    format: Annotated[  # noqa: A002 - the name of the option
        Format, typer.Option(help="onnx; or litert, with `pip install 'twinset[litert]'`.")
    ] = Format.onnx,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the graph and card.json; default: the run's own, which gets the "
            "graph.",
            show_default=False,
        ),
    ] = None,
    int8: Annotated[
        bool,
        typer.Option("--int8", help="Quantise to 8 bits, and tell what accuracy that costs."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="For --int8, as for `train`: images to see ranges on and to judge with; default: "
            "the run's own.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a graph that needs no Keras, checked against Keras.

    The graph, encoder.onnx or encoder.tflite, takes uint8 pixels of the model's size, any number of
    images at once, and returns their embeddings. What else one needs, threshold, preprocessing and
    calibration, is in card.json, and in an ONNX graph's metadata as well.

        twinset export runs/first --out exported

        twinset export runs/first --out small --int8

        twinset export runs/first --out telephone --format litert
    """
    choose(None)
    from twinset.exporters.export import export as write

    tell = None if as_json else lambda text: typer.echo(f"export: {text}", err=True)
    done = write(run, out, format=format.value, int8=int8, data=data, tell=tell)
    say(json.dumps(done.to_dict()) if as_json else done.summary())


def _two(
    run: Path, left: Path, right: Path, prior: float, engine: Engine, backend: Backend | None
) -> Verdict:
    from twinset.data.decoding.decode import open_image

    for path in (left, right):
        open_image(path)  # a bad file is told at once, not after an engine has been loaded
    return _load(run, engine, backend).compare(left, right, prior=prior)


def _many(
    run: Path,
    pairs: Path,
    out: Path | None,
    prior: float,
    engine: Engine,
    backend: Backend | None,
    *,
    quiet: bool,
) -> PairVerdicts:
    from twinset.models.compare_pairs import compare_pairs, read_pairs

    read_pairs(pairs)  # likewise
    model = _load(run, engine, backend)
    with progress("compare: images", quiet=quiet) as step:
        found = compare_pairs(model, pairs, prior=prior, progress=step)
    if out is not None:
        found.write_csv(out)
    if not quiet:
        _print(found, out)
    return found


def _print(found: PairVerdicts, out: Path | None) -> None:
    def cell(value: float | None) -> str:
        return "" if value is None else f"{value:.4f}"

    if out is None:
        rows = []
        for each in found.rows:
            row = each.row()
            word = {True: "same", False: "different", None: "-"}[row["same"]]
            numbers = (cell(row["distance"]), cell(row["probability"]))
            rows.append((word, *numbers, each.left, each.right))
        say(tables.text(("verdict", ">distance", ">probability", "left", "right"), rows))
    for each in found.problems[:SHOWN]:
        typer.echo(f"compare: {each.problem}", err=True)
    if len(found.problems) > SHOWN:
        typer.echo(f"compare: {len(found.problems) - SHOWN:,} more; --json lists them", err=True)
    say(found.sentence())
    if out is not None:
        say(f"verdicts: {out}")


def _load(run: Path, engine: Engine, backend: Backend | None) -> Embedder:
    from twinset.models.load import load_model

    if backend is not None:
        if engine is Engine.onnx:
            raise ModelError(
                "Expected --backend with --engine keras. Received --engine onnx, which has no "
                "back ends: leave one out."
            )
        engine = Engine.keras
    if engine is Engine.keras:
        choose(backend)

    def note(text: str) -> None:
        typer.echo(f"compare: {text}", err=True)
        choose(None)  # Keras comes next

    return load_model(run, engine=engine.value, tell=note)
