"""The command that shows what a training can be told: `recipe`."""

from __future__ import annotations

from argparse import Namespace

from twinset.cli.arguments import A_RECIPE, Arguments, choose_backend, say


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


COMMANDS = {recipe: _recipe}
