"""How commands declare their arguments; those of several commands are declared here, once."""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

from twinset.errors import RecipeError

BACKENDS = ("jax", "tensorflow", "torch")
RECIPES = sorted(path.stem for path in Path(__file__).parents[1].glob("recipes/*.toml"))
A_RECIPE = f"A built-in recipe ({', '.join(RECIPES)}), or the path of a .toml file."
INDEX_PLACE = "a folder, postgresql://…?index=NAME or milvus://…?index=NAME"

SHARED: dict[str, dict[str, Any]] = {
    "data": {
        "about": "The name of a data set (fashion-mnist), a folder with one subfolder of images "
        "per class, or a table (.csv, .parquet) of image paths and labels."
    },
    "--set": {
        "about": "Change a value of the recipe, such as loss.margin=2. Repeatable.",
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
    },
    "run": {"about": "Folder of a run, as `twinset train` wrote it.", "type": Path},
    "index": {"about": f"An index: {INDEX_PLACE}."},
    "--model": {
        "about": "The model that built the index. Needed for a database; a folder holds its copy.",
        "type": Path,
        "metavar": "RUN",
    },
    "--picture": {"about": "Draw the results to this file.", "type": Path, "metavar": "PNG"},
    "--backend": {
        "about": "Keras backend. Default: $KERAS_BACKEND, else jax.",
        "choices": BACKENDS,
    },
    "--json": {"about": "Print JSON instead of text.", "action": "store_true"},
}


class Arguments:
    """The arguments of one command.

    Args:
        command: its name.
        about: its help.
    """

    def __init__(self, command: str, about: str) -> None:
        self.parser = argparse.ArgumentParser(
            prog=command, description=about, formatter_class=_formatter, allow_abbrev=False
        )

    def option(self, name: str, about: str, **settings: Any) -> None:
        """Declare an argument; `settings` as for argparse. Its help ends with its default."""
        if settings.get("default"):
            about = f"{about} Default: {settings['default']}."
        if not name.startswith("-"):
            settings.setdefault("metavar", name.upper())
        self.parser.add_argument(name, help=about.replace("%", "%%"), **settings)

    def flag(self, name: str, about: str) -> None:
        """Declare an option that is there or not."""
        self.parser.add_argument(name, help=about, action="store_true")

    def shared(self, *names: str) -> None:
        """Take arguments that several commands share."""
        for name in names:
            self.option(name, **SHARED[name])


def _formatter(prog: str) -> argparse.HelpFormatter:
    # raw, as examples are to be copied; longer lines are hard to read
    wide = min(shutil.get_terminal_size().columns, 100)
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=26, width=wide)


def choose_backend(name: str | None) -> None:
    """Choose Keras' backend before Keras is imported; None: that of the environment.

    Raises:
        RecipeError: there is no such backend, or it is not installed.
    """
    wanted = name or os.environ.get("KERAS_BACKEND", "jax")
    if wanted not in BACKENDS:
        raise RecipeError(
            f"Expected a backend out of {list(BACKENDS)}. Received KERAS_BACKEND={wanted!r}."
        )
    os.environ["KERAS_BACKEND"] = wanted
    if importlib.util.find_spec(wanted) is None:
        raise RecipeError(
            f"Expected the backend {wanted} to be installed. Install it with "
            f"`pip install 'twinset[{wanted}]'`, or choose another --backend."
        )
