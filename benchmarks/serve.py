"""The server under load: requests/s, latencies and memory, alone and against Flask and LitServe.

./task bench serve mixed [--seconds 60]        64 connections, compare and search by turns
./task bench serve against [--rounds 3]        the same pairs: ours, Flask on gunicorn, LitServe
./task bench serve batching [--models ...]     embed: batching over batching off
./task bench serve poisoned                    one broken image among 64, all at once
./task bench serve overload                    10 times what it can take; clients that hang up
./task bench serve start [--rounds 9]          start to ready with an index of 60,000 items

The client is a second process (`serve_client.py`); contestants take turns in each round. Models are
trained for a moment, and kept with the index in --home, by default a folder that is removed.
"""

import argparse
import base64
import json
import re
import socket
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import ledger
from serve_client import load, multipart, request
from serve_worlds import (
    MODELS,
    answer,
    ask,
    contestant,
    index_folder,
    model_folder,
    pictures,
    quiet,
    twinset_serve,
)

CONNECTIONS = 64
# one address asks all: the limit of a client's rate would be what is measured
FREE = ("--rate", "1000000")


def compares(files):
    """Ask for verdicts on pairs of files."""
    forms = [
        multipart([("left", a), ("right", b)]) for a, b in zip(files[::2], files[1::2], strict=True)
    ]
    return [request("POST", "/api/v1/compare", *form) for form in forms]


def searches(files):
    """Ask for the nearest of each file."""
    return [request("POST", "/api/v1/search?k=10", each, "image/png") for each in files]


def embeds(files):
    """Ask for the embedding of each file."""
    return [request("POST", "/api/v1/embed", each, "image/png") for each in files]


def base64_pairs(files, path):
    """Ask the others about the same pairs, in deepface's shape."""
    texts = ["data:image/png;base64," + base64.b64encode(each).decode() for each in files]
    bodies = [{"img1": a, "img2": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    return [request("POST", path, json.dumps(b).encode(), "application/json") for b in bodies]


def measured(server, requests, **how):
    """Load a server, and note what a request costs it."""
    before = server.cpu()
    found = load(server.port, requests, **how)
    found["cpu"] = 1000 * (server.cpu() - before) / max(1, sum(found["statuses"].values()))
    return found


def told(found):
    """Write a result of `measured` in words."""
    times = found["latencies"]
    bad = {k: n for k, n in found["statuses"].items() if k != "200"}
    shown = " / ".join(f"{times[p]:.1f}" for p in ("p50", "p95", "p99")) if times["n"] else "-"
    return (
        f"{found['rate']:,.0f} requests/s, p50 / p95 / p99 {shown} ms, "
        f"{found['cpu']:.2f} ms of a core each, "
        f"{sum(bad.values())} errors" + (f" {bad} {found['texts']}" if bad else "")
    )


def mixed(options, home):
    """64 connections for a minute, compare and search by turns."""
    model = model_folder(home, options.models[0])
    files = pictures()
    requests = compares(files) + searches(files[::2])
    with twinset_serve(model, *FREE, index=index_folder(home, model)) as server:
        load(server.port, requests, connections=CONNECTIONS, seconds=options.warm)
        before = server.rss()
        found = measured(server, requests, connections=CONNECTIONS, seconds=options.seconds)
        after = server.rss()
    ledger.say(
        f"{CONNECTIONS} connections for {options.seconds:g} s, compare and search mixed",
        told(found),
    )
    ledger.say(
        "memory before and after, MB",
        f"{before:.0f} → {after:.0f}, {100 * (after / before - 1):+.1f}%; "
        f"the client used {100 * found['client cpu']:.0f}% of a core",
    )


def against(options, home):
    """Answer the same questions as Flask and LitServe do, on the same graph."""
    model = model_folder(home, options.models[0])
    files = pictures()
    contestants = {
        "twinset": (lambda: twinset_serve(model, *FREE), compares(files)),
        "Flask, gunicorn, 1 worker": (
            lambda: contestant("flask", model, "--workers=1"),
            base64_pairs(files, "/verify"),
        ),
        "Flask, gunicorn, 2 workers": (
            lambda: contestant("flask", model, "--workers=2"),
            base64_pairs(files, "/verify"),
        ),
        "LitServe, batches of 64": (
            lambda: contestant("litserve", model, "64"),
            base64_pairs(files, "/predict"),
        ),
        "LitServe, one by one": (
            lambda: contestant("litserve", model, "1"),
            base64_pairs(files, "/predict"),
        ),
    }
    rates, tails = ({name: [] for name in contestants} for _ in range(2))
    for turn in range(options.rounds):
        order = list(contestants)
        for name in order if turn % 2 == 0 else order[::-1]:
            start, requests = contestants[name]
            with start() as server:
                load(server.port, requests, connections=CONNECTIONS, seconds=options.warm)
                found = measured(server, requests, connections=CONNECTIONS, seconds=options.seconds)
                print(f"{name}: {told(found)}, {server.rss():.0f} MB", flush=True)
            rates[name].append(found["rate"])
            tails[name].append(found["latencies"].get("p99", float("inf")))
    for name in contestants:
        what = f"verify a pair, {CONNECTIONS} connections, {name}"
        ledger.say(f"{what}, requests/s", ledger.spread(rates[name], 0))
        ledger.say("the same, p99, ms", ledger.spread(tails[name], 1))


def batching(options, home):
    """Embed with batching and without, with many connections and with one."""
    for name in options.models:
        model = model_folder(home, name)
        requests = embeds(pictures())
        rates, waits = ({"on": [], "off": []} for _ in range(2))
        for turn in range(options.rounds):
            for kind in ("on", "off") if turn % 2 == 0 else ("off", "on"):
                more = () if kind == "on" else ("--batch", "1")
                with twinset_serve(model, *FREE, *more) as server:
                    load(server.port, requests, connections=CONNECTIONS, seconds=options.warm)
                    many = measured(
                        server, requests, connections=CONNECTIONS, seconds=options.seconds
                    )
                    one = measured(server, requests, connections=1, seconds=options.seconds / 2)
                    print(f"{name}, {kind}: {told(many)}; alone {told(one)}", flush=True)
                rates[kind].append(many["rate"])
                waits[kind].append(one["latencies"]["p50"])
        ratio = statistics.median(rates["on"]) / statistics.median(rates["off"])
        alone = statistics.median(waits["on"]) / statistics.median(waits["off"])
        ledger.say(
            f"embed, {name}, {CONNECTIONS} connections, batching over batching off",
            f"{ratio:.2f} × requests/s ({ledger.spread(rates['on'], 0)} over "
            f"{ledger.spread(rates['off'], 0)})",
        )
        ledger.say(f"embed, {name}, p50 at one connection, over batching off", f"{alone:.2f}")
        walls, works = ceiling(model)
        ledger.say(
            f"embed, {name}, no server at all, 64 images at once over one by one",
            f"{ledger.spread(walls)} × images/s; {ledger.spread(works)} by seconds of processor",
        )


def ceiling(model, rounds=30):
    """What batching could win if all else were free: ratios of time, and of processor time."""
    import twinset

    loaded = twinset.load_model(model, engine="onnx")
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28), np.uint8)
    took = {64: [], 1: []}
    for _ in range(rounds + 3):
        for size, each in took.items():
            before = time.perf_counter(), time.process_time()
            for start in range(0, 64, size):
                loaded.encode(images[start : start + size])
            each.append((time.perf_counter() - before[0], time.process_time() - before[1]))
    pairs = [
        (one[0] / many[0], one[1] / many[1]) for many, one in zip(took[64], took[1], strict=True)
    ][3:]
    return zip(*pairs, strict=True)


def poisoned(options, home):
    """Send 64 images at once, of which one is broken."""
    model = model_folder(home, options.models[0])
    files = pictures(CONNECTIONS)
    with twinset_serve(model, *FREE) as server:
        good = [ask(server.port, each)[2] for each in embeds(files)]
        files[31] = files[31][:60] + bytes(40) + files[31][100:]
        opened = [socket.create_connection(("127.0.0.1", server.port)) for _ in files]
        for each, raw in zip(opened, embeds(files), strict=True):
            each.sendall(raw)
        answers = [answer(each) for each in opened]
    same = [a[0] == 200 and near(a[2], b) for a, b in zip(answers, good, strict=True)]
    status, _, detail = answers[31]
    ledger.say(
        "one poisoned image among 64",
        f"{sum(same)} right answers; {status}: {json.loads(detail)['detail']}",
    )


def near(one, other):
    """Tell whether two answers have the same embedding, to what a batch may differ by."""
    a, b = (json.loads(each)["embeddings"][0] for each in (one, other))
    return max(abs(x - y) for x, y in zip(a, b, strict=True)) < 1e-5


def overload(options, home):
    """Offer ten times what is possible, then see that all is as before."""
    model = model_folder(home, "wide")
    requests = embeds(pictures())
    # each image alone and a short queue: so little can be taken that one client offers ten times
    with twinset_serve(model, *FREE, "--batch", "1", "--queue-images", "64") as server:
        calm = measured(server, requests, connections=8, seconds=options.seconds)
        before = server.rss()
        hard = measured(
            server,
            requests,
            connections=640,
            seconds=3 * options.seconds,
            rate=10 * calm["rate"],
        )
        during = server.rss()
        started = time.perf_counter()
        while ask(server.port, requests[0])[0] != 200:
            time.sleep(0.01)
        back = time.perf_counter() - started
        again = measured(server, requests, connections=8, seconds=options.seconds)
        ledger.say("what it can take: 8 connections", told(calm))
        ledger.say(
            f"10 times that for {3 * options.seconds:g} s",
            f"{hard['offered']:,.0f} requests/s offered, {hard['statuses']}; refused p50 / p99 / "
            f"max {hard['refused'].get('p50', 0):.0f} / {hard['refused'].get('p99', 0):.0f} / "
            f"{hard['refused'].get('max', 0):.0f} ms; memory {before:.0f} → {during:.0f} MB",
        )
        ledger.say("after it", f"the first answer after {back:.2f} s; {told(again)}")
        hang_ups(server, requests)


def hang_ups(server, requests, count=30):
    """Let clients ask behind others who wait, and leave; count what was computed for them."""
    first = embedded(server)
    patient, leaving = (
        [socket.create_connection(("127.0.0.1", server.port)) for _ in range(count)]
        for _ in range(2)
    )
    for one, raw in zip(patient + leaving, requests, strict=False):
        one.sendall(raw)
    for one in leaving:
        one.close()
    statuses = [answer(one)[0] for one in patient]
    done = embedded(server) - first - count
    ledger.say(
        f"{count} clients that hang up behind {count} who wait",
        f"{done:.0f} inferences for them; {statuses.count(200)} answers for the others",
    )


def embedded(server):
    """Read from the metrics how many images went through the model."""
    text = ask(server.port, request("GET", "/metrics"))[2].decode()
    return float(re.search(r"^twinset_batch_images_sum(?:\{.*\})? (\S+)", text, re.M)[1])


def start(options, home):
    """Start with a model and an index of 60,000 items until it is ready."""
    model = model_folder(home, options.models[0])
    index = index_folder(home, model)
    took = []
    for _ in range(options.rounds):
        with twinset_serve(model, index=index) as server:
            took.append(server.seconds_to_ready)
    ledger.say("start to ready, 60,000 items, s", ledger.spread(took))


PARTS = {each.__name__: each for each in (mixed, against, batching, poisoned, overload, start)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "all"])
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--warm", type=float, help="seconds before it, 3, for mixed 20")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--models", nargs="+", choices=list(MODELS))
    parser.add_argument("--home", type=Path, help="keep models and index there")
    options = parser.parse_args()
    print(quiet())
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        for name in PARTS if options.part == "all" else [options.part]:
            own = argparse.Namespace(**vars(options))
            # until the allocator has an arena for each thread, memory grows by a few MB
            own.warm = options.warm or {"mixed": 20}.get(name, 3)
            own.seconds = options.seconds or {"mixed": 60}.get(name, 8)
            own.models = options.models or (list(MODELS) if name == "batching" else ["mlp"])
            PARTS[name](own, home)


if __name__ == "__main__":
    main()
