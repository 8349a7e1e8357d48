"""Small collections: `check`, `train`, `evaluate` and `compare` on a grid of 100 sizes.

./task bench small_collections [--recipe tutorial --recipe fast] [--classes 2 3] [--images 4 9]

Each collection is a folder of tiny images: every class has a pattern of its own, each image that
with noise, all from a seed. A size agrees if `check` calls it fit and training, evaluation and
comparison end without an error, or if `check` calls it unfit and `train` refuses it before the
training.
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

import ledger
from twinset import tables
from twinset.cli import app

CLASSES = (2, 3, 4, 5, 6, 8, 12, 20, 35, 50)
IMAGES = (2, 3, 4, 5, 6, 8, 10, 15, 25, 30)


def write(folder, classes, images, side=8, seed=0):
    rng = np.random.default_rng([seed, classes, images])
    for kind in range(classes):
        pattern = rng.integers(0, 200, (side, side, 3))
        place = folder / f"class {kind:02}"
        place.mkdir(parents=True)
        for number in range(images):
            noisy = pattern + rng.integers(0, 56, pattern.shape)
            Image.fromarray(noisy.astype(np.uint8)).save(place / f"{number:02}.png")


def command(*arguments):
    """Run a command; tell its exit code and what it said."""
    said = io.StringIO()
    told = mock.patch.object(sys, "argv", ["twinset", *map(str, arguments)])
    with told, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = app.main()
        except SystemExit as stop:
            code = stop.code
        except Exception as error:  # noqa: BLE001 - a traceback is the worst that may come
            code = 99
            print(f"{type(error).__name__}: {error}")
    return code or 0, said.getvalue()


def tried(folder, recipe, epochs):
    """Tell what became of a collection, and whether all commands agree."""
    run = folder.with_name("run")
    shutil.rmtree(run, ignore_errors=True)
    fit = command("check", folder)[0] == 0
    # the recipe that chooses has none of its own
    quick = () if recipe == "auto" else ("--set", f"epochs={epochs}")
    code, said = command("train", folder, "--recipe", recipe, *quick, "--out", run)
    trained = (run / "model.json").is_file()
    if code:
        refused = not fit and not trained
        return "refused" if refused else f"train: {said.splitlines()[-1][:120]}", refused
    if not fit:
        return "trained, though check called it unfit", False
    for words in (
        ("evaluate", run, "--no-baselines"),
        ("compare", run, *sorted(folder.rglob("*.png"))[:2]),
    ):
        code, said = command(*words)
        if code:
            return f"{words[0]}: {said.splitlines()[-1][:120]}", False
    return "cross-fitted" if (run / "crossfit.npz").is_file() else "parts", True


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", action="append", dest="recipes")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES)
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES)
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    recipes = options.recipes or ["tutorial", "fast"]
    short = {"cross-fitted": "x", "parts": "p", "refused": "-"}
    grids = {recipe: [] for recipe in recipes}
    agree = dict.fromkeys(recipes, 0)
    for classes in options.classes:
        for each in grids.values():
            each.append([f"{classes}"])
        for images in options.images:
            with tempfile.TemporaryDirectory() as place:
                os.environ["XDG_CACHE_HOME"] = f"{place}/cache"
                folder = Path(place, "photos")
                write(folder, classes, images)
                for recipe in recipes:
                    found, good = tried(folder, recipe, options.epochs)
                    agree[recipe] += good
                    grids[recipe][-1].append(short.get(found, "?"))
                    if not good:
                        print(f"{classes} x {images}, {recipe}: {found}", flush=True)
    print("p: with parts, x: cross-fitted, -: refused by check and train alike, ?: they disagree")
    for recipe, rows in grids.items():
        print(recipe)
        print(tables.text(["classes \\ images", *(f">{n}" for n in options.images)], rows))
        ledger.say(
            f"small collections: {recipe}, sizes that agree",
            f"{agree[recipe]} of {len(options.classes) * len(options.images)}",
        )


if __name__ == "__main__":
    main()
