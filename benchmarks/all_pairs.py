"""All-pairs verification of 10,000 × 128 embeddings, against scikit-learn and against its bound.

./task bench all_pairs [--rounds 3]     ours and scikit-learn in turn, each in a process of its own
./task bench all_pairs --growth         ours at 10,000, 20,000 and 40,000 images

Both compute AUC, EER, TPR at three FPRs and the rates at a threshold, over the same 49,995,000
pairs. The bound is the time that the distances alone take, in float32.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

import ledger

THRESHOLD, FPRS = 16.0, (0.1, 0.01, 0.001)


def embeddings(n):
    """Draw ten classes that overlap, so that no rate is 0 or 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % 10
    centres = 0.6 * rng.normal(size=(10, 128))
    return (centres[labels] + rng.normal(size=(n, 128))).astype(np.float32), labels


def ours(x, labels):
    from twinset.metrics.all_pairs import AllPairs
    from twinset.metrics.pairs import auc, eer, rates_at, tpr_at_fpr

    curve = AllPairs(x, labels).curve()
    rates = rates_at(curve, THRESHOLD)
    tprs = [1 - tpr_at_fpr(curve, fpr).fnmr for fpr in FPRS]
    return [auc(curve), eer(curve), *tprs, rates.fmr, rates.fnmr]


def scikit_learn(x, labels):
    from sklearn.metrics import roc_auc_score, roc_curve

    i, j = np.triu_indices(len(x), 1)
    squares = (x * x).sum(1)
    d = np.sqrt(np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0))[i, j]
    same = labels[i] == labels[j]
    del i, j
    fpr, tpr, _ = roc_curve(same, -d, drop_intermediate=False)
    area = roc_auc_score(same, -d)
    equal = fpr[np.argmin(np.abs(fpr - (1 - tpr)))]
    tprs = [tpr[np.searchsorted(fpr, at, side="right") - 1] for at in FPRS]
    match = d <= THRESHOLD
    return [area, equal, *tprs, match[~same].mean(), 1 - match[same].mean()]


def distances_alone(x, labels):
    del labels
    out = np.empty((1000, len(x)), np.float32)
    squares = (x * x).sum(1)
    for start in range(0, len(x), 1000):
        rows = slice(start, start + 1000)
        part = out[: len(x[rows]), start:]
        np.matmul(x[rows], x[start:].T, out=part)
        part *= -2
        part += squares[rows][:, None]
        part += squares[start:]
        np.maximum(part, 0, out=part)
        np.sqrt(part, out=part)
    return []


WAYS = {"ours": ours, "scikit-learn": scikit_learn, "distances alone": distances_alone}


def measure(way, n):
    """Run one way in a process of its own; return seconds, peak memory in MB, and its numbers."""
    command = [sys.executable, __file__, "--way", way, "--images", str(n)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.read().splitlines()[-1]
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    found = json.loads(line)
    return found["seconds"], usage.ru_maxrss / 1000, found["numbers"]


def run_one(way, n):
    x, labels = embeddings(n)
    if way != "scikit-learn":
        WAYS[way](*embeddings(500))  # imports and the threads of BLAS
    started = time.perf_counter()
    numbers = WAYS[way](x, labels)
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "numbers": [float(number) for number in numbers]}))


def compare(rounds):
    rows = []
    for _ in range(rounds):
        rows.append({way: measure(way, 10_000) for way in WAYS})
        shown = {way: (round(s, 2), round(mb)) for way, (s, mb, _) in rows[-1].items()}
        print(shown, flush=True)
    us, them = (np.array(rows[0][way][2]) for way in ("ours", "scikit-learn"))
    print("AUC, EER, TPR at FPR 10%, 1%, 0.1%, FMR, FNMR")
    print("ours        ", us.round(5).tolist())
    print("scikit-learn", them.round(5).tolist())
    print(ledger.machine())
    against = [row["scikit-learn"][0] / row["ours"][0] for row in rows]
    ledger.say("all pairs, times faster than scikit-learn", ledger.spread(against, 1))
    memory = [row["ours"][1] / row["scikit-learn"][1] for row in rows]
    ledger.say("all pairs, peak memory, ours / scikit-learn", ledger.spread(memory, 3))
    bound = [row["ours"][0] / row["distances alone"][0] for row in rows]
    ledger.say("all pairs, time over that of the distances alone", ledger.spread(bound))
    ledger.say("all pairs, largest difference to scikit-learn", f"{np.abs(us - them).max():.1e}")


def growth():
    print(ledger.machine())
    for n in (10_000, 20_000, 40_000):
        seconds, memory, _ = measure("ours", n)
        ledger.say(f"all pairs of {n:,} images", f"{seconds:.2f} s, peak {memory:.0f} MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--images", type=int, default=10_000)
    options = parser.parse_args()
    if options.way:
        run_one(options.way, options.images)
    elif options.growth:
        growth()
    else:
        compare(options.rounds)


if __name__ == "__main__":
    main()
