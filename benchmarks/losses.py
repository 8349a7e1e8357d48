"""Losses over all pairs of a batch, against pytorch-metric-learning on PyTorch.

./task bench losses [--rounds 15] [--sizes 256,1024]    value and gradient, both in turn
./task bench losses --memory [--sizes 256,1024,4096,8192]    peak memory and time of ours alone

Embeddings are (b, 128) float32, labels are drawn from 10 classes. Ours is compiled by JAX; the
gradient is that of the embeddings and of the proxies. Both values must agree to 1e-5. Memory is
the peak of a process of its own, less that of a process that stops before the loss.

Measure on a quiet machine: PyTorch's threads wait for each other, so that whatever else runs slows
theirs more than ours. `taskset -c 0 ./task bench losses` compares on one core, where it does not.

What equals what (theirs averages over terms above 0 where it says AvgNonZeroReducer):

ours                                         pytorch-metric-learning 2.9
AllPairsContrastive(0, 1, power=1)           ContrastiveLoss(): distances, not their squares
Triplet(mining="all")                        TripletMarginLoss(0.2); at 1,024 it needs a matrix of
                                             all triplets, so 256 only
SupCon(0.1)                                  SupConLoss(0.1)
NTXent(0.1)                                  NTXentLoss(0.1): builds positives × negatives (99 GB
                                             at 1,024), so it is not run
MultiSimilarity(2, 40, 0.5, epsilon=inf)     MultiSimilarityLoss(2, 40, 0.5)
MultiSimilarity(2, 40, 0.5, 0.1)             the same with MultiSimilarityMiner(0.1)
Circle(0.25, 80)                             CircleLoss(0.25, 80)
NormalizedSoftmax(scale=16)                  NormalizedSoftmaxLoss(temperature=1/16)
NormalizedSoftmax(scale=16, margin=0.3)      ArcFaceLoss(scale=16, margin=17.2 degrees)
ProxyAnchor()                                ProxyAnchorLoss()
Triplet("semi-hard"), Triplet("hard"), SigmoidPairs, NTXent: no equal there; ours alone
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time

import numpy as np

import ledger

CLASSES, DIM = 10, 128
# name → (loss, settings, largest size at which theirs is run)
WAYS = {
    "contrastive": ("contrastive", {"negative_margin": 1.0, "power": 1}, math.inf),
    "supcon": ("supcon", {}, math.inf),
    "multi_similarity": ("multi_similarity", {"epsilon": math.inf}, math.inf),
    "multi_similarity, mined": ("multi_similarity", {}, math.inf),
    "circle": ("circle", {}, math.inf),
    "softmax": ("softmax", {}, math.inf),
    "softmax, margin": ("softmax", {"margin": 0.3}, math.inf),
    "proxy_anchor": ("proxy_anchor", {}, math.inf),
    "triplet, all": ("triplet", {"mining": "all"}, 256),
    "triplet, semi-hard": ("triplet", {}, 0),
    "triplet, hard": ("triplet", {"mining": "hard"}, 0),
    "nt_xent": ("nt_xent", {}, 0),
    "sigmoid": ("sigmoid", {}, 0),
}
NOTHING = "the process without a loss"


def batch(size):
    rng = np.random.default_rng(0)
    return rng.normal(size=(size, DIM)).astype(np.float32), rng.integers(0, CLASSES, size)


def ours(name):
    """Return a function of a batch that computes value and gradient, and the proxies."""
    os.environ["KERAS_BACKEND"] = "jax"
    import jax
    import jax.numpy as jnp
    import keras

    from twinset import losses

    kind, settings, _ = WAYS[name]
    if kind == "contrastive":  # of its settings a recipe has but the margins
        loss = losses.AllPairsContrastive(**settings)
    else:
        loss = losses.create(kind, classes=CLASSES, dim=DIM, **settings)
    weights = loss.head.trainable_variables if loss.head else []

    def objective(learned, labels):
        points, held = learned
        with keras.StatelessScope(state_mapping=list(zip(weights, held, strict=True))):
            return jnp.mean(loss.call(labels, points))

    compiled = jax.jit(jax.value_and_grad(objective))

    def run(points, labels):
        held = [weight.value for weight in weights]
        found = compiled((jnp.asarray(points), held), jnp.asarray(labels))
        return float(jax.block_until_ready(found)[0])

    proxies = None
    if hasattr(loss.head, "directions"):
        proxies = np.asarray(loss.head.directions) * loss.head.multiplier
    return run, proxies


def theirs(name, proxies):
    """Return the same of pytorch-metric-learning."""
    import torch
    from pytorch_metric_learning import losses, miners

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    loss = {
        "contrastive": lambda: losses.ContrastiveLoss(),
        "supcon": lambda: losses.SupConLoss(0.1),
        "multi_similarity": lambda: losses.MultiSimilarityLoss(2, 40, 0.5),
        "multi_similarity, mined": lambda: losses.MultiSimilarityLoss(2, 40, 0.5),
        "circle": lambda: losses.CircleLoss(0.25, 80),
        "softmax": lambda: losses.NormalizedSoftmaxLoss(CLASSES, DIM, temperature=1 / 16),
        "softmax, margin": lambda: losses.ArcFaceLoss(CLASSES, DIM, math.degrees(0.3), 16),
        "proxy_anchor": lambda: losses.ProxyAnchorLoss(CLASSES, DIM),
        "triplet, all": lambda: losses.TripletMarginLoss(0.2),
    }[name]()
    if proxies is not None:
        weight, start = (loss.W, proxies.T) if hasattr(loss, "W") else (loss.proxies, proxies)
        weight.data = torch.tensor(start.copy())
    miner = miners.MultiSimilarityMiner(0.1) if name.endswith("mined") else None

    def run(points, labels):
        points = torch.tensor(points, requires_grad=True)
        labels = torch.tensor(labels)
        found = loss(points, labels, miner(points, labels) if miner else None)
        found.backward()
        return found.item()

    return run


def seconds(run, points, labels):
    started = time.perf_counter()
    run(points, labels)
    return time.perf_counter() - started


def compare(sizes, rounds):
    try:
        import pytorch_metric_learning  # noqa: F401
    except ImportError:
        sys.exit("Expected pytorch-metric-learning: pip install pytorch-metric-learning")
    print(ledger.machine())
    worst = 0.0
    for size in sizes:
        points, labels = batch(size)
        for name, (_, _, limit) in WAYS.items():
            mine, proxies = ours(name)
            value = mine(points, labels)  # compiles
            other = theirs(name, proxies) if size <= limit else None
            if other:
                expected = other(points, labels)
                worst = max(worst, abs(value / expected - 1))
                if not math.isclose(value, expected, rel_tol=1e-5):
                    sys.exit(f"{name} at {size}: ours is {value!r}, theirs {expected!r}")
            times = []
            for _ in range(rounds):
                row = [seconds(mine, points, labels)]
                times.append([*row, seconds(other, points, labels)] if other else row)
            told = [
                f"{1e3 * statistics.median(column):.2f} ms" for column in zip(*times, strict=True)
            ]
            if not other:
                ledger.say(f"{name}, b = {size}, alone", told[0])
                continue
            ratio = ledger.spread([a / b for a, b in times])
            ledger.say(f"{name}, b = {size}, ours / theirs", f"{ratio}; {' / '.join(told)}")
    ledger.say("losses, largest relative difference of the values", f"{worst:.1e}")


def memory(sizes, rounds):
    print(ledger.machine())
    for size in sizes:
        base = alone(NOTHING, size, rounds)["peak"]
        for name in WAYS:
            found = alone(name, size, rounds)
            told = f"{found['peak'] - base:.0f} MB, {1e3 * found['seconds']:.0f} ms"
            ledger.say(f"{name}, b = {size:,}, peak memory and time", told)


def alone(name, size, rounds):
    command = [sys.executable, __file__, "--way", name, "--sizes", str(size)]
    command += ["--rounds", str(rounds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        line = process.stdout.read().splitlines()[-1]
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    return {"seconds": json.loads(line), "peak": usage.ru_maxrss / 1000}


def run_one(name, size, rounds):
    points, labels = batch(size)
    if name == NOTHING:
        ours("softmax")[0](points[:2], labels[:2])
        print(json.dumps(0.0))
        return
    run, _ = ours(name)
    run(points, labels)  # compiles
    print(json.dumps(statistics.median(seconds(run, points, labels) for _ in range(rounds))))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--sizes")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--way", choices=[*WAYS, NOTHING])
    options = parser.parse_args()
    default = "256,1024,4096,8192" if options.memory else "256,1024"
    sizes = [int(size) for size in (options.sizes or default).split(",")]
    if options.way:
        run_one(options.way, sizes[0], options.rounds or 3)
    elif options.memory:
        memory(sizes, options.rounds or 3)
    else:
        compare(sizes, options.rounds or 15)


if __name__ == "__main__":
    main()
