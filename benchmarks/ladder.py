"""From the tutorial to `best` and `unseen`, one fix at a time: accuracy, unseen classes, time.

./task bench ladder [--rungs 0,1,2] [--seeds 3] [--out ladder.jsonl]

Each rung keeps the fixes before it. On the protocol's split: accuracy on the tutorial's 19,980 test
pairs with the threshold by balanced accuracy on the calibration images, mean over seeds; AUC over
all pairs of the two classes that each of the five near folds (U1) holds out, one training each. The
seconds of `fit` are measured in this process, after a first short training that pays for imports;
each rung compiles its own programs. Rows go to --out as they come, and a row that is
there is not measured again; --seeds 0 leaves the accuracy out. On a CPU
`conv` takes most of an hour, `search` two and `best` four.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

import ledger
import twinset
from twinset.data.parts import divide
from twinset.metrics.baselines import raw_pixels, unit_norm
from unseen_classes import NEAR, ranked

RUNGS = [
    ("the tutorial: list of pairs, contrastive loss", {}),
    ("no ReLU after the last layer", {"encoder": {"linear": True}}),
    ("all pairs of a batch", {"pairs": "batch", "batch_size": 256}),
    ("embeddings of unit length", {"encoder": {"normalize": True}}),
    ("SupCon in place of contrastive", {"loss": {"name": "supcon", "temperature": 0.1}}),
    (
        "AdamW, cosine schedule",
        {
            "optimizer": {
                "name": "adamw",
                "learning_rate": 0.002,
                "schedule": "cosine",
                "weight_decay": 0.01,
            }
        },
    ),
    ("mirrored images", {"augment": {"flip": True}}),
    ("layers of 512, 256, 64: `fast`", {"epochs": 18, "encoder": {"units": [512, 256, 64]}}),
    ("a small convolutional network: `conv`", "conv"),
    ("20 epochs, erasing, a blend: `search`", "search"),
    ("wider, 30 epochs, 16 bits, mirror images: `best`", "best"),
    ("two epochs of `conv`, and a blend: `unseen`", "unseen"),
]


def merged(settings, more):
    result = dict(settings)
    for key, value in more.items():
        result[key] = merged(result.get(key, {}), value) if isinstance(value, dict) else value
        if key == "loss":
            result[key] = value
    return result


def recipe_of(rung):
    """Give a rung's recipe as (name, overrides): all fixes up to it."""
    own = RUNGS[rung][1]
    if isinstance(own, str):
        return own, {}
    settings = {}
    for _, more in RUNGS[: rung + 1]:
        settings = merged(settings, more)
    return "tutorial", settings


def seen(rung, seed, parts):
    name, settings = recipe_of(rung)
    started = time.perf_counter()
    model = twinset.fit(parts.fit, name, seed=seed, progress=False, **settings)
    seconds = time.perf_counter() - started
    model = model.calibrate(parts.calibration)
    pairs = twinset.tutorial_pairs(parts.test.labels, seed=seed)
    apart = model.distances(parts.test, pairs)
    scores = twinset.score_pairs(apart, pairs.same, model.threshold.value)
    return {"accuracy": 100 * scores.accuracy, "seconds": seconds}


def unseen(rung, fold, parts):
    name, settings = recipe_of(rung)
    data = parts.fit.subset(np.flatnonzero(np.isin(parts.fit.labels, fold.seen)))
    model = twinset.fit(data, name, seed=0, progress=False, **settings)
    rest = parts.test.subset(np.flatnonzero(np.isin(parts.test.labels, fold.unseen)))
    found = ranked(model.embed(rest), rest.labels)
    floor = ranked(unit_norm(raw_pixels(rest.images)), rest.labels)
    return {
        **dict(zip(("AUC", "MAP@R"), found, strict=True)),
        **dict(zip(("AUC of pixels", "MAP@R of pixels"), floor, strict=True)),
    }


def measure(rungs, seeds, out):
    train, test = twinset.load_fashion_mnist()
    parts = divide(train, test)
    rows = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    there = {(row["title"], row["unit"]) for row in rows}
    units = {f"seed-{seed}": lambda rung, seed=seed: seen(rung, seed, parts) for seed in seeds}
    units |= {fold.name: lambda rung, fold=fold: unseen(rung, fold, parts) for fold in NEAR}
    twinset.fit(train.subset(np.arange(0, 60_000, 100)), epochs=1, progress=False)
    for rung in rungs:
        for unit, work in units.items():
            title = RUNGS[rung][0]
            if (title, unit) in there:
                continue
            rows.append({"title": title, "unit": unit, **work(rung)})
            with out.open("a") as file:
                print(json.dumps(rows[-1]), file=file)
            print(rows[-1], flush=True)
    return rows


def interval(values):
    """Write the mean and the half-width of its 95% t-interval."""
    from scipy.stats import t

    if len(values) < 2:
        return f"{values[0]:.4g}" if values else "not measured"
    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):.4g} ± {half:.2g}"


def table(rows):
    print("| rung | test pairs, % | unseen AUC | unseen MAP@R | folds above pixels | s to fit |")
    print("|---|---|---|---|---|---|")
    for title, _ in RUNGS:
        mine = [row for row in rows if row["title"] == title]
        if not mine:
            continue
        seeds = [row for row in mine if row["unit"].startswith("seed")]
        seconds = [row["seconds"] for row in seeds]
        folds = [row for row in mine if row["unit"].startswith("U1")]
        above = sum(
            all(row[name] > row[f"{name} of pixels"] for name in ("AUC", "MAP@R")) for row in folds
        )
        cells = [
            title,
            interval([row["accuracy"] for row in seeds]),
            interval([row["AUC"] for row in folds]),
            interval([row["MAP@R"] for row in folds]),
            f"{above} of {len(folds)}",
            f"{statistics.median(seconds):.1f}" if seconds else "not measured",
        ]
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rungs", default=",".join(map(str, range(len(RUNGS)))))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("ladder.jsonl"))
    options = parser.parse_args()
    rungs = [int(number) for number in options.rungs.split(",")]
    rows = measure(rungs, range(options.seeds), options.out)
    print(ledger.machine())
    table(rows)


if __name__ == "__main__":
    main()
