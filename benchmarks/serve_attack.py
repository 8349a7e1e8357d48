"""The server under attack: more of what the tests do a little of.

./task bench serve_attack uploads [--count 2000]   bombs, polyglots, broken forms, damaged images
./task bench serve_attack schema [--count 50]      schemathesis, requests of each kind and operation
./task bench serve_attack kills [--count 100]      kill -9 during writes over HTTP

The model and the index of 48 pictures are those of the tests.
"""

import argparse
import collections
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ledger
from serve_client import request
from serve_worlds import TOKEN, Server, free_port, quiet

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hostile_uploads import picture, uploads
from schema_attack import attack
from server_writer import kill_many
from wire import answers, opened


def served(folder):
    """Serve it, with the token, and without a limit to the rate of one client."""
    port = free_port()
    command = [sys.executable, "-m", "twinset", "serve", str(folder / "run")]
    command += ["--index", str(folder / "photos.index"), "--port", str(port), "--rate", "1000000"]
    return Server(command, port, "/health/ready", {"TWINSET_TOKEN": TOKEN})


def many_uploads(folder, count):
    """Send hostile uploads to all operations that take images, and watch the memory."""
    told = collections.Counter()
    paths = [f"/api/v1/{name}" for name in ("embed", "search", "identify", "compare", "explain")]
    with served(folder) as server:
        url = f"http://127.0.0.1:{server.port}"
        send(url, paths, uploads(200, seed=1), collections.Counter())
        before = server.rss()
        send(url, paths, uploads(count, seed=2), told)
        whole = request("POST", paths[0], picture("PNG"), "image/png")
        with opened(url) as one:
            one.sendall(whole)
            alive = answers(one)[0].status
        after, log = server.rss(), Path(server.log.name).read_bytes()
    ledger.say(
        f"{count:,} hostile uploads",
        f"{dict(sorted(told.items()))}; then a whole image: {alive}; memory {before:.0f} → "
        f"{after:.0f} MB; {log.count(b'Traceback')} tracebacks in the log",
    )


def send(url, paths, given, told):
    """Send uploads one after another; a connection that the server closes is opened again."""
    one = opened(url)
    for row, (what, kind, body) in enumerate(given):
        head = (f"Content-Type: {kind}",) if kind else ()
        one.sendall(request("POST", paths[row % len(paths)], body, headers=head))
        got = answers(one)
        status = got[0].status if got else 0
        told[status] += 1
        if status in (0, 500):
            print(f"{what}: {got[0].body if got else 'a hang-up'}", flush=True)
        if not got or got[0].headers.get("connection") == "close":
            one.close()
            one = opened(url)
    one.close()


def schema(folder, count):
    """Let schemathesis ask whatever the OpenAPI allows, and what it does not."""
    with served(folder) as server:
        sent = attack(f"http://127.0.0.1:{server.port}", count, TOKEN)
        log = Path(server.log.name).read_bytes()
    ledger.say(
        "schemathesis: requests, none answered with 500 or against its schema",
        f"{sent:,}; {log.count(b'Traceback')} tracebacks in the log",
    )


def kills(folder, count):
    """Kill the server while others write."""
    counts = kill_many(folder, count)
    ledger.say(
        "kill -9 during writes over HTTP: nothing acknowledged was lost",
        f"{counts['kills']} of {count}, with {counts['items']:,} items, {counts['removed']:,} "
        f"removed, and {counts['decisions']:,} decisions acknowledged",
    )


PARTS = {"uploads": (many_uploads, 2000), "schema": (schema, 50), "kills": (kills, 100)}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=[*PARTS, "make"])
    parser.add_argument("--count", type=int)
    parser.add_argument("--home", type=Path, help="where `make` has put model and index")
    options = parser.parse_args()
    if options.part == "make":
        os.environ["KERAS_BACKEND"] = "jax"
        from colours import make  # here, as it imports the library

        make(options.home)
        return
    print(quiet())
    with tempfile.TemporaryDirectory() as folder:
        # in a process of its own: the server is to be measured beside nothing else
        script = [sys.executable, __file__, "make", "--home", folder]
        subprocess.run(script, check=True, capture_output=True)
        part, usual = PARTS[options.part]
        part(Path(folder), options.count or usual)


if __name__ == "__main__":
    main()
