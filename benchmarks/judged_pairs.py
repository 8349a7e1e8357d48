"""Pairs as labels: training from 5,000 judged pairs of Fashion-MNIST against the class labels.

./task bench judged_pairs [--images 2000 4000 10000] [--seeds 3]

Both trainings see the same images, drawn from the protocol's fit part. Half of the pairs are same;
each image is in as many pairs as any other, so that with 10,000 images no two pairs share one. The
network is that of `fast`. Where all things that follow from the judgements are known to differ
(`labels_to_fit`), the loss is that of `fast`, else the recipe is what `auto` tries on pairs. The
classes are learned as `fast` has it, and shifted by a pixel for three times as long, as are things.
Scored is the AUC of all 49,995,000 test pairs, with the 95% intervals of both differences over
images. Loss, shift and epochs were chosen on the protocol's tune part, which is not scored here:
`--tune` scores on it.
"""

import argparse
from functools import partial
from statistics import mean

import numpy as np

import ledger
import twinset
from twinset.data.pair_parts import labels_to_fit
from twinset.data.split import protocol_split
from twinset.evaluation.candidates import candidates_for

LONGER = twinset.Recipe.load("fast", augment={"flip": "auto", "shift": 1}, epochs=54)


def judged(pool, images, pairs, seed):
    """Draw images, and judge pairs of them by their classes."""
    rng = np.random.default_rng(seed)
    chosen = pool.subset(np.sort(rng.permutation(len(pool))[:images]))
    uses = np.full(images, -(-2 * pairs // images))
    rows = []
    for number in range(pairs):
        # those with most uses left come first, so that all are used alike
        left = int(rng.choice(np.flatnonzero(uses == uses.max())))
        same = number % 2 == 0
        fits = (chosen.labels == chosen.labels[left]) == same
        fits[left] = False
        most = uses[fits].max()
        right = int(rng.choice(np.flatnonzero(fits & (uses == most))))
        uses[[left, right]] -= 1
        rows.append((left, right, same))
    left, right, same = zip(*rows, strict=True)
    found = twinset.LabelledImages(
        chosen.images, mirrors=chosen.mirrors, judged=twinset.Pairs(left, right, same)
    )
    return chosen, found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, nargs="+", default=[2000, 4000, 10000])
    parser.add_argument("--pairs", type=int, default=5000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tune", action="store_true", help="score on the tune part")
    args = parser.parse_args()
    train, test = twinset.load_fashion_mnist(progress=False)
    parts = protocol_split(train.labels)
    pool = train.subset(parts["fit"])
    scored = train.subset(parts["tune"]) if args.tune else test
    print(f"{ledger.machine()}; commit {ledger.commit()}")
    for images in args.images:
        values = []
        for seed in range(args.seeds):
            classes, pairs = judged(pool, images, args.pairs, seed)
            known = labels_to_fit(pairs) is not None
            tried = candidates_for(twinset.Recipe.load("auto"), pairs)
            recipe = LONGER if known else next(t.recipe for t in tried if t.name == "fast")
            fitted = partial(twinset.fit, holdout="none", seed=seed, progress=False)
            model = fitted(pairs, recipe)
            others = [fitted(classes, each) for each in ("fast", LONGER)]
            found = [twinset.compare_models(model, each, scored)["auc"] for each in others]
            values.append([found[0].a, *(each.b for each in found)])
            print(
                f"{images:,} images, seed {seed}, {'things' if known else 'pairs'}: "
                + said(values[-1])
                + "".join(f" ({f.interval.low:+.4f} to {f.interval.high:+.4f})" for f in found),
                flush=True,
            )
        print(f"{images:,} images, mean: {said(map(mean, zip(*values, strict=True)))}", flush=True)


def said(values):
    pairs, classes, longer = values
    return (
        f"pairs {pairs:.4f}, classes {classes:.4f} ({pairs - classes:+.4f}), classes for longer "
        f"{longer:.4f} ({pairs - longer:+.4f})"
    )


if __name__ == "__main__":
    main()
