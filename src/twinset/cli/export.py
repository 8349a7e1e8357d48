"""The commands that take a model elsewhere, or what it finds: `export`, `push` and `embed`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path

from twinset.cli.arguments import (
    A_MODEL,
    A_SOURCE,
    Arguments,
    choose_backend,
    columns_of,
    load,
    note,
    output,
    plural,
    say,
    tell_skipped,
)


def export(args: Namespace) -> int:
    """Export a model as a graph that runs without Keras.

    The graph, encoder.onnx or encoder.tflite, takes any number of images at once, as uint8 pixels
    of the model's size, and returns their embeddings; they are checked against Keras'. All else
    that one needs (threshold, preprocessing, calibration) is in card.json, and in an ONNX graph's
    metadata as well.

        twinset export runs/first --out exported
        twinset export runs/first --out small --int8
        twinset export runs/first --out phone --format litert
    """
    choose_backend(None)
    from twinset.exporters.export import export as write

    tell = None if args.json else lambda text: note(f"export: {text}")
    done = write(args.run, args.out, format=args.format, int8=args.int8, data=args.data, tell=tell)
    say(json.dumps(done.to_dict()) if args.json else done.summary())
    return 0


def push(args: Namespace) -> int:
    """Upload a model to the Hugging Face Hub, in public or not.

    The repository is made if there is none, and seen by its owner alone unless --public is given.
    It gets the model, a page with its scores, the names of the classes, and fingerprints of the
    images that were used, but no image. Needs a token that may write: $HF_TOKEN, or that of
    `hf auth login`. Wherever a command takes a RUN, it then takes hf://USER/NAME.

        twinset push runs/first user/shoes
        twinset compare hf://user/shoes a.jpg b.jpg
    """
    model = load("push", args.run)
    address = model.push_to_hub(args.name, private=not args.public, revision=args.revision)
    say(json.dumps({"model": address}) if args.json else address)
    return 0


def embed(args: Namespace) -> int:
    """Embed all images of a source into one Parquet file.

    On all cores of this machine, or on those of a Ray cluster. The file has a row for each image:
    its id, embedding, label, path, and a table's other columns. `twinset index` takes it in place
    of the images. Files that cannot be read are listed and skipped. If interrupted, the same
    command continues.

        twinset embed runs/first photos/ --out vectors.parquet
        twinset index runs/first vectors.parquet --out photos.index
    """
    from twinset.models.bulk import embed_images

    with redirect_stdout(sys.stderr):  # where Ray tells that a worker has died: no answer
        made = embed_images(
            args.run,
            args.source,
            args.out,
            columns=columns_of(args),
            engine=args.engine,
            address=args.address,
            overwrite=args.overwrite,
            progress=not args.json,
        )
    if args.json:
        skipped = [{"name": bad.name, "reason": bad.reason} for bad in made.skipped]
        told = {"out": str(made.path), "rows": made.rows, "resumed": made.resumed}
        say(json.dumps({**told, "skipped": skipped}))
        return 0
    tell_skipped("embed", made.skipped)
    before = f"; {made.resumed:,} were done before" * bool(made.resumed)
    say(f"{made.path}: {plural(made.rows, 'row')}; {len(made.skipped):,} skipped{before}")
    return 0


def _push(takes: Arguments) -> None:
    takes.option("run", A_MODEL, type=Path)
    takes.option("name", "The repository: USER/NAME or ORGANISATION/NAME.")
    takes.flag("--public", "Let everybody see a new repository.")
    takes.option("--revision", "A branch, made if there is none. Default: main.", metavar="BRANCH")
    takes.shared("--json")


def _export(takes: Arguments) -> None:
    takes.shared("run")
    takes.option(
        "--format",
        "litert needs `pip install 'twinset[litert]'`.",
        choices=("onnx", "litert"),
        default="onnx",
    )
    takes.option(
        "--out",
        "Folder for the graph and card.json. Default: the graph goes to the run's folder.",
        type=Path,
        metavar="FOLDER",
    )
    takes.flag("--int8", "Quantize to 8 bits, and report what that costs in accuracy.")
    takes.option(
        "--data",
        "Images for --int8 to calibrate and evaluate on, as for `twinset train`. Default: the "
        "run's own.",
    )
    takes.shared("--json")


def _embed(takes: Arguments) -> None:
    takes.shared("run")
    takes.option("source", A_SOURCE.format(""))
    takes.shared("--image", "--label", "--classes")
    takes.option(
        "--out", "The file to write, .parquet.", required=True, type=output, metavar="FILE"
    )
    takes.option(
        "--engine",
        "local: all cores of this machine; ray: those of a Ray cluster.",
        choices=("local", "ray"),
        default="local",
    )
    takes.option(
        "--address",
        "Of the Ray cluster: auto or HOST:PORT. Default: one on this machine, started and ended.",
    )
    takes.flag("--overwrite", "Replace a file that is there.")
    takes.shared("--json")


COMMANDS = {export: _export, push: _push, embed: _embed}
