"""Training in two processes: how fast, how equal, and what becomes of it when one is killed.

./task bench processes --part speed --what tutorial|conv [--rounds 3] [--epochs 5]
./task bench processes --part epochs
./task bench processes --part exchange [--rounds 3]
./task bench processes --part weights
./task bench processes --part kills [--kills 20] [--seed 1]

speed: whole commands of `twinset train`, in two processes and in one, in turns, on the same two
cores. epochs: seconds of an epoch of 6,000 images, after the first, of one process and of two.
exchange: the time of a turn of a loop with six products of matrices and an exchange, as JAX sums
over processes and as messages from one to another. weights: those after 50 steps
in 64 bits, of one process and of two. kills: one of two processes is stopped with SIGKILL at a
random moment of the training, which then goes on with --resume; the others must end within 20 s
with its name, and the weights be those of a training that nobody disturbed, bit for bit.
"""

import argparse
import itertools
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

import ledger
from twinset import SiameseModel

CHILD = "TWINSET_PROCESS"  # by which the command tells its processes who they are
# In the processes of `kills`: a checkpoint twice a second.
OFTEN = f"""
import os
if {CHILD!r} in os.environ:
    from twinset.training.checkpoints import Keeper
    Keeper.__init__.__kwdefaults__.update(seconds=0.5, share=1.0)
"""
WEIGHTS = """
import sys, keras, jax, numpy as np
keras.config.set_floatx("float64")
jax.config.update("jax_enable_x64", True)
from keras.src.backend.common import dtypes
dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64"
import importlib
import twinset
from twinset.training import processes
training = importlib.import_module("twinset.training.fit")
policy = training._precision  # a recipe knows no 64 bits
training._precision = lambda name: policy("float64")
index, count, address, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
labels = np.arange(640) % 10
images = np.random.default_rng(0).integers(0, 128, (640, 16, 16)) + 12 * labels[:, None, None]
data = twinset.LabelledImages(images.astype(np.uint8), labels, tuple("abcdefghij"))
settings = dict(pairs="batch", batch_size=60, epochs=5, seed=1, loss={"name": "supcon"})
settings["encoder"] = {"name": "conv", "widths": [8, 16]}
with processes.together(address, count, index):
    model = twinset.fit(data, progress=False, **settings)
assert all(weight.dtype == "float64" for weight in model.encoder.trainable_weights)
assert sum(record.steps for record in model.history) == 50, model.history
np.savez(out, *map(np.asarray, model.encoder.get_weights()))
"""

EPOCHS = """
import json, os, sys
import numpy as np
import twinset
from twinset.training import processes
index, count, address, recipe = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
data = twinset.load_fashion_mnist()[0].subset(np.arange(6000))
own = sorted(os.sched_getaffinity(0))[index : index + 1]
with processes.together(address, count, index, cores=own if count > 1 else ()):
    model = twinset.fit(data, recipe, epochs=4, progress=False)
print(json.dumps([each.seconds for each in model.history[1:]]))
"""
EXCHANGES = 50
EXCHANGE = f"""
import sys, time
import jax, jax.numpy as jnp, numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
jax.distributed.initialize(sys.argv[3], int(sys.argv[2]), int(sys.argv[1]))
how, n, side = sys.argv[4].split()
mesh = Mesh(np.array(jax.devices()), ("batch",))
parts = NamedSharding(mesh, P("batch"))
x = jax.make_array_from_process_local_data(parts, np.ones((1, int(n)), "f4"), (2, int(n)))
told = dict(
    nothing=lambda x: x,
    sum=lambda x: lax.psum(x, "batch"),
    message=lambda x: x + lax.ppermute(x, "batch", [(0, 1), (1, 0)]),
)[how]
def loop(x):
    table = jnp.full((int(side), int(side)), 1e-3)
    def step(i, carry):
        work = table + carry[0, 0] * 1e-9
        for _ in range(6):
            work = work @ table
        return carry / 2 + told(carry + work[0, 0]) / 8
    return lax.fori_loop(0, {EXCHANGES}, step, x)
shared = jax.shard_map(loop, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"), check_vma=False)
run = jax.jit(shared)
run(x).block_until_ready()
started = time.perf_counter()
run(x).block_until_ready()
print(1000 * (time.perf_counter() - started) / {EXCHANGES})
"""
GRADIENT = 133_504  # numbers of the one exchange of a step of `tutorial`


def main():
    every = (speed, epochs, exchange, weights, kills)
    parts = {each.__name__: each for each in every}
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=parts, required=True)
    parser.add_argument("--what", choices=("tutorial", "conv"), default="tutorial")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(ledger.machine())
    with tempfile.TemporaryDirectory() as folder:
        parts[options.part](Path(folder), options)


def command(data, out, *words):
    return [sys.executable, "-m", "twinset", "train", data, "--out", str(out), "--json", *words]


def speed(folder, options):
    words = ["--recipe", options.what, "--set", f"epochs={options.epochs}"]
    ways = {"one": [], "two": ["--processes", "2"]}
    took = {name: [] for name in ways}
    for turn in range(options.rounds + 1):  # the first compiles, and counts nothing
        for name in sorted(ways, reverse=turn % 2 == 1):
            out = folder / f"{name}{turn}"
            started = time.perf_counter()
            subprocess.run(
                command("fashion-mnist", out, *words, *ways[name]),
                check=True,
                stdout=subprocess.DEVNULL,
            )
            if turn:
                took[name].append(time.perf_counter() - started)
    for name, seconds in took.items():
        ledger.say(f"{options.what}, whole command, {name}: s", ledger.spread(seconds, 1))
    ratios = [one / two for one, two in zip(took["one"], took["two"], strict=True)]
    ledger.say(
        f"{options.what}, {options.epochs} epochs: two processes over one, both on "
        f"{os.cpu_count()} cores, times its speed",
        ledger.spread(ratios, 3),
    )


def at_once(script, count, last):
    """Run a script in so many processes that meet; return the last line that process 0 prints."""
    address = f"127.0.0.1:{free_port()}"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(index), str(count), address, last(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | ({"NPROC": "1"} if count > 1 else {}),  # as the command has it
        )
        for index in range(count)
    ]
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("a process failed")
    return said[0].splitlines()[-1] if said[0] else ""


def epochs(folder, options):
    del folder
    for recipe in ("tutorial", "conv"):
        took = {1: [], 2: []}
        for turn in range(options.rounds):
            for count in (1, 2) if turn % 2 else (2, 1):
                took[count] += json.loads(at_once(EPOCHS, count, lambda _, name=recipe: name))
        for count, seconds in took.items():
            ledger.say(f"{recipe}, 6,000 images, {count} processes: s", ledger.spread(seconds))
        ratio = statistics.median(took[1]) / statistics.median(took[2])
        ledger.say(f"{recipe}: two processes over one, times its speed", f"{ratio:.2f}")


def exchange(folder, options):
    del folder
    for side, size in itertools.product((8, 200), (1000, GRADIENT)):
        took = {how: [] for how in ("nothing", "sum", "message")}
        for _ in range(options.rounds):
            for how, found in took.items():
                told = f"{how} {size} {side}"
                found.append(float(at_once(EXCHANGE, 2, lambda _, told=told: told)))
        for how, found in took.items():
            ledger.say(
                f"two processes, a turn with products of {side} × {side} and {how} of {size:,} "
                "numbers, ms",
                ledger.spread(found),
            )


def weights(folder, options):
    del options
    for count in (1, 2):
        at_once(WEIGHTS, count, lambda index, count=count: str(folder / f"{count}-{index}.npz"))
    one, *two = (arrays(folder / f"{name}.npz") for name in ("1-0", "2-0", "2-1"))
    apart = max(float(np.abs(a - b).max()) for a, b in zip(one, two[0], strict=True))
    same = all(a.tobytes() == b.tobytes() for a, b in zip(*two, strict=True))
    ledger.say(
        "weights after 50 steps in 64 bits, 1 against 2 processes: largest difference",
        f"{apart:.1e}; both processes the same bits: {same}",
    )


def kills(folder, options):
    chance = random.Random(options.seed)
    photos(folder / "photos")
    (folder / "often").mkdir()
    (folder / "often" / "sitecustomize.py").write_text(OFTEN, encoding="utf-8")
    path = os.pathsep.join([str(folder / "often"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": path}
    words = ["--recipe", "tutorial", "--set", "epochs=150"]

    def start(out, index=None, address="", resume=False):
        how = ["--processes", "2"]
        if index is not None:
            how = ["--coordinator", address, "--num-processes", "2", "--process-id", str(index)]
        with (folder / f"said{index}.txt").open("wb") as said:
            return subprocess.Popen(
                command(str(folder / "photos"), out, *words, *how, *["--resume"] * resume),
                env=env,
                stdout=subprocess.DEVNULL,
                stderr=said,
            )

    def began(out, index, address, resume=False):  # by turns one launcher, or one for each process
        places = [None] if index % 2 else [0, 1]
        return [start(out, place, address, resume) for place in places]

    if start(folder / "whole").wait():
        raise SystemExit((folder / "saidNone.txt").read_text(encoding="utf-8"))
    wanted = saved(folder / "whole")
    seconds, named, equal, late = [], 0, 0, 0
    for turn in range(options.kills):
        out, victim = folder / f"run{turn}", chance.randrange(2)
        address = f"127.0.0.1:{free_port()}"
        launchers = began(out, turn, address)
        while not ((out / "checkpoint.npz").exists() or ended(launchers)):
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 2))
        pid = child(launchers, victim)
        if pid is None:  # it was quicker
            late += 1
            continue
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        for launcher in launchers:
            launcher.wait()
        seconds.append(time.monotonic() - killed)
        names = [None] if len(launchers) == 1 else [0, 1]
        texts = [(folder / f"said{name}.txt").read_text(encoding="utf-8") for name in names]
        named += all(f"rocess {victim} " in text for text in texts)
        for launcher in began(out, turn, f"127.0.0.1:{free_port()}", resume=True):
            if launcher.wait():
                raise SystemExit(f"{out}: could not be resumed")
        equal += saved(out) == wanted
        print(f"{out.name}: process {victim}, {seconds[-1]:.1f} s, {named} named, {equal} equal")
    ledger.say("SIGKILL of one of two processes: the others ended after, s", ledger.spread(seconds))
    ledger.say(
        "of these kills: its name said by all; resumed to the weights of a training undisturbed",
        f"{named} and {equal} of {len(seconds)}; {late} came late",
    )


def photos(folder):
    random = np.random.default_rng(0)
    for kind in range(12):
        (folder / f"{kind:02d}").mkdir(parents=True)
        mean = random.integers(0, 256, (16, 16, 3))
        for number in range(12):
            pixels = np.clip(mean + random.normal(0, 30, mean.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{kind:02d}" / f"{number}.png")


def saved(folder):
    model = SiameseModel.load(folder)
    return [weight.tobytes() for weight in model.encoder.get_weights()]


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def ended(launchers):
    return all(launcher.poll() is not None for launcher in launchers)


def child(launchers, index):
    """Find the process of this number, by what its environment says."""
    for launcher in launchers:
        listed = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        for pid in map(int, listed.read_text().split() if listed.exists() else ()):
            told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            about = [each for each in told if each.startswith(f"{CHILD}={{".encode())]
            if about and json.loads(about[0].partition(b"=")[2])["index"] == index:
                return pid
    return None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
