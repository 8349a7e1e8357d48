"""The commands: parse, call one library function, print. Errors are one line and exit code 2."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from twinset.errors import TwinsetError

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


class Backend(StrEnum):
    """Keras' back ends."""

    jax = "jax"
    tensorflow = "tensorflow"
    torch = "torch"


class Protocol(StrEnum):
    """How much to evaluate."""

    test = "test"
    full = "full"


BackendOption = Annotated[
    Backend | None,
    typer.Option(help="Keras' back end; default: $KERAS_BACKEND, else jax.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs, no prose.")]


@app.callback()
def _twinset() -> None:
    """Keep `train` and `compare` commands of their own, however many there are."""


@app.command()
def train(
    data: Annotated[str, typer.Argument(help="The data set: fashion-mnist.")],
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
    as_json: JsonOption = False,
) -> None:
    """Train a siamese network, score it on test pairs, and write a report.

    The run's folder holds the model, report.html with pictures, report.json, the recipe and the
    loss of each epoch. Ctrl-C ends the training and keeps what was learned.

        twinset train fashion-mnist --recipe tutorial --out runs/first

        twinset train fashion-mnist --set epochs=4 --set loss.margin=2
    """
    _choose(backend)
    from twinset.recipe import parse_setting
    from twinset.run import train as run_training

    changes: dict[str, Any] = dict(parse_setting(text) for text in setting or [])
    if seed is not None:
        changes["seed"] = seed
    run = run_training(data, recipe, out=out, overwrite=overwrite, progress=not as_json, **changes)
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
    data: Annotated[str, typer.Argument(help="The data set: fashion-mnist.")] = "fashion-mnist",
    protocol: Annotated[
        Protocol,
        typer.Option(help="test: this model on the test part. full: its recipe, all folds."),
    ] = Protocol.test,
    baselines: Annotated[bool, typer.Option(help="Judge raw pixels and others as well.")] = True,
    backend: BackendOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a model over all pairs of the test part, with 95% intervals and baselines.

    Writes evaluation.html, a page with pictures, evaluation.md, a model card, and evaluation.json
    to the run's folder. The
    full protocol trains the run's recipe anew, for five seeds and eight folds of unseen classes;
    it goes on where it was stopped.

        twinset evaluate runs/first

        twinset evaluate runs/first --protocol full
    """
    _choose(backend)
    from twinset.run_evaluation import evaluate_run, study_run

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
def compare(
    run: Annotated[Path, typer.Argument(help="A run's folder, as `train` wrote it.")],
    left: Annotated[Path, typer.Argument(help="An image file.")],
    right: Annotated[Path, typer.Argument(help="Another image file.")],
    backend: BackendOption = None,
    as_json: JsonOption = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 1 if the verdict is 'different'.")
    ] = False,
) -> None:
    """Say whether two images show the same.

    Images of any size and colour mode are adapted to what the model was trained on. A match is a
    distance at or below the model's threshold.

        twinset compare runs/first a.png b.png
    """
    from twinset.data.decode import open_image

    for path in (left, right):
        open_image(path)  # a bad file is told at once, not after Keras has been loaded
    _choose(backend)
    from twinset.embed.model import SiameseModel

    verdict = SiameseModel.load(run).compare(left, right)
    if as_json:
        _say(json.dumps(verdict.to_dict()))
    else:
        _say(verdict.sentence())
    if exit_code and not verdict.same:
        raise typer.Exit(1)


def _choose(backend: Backend | None) -> None:
    if backend is not None:
        os.environ["KERAS_BACKEND"] = backend.value
    wanted = os.environ.get("KERAS_BACKEND", "jax")
    import importlib.util

    from twinset.errors import RecipeError

    if wanted not in list(Backend):
        raise RecipeError(
            f"Expected a back end out of {[str(name) for name in Backend]}. "
            f"Received KERAS_BACKEND={wanted!r}."
        )
    if importlib.util.find_spec(wanted) is None:
        raise RecipeError(
            f"Expected the back end {wanted} to be installed. Install it with "
            f"`pip install 'twinset[{wanted}]'`, or choose another --backend."
        )


def _say(text: str) -> None:
    # half a character of a broken file name must not end a run in a traceback
    typer.echo(text.encode(errors="backslashreplace").decode())


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
