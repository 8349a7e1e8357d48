"""Two encoders' distances as calibrated evidence, against their mean: on photos of unseen classes.

./task bench joined_encoders [--seeds 3] [--collections places,characters]

Each collection of `photo_collections` is dealt into two halves by class, anew with each seed. How
the distances of two frozen encoders are joined is fitted on all pairs of one half, and judged on
all pairs of the other: AUC, the share of same pairs within the threshold at which 1% of different
ones are, and Cllr in bits. Nothing else is fitted. The mean is that of the distances as they are,
and, kinder to it, of distances divided by their standard deviation.
"""

import argparse
import statistics

import numpy as np

import ledger
import photo_collections
from twinset import distance, tables
from twinset.metrics.fusion import fuse
from twinset.metrics.pairs import auc, curve_of_pairs, tpr_at_fpr
from twinset.recipe import Recipe
from twinset.training.fit import fit

ENCODERS = {
    "network": {
        "encoder": {"name": "efficientnet-lite0", "features": ["320"], "freeze": True},
        "head": {"kind": "plain", "weights": []},
    },
    "pixels": {"encoder": {"name": "pixels"}, "head": {"kind": "plain", "weights": []}},
}


def distances(images):
    """Measure all pairs of images by both encoders: (p, 2), and whether they are the same."""
    left, right = np.triu_indices(len(images), 1)
    columns = []
    for name, changes in ENCODERS.items():
        recipe = Recipe.load("auto", choice={"candidates": "none"}, name=name, **changes)
        rows = fit(images, recipe, progress=False).embed(images)
        columns.append(distance.of_pairs(rows, left, right))
    return np.stack(columns, 1).astype(float), images.labels[left] == images.labels[right]


def judged(scores, same):
    curve = curve_of_pairs(scores, same)
    return auc(curve), 1 - tpr_at_fpr(curve, 0.01).fnmr


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--collections", default=",".join(photo_collections.available()))
    options = parser.parse_args()
    print(ledger.machine())
    for collection in options.collections.split(","):
        images = photo_collections.labelled(collection, 128)
        found, costs = {}, []
        for seed in range(options.seeds):
            known, unseen = photo_collections.halves(images, seed)
            scores, same = distances(known)
            fusion = fuse(scores, same, names=list(ENCODERS))
            new, truly = distances(unseen)
            llr = fusion.llr(new)
            bits = np.logaddexp(0, np.where(truly, -llr, llr)) / np.log(2)
            costs.append((bits[truly].mean() + bits[~truly].mean()) / 2)
            ways = dict(zip(ENCODERS, new.T, strict=True))
            ways |= {"mean": new.mean(1), "scaled mean": (new / scores.std(0)).mean(1)}
            for way, each in (ways | {"joined": -llr}).items():
                found.setdefault(way, []).append(judged(each, truly))
        rows = [
            [way, *(f"{statistics.mean(values):.4f}" for values in zip(*each, strict=True))]
            for way, each in found.items()
        ]
        print(collection)
        print(tables.text(["way", ">AUC", ">TPR at FPR 1%"], rows), flush=True)
        gain = [a[0] - b[0] for a, b in zip(found["joined"], found["mean"], strict=True)]
        what = f"joined encoders, {collection}"
        ledger.say(f"{what}: AUC above the mean of distances", ledger.spread(gain, 4))
        ledger.say(f"{what}: Cllr, bits", ledger.spread(costs, 3))


if __name__ == "__main__":
    main()
