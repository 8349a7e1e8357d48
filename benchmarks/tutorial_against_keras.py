"""The whole tutorial, as two processes in turn: `twinset train` and the same in plain Keras.

./task bench tutorial_against_keras [--rounds 3] [--epochs 20]

Prints the ratios of the time that fit took, of the whole command's time, and of its peak memory,
each ours over theirs within a round, so that a machine that changes its speed between rounds
spoils nothing.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import ledger

HERE = Path(__file__).parent


def run(arguments, output):
    """Run a process; return its wall-clock seconds and its peak memory in MB."""
    started = time.perf_counter()
    with output.open("wb") as file:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, *map(str, arguments)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), fd) for fd in (1, 2)],
        )
        _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - started
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(output.read_text())
    return seconds, usage.ru_maxrss / 1000


def ours(folder, epochs, seed):
    log = folder / "ours.log"
    out = folder / "ours"
    settings = ["--set", f"epochs={epochs}", "--seed", seed, "--out", out, "--overwrite"]
    seconds, memory = run(["-m", "twinset", "train", "fashion-mnist", *settings], log)
    report = json.loads((out / "report.json").read_text())
    return report["facts"]["Training"]["seconds"], seconds, memory, report["scores"]["accuracy"]


def theirs(folder, epochs, seed):
    log = folder / "theirs.log"
    script = HERE / "plain_keras.py"
    settings = ["--epochs", epochs, "--seed", seed, "--out", folder / "theirs"]
    seconds, memory = run([script, *settings], log)
    found = json.loads(log.read_text().splitlines()[-1])
    return found["fit_seconds"], seconds, memory, found["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    os.environ.pop("KERAS_BACKEND", None)
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.rounds):
            contestants = (ours, theirs) if seed % 2 == 0 else (theirs, ours)
            found = {each: each(Path(folder), options.epochs, seed) for each in contestants}
            rounds.append((found[ours], found[theirs]))
            for name, (fit, whole, memory, accuracy) in zip(
                ("twinset", "plain Keras"), rounds[-1], strict=True
            ):
                print(
                    f"round {seed}, {name}: fit {fit:.1f} s, whole {whole:.1f} s, "
                    f"peak {memory:,.0f} MB, accuracy {accuracy:.4f}",
                    flush=True,
                )
    print(ledger.machine())
    for index, figure in enumerate(("time to fit", "whole command", "peak memory")):
        ratios = [us[index] / them[index] for us, them in rounds]
        ledger.say(
            f"{figure}, {options.epochs} epochs, ours / plain Keras", ledger.spread(ratios, 3)
        )


if __name__ == "__main__":
    main()
