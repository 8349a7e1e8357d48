"""How often a promise holds: cross-fitted rates with intervals against classes never seen.

./task bench promised_rates [--collections places,characters] [--splits 50] [--rule "FPR <= 0.01"]

Images of a collection are encoded once by the pretrained network. Each split deals the classes into
two halves: on one a head in closed form is fitted and its threshold chosen by cross-fitting over
classes; the images of the other are all compared with each other. Counts how often the realised
rate lies in the 95% interval promised for so many new classes, and on which side it falls
otherwise. Splits of one collection overlap, so the count is less sure than that of as many
collections.
"""

import argparse
import statistics
from types import SimpleNamespace

import numpy as np

import ledger
import photo_collections
import twinset
from twinset.backbones import lite0
from twinset.evaluation.crossfit import crossfit
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.promised import promise
from twinset.training.closed_form import fit_head

SIDE = 96


def features_of(collection, seed=0):
    images = photo_collections.labelled(collection, SIDE, seed=seed)
    rows = lite0.backbone(images.row_shape).encode(images)
    return twinset.LabelledFeatures(rows, images.labels, images.class_names, collection)


def one_split(data, kind, rule, seed):
    """Promise on one half, and look at the other: for each rate promised, low, high, realised."""

    def fitted(kept):
        head = fit_head(kept.rows, kept.labels, kind)
        return SimpleNamespace(embed=lambda images: head(images.rows))

    half, apart = photo_collections.halves(data, seed)
    left_out = crossfit(half, fitted, by="class", seed=seed).part
    new = len(np.unique(apart.labels))
    (threshold,) = promise(left_out, [rule], over="class", classes=new)
    embeddings = np.asarray(fitted(half).embed(apart), np.float32)
    rates = AllPairs(embeddings, apart.labels).per_image([threshold.value]).rates(0)
    return [
        (threshold.fmr, *threshold.fmr_range, rates.fmr),
        (threshold.fnmr, *threshold.fnmr_range, rates.fnmr),
    ]


def main():
    usual = [name for name in photo_collections.available() if name != "typefaces"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--collections", default=",".join(usual), help="of 39 classes or more")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--rule", default="FPR <= 0.01")
    parser.add_argument("--head", choices=["plain", "centred", "whitened", "lda"])
    options = parser.parse_args()
    print(ledger.machine())
    for collection in options.collections.split(","):
        data = features_of(collection)
        for kind in [options.head] if options.head else ["plain", "whitened"]:
            found = [one_split(data, kind, options.rule, seed) for seed in range(options.splits)]
            for name, rows in zip(("FMR", "FNMR"), zip(*found, strict=True), strict=True):
                below = sum(realised < low for _, low, _, realised in rows)
                above = sum(realised > high for _, _, high, realised in rows)
                promised, low, high, realised = (
                    statistics.median(column) for column in zip(*rows, strict=True)
                )
                ledger.say(
                    f"promised rates, {collection}, {kind}, {options.rule}: {name} within its "
                    "95% interval",
                    f"{1 - (below + above) / len(rows):.0%} of {len(rows)} splits; {below} below, "
                    f"{above} above; medians: promised {promised:.2%} ({low:.2%} to {high:.2%}), "
                    f"realised {realised:.2%}",
                )


if __name__ == "__main__":
    main()
