"""The command that says how good a model is: `evaluate`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from twinset.cli.arguments import COLUMNS, Arguments, choose_backend, columns_of, note, say
from twinset.errors import DataError, RecipeError


def evaluate(args: Namespace) -> int:
    """Evaluate a model on all pairs of its test images.

    Prints figures with 95% intervals, beside those of baselines such as raw pixels, and writes
    evaluation.html (a page with pictures), evaluation.md (a model card) and evaluation.json to the
    run's folder. The full protocol retrains the run's recipe with five seeds and on eight folds of
    unseen classes; if interrupted, it continues where it stopped. Of a model on the hub the folder
    is a copy, runs/USER--NAME.

    With --against, two models are compared on the same test images and nothing is written: each
    row ends in "A beats B", "B beats A" or "cannot tell".

        twinset evaluate runs/first
        twinset evaluate runs/first --protocol full
        twinset evaluate runs/first --against runs/second
    """
    if args.against is not None and args.protocol == "full":
        raise RecipeError(
            "Expected one of --against and --protocol full. Received both: --against compares two "
            "models on the test part; run the full protocol for each."
        )
    from twinset.models.hub import is_on_hub, own_folder

    if is_on_hub(args.run) and args.data is None and args.pairs is None:
        raise DataError(
            "Expected data to evaluate on, as a model from the hub comes without. Received none: "
            "name a folder, a table or a data set."
        )
    choose_backend(args.backend)
    from twinset.evaluation.of_run import compare_runs, evaluate_run, study_run

    named = columns_of(args)
    if args.against is not None:
        comparison = compare_runs(
            args.run, args.against, args.data, pairs=args.pairs, columns=named
        )
        say(json.dumps(comparison.to_dict()) if args.json else comparison.summary())
        return 0
    tell = None if args.json else lambda text: note(f"evaluate: {text}")
    args.run = own_folder(args.run)
    if args.protocol == "full":
        summary, text = study_run(
            args.run, args.data, columns=named, progress=tell is not None, tell=tell
        )
        say(json.dumps(summary) if args.json else text)
        return 0
    found = evaluate_run(
        args.run,
        args.data,
        pairs=args.pairs,
        columns=named,
        baselines=not args.no_baselines,
        progress=tell is not None,
        tell=tell,
    )
    say(json.dumps(found.to_dict()) if args.json else found.summary())
    if not args.json:
        say(f"report: {args.run / 'evaluation.html'}")
    return 0


def _evaluate(takes: Arguments) -> None:
    takes.shared("run")
    takes.option(
        "data",
        "Other data to evaluate on, as for `twinset train`; images that the run was trained on are "
        "left out. Default: the run's own.",
        nargs="?",
    )
    takes.shared("--pairs", *(f"--{what}" for what in COLUMNS), "--classes")
    takes.option(
        "--protocol",
        "test: this model on the test part. full: its recipe, retrained over seeds and folds.",
        choices=("test", "full"),
        default="test",
    )
    takes.flag("--no-baselines", "Do not evaluate baselines, such as raw pixels, too.")
    takes.option(
        "--against",
        "Say which of two models is better: RUN is A, OTHER_RUN is B.",
        type=Path,
        metavar="OTHER_RUN",
    )
    takes.shared("--backend", "--json")


COMMANDS = {evaluate: _evaluate}
