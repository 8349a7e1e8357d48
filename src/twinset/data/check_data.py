"""`twinset check`: the user's own images read, checked, and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twinset import figures
from twinset.data.checks.check import DataCheck, check
from twinset.data.labelled import LabelledImages
from twinset.data.load import load_images
from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.progress import Progress, Wanted, reporting
from twinset.recipe import IMAGES


def check_data(
    data: str | Path,
    *,
    size: int | None = None,
    pictures: str | Path | None = None,
    progress: Wanted = False,
) -> DataCheck:
    """Read images and check whether they are fit for training.

    Args:
        data: a folder or a table of images, or the name of a built-in set.
        size: side that they are brought to. Defaults to what a training would take.
        pictures: a folder to draw to: classes.png, some images of each class, and
            look_alikes.png, the worst copies and label conflicts, if there are any. Defaults to
            none.
        progress: True for a bar on stderr, False for nothing, or a function that is told. Defaults
            to False.

    Raises:
        DataError: nothing there, or nothing that can be read.
    """
    wanted = IMAGES.read({} if size is None else {"size": size}, "images")
    images, test = load_images(data, wanted, progress=progress)
    if not isinstance(images, LabelledImages):
        raise DataError(
            f"{data}: expected images to check. Received features, of which only numbers and "
            "labels are known: these are checked as they are read, by `twinset train`."
        )
    if isinstance(test, LabelledImages):
        images = _joined(images, test)
    with reporting(progress) as tell:
        tell(Progress("check", 0, len(images), "images"))
        found = check(images)
        tell(Progress("check", len(images), len(images), "images"))
    if pictures is not None:
        _draw(images, found, Path(pictures))
    return found


def _draw(images: LabelledImages, found: DataCheck, folder: Path) -> None:
    classes = figures.contact_sheet(
        images.images, images.labels, images.class_names, heading=images.name
    )
    write_bytes(folder / "classes.png", figures.png_bytes(classes))
    copies = folder / "look_alikes.png"
    copies.unlink(missing_ok=True)  # of a check before
    worst = found.worst()
    if worst:
        drawn = figures.look_alikes(
            images.images,
            [alike.positions for _, alike in worst],
            [why for why, _ in worst],
            [alike.names for _, alike in worst],
            [alike.classes for _, alike in worst],
            heading=images.name,
        )
        write_bytes(copies, figures.png_bytes(drawn))


def _joined(train: LabelledImages, test: LabelledImages) -> LabelledImages:
    """Make one set of a built-in set's two parts, so that leaks between them show."""
    return LabelledImages(
        np.concatenate([train.images[:], test.images[:]]),
        np.concatenate([train.labels, test.labels]),
        train.class_names,
        name=train.name.split("/", maxsplit=1)[0],
        parts=np.repeat(["train", "test"], [len(train), len(test)]),
    )
