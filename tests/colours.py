"""A collection of 48 small pictures of four colours, a model of them, and an index."""

from __future__ import annotations

import csv
import io

import numpy as np
from PIL import Image

import twinset

COLOURS = ("red", "green", "blue", "gray")


def png(pixels):
    """Write pixels as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture(row, size=12):
    """The picture of an item: the colour of its class in a noise of its own."""
    rng = np.random.default_rng(row)
    pixels = rng.integers(0, 90, (size, size, 3), dtype=np.uint8)
    kind = row % len(COLOURS)
    pixels[..., kind if kind < 3 else slice(None)] += 120
    return pixels


def make(folder):
    """Train, calibrate, export; write 48 files with a table, and an index of them."""
    labels = np.arange(48) % len(COLOURS)
    pixels = np.stack([picture(row) for row in range(96)])
    train = twinset.LabelledImages(pixels[48:], labels, COLOURS, "colours")
    others = twinset.LabelledImages(pixels[:48], labels, COLOURS, "others")
    model = twinset.fit(train, epochs=3, encoder={"units": [8]}, progress=False)
    model.calibrate(others, rule="EER").save(folder / "run")
    twinset.export(folder / "run")
    (folder / "run" / "report.html").write_text("<!doctype html><title>Report</title>", "utf-8")
    # another model, to switch to
    second = twinset.fit(train, epochs=1, encoder={"units": [6]}, progress=False)
    second.save(folder / "second")
    twinset.export(folder / "second")
    (folder / "photos").mkdir()
    with (folder / "items.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "path", "label", "price"])
        for row in range(48):
            name = f"{row:02}.png"
            (folder / "photos" / name).write_bytes(png(pixels[row]))
            table.writerow([f"items/{row:02}", f"photos/{name}", COLOURS[labels[row]], row])
    twinset.Index.build(
        twinset.load_model(folder / "run"), folder / "items.csv", folder / "photos.index"
    ).close()
