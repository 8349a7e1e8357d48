"""The tutorial recipe on JAX: the scanned loop against Keras' own `fit`, epoch by epoch.

./task bench scanned_against_fit [--rounds 3] [--epochs 5]

Both train with 1 epoch and with `--epochs`, each in a fresh process, in turn; an epoch's time is
the difference over the number of epochs more, so that compilation and the first copy to the
device count in neither, and the whole `fit` is reported beside it.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import ledger

HERE = Path(__file__).parent


def scanned(epochs, seed):
    script = (
        "import json, time, twinset\n"
        "train, _ = twinset.load_fashion_mnist(progress=False)\n"
        "twinset.networks.mlp((2, 2), units=(2,))\n"
        "started = time.perf_counter()\n"
        f"twinset.fit(train, epochs={epochs}, seed={seed}, progress=False)\n"
        "print(json.dumps({'fit_seconds': time.perf_counter() - started}))\n"
    )
    # a cache of compiled programs would help ours alone
    return run(["-c", script], {"JAX_ENABLE_COMPILATION_CACHE": "false"})


def plain(epochs, seed):
    command = [HERE / "plain_keras.py", "--epochs", epochs, "--seed", seed]
    return run(command, {"RIVAL_BACKEND": "jax"})


def run(command, environment):
    environment = {**os.environ, "KERAS_BACKEND": "jax", **environment}
    command = [sys.executable, *map(str, command)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])["fit_seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    options = parser.parse_args()
    more = options.epochs - 1
    epochs, wholes = {scanned: [], plain: []}, {scanned: [], plain: []}
    for seed in range(options.rounds):
        for way in (scanned, plain) if seed % 2 == 0 else (plain, scanned):
            short, long = way(1, seed), way(options.epochs, seed)
            epochs[way].append((long - short) / more)
            wholes[way].append(long)
            print(way.__name__, short, long, flush=True)
    print(ledger.machine())
    for name, found in (("an epoch", epochs), (f"fit of {options.epochs} epochs", wholes)):
        ours, theirs = found[scanned], found[plain]
        ledger.say(f"{name}, s, scanned", ledger.spread(ours))
        ledger.say(f"{name}, s, Keras' fit on JAX", ledger.spread(theirs))
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        ledger.say(f"{name}, scanned / Keras' fit on JAX", ledger.spread(ratios, 3))


if __name__ == "__main__":
    main()
