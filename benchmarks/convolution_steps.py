"""A training step of the encoder `conv` on a CPU, by back end and by the way its convolutions go.

./task bench convolution_steps [--rounds 3]

A batch of 256 images, in fresh processes that take turns; the median over rounds of the mean step
of two epochs after the first. On JAX: by products of patches in one compiled loop, as it is; Keras'
own convolutions, a step at a time, as networks of others train; and these within the loop. On
TensorFlow: with freed memory kept, as it is, and without.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import ledger

WAYS = {
    "jax, products in a loop": ("jax", "", {}),
    "jax, direct, a step at a time": (
        "jax",
        "convolution_layer._on_cpu_by_jax = lambda: False\n"
        "scanned._slow_within_loops = lambda encoder: True\n",
        {},
    ),
    "jax, direct, in a loop": (
        "jax",
        "convolution_layer._on_cpu_by_jax = lambda: False\n"
        "scanned._slow_within_loops = lambda encoder: False\n",
        {},
    ),
    "tensorflow": ("tensorflow", "", {}),
    # any such setting of the user's own leaves memory alone; this one changes nothing else
    "tensorflow, freed memory handed back": ("tensorflow", "", {"MALLOC_CHECK_": "0"}),
}
STEPS = 10


def one(change):
    import importlib

    import keras
    import numpy as np

    import twinset

    convolution_layer = importlib.import_module("twinset.networks.conv")

    names = {"convolution_layer": convolution_layer}
    if keras.backend.backend() == "jax":
        from twinset.training import jax_engine as scanned

        names["scanned"] = scanned
    exec(change, names)
    train, _ = twinset.load_fashion_mnist(progress=False)
    ended = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ended.append(time.perf_counter())

    few = train.subset(np.arange(256 * STEPS))
    twinset.fit(few, "conv", epochs=3, progress=False, callbacks=[Clock()])
    return (ended[2] - ended[0]) / 2 / STEPS


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(one(options.one)))
        return
    found = {way: [] for way in WAYS}
    for _ in range(options.rounds):
        for way, (backend, change, more) in WAYS.items():
            command = [sys.executable, __file__, "--one", change]
            environment = os.environ | {"KERAS_BACKEND": backend} | more
            done = subprocess.run(
                command, capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode:
                sys.exit(done.stderr)
            found[way].append(1e3 * json.loads(done.stdout.splitlines()[-1]))
    print(ledger.machine())
    for way, values in found.items():
        ledger.say(f"{way}: ms a step", ledger.spread(values, 0))


if __name__ == "__main__":
    main()
