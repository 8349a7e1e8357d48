"""A recipe on the protocol's split: accuracy on the tutorial's test pairs, retrieval, time to fit.

./task bench recipes --recipe fast [--seeds 5] [--backend jax] [--set epochs=1] [--keep FOLDER]

Fitted on the protocol's 50,000 images; the threshold is chosen on its 5,000 calibration images by
balanced accuracy; the 19,980 test pairs are scored once for each seed. The time is that of `fit`
in a fresh process, compilation included and imports not, over that of the tutorial's 20 epochs in
plain Keras on TensorFlow, measured in the same run. Programs that JAX compiled before are cached
on disk: the first seed runs without that cache, the others with it.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import ledger

HERE = Path(__file__).parent
PROGRAMS = Path(os.environ.get("TMPDIR", "/tmp")) / "twinset-benchmark-programs"


def one(recipe, seed, settings, keep):
    import keras

    import twinset
    from twinset.data.parts import divide
    from twinset.metrics.retrieval import retrieve
    from twinset.recipe import parse_setting

    train, test = twinset.load_fashion_mnist()
    parts = divide(train, test)
    overrides = dict(parse_setting(text) for text in settings)
    twinset.networks.mlp((2, 2), units=(2,))  # Keras itself is loaded before the clock starts
    started = time.perf_counter()
    model = twinset.fit(parts.fit, recipe, seed=seed, progress=False, **overrides)
    seconds = time.perf_counter() - started
    model = model.calibrate(parts.calibration)
    if keep is not None:
        model.save(keep / f"{recipe}-{seed}")
    pairs = twinset.tutorial_pairs(test.labels, seed=seed)
    embeddings = model.embed(test)
    apart = model.distances(test, pairs)
    scores = twinset.score_pairs(apart, pairs.same, model.threshold.value)
    found = retrieve(embeddings, test.labels)
    tuned = retrieve(model.embed(parts.tune), parts.tune.labels)
    return {
        "seconds": seconds,
        "accuracy": 100 * scores.accuracy,
        "pair AUC": scores.auc,
        "R@1": found.recall_at[1],
        "mAP": found.mean_average_precision,
        "MAP@10": found.map_at_10,
        "MAP@R": found.map_at_r,
        "tune R@1": tuned.recall_at[1],
        "tune MAP@10": tuned.map_at_10,
        "weights": model.encoder.count_params(),
        "backend": keras.backend.backend(),
    }


def fresh(arguments, backend):
    environment = os.environ | {
        "KERAS_BACKEND": backend,
        "JAX_COMPILATION_CACHE_DIR": str(PROGRAMS),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    }
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def reference():
    command = [sys.executable, str(HERE / "plain_keras.py"), "--epochs", "20", "--seed", "0"]
    command += ["--out", str(PROGRAMS / "plain")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])["fit_seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--backend", default="jax")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--no-reference", action="store_true")
    parser.add_argument("--keep", type=Path, help="a folder to save the models in")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.recipe, options.seed, options.settings, options.keep)))
        return
    shutil.rmtree(PROGRAMS, ignore_errors=True)
    PROGRAMS.mkdir(parents=True)
    rows = []
    for seed in range(options.seeds):
        arguments = ["--recipe", options.recipe, "--seed", str(seed)]
        for text in options.settings:
            arguments += ["--set", text]
        if options.keep is not None:
            arguments += ["--keep", str(options.keep)]
        rows.append(fresh(arguments, options.backend))
        print(f"seed {seed}: {rows[-1]}", flush=True)
    plain = None if options.no_reference else reference()
    print(ledger.machine())
    name = f"{options.recipe} on {options.backend}"
    for key in ("accuracy", "pair AUC", "R@1", "mAP", "MAP@10", "MAP@R", "tune R@1", "tune MAP@10"):
        values = [row[key] for row in rows]
        deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
        ledger.say(f"{name}: {key}", f"{statistics.mean(values):.4f} (SD {deviation:.4f})")
    ledger.say(f"{name}: weights", f"{rows[0]['weights']:,}")
    seconds = [row["seconds"] for row in rows]
    ledger.say(f"{name}: s to fit, first run", f"{seconds[0]:.2f}")
    later = seconds[1:] or seconds
    ledger.say(f"{name}: s to fit, later runs", ledger.spread(later))
    if plain is not None:
        ledger.say("the tutorial in plain Keras, s to fit", f"{plain:.1f}")
        ledger.say(f"{name}: time over that, first run", f"{seconds[0] / plain:.4f}")
        ledger.say(f"{name}: time over that, later", f"{statistics.median(later) / plain:.4f}")


if __name__ == "__main__":
    main()
