"""One gradient, taken by the real engine on 1, 2 and 4 devices that share the batch.

Run as a program, as Keras' floats and JAX's devices are chosen once in a process:

    python one_gradient.py float64 [--losses NAME ...] [--ways NAME ...] [--counts N ...]

Each case takes one step of plain gradient descent on each number of virtual devices. As JSON it
prints how far what they found is from what one device found, as a share of its largest number;
and how far apart the weights are after 50 steps of Adam, which no order of sums leaves alone.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys

import jax
import keras
import numpy as np
from keras.src.backend.common import dtypes

from loss_cases import CASES, DIM
from twinset import losses, networks
from twinset.data.pairs import Pairs
from twinset.losses import batch as all_pairs
from twinset.networks.seeded import Dropout
from twinset.training import feed
from twinset.training.augment import Augmentation
from twinset.training.checkpoints import Keeper
from twinset.training.frozen_trunk import trunk_of
from twinset.training.jax_engine import train
from twinset.training.monitor import Monitor
from twinset.training.tasks import Batches, BatchTask, Job, PairTask, build

MOST = 4  # devices
PAIRS = "contrastive, of pairs"
CLUSTERS = "pair_clusters"
# One of each; the table has more settings of them.
LOSSES = [
    CLUSTERS,
    "contrastive",
    "triplet, hard",
    "triplet, semi-hard",
    "supcon",
    "nt_xent",
    "sigmoid",
]
LOSSES += ["multi_similarity", "circle", "softmax, margin", "proxy_anchor", "prefixes, softmax"]
STEPS = "50 steps"
BATCH, SIDE = 24, (6, 5)
# A power of two, so large that what is left of the weights after the step is the gradient.
RATE = 2.0**20
AUGMENTED = Augmentation(flip=True, shift=1, erase=0.5, brightness=0.3, contrast=0.3, crop=0.3)


class Together(all_pairs.BatchLoss):
    """Several losses in one program, each on numbers of the embedding of its own."""

    # so the slopes of the last layer's columns are those of one loss, whatever the others do
    def __init__(self, names, prefixes=()):
        super().__init__()
        self.parts = [CASES[name].make() for name in names]
        if prefixes:
            self.parts = [_nested(part, prefixes) for part in self.parts]
        heads = [part.head for part in self.parts if part.head is not None]
        self.head = _Heads(heads) if heads else None

    def call(self, y_true, y_pred):
        mine = [y_pred[:, DIM * i : DIM * (i + 1)] for i in range(len(self.parts))]
        return sum(part.call(y_true, x) for part, x in zip(self.parts, mine, strict=True))


def _nested(loss, prefixes):
    return type(loss).from_config(loss.get_config() | {"prefixes": prefixes})


class _Heads(keras.layers.Layer):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads
        self.built = True


class _AsTheyCome(BatchTask):
    # One batch, not sorted by class as usual: a device with one class alone could have another's
    # labels and nobody would see, as all pairs would stay as they are.
    def draw(self, epoch):
        del epoch
        positions = np.arange(BATCH, dtype=np.int32)[None]
        return Batches(positions, self._labels[positions], np.array([BATCH]))


def images():
    """Draw 24 images of 4 classes of unequal sizes."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), (10, 7, 5, 2)))
    pixels = rng.integers(0, 120, (BATCH, *SIDE), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[label : label + 2] += 100
    return pixels, labels


def task(names, labels, *, prefixes=()):
    """Make the task of a loss over pairs, or of some over a batch."""
    if names[0] in (PAIRS, CLUSTERS):
        places = np.random.default_rng(1).permutation(BATCH).reshape(2, -1)
        pairs = Pairs(*places, labels[places[0]] == labels[places[1]])
        loss = losses.Contrastive(2.0) if names == [PAIRS] else losses.PairClusters(3, 2.0, dim=DIM)
        return PairTask(loss, pairs, batch_size=len(pairs), seed=0)
    loss = Together(names, prefixes)
    return _AsTheyCome(loss, labels, batch_size=BATCH, per_class=0, seed=0)


def network(size, shape=SIDE, *, norm=False, dropout=0.0, convolution=False):
    """Build a small network, with what looks at the whole batch or draws by the place in it."""
    image = keras.Input(shape)
    x = image
    if convolution:  # not ours: each step is a program of its own
        x = keras.layers.Reshape((*shape, 1))(x)
        x = keras.layers.Conv2D(4, 3, activation="gelu", kernel_initializer=_start(8))(x)
    x = keras.layers.Flatten()(x)
    for i in range(2):
        x = keras.layers.Dense(16, use_bias=not norm, kernel_initializer=_start(i))(x)
        x = keras.layers.BatchNormalization()(x) if norm else x
        x = keras.layers.Activation("gelu")(x)
        x = Dropout(dropout, seed=i)(x) if dropout else x
    last = keras.layers.Dense(size, use_bias=False, kernel_initializer=_start(9))
    return keras.Model(image, last(x))


def _start(seed):
    return networks.seeded.HeNormal([seed])


def with_trunk(size, *, convolution=False):
    """Build a network that somebody trained, with normalisation at rest, and a head on it."""
    image = keras.Input(SIDE)
    x = network(12, norm=True, dropout=0.2, convolution=convolution)(image)
    x = keras.layers.BatchNormalization(name="features_norm")(x)
    x = Dropout(0.3, seed=5)(x)
    last = keras.layers.Dense(size, use_bias=False, kernel_initializer=_start(9))
    return keras.Model(image, last(x))


# Every way from an image to the loss that shares a batch differently: what the network is, what of
# the job is not as usual.
WAYS = {
    "plain": {},
    "views": {"augmented": True},
    "dropout": {"dropout": 0.3},
    "BatchNorm": {"norm": True},
    "all at once": {"augmented": True, "dropout": 0.3, "norm": True},
    "prefixes": {"prefixes": (2, 3, DIM)},
    "gradient caching": {"dropout": 0.3, "augmented": True, "micro_batch": 8},
    "uneven caching": {"dropout": 0.3, "micro_batch": 7},
    "frozen features": {"norm": True, "vectors": True},
    "fine-tuning": {"trunk": True, "convolution": True},
    "everything": {"trunk": True, "micro_batch": 8, "augmented": True},
    "blocks of anchors": {"whole": 8},
    "fed by and by": {"norm": True, "resident": 0},
}


def job_of(
    names,
    *,
    augmented=False,
    prefixes=(),
    micro_batch=0,
    vectors=False,
    trunk=False,
    optimizer=None,
    epochs=1,
    **layers,
):
    """Make a job of one batch."""
    pixels, labels = images()
    size = DIM * len(names)
    rows = pixels.reshape(BATCH, -1) / np.float32(255) if vectors else pixels
    encoder = with_trunk(size, **layers) if trunk else network(size, rows.shape[1:], **layers)
    lower = trunk_of(encoder) if trunk else None
    if optimizer is None:
        below = lower.trainable_variables if trunk else ()
        optimizer = build(
            1, name="sgd", learning_rate=RATE, trunk=below, trunk_rate=0.5 if trunk else 1.0
        )
    return Job(
        encoder=encoder,
        optimizer=optimizer,
        task=task(names, labels, prefixes=prefixes),
        rows=rows,
        labels=labels,
        augment=(lambda x, step: AUGMENTED.apply(x, step, seed=0)) if augmented else None,
        epochs=epochs,
        micro_batch=micro_batch,
        trunk=lower if micro_batch else None,
    )


def trained(job, count):
    """Train on the first `count` devices; give what changed, and the network's last kernel."""
    everyone = jax.devices()
    names = ("devices", "local_devices")
    usual = {name: getattr(jax, name) for name in names}
    before = [keras.ops.convert_to_numpy(each) for group in job.variables()[:2] for each in group]
    try:
        for name in names:
            setattr(jax, name, lambda: everyone[:count])
        batches = job.task.draw(0)
        assert len(feed.Devices.dividing(batches)) == count
        monitor = Monitor(epochs=job.epochs, sizes=batches.sizes, images=BATCH)
        train(job, monitor, Keeper(None, lambda: ""))
    finally:
        for name in names:
            setattr(jax, name, usual[name])
    after = [keras.ops.convert_to_numpy(each) for group in job.variables()[:2] for each in group]
    learned = len(job.variables()[0])
    moved = [(new - old) / RATE for old, new in zip(before, after, strict=True)]
    # averages over batches as they are: of a short step from 1, float32 keeps five digits
    moved[learned:] = after[learned:]
    kernel = len(job.encoder.trainable_variables) - 1
    return moved, kernel


def sent(program):
    """List what a compiled program's devices send each other, exchange by exchange."""
    kinds = "all-gather|all-to-all|all-reduce|collective-permute"
    return re.findall(rf"= (.+?) (?:{kinds})(?:-start)?\(", program)


def images_sent(program):
    """Count the images or batches of them that a compiled program's devices send each other."""
    return sum(f",{SIDE[0]},{SIDE[1]}]" in each for each in sent(program))


def recorded():
    """Keep the text of every program that is compiled from now on."""
    programs, usual = [], jax.stages.Lowered.compile

    def compiled(self, *args, **settings):
        made = usual(self, *args, **settings)
        programs.append(made.as_text())
        return made

    jax.stages.Lowered.compile = compiled
    return programs


def one_gradient(names, counts, *, whole=None, resident=None, **way):
    """Compare some devices with one: {name or "the rest": a difference for each count}."""
    kept = all_pairs.WHOLE, all_pairs.BLOCK_ELEMENTS, feed.RESIDENT
    if whole is not None:
        all_pairs.WHOLE, all_pairs.BLOCK_ELEMENTS = whole, whole * BATCH
    if resident is not None:
        feed.RESIDENT = resident
    try:
        (one, kernel), *others = (trained(job_of(names, **way), count) for count in (1, *counts))
    finally:
        all_pairs.WHOLE, all_pairs.BLOCK_ELEMENTS, feed.RESIDENT = kept
    found = {"the rest": [], **{name: [] for name in names}}
    for many, _ in others:
        rest = [i for i in range(len(one)) if i != kernel]
        found["the rest"].append(max(_apart(one[i], many[i]) for i in rest))
        for i, name in enumerate(names):
            mine = np.s_[:, DIM * i : DIM * (i + 1)]
            assert one[kernel][mine].any(), f"{name}: nothing to compare"
            found[name].append(_apart(one[kernel][mine], many[kernel][mine]))
    return found


def _apart(expected, found):
    # of what rests, such as the averages of a network that others trained, nothing may move
    return _far(expected, found) / (float(np.abs(expected).max()) or 1.0)


def _far(expected, found):
    return float(np.abs(found - expected).max())


def many_steps(names, counts):
    """Compare the weights after 50 steps of Adam: the largest difference for each count."""

    def weights(count):
        optimizer = build(50, name="adam", learning_rate=0.01)
        job = job_of(names, optimizer=optimizer, epochs=50, **WAYS["all at once"])
        begun = job.encoder.get_weights()
        trained(job, count)
        ended = job.encoder.get_weights()
        assert np.abs(ended[0] - begun[0]).max() > 0.1, "it must have learned"
        return ended

    one, *others = (weights(count) for count in (1, *counts))
    return [max(map(_far, one, each)) for each in others]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("floats", choices=["float32", "float64"])
    parser.add_argument("--losses", nargs="+", default=[*LOSSES, PAIRS])
    parser.add_argument("--ways", nargs="+", default=[*WAYS, STEPS])
    parser.add_argument("--counts", nargs="+", type=int, default=[2, 4])
    options = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", MOST)
    jax.config.update("jax_enable_x64", options.floats == "float64")
    keras.config.set_floatx(options.floats)
    keras.config.set_dtype_policy(options.floats)
    if options.floats == "float64":
        # on JAX the operations of Keras make 32 bits of 64, whatever is asked of them
        dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
    programs = recorded()
    alone = [[name] for name in options.losses if name in (PAIRS, CLUSTERS)]
    groups = [[name for name in options.losses if [name] not in alone], *alone]
    found = {}
    for way in options.ways:
        programs.clear()
        if way == STEPS:
            found[STEPS] = {}
            for name in (PAIRS, CLUSTERS):
                programs.clear()
                found[STEPS][name] = many_steps([name], options.counts)
                found[STEPS][f"exchanges, {name}"] = [len(sent(max(programs, key=len)))]
            continue
        for names in filter(None, groups):
            if names in alone and way in ("prefixes", "blocks of anchors"):
                continue
            found.setdefault(way, {}).update(
                {
                    f"{name}, {names[0]}" if name == "the rest" else name: values
                    for name, values in one_gradient(names, options.counts, **WAYS[way]).items()
                }
            )
        if way == "everything":
            assert any("all-reduce" in each for each in programs), "no program of several devices"
            found[way]["images sent"] = [sum(map(images_sent, programs))]
    json.dump(found, sys.stdout)
    gc.freeze()  # to look for garbage at the end takes most of a second


if __name__ == "__main__":
    main()
