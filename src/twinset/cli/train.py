"""The commands before there is a model: `check` and `train`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from twinset.cli.arguments import A_RECIPE, INTERRUPTED, Arguments, choose_backend, note, say


def train(args: Namespace) -> int:
    """Train a siamese network, test it on pairs, and write a report.

    The run's folder holds the model, report.html with pictures, report.json, the recipe and the
    loss of each epoch. Ctrl-C ends the training and keeps what was learned; a training that was
    killed continues with --resume. Your own images are checked first, as by `twinset check`.

        twinset train fashion-mnist --recipe tutorial --out runs/first
        twinset train photos/ --set holdout=auto
        twinset train fashion-mnist --set epochs=4 --set loss.margin=2
    """
    choose_backend(args.backend)
    from twinset.recipe import parse_setting
    from twinset.run import train as run_training

    changes: dict[str, Any] = dict(parse_setting(text) for text in args.set)
    if args.seed is not None:
        changes["seed"] = args.seed
    run = run_training(
        args.data,
        args.recipe,
        out=args.out,
        overwrite=args.overwrite,
        resume=args.resume,
        allow_leaks=args.allow_leaks,
        progress=not args.json,
        tell=None if args.json else lambda text: note(f"train: {text}"),
        **changes,
    )
    if args.json:
        say(json.dumps({"folder": str(run.folder), "report": run.report.to_dict()}))
    else:
        say(run.report.summary())
        say(f"report: {run.folder / 'report.html'}")
    if run.model.interrupted:
        note("twinset: interrupted; kept what was trained until then.")
        return INTERRUPTED
    return 0


def _train(takes: Arguments) -> None:
    takes.shared("data")
    takes.option("--recipe", A_RECIPE, default="tutorial")
    takes.option(
        "--out", "Folder of the run. Default: a new one, runs/RECIPE.", type=Path, metavar="FOLDER"
    )
    takes.shared("--set")
    takes.option("--seed", "Random seed. Default: the recipe's.", type=int)
    takes.flag("--overwrite", "Replace the run in --out.")
    takes.flag("--resume", "Continue the interrupted run in --out.")
    takes.flag("--allow-leaks", "Train even if an image is in two parts of the data.")
    takes.shared("--backend", "--json")


def check(args: Namespace) -> int:
    """Check whether images are fit for training.

    Lists unreadable files, copies, images in two parts of the data, and tiny classes. Exits with 1
    if training makes no sense: fewer than two classes with two images each, the same image in two
    parts, or too many unreadable files.

        twinset check photos/
        twinset check photos/ --pictures checked
    """
    from twinset.data.checks.check import check_data

    shown = not args.json
    found = check_data(args.data, size=args.size, pictures=args.pictures, progress=shown)
    say(json.dumps(found.to_dict()) if args.json else found.summary())
    return 0 if found.ok else 1


def _check(takes: Arguments) -> None:
    takes.shared("data")
    takes.option(
        "--pictures",
        "Folder for pictures: classes.png and, if there are any, look_alikes.png.",
        type=Path,
        metavar="FOLDER",
    )
    takes.option(
        "--size",
        "Height and width that images are resized to. Default: as for `twinset train`.",
        type=int,
        metavar="PIXELS",
    )
    takes.shared("--json")


COMMANDS = {train: _train, check: _check}
