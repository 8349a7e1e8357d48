"""One of two processes that train together: `python two_processes.py INDEX ADDRESS FOLDER`."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import twinset
from twinset.errors import TwinsetError
from twinset.training import processes
from twinset.training.checkpoints import Keeper

# Three epochs of five steps.
SETTINGS = {"epochs": 3, "seed": 1, "progress": False, "encoder": {"units": [16], "dropout": 0.2}}


def stripes(brighter=0):
    """Three classes of stripes, in noise."""
    random = np.random.default_rng(0)
    images = random.integers(0, 100, (60, 6, 5)).astype(np.uint8)
    labels = np.arange(60) % 3
    for kind in range(3):
        images[labels == kind, :, kind] += 100
    images[0, 0, 4] += brighter
    return twinset.LabelledImages(images, labels, ("a", "b", "c"))


def validated(**more):
    """Train on the stripes, with a validation split."""
    validation = stripes(1).subset(np.arange(12))
    return twinset.fit(stripes(), validation=validation, batch_size=12, **SETTINGS | more)


def interrupted(checkpoint, index=0):
    """Train until Ctrl-C in the second epoch, at process 0 alone, and leave the state of the first.

    Tells how long that took. This process saves at each look from here on.
    """
    Keeper.__init__.__kwdefaults__.update(seconds=0.0, share=1.0)
    asked = []

    def end(now):
        if index == 0 and now.task.startswith("epoch 2/") and not asked:
            asked.append(True)  # the second one would end the process
            os.kill(os.getpid(), signal.SIGINT)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job may ignore it
    model = validated(checkpoint=checkpoint, progress=end)
    assert model.interrupted
    assert checkpoint.exists()
    return model.history[0].seconds


def cores_of_threads(own):
    """The cores of each thread before, at and after work that an error ends."""
    if not own:
        return {}

    def of_each():
        threads = [int(each.name) for each in Path("/proc/self/task").iterdir()]
        return sorted({tuple(sorted(os.sched_getaffinity(each))) for each in threads})

    found = [of_each()]
    try:
        with processes.at_work():
            found.append(of_each())
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        found.append(of_each())
    waits = os.sched_getscheduler(0) == os.SCHED_BATCH
    return {"own": own, "cores": found, "waits": waits, "threads": os.environ["NPROC"]}


def main(index, address, folder):
    told = {}
    path = folder / f"told{index}.json"

    def expect(name, data, **settings):
        try:
            twinset.fit(data, **SETTINGS | settings)
        except TwinsetError as error:
            told[name] = f"{type(error).__name__}: {error}"
        path.write_text(json.dumps(told), encoding="utf-8")

    def end(now):
        if index == 1 and now.task.startswith("epoch 3/"):
            os.kill(os.getpid(), signal.SIGKILL)

    allowed = sorted(getattr(os, "sched_getaffinity", lambda _: ())(0))
    own = allowed[index % len(allowed) :][:1] if allowed else []
    with processes.together(address, 2, index, cores=own, timeout=100):
        told["place"] = [processes.index(), processes.count()]
        told |= cores_of_threads(own)
        model = validated(checkpoint=folder / "of_one")  # which one process has left
        told["first epoch"] = model.history[0].seconds
        np.savez(folder / f"resumed{index}.npz", *model.encoder.get_weights())
        told["first epoch of two"] = interrupted(folder / "of_two", index)
        model = validated()
        np.savez(folder / f"weights{index}.npz", *model.encoder.get_weights())
        told["history"] = [[each.loss, each.validation.auc] for each in model.history]
        expect("other data", stripes(brighter=index))
        expect("other recipe", stripes(), batch_size=12 + 2 * index)
        expect("odd batch", stripes(), batch_size=15)
        told["since"] = time.time()
        expect("killed", stripes(), epochs=10_000, progress=end, batch_size=12)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
