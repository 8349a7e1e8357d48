"""The command that shows where two images agree and differ: `explain`."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

from twinset.cli.arguments import A_MODEL, Arguments, choose_backend, note, say


def explain(args: Namespace) -> int:
    """Show where two images agree and differ for a model.

    A patch of one image at a time is covered, and the distance measured again: nearer, and the
    images differ there; farther, and they agree there. This shows which patches the distance
    depends on, not why a person would call the images alike.

        twinset explain runs/first a.png b.png --picture why.png
    """
    from twinset.data.decoding.image_file import open_image
    from twinset.models.onnx_model import load_model

    for path in args.images:
        open_image(path)  # a bad file is reported at once, not after an engine has been loaded

    def tell(text: str) -> None:
        note(f"explain: {text}")
        choose_backend(None)  # Keras comes next

    found = load_model(args.run, tell=tell).explain(*args.images, patch=args.patch)
    if args.picture is not None:  # before a word is said: whoever reads may stop listening
        from twinset import figures

        figures.save(found.draw([str(path) for path in args.images]), args.picture)
    if args.json:
        say(json.dumps(found.to_dict()))
    else:
        say(found.sentence())
        note(f"explain: {found.about()}")
    return 0


def _explain(takes: Arguments) -> None:
    takes.option("run", A_MODEL, type=Path)
    takes.option("images", "The files of two images.", type=Path, nargs=2, metavar="IMAGE")
    takes.option(
        "--patch",
        "Side of a patch in pixels, as the model sees the images. Default: a sixth of the image.",
        type=int,
        metavar="PIXELS",
    )
    takes.shared("--picture", "--json")


COMMANDS = {explain: _explain}
