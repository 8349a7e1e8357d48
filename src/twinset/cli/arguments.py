"""What commands share: how arguments are declared, those of several commands, and printing."""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.util
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinset.errors import RecipeError, no_drawing, require

if TYPE_CHECKING:
    from twinset.data.image_sources import Skipped
    from twinset.models.embedder import Embedder

INTERRUPTED = 130  # as shells count an end by Ctrl-C: 128 and the number of the signal
SKIPPED = 10  # so many get a line
BACKENDS = ("jax", "tensorflow", "torch")
RECIPES = sorted(path.stem for path in Path(__file__).parents[1].glob("recipes/*.toml"))
A_RECIPE = f"A built-in recipe ({', '.join(RECIPES)}), or the path of a .toml file."
A_RUN = "Folder of a run, as `twinset train` wrote it, or hf://USER/NAME[@REVISION] on the hub."
A_MODEL = f"{A_RUN[:-1]}, or the folder of an exported model."
INDEX_PLACE = "a folder, postgresql://…?index=NAME or milvus://…?index=NAME"


def _leave_home_alone() -> None:
    # What matplotlib and Keras would write to the user's home at their import, where it can be
    # written, goes to our cache. A folder of Keras' that is there may hold weights that are wanted.
    # here, as the help need not wait for numpy
    from twinset.cache_folder import cache_folder

    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder("matplotlib")))
    if not os.path.isdir(os.path.expanduser("~/.keras")):  # noqa: PTH111, PTH112 - no home, no error
        os.environ.setdefault("KERAS_HOME", str(cache_folder("keras")))


def output(text: str) -> Path:
    """Take the place of a result, which is judged before the work."""
    from twinset.files import check_writable

    check_writable(Path(text))
    return Path(text)


def drawn(text: str) -> Path:
    """Take the path of what is to be drawn, where anything can be."""
    reason = no_drawing()
    if reason:
        raise argparse.ArgumentTypeError(reason)
    _leave_home_alone()
    return output(text)


COLUMNS = {
    "image": "with paths or images. Default: one called path, image, file or the like",
    "label": "that says what an image shows. Default: label, class or the like",
    "group": "of images that stay together in one part. Default: group, if there is one",
    "split": "of parts: train, val, test. Default: split or part, if there is one",
}

_ARCHIVE = "an archive of one (.zip, .tar, .tar.gz)"
_BY_ADDRESS = "also by address: s3://…, https://…."
A_SOURCE = (
    f"A folder of images, {_ARCHIVE}, or a table of images (.csv, .tsv, .parquet){{}}; "
    f"{_BY_ADDRESS}"
)

SHARED: dict[str, dict[str, Any]] = {
    "data": {
        "about": "The name of a data set (fashion-mnist), a folder with one subfolder of images "
        f"per class, in train/, val/ and test/ if you have such parts, {_ARCHIVE}, or a table "
        f"(.csv, .tsv, .parquet) of image paths and labels; {_BY_ADDRESS}"
    },
    "--pairs": {
        "about": "A table (.csv, .tsv, .parquet) of judged pairs: columns left and right, paths or "
        "ids of images, same (1 or 0), and perhaps group.",
        "type": Path,
        "metavar": "TABLE",
    },
    **{
        f"--{what}": {"about": f"Of a table of images: the column {of}.", "metavar": "COLUMN"}
        for what, of in COLUMNS.items()
    },
    "--classes": {
        "about": "Of a folder: what a class is called by. path: all folders that an image is in; "
        "top: the first of them, and each folder below it stays together in one part. Default: "
        "path.",
        "choices": ("path", "top"),
    },
    "--set": {
        "about": "Change a value of the recipe, such as loss.margin=2. Repeatable.",
        "action": "append",
        "default": [],
        "metavar": "KEY=VALUE",
    },
    "run": {"about": A_RUN, "type": Path},
    "index": {"about": f"An index: {INDEX_PLACE}."},
    "--model": {
        "about": "The model that built the index. Needed for a database; a folder holds its copy.",
        "type": Path,
        "metavar": "RUN",
    },
    "--where": {
        "about": 'Search only items that meet all of these conditions: "label=shoe, price<10", '
        "size='42'. Repeatable.",
        "action": "append",
        "default": [],
        "metavar": "CONDITIONS",
    },
    "--point": {"about": "Judge by this operating point, saved with the index.", "metavar": "NAME"},
    "--picture": {"about": "Draw the results to this file.", "type": drawn, "metavar": "PNG"},
    "--backend": {
        "about": "Keras backend. Default: $KERAS_BACKEND, else jax.",
        "choices": BACKENDS,
    },
    "--json": {"about": "Print JSON instead of text.", "action": "store_true"},
}


def columns_of(args: argparse.Namespace) -> dict[str, str]:
    """Return the columns of a table of images that were named, and what a folder's classes are."""
    asked = {what: getattr(args, what, None) for what in (*COLUMNS, "classes")}
    return {what: name for what, name in asked.items() if name is not None}


class Arguments:
    """The arguments of one command."""

    def __init__(self, command: str, about: str) -> None:
        # Not abbreviated: a short form would change its meaning with the next option.
        self.parser = argparse.ArgumentParser(
            prog=command, description=about, formatter_class=_formatter, allow_abbrev=False
        )

    def option(self, name: str, about: str, **settings: Any) -> None:
        """Declare an argument; `settings` as for argparse. Its help ends with its default."""
        if settings.get("default"):
            about = f"{about} Default: {settings['default']}."
        if not name.startswith("-"):
            settings.setdefault("metavar", name.upper())
        # argparse takes a single % for the begin of a format
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


class _WithoutWrappers(importlib.abc.MetaPathFinder):
    # Keras imports these two for its scikit-learn wrappers and for tables as input, where they are
    # installed: two fifths of the time that its import takes, for what no command uses.

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        keras = sys.modules.get("keras")
        begun = getattr(getattr(keras, "__spec__", None), "_initializing", False)
        if begun and fullname in ("sklearn", "pandas"):
            raise ModuleNotFoundError(f"{fullname}: not for Keras", name=fullname)


def choose_backend(name: str | None, *, alone: bool = True) -> None:
    """Choose Keras' backend before Keras is imported; None: that of the environment.

    Who is to join other processes is not `alone`, and calls `check_devices` when it has.
    """
    wanted = name or os.environ.get("KERAS_BACKEND", "jax")
    if wanted not in BACKENDS:
        raise RecipeError(
            f"Expected a backend out of {list(BACKENDS)}. Received KERAS_BACKEND={wanted!r}."
        )
    _leave_home_alone()
    os.environ["KERAS_BACKEND"] = wanted  # Keras reads it once, when it is imported
    sys.meta_path.insert(0, _WithoutWrappers())
    require(wanted, wanted, f"--backend {wanted}", RecipeError)
    if alone:
        check_devices()


def check_devices() -> None:
    """Refuse devices that are not here."""
    # else JAX takes what is there
    if os.environ["KERAS_BACKEND"] == "jax" and os.environ.get("JAX_PLATFORMS"):
        import jax

        try:
            jax.devices()
        except RuntimeError as error:
            raise RecipeError(
                "Expected JAX_PLATFORMS to name what JAX can use here, such as cpu or cuda. "
                f"{error}"
            ) from None


def load(command: str, run: Path, **how: Any) -> Embedder:
    """Load a model, and choose Keras' backend where it takes Keras."""
    from twinset.models.onnx_model import load_model

    def tell(text: str) -> None:
        note(f"{command}: {text}")
        choose_backend(None)  # Keras comes next

    return load_model(run, tell=tell, **how)


# --- Printing: answers to stdout, all else to stderr, so that a pipe gets the answers.


def say(text: str) -> None:
    """Print an answer."""
    print(_printable(text))  # noqa: T201


def note(text: str) -> None:
    """Print what is no answer."""
    print(_printable(text), file=sys.stderr)  # noqa: T201


def _printable(text: str) -> str:
    # no control characters but new lines: names of files hold whatever somebody put there
    if text.replace("\n", "").isprintable():
        return text
    return "".join(repr(c)[1:-1] if _controls(c) else c for c in text)


def _controls(c: str) -> bool:
    # wide spaces and what joins letters belong to names; what turns the direction does not
    kind = unicodedata.category(c)
    joins = kind == "Cf" and unicodedata.bidirectional(c) == "BN"
    return not (c.isprintable() or c == "\n" or kind == "Zs" or joins)


def tell_skipped(command: str, skipped: Sequence[Skipped]) -> None:
    """Print what could not be used, a line each, up to SKIPPED."""
    for bad in skipped[:SKIPPED]:
        note(f"{command}: skipped {bad.name}: {bad.reason}")
    if len(skipped) > SKIPPED:
        note(f"{command}: skipped {len(skipped) - SKIPPED:,} more; --json lists them")


def plural(count: int, noun: str) -> str:
    """Count things in words: "1 item", "2,000 items"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"
