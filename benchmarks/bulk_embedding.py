"""Bulk embedding of image files: two raylets against one process on all cores, and with kills.

./task bench bulk_embedding [--images 100000] [--rounds 3] [--recipe conv] [--kills 5]

Both read PNG files of Fashion-MNIST's size, run the same ONNX graph and write the same Parquet
file. The raylets, of Ray's own `cluster_utils`, have half of the cores each. Rates are without the
start: over the last nine tenths of the images. Then workers are killed by SIGKILL, evenly over
one more run, and the rows of its file are counted; and so is the command itself on one machine,
each time that it has embedded some shards more, and called again.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image
from ray.cluster_utils import Cluster

import ledger
import twinset
from twinset.cores import cores


def write_images(folder, images, count):
    """Write the images in turn, each with a corner of its own, so that no two are equal."""
    for number in range(count):
        if number % 1000 == 0:
            (folder / f"{number // 1000:04}").mkdir(parents=True)
        pixels = images[number % len(images)].copy()
        pixels[0, :4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number // 1000:04}/{number % 1000:03}.png")


def timed(model, folder, out, kill=None, **how):
    """Embed; return images per second without the start, and the seconds of the whole."""
    told = []

    def progress(now):
        told.append((time.perf_counter(), now.done))
        if kill is not None:
            kill(now.done)

    started = time.perf_counter()
    made = twinset.embed_images(model, folder, out, overwrite=True, progress=progress, **how)
    whole = time.perf_counter() - started
    begin = next(each for each in told if each[1] >= made.rows / 10)
    return (made.rows - begin[1]) / (told[-1][0] - begin[0]), whole


def workers(raylets):
    """Find the processes that embed: children of our raylets, which Ray names by their task."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent in raylets and (entry / "cmdline").read_bytes().startswith(b"ray::_run"):
                yield int(entry.name)
        except OSError:  # gone meanwhile
            continue


class Killer:
    """Kills a worker each time that another share of the images is done."""

    def __init__(self, raylets, images, kills):
        self.raylets, self.due, self.killed = raylets, [], 0
        self.due = [images * (k + 1) // (kills + 1) for k in range(kills)]
        self.lock = threading.Lock()

    def __call__(self, done):
        """Kill what is due."""
        with self.lock:
            while self.due and done >= self.due[0]:
                self.due.pop(0)
                for victim in list(workers(self.raylets))[:1]:
                    os.kill(victim, signal.SIGKILL)
                    self.killed += 1


def kill_command(place, out, kills):
    """Kill `twinset embed` so many times, and let it end then; return how often it was killed."""
    command = [sys.executable, "-m", "twinset", "embed", place / "run", place / "images"]
    drafts, killed = out.with_name(f".{out.name}.parts"), 0
    for number in range(kills + 1):
        process = subprocess.Popen(
            [*command, "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        there = len([*drafts.glob("*.npz")])
        while process.poll() is None:
            if number < kills and len([*drafts.glob("*.npz")]) >= there + 3:
                process.kill()
                killed += 1
                process.wait()
                assert not out.exists()
            time.sleep(0.01)
        if process.returncode == 0:
            return killed
    raise AssertionError(f"it ended with {process.returncode}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--recipe", default="conv")
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    print(ledger.machine())
    train, test = twinset.load_fashion_mnist(progress=False)
    half = max(1, cores() // 2)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        recipe = twinset.Recipe.load(options.recipe)
        few = train.subset(np.arange(2000))
        twinset.fit(few, recipe=recipe, epochs=1, progress=False).save(place / "run")
        twinset.export(place / "run")
        model = twinset.load_model(place / "run", engine="onnx")
        write_images(place / "images", test.images, options.images)
        cluster = Cluster()
        try:
            nodes = [cluster.add_node(num_cpus=half, include_dashboard=False) for _ in range(2)]
            ray = {"engine": "ray", "address": cluster.address}
            raylets = {node.all_processes["raylet"][0].process.pid for node in nodes}
            what = f"{options.images:,} PNG files of 28 × 28, recipe {options.recipe}"
            if options.rounds:
                compete(options, what, model, place, ray)
            if options.kills:
                count_after_kills(options, what, model, place, ray, raylets)
        finally:
            cluster.shutdown()


def count_after_kills(options, what, model, place, ray, raylets):
    killer = Killer(raylets, options.images, options.kills)
    timed(model, place / "images", place / "workers.parquet", kill=killer, **ray)
    killed = kill_command(place, place / "command.parquet", options.kills)
    for victims, times in (("workers", killer.killed), ("command", killed)):
        ids = parquet.read_table(place / f"{victims}.parquet", columns=["id"])["id"].to_pylist()
        ledger.say(
            f"bulk embedding, {what}: rows after {times} kills, {victims}",
            f"{len(ids):,}, of them {len(ids) - len(set(ids)):,} twice; in order: "
            f"{ids == sorted(ids)}",
        )


def compete(options, what, model, place, ray):
    images = place / "images"
    ratios, speeds = [], {"local": [], "ray": []}
    for number in range(options.rounds):
        order = ["local", "ray"] if number % 2 == 0 else ["ray", "local"]
        for each in order:
            how = ray if each == "ray" else {}
            speed, whole = timed(model, images, place / f"{each}.parquet", **how)
            speeds[each].append(speed)
            print(f"{each}: {speed:,.0f} images/s; {whole:.1f} s with start and end", flush=True)
        ratios.append(speeds["ray"][-1] / speeds["local"][-1])
    one, other = (parquet.read_table(place / f"{each}.parquet") for each in speeds)
    same = one.drop("embedding").equals(other.drop("embedding"))
    gap = max(
        np.abs(a.flatten().to_numpy() - b.flatten().to_numpy()).max()
        for a, b in zip(one["embedding"].chunks, other["embedding"].chunks, strict=True)
    )
    local, remote = (statistics.median(each) for each in speeds.values())
    ledger.say(
        f"bulk embedding, {what}: two raylets / one process on all cores, images/s without start",
        f"{ledger.spread(ratios)}; {remote:,.0f} / {local:,.0f} images/s; all other columns equal: "
        f"{same}, embeddings within {gap:.1g}",
    )


if __name__ == "__main__":
    main()
