"""Draw the pictures of the how-to and concept pages, by twinset's own commands.

    ./task bench photo_collections --out collections
    python docs/pictures/draw.py collections/places docs/pictures

The photographs are parts of china.jpg and flower.jpg of scikit-learn, by danielbuechele and
vultilion on Flickr (CC BY 2.0), and of a portrait of matplotlib that is in the public domain.
"""

import math
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import stats

from twinset.cli.app import run
from twinset.figures.canvas import DIFFERENT, INK, SAME, SMALL, blank, inset, quiet, save, style
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.intervals import fmr_estimate


def small(source, target):
    """Keep 128 colours: a third of the bytes, and no difference that anybody sees."""
    Image.open(source).convert("RGB").quantize(128).save(target, optimize=True)


def album(photos, folder):
    """Two photographs of each place, and four of them once more: as people's folders are."""
    folder.mkdir()
    files = sorted(photos.glob("*/00[0-2].jpg"))
    for file in files:
        shutil.copy(file, folder / f"{file.parent.name} {file.name}")
    saved, smaller, mirrored, copied = files[::24][:4]
    Image.open(saved).save(folder / f"{saved.parent.name} saved again.jpg", quality=40)
    Image.open(smaller).resize((96, 96)).save(folder / f"{smaller.parent.name} smaller.jpg")
    turned = ImageOps.mirror(Image.open(mirrored))
    turned.save(folder / f"{mirrored.parent.name} mirrored.jpg", quality=90)
    Image.open(copied).save(folder / f"{copied.parent.name} copy.png")


def intervals(path, shown=25, limit=1.2):
    """Draw intervals of the false match rate over pairs and over images, of sets of one world.

    Three classes on a line, the distance of two images is |N(difference, √2)|: the truth is known.
    """
    centres, sizes = np.array([0.0, 2.5, 4.0]), np.array([60, 50, 40])
    labels, rng = np.repeat(np.arange(3), sizes), np.random.default_rng(20)
    gaps = {(a, b): centres[b] - centres[a] for a in range(3) for b in range(a + 1, 3)}
    weights = np.array([sizes[a] * sizes[b] for a, b in gaps])
    ends = (np.array([*gaps.values()])[:, None] + [[-limit, limit]]) / math.sqrt(2)
    true = float(np.average(np.diff(stats.norm.cdf(ends))[:, 0], weights=weights))
    found = []
    for _ in range(600):
        walk = AllPairs(rng.normal(centres[labels])[:, None], labels)
        honest = fmr_estimate(walk.per_image([limit]), 0)
        half = 1.96 * math.sqrt(honest.value * (1 - honest.value) / weights.sum())
        over = honest.interval()
        found.append(((honest.value - half, honest.value + half), (over.low, over.high)))
    with style():
        figure, _ = blank(5.0, 4.3)
        for k, (name, unit) in enumerate(
            (("pairs", f"{weights.sum():,} pairs"), ("images", "150 images"))
        ):
            hits = [low <= true <= high for low, high in (each[k] for each in found)]
            axes = inset(figure, 0.2 + 2.45 * k, 0.55, 2.2, 3.1)
            for row, each in enumerate(found[:shown]):
                colour = SAME if hits[row] else DIFFERENT
                axes.plot(each[k], (row, row), color=colour, lw=1.6, ls="-" if hits[row] else ":")
            axes.axvline(true, color=INK, lw=1)
            axes.set(yticks=[], xticks=(0.0, 0.1, 0.2), xlim=(0, 0.29), xlabel="false match rate")
            quiet(axes)
            axes.set_title(
                f"over {name} ({unit}):\n{np.mean(hits):.0%} hold the truth", fontsize=SMALL
            )
    save(figure, path)


def main(photos, target):
    """Draw all."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        album(photos, home / "album")
        model, pictured = str(home / "run"), str(home / "album.index")
        run(["train", str(photos), "--for", "unseen", "--out", model])
        run(["index", model, str(home / "album"), "--out", pictured])
        run(["duplicates", pictured, "--threshold", "0.4", "--picture", str(home / "groups.png")])
        small(home / "groups.png", target / "groups.png")
        small(home / "run/distances.png", target / "distances.png")
    intervals(target / "intervals.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
