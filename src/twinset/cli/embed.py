"""The command that embeds many images into a file: `embed`."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from contextlib import redirect_stdout

from twinset.cli.arguments import Arguments, columns_of, output, plural, say, tell_skipped


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


def _embed(takes: Arguments) -> None:
    takes.shared("run")
    takes.option(
        "source",
        "A folder of images or an archive of one (.zip, .tar, .tar.gz), a table of images (.csv, "
        ".tsv, .parquet), or the address of a folder or .parquet file: s3://…, gs://…, https://….",
    )
    takes.shared("--image", "--label")
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


COMMANDS = {embed: _embed}
