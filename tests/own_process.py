"""What a program that uses twinset finds changed in its own process afterwards, as JSON.

Run as a program, in an empty folder. Keras is there before: what its import changes is not ours.
Also what was written and which sockets were opened, as Python sees it, and what a fork is told.
"""

import gc
import json
import locale
import logging
import multiprocessing
import os
import random
import signal
import sys
import threading
import warnings

import httpx
import jax
import keras
import matplotlib as mpl
import numpy as np

import twinset

written, sockets = set(), set()


def watch(event, arguments):
    """Note the folder of whatever is opened to be written or made, and the other end of sockets."""
    if event == "open" and isinstance(arguments[0], str | bytes):
        if arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            written.add(os.path.abspath(os.fsdecode(arguments[0])))  # noqa: PTH100
    elif event in ("os.mkdir", "os.rename", "os.link", "os.symlink"):
        paths = (each for each in arguments[:2] if isinstance(each, str | bytes))
        written.update(os.path.abspath(os.fsdecode(each)) for each in paths)  # noqa: PTH100
    elif event in ("socket.connect", "socket.bind", "socket.sendto"):
        sockets.add(str(arguments[1]))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        sockets.add(str(arguments[0]))


def state():
    """Everything of a process that a library could leave changed."""
    names = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGPIPE", signal.SIGINT))
    root = logging.getLogger()
    loggers = {name: logging.getLogger(name) for name in ("jax", "absl", "onnx", "PIL", "uvicorn")}
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109
        "locale": locale.setlocale(locale.LC_ALL),
        "signals": [str(signal.getsignal(name)) for name in names],
        "logging": [str(root.handlers), root.level, logging.root.manager.disable],
        "loggers": {n: [str(one.handlers), one.level] for n, one in loggers.items()},
        "warnings": [str(each) for each in warnings.filters],
        "showwarning": str(warnings.showwarning),
        "random": str(random.getstate()),
        "numpy": [str(np.random.get_state()), str(np.geterr()), str(np.get_printoptions())],
        "keras": [
            str(keras.config.dtype_policy()),
            keras.config.floatx(),
            keras.config.image_data_format(),
            str(keras.config.is_interactive_logging_enabled()),
        ],
        "jax": str(jax.config.values),
        "pictures": [mpl.get_backend(), str(dict(mpl.rcParams))],
        "hooks": [str(sys.excepthook), str(threading.excepthook), str(sys.unraisablehook)],
        "streams": [str(sys.stdout), str(sys.stderr)],
        "imports": [str(each) for each in sys.meta_path],
        "depth": sys.getrecursionlimit(),
        "mask": os.umask(os.umask(0)),
        "threads": sorted(t.name for t in threading.enumerate() if not t.daemon),
    }


def work():
    """Train, save, load, evaluate, export, index, search, draw and serve."""
    from twinset.server.opening import open_service
    from twinset.server.running import in_background

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 40)
    pixels = rng.integers(0, 130, (80, 6, 5), np.uint8)
    pixels[labels == 1] += 90
    data = twinset.LabelledImages(pixels, labels, ("dark", "bright"))
    model = twinset.fit(data, epochs=2, progress=False, encoder={"units": [8]})
    model.save("run")
    twinset.export("run")
    twinset.evaluate(model, data, progress=False, allow_seen=True)
    loaded = twinset.load_model("run")
    loaded.compare(pixels[0], pixels[1])
    with twinset.Index.build(loaded, data, "w", progress=False) as index:
        index.search(pixels[0])
        twinset.duplicates(index)
    service = open_service("run", "w")
    with in_background(service) as url, httpx.Client(base_url=url) as http:
        http.get("/api/v1/model").raise_for_status()
    return model, pixels


def embed(model, pixels):
    """Say what became of it, in another process."""
    try:
        return str(model.embed(pixels).shape)
    except twinset.TwinsetError as error:
        return str(error)


if __name__ == "__main__":
    sys.addaudithook(watch)
    before = state()
    made = work()
    after = state()
    changed = {key: [before[key], after[key]] for key in before if before[key] != after[key]}
    with multiprocessing.get_context("fork").Pool(1) as pool:
        forked = pool.apply_async(embed, made).get(60)
    told = {"changed": changed, "sockets": sorted(sockets), "written": sorted(written)}
    print(json.dumps(told | {"forked": forked}))  # noqa: T201
    gc.freeze()  # to look for garbage at the end takes most of a second
