"""People's own photos: each recipe against raw pixels, on classes that it did not see.

./task bench photos [--seeds 3] [--collections places,characters] [--recipes fast,auto]

Each collection of `photo_collections` is dealt into two halves by class, anew with each seed: one
to train on, the other to judge on. Images are 128 × 128 pixels for `auto`, as their folder is read;
for raw pixels, `fast`, `conv` and `unseen` 64 × 64, which is kinder to them and a quarter of the
time. Prints AUC and recall@1 with 95% intervals over images, and what `auto` is above the best of
the others: of the means over seeds, and in how many seeds it is not below.
"""

import argparse
import statistics
import time

import ledger
import photo_collections
from twinset import tables
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.measured import Measured, Part
from twinset.metrics.table import METRICS, measured_by
from unseen_classes import trained

SMALL, LARGE = 64, 128
RECIPES = ("fast", "conv", "unseen", "auto")
KEYS = ("auc", "recall_at_1")
HEADS = ("collection", "seed", "way", "AUC", "recall@1", ">numbers", ">s")


def judged(embeddings, labels):
    """Measure an embedding of images: AUC and recall@1, with intervals."""
    found = measured_by([METRICS[key] for key in KEYS], Measured(Part(embeddings, labels)))
    return [found[key] for key in KEYS]


def ways(recipes, seen, apart, seed):
    """Embed the half that was not seen in each way; `seen` and `apart` are images by size."""
    yield "raw pixels", unit_norm(raw_pixels(apart[SMALL].images))
    for recipe in recipes:
        side = LARGE if recipe == "auto" else SMALL
        changes = {"choice": {"purpose": "unseen"}} if recipe == "auto" else {}
        model = trained(seen[side], recipe, seed=seed, **changes)
        name = f"auto: {model.recipe.name}" if recipe == "auto" else recipe
        yield name, model.embed(apart[side])


def one_seed(collection, recipes, seed):
    """Judge all ways on one deal of a collection, and print each as a row of the table."""
    images = {side: photo_collections.labelled(collection, side) for side in (SMALL, LARGE)}
    dealt = {side: photo_collections.halves(each, seed) for side, each in images.items()}
    seen, apart = ({side: half[k] for side, half in dealt.items()} for k in range(2))
    found, rows = {}, []
    started = time.perf_counter()
    for name, embeddings in ways(recipes, seen, apart, seed):
        seconds = time.perf_counter() - started
        numbers = judged(embeddings, apart[SMALL].labels)
        cells = [f"{each.value:.4f} ({each.low:.4f} to {each.high:.4f})" for each in numbers]
        width = f"{embeddings.shape[1]:,}"
        rows.append([collection, str(seed), name, *cells, width, f"{seconds:.1f}"])
        found[name.split(":")[0]] = [each.value for each in numbers]
        started = time.perf_counter()
    print(tables.text(HEADS, rows), flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--collections", default=",".join(photo_collections.available()))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    options = parser.parse_args()
    recipes = options.recipes.split(",")
    print(ledger.machine())
    for collection in options.collections.split(","):
        found = [one_seed(collection, recipes, seed) for seed in range(options.seeds)]
        for place, label in enumerate(("AUC", "recall@1")):
            means = {way: statistics.mean(each[way][place] for each in found) for way in found[0]}
            ledger.say(
                f"photos, {collection}: {label}, mean of {len(found)} deals",
                ", ".join(f"{way} {mean:.4f}" for way, mean in means.items()),
            )
            if "auto" not in means:
                continue
            best = max((way for way in means if way != "auto"), key=means.get)
            above = [
                each["auto"][place] >= max(v[place] for way, v in each.items() if way != "auto")
                for each in found
            ]
            ledger.say(
                f"photos, {collection}: {label} of auto above the best other, {best}",
                f"{means['auto'] - means[best]:+.4f}; not below in {sum(above)} of {len(above)}",
            )


if __name__ == "__main__":
    main()
