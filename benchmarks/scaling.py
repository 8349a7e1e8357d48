"""Training on 1, 2, 4 and 8 devices that share a batch: what they tell each other, and the time.

./task bench scaling [--rounds 3] [--devices 1 2 4 8] [--recipes fast conv]

The devices are virtual, all of one CPU, so more of them have no more cores: what is measured is
what sharing costs. Strong scaling: batches of 256 images on every number of devices; at best the
time stays. Weak scaling: 64 images for each device; at best the time of an image stays. Processes
take turns; the median over rounds of the mean step of two epochs after the first.

Bytes are counted in the compiled program: what its exchanges inside the loop give to each device in
a step, with a loss over the cosines of a batch (supcon). They must be, to the byte, for W weights
that learn, C channels of batch normalisation, n devices and embeddings (b, d) of the batch:

    4 (G + 4 (n - 1) C + (n - 1) / n b d)      on processors, by messages from one to another, where
                                               G = W for two devices, else 2 (n - 1) ceil(W / n)
    4 (q W + 2 n C + 2 b d + d + 5)            on accelerators, as XLA divides the work, and with
                                               gradient caching in q parts (else q = 1)

Processors: gradients are summed; the mean and variance of each device go to all others, and their
slopes come back; so do the embeddings, and each computes the loss. Accelerators: a ring sends
2 (n - 1) / n of what is summed and (n - 1) / n of what is gathered. Their program is counted on
virtual processors, too.

The projection takes assumptions, all of them printed: time of a step = its floating-point
operations over the devices' speed, and after it (nothing overlaps) the bytes by a ring over the
slowest link, and a delay for each collective and each level of a tree.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time

import ledger

NAMES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
SIZES = {"pred": 1, "u8": 1, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "f64": 8, "bf16": 2}
BATCH, EACH, STEPS = 256, 64, 8
PROCESSORS, ACCELERATORS = "processors", "accelerators"
# Assumed: operations per second that a training reaches, bytes per second and seconds of delay.
SPEED, LINK, DELAY = 20e12, 25e9, 5e-6


def counted(program):
    """Sum the bytes that a step's collectives give a device, by name, and how many there are."""
    found = dict.fromkeys(NAMES, 0)
    number = 0
    inside, times = _loops(program)
    for where, line in _lines(program):
        kind = re.search(rf"= (.+?) ({'|'.join(NAMES)})(?:-start)?\(", line)
        if kind is None or where not in inside:
            continue
        for dtype, shape in re.findall(r"(\w+)\[([\d,]*)\]", kind[1]):
            count = 1
            for side in filter(None, shape.split(",")):
                count *= int(side)
            found[kind[2]] += times.get(where, 1) * count * SIZES[dtype]
        number += times.get(where, 1)
    return found, number


def _lines(program):
    where = ""
    for line in program.splitlines():
        if head := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
            where = head[1]
        yield where, line


def _loops(program):
    # what is done once in a step: the computations below the outermost loop; those of the loops
    # in it as often as XLA says
    calls, times, main = {}, {}, ""
    for where, line in _lines(program):
        main = where if line.startswith("ENTRY") else main
        for body in re.findall(r"(?:body|condition|calls|to_apply)=%?([\w.\-]+)", line):
            calls.setdefault(where, []).append(body)
            if turns := re.search(r"known_trip_count\D+(\d+)", line):
                times[body] = int(turns[1])
    inside, waiting = set(), list(calls.get(main, []))
    while waiting:
        each = waiting.pop()
        if each not in inside:
            inside.add(each)
            waiting += calls.get(each, [])
    return inside, times


def one(recipe, batch, micro, whose):
    """Train for three epochs, and tell the time of a step, the bytes and what they should be."""
    import jax
    import keras
    import numpy as np

    import twinset
    from twinset.training import jax_engine

    if whose == ACCELERATORS:
        jax_engine.possible = lambda _: False  # messages by hand
    programs, compile_it = [], jax.stages.Lowered.compile

    def compiled(self, *args, **settings):
        programs.append(compile_it(self, *args, **settings))
        return programs[-1]

    jax.stages.Lowered.compile = compiled
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(8), batch * STEPS // 8)
    images = rng.integers(0, 256, (len(labels), 28, 28), np.uint8)
    data = twinset.LabelledImages(images, labels, tuple("abcdefgh"))
    ended = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ended.append(time.perf_counter())

    model = twinset.fit(
        data,
        recipe,
        epochs=3,
        batch_size=batch,
        micro_batch=micro,
        loss={"name": "supcon"},
        stopping={"patience": 0},
        progress=False,
        callbacks=[Clock()],
    )
    program = max(programs, key=lambda each: len(each.as_text()))
    found, number = counted(program.as_text())
    weights = sum(int(np.prod(each.shape)) for each in model.encoder.trainable_variables)
    norms = [
        int(each.gamma.shape[0])
        for each in model.encoder.layers
        if isinstance(each, keras.layers.BatchNormalization)
    ]
    dim = int(model.encoder.output_shape[-1])
    parts = -(-batch // micro) if micro else 1
    count, channels = jax.device_count(), sum(norms)
    if whose == ACCELERATORS or micro:
        formula = 4 * (parts * weights + 2 * count * channels + 2 * batch * dim + dim + 5)
    else:
        gradient = weights if count == 2 else 2 * (count - 1) * -(-weights // count)
        formula = 4 * (gradient + (count - 1) * (4 * channels + batch * dim // count))
    return {
        "seconds": (ended[2] - ended[0]) / 2 / STEPS,
        "bytes": sum(found.values()),
        "collectives": number,
        "formula": formula,
        "rows": 8 * dim,
        "operations": program.cost_analysis()["flops"],
    }


def measure(recipe, devices, batch, micro=0, whose=PROCESSORS):
    """Run `one` in a process of its own with so many devices."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    # a program from the cache could be one of another count
    more = {"KERAS_BACKEND": "jax", "XLA_FLAGS": flags, "JAX_ENABLE_COMPILATION_CACHE": "0"}
    command = [sys.executable, __file__, "--one", recipe, str(batch), str(micro), whose]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | more, check=False
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def projected(devices, operations, summed, gathered, collectives):
    """Time a step on so many devices, by the assumptions."""
    share = (devices - 1) / devices
    moved = (2 * summed + gathered) * share / LINK
    return operations / devices / SPEED + moved + collectives * 2 * math.log2(devices) * DELAY


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--recipes", nargs="+", default=["fast", "conv"])
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        recipe, batch, micro, whose = options.one
        print(json.dumps(one(recipe, int(batch), int(micro), whose)))
        return
    print(ledger.machine())
    for recipe in options.recipes:
        scaling(recipe, options.devices, options.rounds)
    cached = measure("fast", 4, BATCH, 64)
    say_bytes("fast, gradient caching in 4 parts", 4, cached)
    print(
        f"assumed: {SPEED / 1e12:g} TFLOP/s reached by a device, {LINK / 1e9:g} GB/s by a ring, "
        f"{DELAY * 1e6:g} us for a level of a tree, nothing overlaps"
    )
    # its paper: 17.6 thousand million multiplications an image; three passes, two operations each
    project("ViT-B/16 at 224 pixels", 3 * 2 * 17.6e9, 4 * 86e6, 8 * 512, 5)


def scaling(recipe, devices, rounds):
    """Measure both kinds of scaling, check the bytes and project."""
    times = {(kind, n): [] for n in devices for kind in ("strong", "weak")}
    last = {}
    for _ in range(rounds):
        for n in devices:
            for kind, batch in (("strong", BATCH), ("weak", EACH * n)):
                last[kind, n] = measure(recipe, n, batch)
                times[kind, n].append(last[kind, n]["seconds"])
    for n in devices[1:]:
        say_bytes(f"{recipe}, batch of {BATCH}", n, last["strong", n])
        for kind, share in (("strong", 1), ("weak", n)):
            pairs = zip(times[kind, devices[0]], times[kind, n], strict=True)
            ratios = [share * devices[0] * first / many for first, many in pairs]
            ledger.say(f"{recipe}, {kind} scaling on {n} virtual devices", ledger.spread(ratios))
    if len(devices) > 1:
        found = measure(recipe, devices[-1], BATCH, whose=ACCELERATORS)
        say_bytes(f"{recipe}, as on accelerators, batch of {BATCH}", devices[-1], found)
        # the batch's share of the bytes grows with it; operations are those of one device
        rows = found["rows"] * BATCH
        operations = last["strong", devices[0]]["operations"] / BATCH
        project(recipe, operations, found["bytes"] - rows, found["rows"], found["collectives"])


def say_bytes(what, devices, found):
    """Print the bytes of a step beside the formula's."""
    exact = "as the formula" if found["bytes"] == found["formula"] else "NOT as the formula"
    ledger.say(
        f"{what}, {devices} devices: bytes of a step in {found['collectives']} collectives",
        f"{found['bytes']:,} ({exact}: {found['formula']:,})",
    )


def project(what, operations, weights, rows, collectives):
    """Print the projection to 64 accelerators of operations and bytes for each image."""
    for batch in (BATCH, 64 * BATCH):
        # half of what depends on the batch is gathered, half is summed
        steps = {
            n: projected(
                n,
                operations * batch,
                weights + rows * batch / 2,
                rows * batch / 2,
                collectives,
            )
            for n in (1, 8, 64)
        }
        gains = ", ".join(f"{steps[1] / steps[n]:.1f} on {n}" for n in (8, 64))
        print(f"projected, {what}, batch of {batch:,}: times one device's speed {gains}")


if __name__ == "__main__":
    main()
