"""Training in several processes: joining, agreeing, being lost. Two real ones do it all at once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import pages
import srun
from twinset.cli import processes as started
from twinset.errors import RecipeError, TrainingError
from twinset.training import processes
from twinset.training.checkpoints import Keeper
from two_processes import interrupted, validated

jax_only = pytest.mark.skipif(
    keras.backend.backend() != "jax" or sys.platform == "win32",
    reason="several processes are JAX's, on Linux and macOS",
)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def both(once, tmp_path_factory):
    """What two processes said and did, of which one was killed at last."""
    return once("two_processes", lambda: of_two(tmp_path_factory.mktemp("both")))


def of_two(folder):
    script = Path(__file__).parents[1] / "two_processes.py"
    address = f"127.0.0.1:{free_port()}"
    before, kept = signal.getsignal(signal.SIGINT), dict(Keeper.__init__.__kwdefaults__)
    first = interrupted(folder / "of_one")
    Keeper.__init__.__kwdefaults__.update(kept)
    signal.signal(signal.SIGINT, before)
    running = []
    for index in range(2):
        command = [sys.executable, str(script), str(index), address, str(folder)]
        with (folder / f"log{index}").open("wb") as log:
            running.append(subprocess.Popen(command, stdout=log, stderr=log))
    killed = running[1].wait(300)
    since = time.monotonic()
    running[0].wait(60)
    took = time.monotonic() - since
    logs = [(folder / f"log{i}").read_text(encoding="utf-8", errors="replace") for i in range(2)]
    assert killed == -signal.SIGKILL, logs
    told = [json.loads((folder / f"told{i}.json").read_text(encoding="utf-8")) for i in range(2)]
    trained = [[weights(folder / f"{name}{i}.npz") for i in range(2)] for name in NAMES]
    return Namespace(
        folder=folder, first=first, told=told, took=took, **dict(zip(NAMES, trained, strict=True))
    )


NAMES = "weights", "resumed"


def weights(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


@pytest.fixture(scope="module")
def alone():
    """What one process trains."""
    return validated()


def check_near(found, model):
    for mine, other in zip(model.encoder.get_weights(), found, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3)  # in 32 bits, after 15 steps


@jax_only
def test_two_processes_train_what_one_does(both, alone):
    assert [each["place"] for each in both.told] == [[0, 2], [1, 2]]
    for first, second in zip(*both.weights, strict=True):
        assert first.tobytes() == second.tobytes()
    check_near(both.weights[0], alone)
    assert both.told[0]["history"] == both.told[1]["history"]
    wanted = [[each.loss, each.validation.auc] for each in alone.history]
    np.testing.assert_allclose(both.told[0]["history"], wanted, atol=1e-3)


@jax_only
@pytest.mark.skipif(sys.platform != "linux", reason="others cannot keep a thread to a core")
def test_each_computes_on_its_own_cores(both):
    allowed = sorted(os.sched_getaffinity(0))
    for told in both.told:
        assert told["cores"] == [[allowed], [told["own"]], [allowed]]
        assert (told["waits"], told["threads"]) == (True, os.environ.get("NPROC", "1"))
    assert len(allowed) < 2 or both.told[0]["own"] != both.told[1]["own"]


@jax_only
def test_two_go_on_from_what_one_has_left(both, alone):
    for first, second in zip(*both.resumed, strict=True):
        assert first.tobytes() == second.tobytes()
    check_near(both.resumed[0], alone)
    assert both.told[0]["first epoch"] == both.first  # and was not trained again


@jax_only
def test_one_goes_on_from_what_two_have_left(both, alone):
    model = validated(checkpoint=both.folder / "of_two")
    check_near(model.encoder.get_weights(), alone)
    assert model.history[0].seconds == both.told[0]["first epoch of two"]


@jax_only
@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("other data", "DataError: Expected all processes to train with the same data. Process 1"),
        ("other recipe", "DataError: Expected all processes to train with the same recipe. Proc"),
        ("odd batch", "RecipeError: Expected batches that 2 processes can share evenly. Received"),
    ],
)
def test_what_cannot_be_trained_together_is_refused_by_both(both, what, words):
    assert both.told[0][what].startswith(words)
    assert both.told[0][what] == both.told[1][what]


@jax_only
def test_who_is_killed_is_named(both):
    expected = "TrainingError: Expected 2 processes. Process 1 does not answer any more"
    assert both.told[0]["killed"].startswith(expected)
    assert both.took < 20


@pytest.mark.clusters
@jax_only
def test_a_step_of_slurm_trains_together(tmp_path):
    """The line of docs/processes.md, where `srun` is a stand-in that tells what Slurm tells."""
    (line,) = (
        each
        for block in pages.blocks_of(pages.ROOT / "docs/processes.md")
        for each in block.commands()
        if each.startswith("srun ")
    )
    for name, script in (("srun", srun.__file__), ("twinset", "-m twinset")):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
        (tmp_path / name).chmod(0o755)
    images, labels = np.random.default_rng(0).integers(0, 255, (12, 6, 6), np.uint8), "ab" * 6
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photos" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    done = subprocess.run(
        ["sh", "-c", f"{line} --recipe tutorial --set epochs=2 --set encoder.units=[8]"],
        cwd=tmp_path,
        env=os.environ
        | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch 2/2") == 1  # of two processes the first speaks
    assert (tmp_path / "runs/first/report.html").exists()


@pytest.mark.clusters
@jax_only
def test_sigterm_ends_two_processes_and_loses_nothing(tmp_path):
    images, labels = np.random.default_rng(0).integers(0, 255, (12, 6, 6), np.uint8), "ab" * 6
    for i, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        path = tmp_path / "photos" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    words = "train photos --recipe tutorial --processes 2 --out run --set encoder.units=[8]"

    def start(epochs, *more):
        command = [sys.executable, "-m", "twinset", *words.split(), "--set", f"epochs={epochs}"]
        return subprocess.Popen(
            [*command, *more],
            cwd=tmp_path,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
            stderr=subprocess.PIPE,
            text=True,
        )

    with start(1_000_000) as running:
        next(line for line in running.stderr if line.startswith("epoch 2/"))
        running.send_signal(signal.SIGTERM)
        said = running.stderr.read().splitlines()
    assert running.returncode == 143, said
    assert said[-1] == "twinset: ended by SIGTERM. To go on: the same command with --resume."
    assert (tmp_path / "run/encoder.keras").exists()
    with np.load(tmp_path / "run/checkpoint.npz") as held:
        about = json.loads(held["about"].tobytes())
    epochs = sum(line.startswith("epoch ") for line in said) + 2
    assert len(about["history"]) + (about["step"] > 0) >= epochs


def test_one_process_asks_nobody():
    assert processes.count() == 1
    assert processes.index() == 0
    assert processes.from_first(lambda: (1, "a")) == (1, "a")
    assert processes.bytes_from_first(lambda: None) is None
    processes.agree({"data": "a"})


@jax_only
def test_a_coordinator_that_is_not_there():
    address = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(TrainingError, match=f"Expected process 0 at {address}, as HOST:PORT"),
        processes.together(address, 2, 1, timeout=0),
    ):
        pass


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX can")
def test_other_back_ends_train_in_one():
    with (
        pytest.raises(TrainingError, match="Expected the back end jax to train in several"),
        processes.together("127.0.0.1:1", 2, 1),
    ):
        pass


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"processes": 2, "coordinator": "a:1"}, "Received both"),
        ({"processes": 0}, "--processes of 1 or more. Received 0"),
        ({"num_processes": 2}, "Expected --coordinator HOST:PORT with"),
        ({"coordinator": "a:1", "num_processes": 2}, "Received 2 and None"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "Received 2 and 2"),
    ],
)
def test_options_that_do_not_fit(given, words):
    none = dict.fromkeys(("processes", "coordinator", "num_processes", "process_id"))
    with pytest.raises(RecipeError, match=words):
        started.asked(Namespace(**none | given))


@pytest.mark.parametrize(
    ("cores", "count", "found"),
    [
        ([0, 1], 2, [[0], [1]]),
        ([0, 1, 2, 3], 2, [[0, 1], [2, 3]]),
        ([0, 2, 3, 5, 7], 2, [[0, 2], [3, 5, 7]]),
        ([4], 3, [[], [], []]),
        ([], 2, [[], []]),
    ],
)
def test_cores_are_divided(cores, count, found):
    assert started.shares(cores, count) == found
