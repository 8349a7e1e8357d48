"""How soon an MLP is as good as the tutorial after 20 epochs (91.4% of the test pairs).

./task bench time_to_accuracy [--rounds 3]

Two epochs of three layers of 128 with all pairs of each batch (SupCon), against the rival: the same
network, loss and optimiser in a plain PyTorch loop with pytorch-metric-learning, for as many
epochs as it needs (where both are installed), and against the tutorial's 20 epochs in plain Keras
on TensorFlow, once. The contestants take turns in fresh processes; a seed per round. Seconds are
those from images in memory to weights, compilation included and imports not. "First" runs without
programs that JAX compiled before, "second" with them. Fitted on the protocol's 50,000 images,
threshold by balanced accuracy on its 5,000 calibration images, scored on the 19,980 test pairs.
"""

import argparse
import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import time

import ledger
from recipes import PROGRAMS, fresh, reference

REACH = 91.4
UNITS = (128, 128, 128)
RECIPE = ["--recipe", "fast"]
for text in ("epochs=2", f"encoder.units={list(UNITS)}", "encoder.dropout=0", "augment.flip=false"):
    RECIPE += ["--set", text]


def rival(seed):
    """Train with PyTorch, an epoch at a time; the scoring is not on the clock."""
    import numpy as np
    import torch
    from pytorch_metric_learning.losses import SupConLoss

    import twinset
    from twinset.data.parts import divide

    torch.manual_seed(seed)
    train, test = twinset.load_fashion_mnist()
    parts = divide(train, test)
    layers, width = [], int(np.prod(train.image_shape))
    for units in UNITS:
        layers += [torch.nn.Linear(width, units), torch.nn.ReLU()]
        width = units
    net = torch.nn.Sequential(*layers[:-1])
    loss_of = SupConLoss(0.1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    images = torch.from_numpy(np.ascontiguousarray(parts.fit.images)).flatten(1)
    labels = torch.from_numpy(parts.fit.labels.astype(np.int64))
    seconds, rows = 0.0, []
    for epoch in range(4):
        started = time.perf_counter()
        for positions in torch.randperm(len(labels)).split(256):
            optimizer.zero_grad()
            embeddings = torch.nn.functional.normalize(net(images[positions].float() / 255))
            loss_of(embeddings, labels[positions]).backward()
            optimizer.step()
        seconds += time.perf_counter() - started
        accuracy = scored(lambda pixels: embedded(net, pixels), parts.calibration, test, seed)
        rows.append({"epochs": epoch + 1, "seconds": seconds, "accuracy": accuracy})
        if accuracy >= REACH:
            break
    return rows[-1]


def embedded(net, pixels):
    import torch

    with torch.no_grad():
        rows = torch.from_numpy(pixels).flatten(1).float() / 255
        return torch.nn.functional.normalize(net(rows)).numpy()


def scored(embed, calibration, test, seed):
    import twinset
    from twinset.distance import of_pairs
    from twinset.metrics.measure import calibrate
    from twinset.metrics.measured import Part

    threshold = calibrate(Part(embed(calibration.images), calibration.labels)).thresholds[0].value
    pairs = twinset.tutorial_pairs(test.labels, seed=seed)
    apart = of_pairs(embed(test.images), pairs.left, pairs.right)
    return 100 * twinset.score_pairs(apart, pairs.same, threshold).accuracy


def fresh_rival(seed):
    command = [sys.executable, __file__, "--rival", str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rival", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rival is not None:
        print(json.dumps(rival(options.rival)))
        return
    wanted = ("torch", "pytorch_metric_learning")
    with_rival = all(importlib.util.find_spec(name) for name in wanted)
    found = {"first": [], "second": [], "rival": []}
    for seed in range(options.rounds):
        shutil.rmtree(PROGRAMS, ignore_errors=True)
        PROGRAMS.mkdir(parents=True)
        for way in ("first", "second"):
            found[way].append(fresh([*RECIPE, "--seed", str(seed)], "jax"))
        if with_rival:
            found["rival"].append(fresh_rival(seed))
        print({way: rows[-1] for way, rows in found.items() if rows}, flush=True)
    plain = reference()
    print(ledger.machine())
    ledger.say("the tutorial in plain Keras, 20 epochs, s to fit", f"{plain:.1f}")
    for way, rows in found.items():
        if not rows:
            continue
        accuracies = [row["accuracy"] for row in rows]
        ledger.say(f"{way}: accuracy, %", ledger.spread(accuracies))
        ledger.say(f"{way}: mean accuracy, %", f"{statistics.mean(accuracies):.2f}")
        ledger.say(f"{way}: s to fit", ledger.spread([row["seconds"] for row in rows]))
        ratios = [row["seconds"] / plain for row in rows]
        ledger.say(f"{way}: time over the tutorial's", ledger.spread(ratios, 4))
    if with_rival:
        ledger.say("rival: epochs", ledger.spread([row["epochs"] for row in found["rival"]], 0))


if __name__ == "__main__":
    main()
