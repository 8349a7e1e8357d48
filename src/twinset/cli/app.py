"""The commands: parse, call one library function, print. Errors are one line and exit code 2."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from twinset.cli import index, use
from twinset.cli.backend import BackendOption, choose
from twinset.cli.printing import say as _say
from twinset.errors import RecipeError, TwinsetError

app = typer.Typer(
    help=(
        "Teach a machine what 'the same' means.\n\n"
        "Train a siamese network on labelled images, see how good it is, and ask it whether two "
        "images show the same.\n\n"
        "    twinset train fashion-mnist --out runs/first\n\n"
        "    twinset compare runs/first a.png b.png"
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Protocol(StrEnum):
    """How much to evaluate."""

    test = "test"
    full = "full"


DataArgument = Annotated[
    str,
    typer.Argument(
        help="fashion-mnist, a folder with a folder of images for each class, or a table "
        "(.csv, .parquet) of paths and labels."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, no prose.")]


@app.callback()
def _twinset() -> None:
    """Keep `train` and `compare` commands of their own, however many there are."""


@app.command()
def train(
    data: DataArgument,
    recipe: Annotated[
        str, typer.Option(help="A built-in recipe (tutorial) or the path of a .toml file.")
    ] = "tutorial",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; default: a new one, runs/RECIPE.", show_default=False
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a value of the recipe: epochs=4, loss.margin=2. Can be repeated.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of everything random; default: the recipe's.")
    ] = None,
    backend: BackendOption = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the run in --out.")] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in --out that was stopped.")
    ] = False,
    allow_leaks: Annotated[
        bool,
        typer.Option("--allow-leaks", help="Train though an image is in two parts of the data."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a siamese network, score it on test pairs, and write a report.

    The run's folder holds the model, report.html with pictures, report.json, the recipe and the
    loss of each epoch. Ctrl-C ends the training and keeps what was learned; a training that was
    killed goes on with --resume. Your own images are checked first, as by `twinset check`.

        twinset train fashion-mnist --recipe tutorial --out runs/first

        twinset train photos/ --set holdout=auto

        twinset train fashion-mnist --set epochs=4 --set loss.margin=2
    """
    choose(backend)
    from twinset.recipe import parse_setting
    from twinset.run import train as run_training

    changes: dict[str, Any] = dict(parse_setting(text) for text in setting or [])
    if seed is not None:
        changes["seed"] = seed
    run = run_training(
        data,
        recipe,
        out=out,
        overwrite=overwrite,
        resume=resume,
        allow_leaks=allow_leaks,
        progress=not as_json,
        tell=None if as_json else lambda text: typer.echo(f"train: {text}", err=True),
        **changes,
    )
    if as_json:
        _say(json.dumps({"folder": str(run.folder), "report": run.report.to_dict()}))
    else:
        _say(run.report.summary())
        _say(f"report: {run.folder / 'report.html'}")
    if run.model.interrupted:
        typer.echo("twinset: interrupted; kept what was trained until then.", err=True)
        raise typer.Exit(130)


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, as `train` wrote it.")],
    data: Annotated[
        str | None,
        typer.Argument(
            help="As for `train`; images that the run has used are left out. Default: its own.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        Protocol,
        typer.Option(help="test: this model on the test part. full: its recipe, all folds."),
    ] = Protocol.test,
    baselines: Annotated[bool, typer.Option(help="Judge raw pixels and others as well.")] = True,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="OTHER_RUN",
            help="Tell which of two models is better: RUN is A, this is B.",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model over all pairs of the test part, with 95% intervals and baselines.

    Writes evaluation.html, a page with pictures, evaluation.md, a model card, and evaluation.json
    to the run's folder. The
    full protocol trains the run's recipe anew, for five seeds and eight folds of unseen classes;
    it goes on where it was stopped.

    With --against, two models are compared on the same test images, paired, and nothing is
    written: each row ends in "A beats B", "B beats A" or "cannot tell".

        twinset evaluate runs/first

        twinset evaluate runs/first --protocol full

        twinset evaluate runs/first --against runs/second
    """
    if against is not None and protocol is Protocol.full:
        raise RecipeError(
            "Expected one of --against and --protocol full. Received both: --against compares two "
            "models on the test part; run the full protocol for each."
        )
    choose(backend)
    from twinset.evaluation.of_run import compare_runs, evaluate_run, study_run

    if against is not None:
        comparison = compare_runs(run, against, data)
        _say(json.dumps(comparison.to_dict()) if as_json else comparison.summary())
        return
    tell = None if as_json else lambda text: typer.echo(f"evaluate: {text}", err=True)
    if protocol is Protocol.full:
        summary, text = study_run(run, data, progress=tell)
        _say(json.dumps(summary) if as_json else text)
    else:
        found = evaluate_run(run, data, baselines=baselines, progress=tell)
        _say(json.dumps(found.to_dict()) if as_json else found.summary())
        if not as_json:
            _say(f"report: {run / 'evaluation.html'}")


@app.command()
def check(
    data: DataArgument,
    pictures: Annotated[
        Path | None,
        typer.Option(
            help="Folder to draw to: classes.png, and look_alikes.png if there are any.",
            show_default=False,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Side that images are brought to; default: see `twinset train`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether images are fit for training: what cannot be read, copies, leaks, tiny classes.

    Exits with 1 where training makes no sense: fewer than two classes of two images, the same
    image in two parts, too many files that cannot be read.

        twinset check photos/

        twinset check photos/ --pictures checked
    """
    from twinset.data.check_data import check_data

    tell = None if as_json else lambda text: typer.echo(f"check: {text}", err=True)
    found = check_data(data, size=size, pictures=pictures, progress=tell)
    _say(json.dumps(found.to_dict()) if as_json else found.summary())
    if not found.ok:
        raise typer.Exit(1)


for _command in (
    use.compare,
    use.export,
    index.index,
    index.search,
    index.duplicates,
    index.inspect,
    index.remove,
):
    app.command()(_command)


def main() -> None:
    """Run the command line; a mistake of the user ends in one line and exit code 2."""
    try:
        app(prog_name="twinset")
    except TwinsetError as error:
        _fail(str(error))
    except OSError as error:  # a full disk, a folder without permission
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}.")
    except KeyboardInterrupt:
        typer.echo("twinset: interrupted.", err=True)
        sys.exit(130)


def _fail(message: str) -> None:
    # one line, and no control characters: names of files hold whatever somebody put there
    line = " ".join(part.strip() for part in message.splitlines())
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)
    typer.echo(f"twinset: {line}", err=True)
    sys.exit(2)
