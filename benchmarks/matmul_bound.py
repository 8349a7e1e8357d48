"""How near the training comes to its bound: the matrix products that it cannot do without.

./task bench matmul_bound [--rounds 10]

For each pair of 128-image batches: three products forward, three for the weights' gradients, two
for the gradients handed down. They are timed alone, with numpy's BLAS on all cores, in turn with
epochs of the training.
"""

import argparse
import statistics
import time

import numpy as np

import ledger
import twinset

BATCH = 256  # left and right


def products(rng):
    """Return one step's eight matrix products as a function of nothing."""
    x = rng.random((BATCH, 784), dtype=np.float32)
    h, g = rng.random((2, BATCH, 128), dtype=np.float32)
    first = rng.random((784, 128), dtype=np.float32)
    later = rng.random((128, 128), dtype=np.float32)

    def step():
        forward = x @ first, h @ later, h @ later
        weights = x.T @ g, h.T @ g, h.T @ g
        down = g @ later.T, g @ later.T
        return forward, weights, down

    return step


def seconds_of(step, steps):
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    train, _ = twinset.load_fashion_mnist()
    pairs = twinset.tutorial_pairs(train.labels)
    steps = len(pairs) / 128
    step = products(np.random.default_rng(0))
    seconds_of(step, 100)
    shares, bounds, epochs = [], [], []
    for _ in range(options.rounds):
        before = seconds_of(step, 400) / 400 * steps
        history = twinset.fit(train, pairs=pairs, epochs=4, progress=False).history
        after = seconds_of(step, 400) / 400 * steps
        bounds.append((before + after) / 2)
        # the first epoch holds the compilation
        epochs.append(statistics.median(record.seconds for record in history[1:]))
        shares.append(bounds[-1] / epochs[-1])
        print(
            f"bound {bounds[-1]:.3f} s, epoch {epochs[-1]:.3f} s, share {shares[-1]:.3f}",
            flush=True,
        )
    print(ledger.machine())
    ledger.say("matrix products of an epoch alone, s", ledger.spread(bounds))
    ledger.say("epoch, s", ledger.spread(epochs))
    ledger.say("share of the bound", ledger.spread(shares, 3))


if __name__ == "__main__":
    main()
