"""What the benchmarks of the server stand on: models, an index of 60,000 items, servers to start.

Models are trained for a moment only (speed does not depend on how good they are) and calibrated, so
that answers have verdicts. They are kept in a folder, which a second run finds.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
from PIL import Image

import ledger

TOKEN = "a-token-of-the-benchmark"
# What an encoder costs decides what batching wins. `mlp` is the tutorial's; `wide` has as many
# weights as a small transformer, each used once an image; `conv` is the recipe's, where the
# arithmetic of one image fills the cores already.
MODELS = {
    "mlp": {"encoder": {"name": "mlp"}},
    "wide": {"encoder": {"name": "mlp", "units": [4096, 4096, 128]}},
    "conv": {"encoder": {"name": "conv"}},
}


def pictures(n=512, seed=0):
    """Fashion-MNIST's test images, as PNG files in memory."""
    import twinset

    images = twinset.load_fashion_mnist(progress=False)[1].images
    rows = np.random.default_rng(seed).integers(0, len(images), n)
    return [png(images[row]) for row in rows]


def png(pixels):
    """Write pixels as the bytes of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def model_folder(home, name):
    """Train a model of a name for a moment, calibrate it, and save it with its graph."""
    folder = Path(home, name)
    if (folder / "encoder.onnx").is_file():
        return folder
    os.environ["KERAS_BACKEND"] = "jax"
    import twinset

    train, test = twinset.load_fashion_mnist(progress=False)
    some = train.subset(np.arange(2000))
    model = twinset.fit(some, epochs=1, progress=False, seed=0, **MODELS[name])
    model = model.calibrate(test.subset(np.arange(1000)))
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    twinset.export(folder)
    return folder


def index_folder(home, model, items=60_000):
    """Index so many of Fashion-MNIST's training images by the model in a folder."""
    import twinset

    folder = Path(home, f"{model.name}-{items}.index")
    if not folder.exists():
        train, _ = twinset.load_fashion_mnist(progress=False)
        loaded = twinset.load_model(model, engine="onnx")
        twinset.Index.build(loaded, train.subset(np.arange(items)), folder).close()
    return folder


def free_port():
    """Find a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A server in a process of its own, with its children."""

    def __init__(self, command, port, ready, env=None):
        self.port = port
        self.log = Path(f"/tmp/serve-{port}.log").open("w+")  # noqa: SIM115 - as long as the server
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            command,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
        self.seconds_to_ready = self._wait(ready)

    def _wait(self, ready, limit=90):
        while time.perf_counter() - self.started < limit:
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{ready}", timeout=2),
            ):
                return time.perf_counter() - self.started
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        self.log.seek(0)
        raise RuntimeError(f"the server did not get ready: {self.log.read()[-2000:]}")

    def processes(self):
        """List the server and all its children."""
        import psutil

        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def rss(self):
        """Sum the memory of its processes, in MB; what they share counts once."""
        total = 0
        for each in self.processes():
            with contextlib.suppress(Exception):
                total += getattr(each.memory_full_info(), "pss", each.memory_info().rss)
        return total / 1e6

    def cpu(self):
        """Sum the seconds of processor time of its processes."""
        return sum(sum(each.cpu_times()[:2]) for each in self.processes())

    def kill(self):
        """Stop it at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        every = self.processes() if self.process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
        for each in every:  # a group of its own may have been left
            with contextlib.suppress(Exception):
                each.kill()
        self.log.close()


def twinset_serve(model, *options, index=None):
    """Start `twinset serve`."""
    port = free_port()
    command = [sys.executable, "-m", "twinset", "serve", str(model), "--port", str(port)]
    if index is not None:
        command += ["--index", str(index)]
    return Server([*command, *map(str, options)], port, "/health/ready", {"TWINSET_TOKEN": TOKEN})


def contestant(name, model, *options):
    """Start another server on the same graph and threshold."""
    port = free_port()
    file = str(Path(__file__).with_name("serve_contestants.py"))
    card = json.loads(Path(model, "model.json").read_text("utf-8"))
    env = {
        "GRAPH": str(Path(model, "encoder.onnx")),
        "THRESHOLD": str(card["threshold"]["value"]),
        "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    }
    if name == "flask":
        command = [sys.executable, "-m", "gunicorn", *options, "--timeout=3600"]
        command += [
            f"--bind=127.0.0.1:{port}",
            "--log-level=error",
            "serve_contestants:flask_app()",
        ]
    else:
        command = [sys.executable, file, str(port), *options]
    return Server(command, port, "/health", env)


def ask(port, raw, timeout=30):
    """Send the bytes of one request; return status, headers (in lower case) and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as one:
        one.sendall(raw)
        return answer(one)


def answer(connection):
    """Read one answer: status, headers (in lower case) and body; status 0 for a hang-up."""
    got = bytearray()
    while True:
        part = connection.recv(1 << 16)
        got += part
        head, found, body = bytes(got).partition(b"\r\n\r\n")
        if found:
            head = head.decode("latin-1").lower()
            length = [h[15:] for h in head.split("\r\n") if h.startswith("content-length:")]
            if not part or (length and len(body) >= int(length[0])):
                return int(head[9:12]), head, body
        elif not part:
            return 0, "", bytes(got)


def quiet():
    """Say what else runs: figures of a busy machine are not trusted."""
    return f"{ledger.machine()}, load {os.getloadavg()[0]:.1f}"
