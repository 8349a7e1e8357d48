"""Classes that training did not see: AUC and MAP@R of a recipe against raw pixels, fold by fold.

./task bench unseen_classes [--recipe unseen] [--seeds 5] [--part test] [--set epochs=1]
./task bench unseen_classes --recipe auto --seeds 1

The five near folds (U1) of the protocol: each holds two similar classes out, the recipe is fitted
on the other eight, and all pairs of the two classes' images are ranked. Raw pixels have no seed;
each image of length 1, as `twinset evaluate --protocol full` has them, and as they are. A recipe
that is chosen out of candidates is chosen anew for each fold and seed, on its eight classes alone,
for classes that are not seen. --part tune is for choosing settings.
"""

import argparse
import statistics

import numpy as np

import ledger
import twinset
from twinset.data.parts import divide
from twinset.evaluation import folds
from twinset.evaluation.choice import choose
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.pairs import auc
from twinset.metrics.retrieval import retrieve
from twinset.recipe import Recipe, parse_setting

NEAR = [fold for fold in folds.FOLDS if fold.averaged]


def ranked(embeddings, labels):
    """Find AUC and MAP@R of all pairs of a set of images."""
    embeddings = np.asarray(embeddings, np.float32)
    return auc(AllPairs(embeddings, labels).curve()), retrieve(embeddings, labels).map_at_r


def trained(images, recipe, **changes):
    """Train a recipe, chosen on the same images first where it is to be chosen."""
    recipe = Recipe.load(recipe, **changes)
    if recipe.choice.candidates != "none":
        found = choose(images, recipe)
        print(found.summary(), flush=True)
        recipe = found.recipe
    return twinset.fit(images, recipe, progress=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="unseen")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", choices=["test", "tune"], default="test")
    parser.add_argument("--reach", type=float, nargs=2, default=(0.02, 0.01), help="AUC, MAP@R")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    options = parser.parse_args()
    overrides = dict(parse_setting(text) for text in options.settings)
    if Recipe.load(options.recipe, **overrides).choice.candidates != "none":
        overrides.setdefault("choice.purpose", "unseen")
    train, test = twinset.load_fashion_mnist()
    parts = divide(train, test)
    judged = test if options.part == "test" else parts.tune
    above, seen_auc, all_means, widths = 0, [], [], set()
    print(ledger.machine())
    for fold in NEAR:
        seen = parts.fit.subset(np.flatnonzero(~np.isin(parts.fit.labels, fold.held_out)))
        hidden = np.isin(judged.labels, fold.held_out)
        apart, rest = judged.subset(np.flatnonzero(hidden)), judged.subset(np.flatnonzero(~hidden))
        pixels = raw_pixels(apart.images)
        plain, floor = ranked(pixels, apart.labels), ranked(unit_norm(pixels), apart.labels)
        found = []
        for seed in range(options.seeds):
            model = trained(seen, options.recipe, **overrides, seed=seed)
            embeddings = model.embed(apart)
            widths.add(embeddings.shape[1])
            found.append(ranked(embeddings, apart.labels))
            if seed == 0:
                seen_auc.append(auc(AllPairs(model.embed(rest), rest.labels).curve()))
        columns = list(zip(*found, strict=True))
        means = [statistics.mean(values) for values in columns]
        all_means.append([*means, *floor])
        gains = np.subtract(means, floor)
        above += bool((gains >= options.reach).all())
        for name, values, mean, gain, low, other in zip(
            ("AUC", "MAP@R"), columns, means, gains, floor, plain, strict=True
        ):
            ledger.say(
                f"{options.recipe}, {fold.title}: {name}",
                f"{mean:.4f} ({min(values):.4f} to {max(values):.4f}), {gain:+.4f}; "
                f"pixels {low:.4f}, without unit length {other:.4f}",
            )
    smallest = " and ".join(f"{reach:g}" for reach in options.reach)
    ledger.say(
        f"{options.recipe}: folds above the pixels by {smallest} in AUC and MAP@R",
        f"{above} of {len(NEAR)}",
    )
    means = np.mean(all_means, axis=0)
    for name, mean, low in zip(("AUC", "MAP@R"), means[:2], means[2:], strict=True):
        ledger.say(f"{options.recipe}: {name}, mean of the folds", f"{mean:.4f}; pixels {low:.4f}")
    ledger.say(f"{options.recipe}: numbers of an embedding", ", ".join(map(str, sorted(widths))))
    ledger.say(
        f"{options.recipe}: AUC on the eight seen classes, seed 0, mean",
        f"{statistics.mean(seen_auc):.4f}",
    )


if __name__ == "__main__":
    main()
