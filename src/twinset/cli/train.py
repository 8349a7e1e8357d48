"""The commands before there is a model: `check`, `recipe` and `train`."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from twinset.cli import processes
from twinset.cli.arguments import (
    A_RECIPE,
    COLUMNS,
    INTERRUPTED,
    SHARED,
    Arguments,
    check_devices,
    choose_backend,
    columns_of,
    drawn,
    note,
    say,
)
from twinset.errors import DataError


def train(args: Namespace) -> int:
    """Train a siamese network, test it on pairs, and write a report.

    The run's folder holds the model, report.html with pictures, report.json, the recipe and the
    loss of each epoch. Ctrl-C ends the training and keeps what was learned; a training that was
    killed continues with --resume. Your own images are checked first, as by `twinset check`.

        twinset train fashion-mnist --recipe tutorial --out runs/first
        twinset train photos/ --for unseen
        twinset train --pairs pairs.csv
        twinset train fashion-mnist --set epochs=4 --set loss.margin=2
    """
    if args.data is None and args.pairs is None:
        raise DataError(NO_DATA)
    choose_backend(args.backend, alone=False)
    place = processes.given()
    if place is None and processes.asked(args):
        return processes.supervise(args)
    with processes.joined(place):
        check_devices()
        return _trained(args)


def _trained(args: Namespace) -> int:
    from twinset.recipe import Recipe, parse_setting
    from twinset.run import train as run_training

    changes: dict[str, Any] = dict(parse_setting(text) for text in args.set)
    options = {"seed": args.seed, "choice.purpose": args.purpose, "choice.budget": args.budget}
    changes |= {key: value for key, value in options.items() if value is not None}
    recipe = args.recipe
    if args.pairs is not None:
        # a recipe has a field of this name, so that it is changed first
        recipe, changes = Recipe.load(recipe or "auto", **changes), {"pairs": args.pairs}
    run = run_training(
        args.data,
        recipe,
        columns=columns_of(args),
        out=args.out,
        overwrite=args.overwrite,
        resume=args.resume,
        allow_leaks=args.allow_leaks,
        progress=not args.json,
        tell=None if args.json else lambda text: note(f"train: {text}"),
        **changes,
    )
    if run.report is None:  # another process has it, and says what follows
        return INTERRUPTED if run.model.interrupted else 0
    if args.json:
        say(json.dumps({"folder": str(run.folder), "report": run.report.to_dict()}))
    else:
        say(run.report.summary())
        say(f"report: {run.folder / 'report.html'}")
    if run.model.interrupted:
        note("twinset: interrupted; kept what was trained until then.")
        return INTERRUPTED
    return 0


def seconds(text: str) -> float:
    """Read a time such as 90s, 10m or 1h; a number alone is of seconds."""
    scale = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        found = float(text[:-1]) * scale if scale else float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found < float("inf"):
        raise ArgumentTypeError(f"expected a time such as 90s, 10m or 1h; received {text!r}")
    return found


def _train(takes: Arguments) -> None:
    _data(takes)
    takes.option(
        "--recipe", f"{A_RECIPE} Default: tutorial for fashion-mnist, auto for your own images."
    )
    takes.option(
        "--for",
        "What the model is for, with the recipe auto: things that are not among these images "
        "(unseen), or new images of the same things (seen). Default: unseen from 20 classes on.",
        choices=("unseen", "seen"),
        dest="purpose",
    )
    takes.option(
        "--budget",
        "Time for candidates that have to be trained, with the recipe auto, such as 90s or 10m. "
        "Default: by the number of images, up to 5m.",
        type=seconds,
        metavar="TIME",
    )
    takes.option(
        "--out", "Folder of the run. Default: a new one, runs/RECIPE.", type=Path, metavar="FOLDER"
    )
    takes.shared("--set")
    takes.option("--seed", "Random seed. Default: the recipe's.", type=int)
    takes.flag("--overwrite", "Replace the run in --out.")
    takes.flag("--resume", "Continue the interrupted run in --out.")
    processes.declare(takes)
    takes.flag("--allow-leaks", "Train even if an image is in two parts of the data.")
    takes.shared("--backend", "--json")


NO_DATA = (
    "Expected a data set (a folder, a table, or a name such as fashion-mnist), or judged pairs. "
    "Received neither: name one, or give --pairs TABLE."
)


def _data(takes: Arguments) -> None:
    takes.option("data", f"{SHARED['data']['about']} May be left out with --pairs.", nargs="?")
    takes.shared("--pairs", *(f"--{what}" for what in COLUMNS), "--classes")


def check(args: Namespace) -> int:
    """Check whether images are fit for training.

    Lists unreadable files, copies, images in two parts of the data, and tiny classes. Exits with 1
    if training makes no sense: fewer than two classes with two images each, too few images to be
    judged on, the same image in two parts, or too many unreadable files. Of judged pairs it tells
    what was judged both ways, and chains that contradict themselves.

        twinset check photos/
        twinset check --pairs pairs.csv
        twinset check photos/ --pictures checked
    """
    from twinset.data.checks.check import check_data

    shown = not args.json
    found = check_data(
        args.data,
        pairs=args.pairs,
        columns=columns_of(args),
        size=args.size,
        pictures=args.pictures,
        progress=shown,
    )
    say(json.dumps(found.to_dict()) if args.json else found.summary())
    return 0 if found.ok else 1


def _check(takes: Arguments) -> None:
    _data(takes)
    takes.option(
        "--pictures",
        "Folder for pictures: classes.png, or pairs.png, and, if there are any, look_alikes.png.",
        type=drawn,
        metavar="FOLDER",
    )
    takes.option(
        "--size",
        "Height and width that images are resized to. Default: as for `twinset train`.",
        type=int,
        metavar="PIXELS",
    )
    takes.shared("--json")


def recipe(args: Namespace) -> int:
    """Print a recipe: every value that can be set, and what it means.

    The output is a recipe file itself: change it and pass it to `twinset train --recipe`.

        twinset recipe fast
        twinset recipe conv --set loss.name=triplet
        twinset recipe fast > mine.toml
    """
    choose_backend(None)
    from twinset.recipe import Recipe, parse_setting

    changes = dict(parse_setting(text) for text in args.set)
    say(Recipe.load(args.name, **changes).to_toml(explained=True).rstrip())
    return 0


def _recipe(takes: Arguments) -> None:
    takes.option("name", A_RECIPE)
    takes.shared("--set")


COMMANDS = {train: _train, check: _check, recipe: _recipe}
