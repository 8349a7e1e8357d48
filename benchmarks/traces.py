"""Which files each command touches and which sockets it opens, as the system sees it: by strace.

Prints a line for each command, and below it what it writes, makes, renames, unlinks or changes the
rights of outside the folders that it may: the place of its result, the caches, and that for
temporary files. No command may speak to another machine, nor listen, but `serve`, and processes
that train together, at this machine's own address; `push` and `hf://…` ask a hub that is here.
Ends with 1 if there is any, or a command without a line.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hub_server import TOKEN, running_hub
from twinset.cli.app import commands

FILES = (
    "open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,"
    "truncate,utimensat,chdir,fchdir"
)
SOCKETS = "bind,listen,connect,sendto,sendmsg,sendmmsg"
QUERY = "photos/dark/0.png"
HF = "hf://user/shades"
LINES = (
    "check photos",
    "train photos --recipe tutorial --set epochs=2 --set encoder.units=[8] --out run",
    "train photos --out chosen --budget 5",
    "train photos --recipe tutorial --set epochs=2 --out two --processes 2",
    "evaluate run",
    "export run",
    "index run photos --out w --identity label",
    f"search w {QUERY} --picture found.png",
    f"identify w {QUERY}",
    "duplicates w --csv groups.csv --plan plan.sh",
    "review w --out doubts",
    "decide w decided.csv",
    "decisions w --csv decisions.csv",
    "inspect w",
    "remove w dark/1.png",
    "embed run photos --out vectors.parquet",
    f"compare run {QUERY} photos/bright/0.png",
    f"explain run {QUERY} photos/bright/0.png --picture why.png",
    "recipe fast",
    "push run user/shades",
    f"compare {HF} {QUERY} photos/bright/0.png",
    "serve run --index w --port 0",
    "switch w two",
)
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|^(?!open)")
# what a call names: by `strace -y` the folder that it starts from or the file that it has; texts
_NAMED = re.compile(r'(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>|"((?:[^"\\]|\\.)*)"')
_OPENED = re.compile(r"= \d+<(.*)>$")
_OF_THE_SYSTEM = re.compile(r"/dev/(null|tty|pts/\d+|u?random)$|/proc/|memfd:|/memfd:")
_ADDRESS = re.compile(r'sin6?_port=htons\((\d+)\).*?"([^"]+)"')
_LOOPBACK = re.compile(r"127\.\d+\.\d+\.\d+$|::1$|::ffff:127\.")
_CACHES = re.compile(r"/home/\.cache/(twinset|huggingface/hub)/")
_OF_A_COMPILER = "__pycache__"  # Python's own, beside what it imports


def calls(folder: Path) -> Iterator[str]:
    """Give what each thread asked of the system and got: a file of strace for each of them."""
    for path in folder.iterdir():
        for line in path.read_text(errors="replace").splitlines():
            if not re.search(r"= -1 E(?!INPROGRESS)|= \?|^[+-]{3}", line):
                yield line


def paths(call: str, work: Path) -> list[str]:
    """Tell the whole paths of what a call makes or changes."""
    if call.startswith("open"):
        return [opened[1] for opened in [_OPENED.search(call)] if opened]
    start, places, found = str(work), list[str](), list[str]()
    for place, text in _NAMED.findall(call):
        if place:
            start = place
            places.append(place)
        else:
            found.append(os.path.normpath(Path(start, text)))
    if call.startswith(("link", "symlink")):
        del found[:1]  # only named
    return found or places  # as fchmod, which has no text


def outside(folder: Path, root: Path, *, listens: bool, asks: set[str]) -> list[str]:
    """Find what a log of strace tells of files and sockets that are none of the command's."""
    found = set[str]()
    for call in calls(folder):
        name = call.partition("(")[0]
        if name == "listen":
            if not listens:
                found.add(call)
        elif name in SOCKETS.split(","):
            for port, host in _ADDRESS.findall(call):
                # what is bound and does not listen is urllib3, which so asks whether there is IPv6
                fine = name == "bind" or listens or port in asks
                if not (_LOOPBACK.match(host) and fine):
                    found.add(call)
            if "AF_UNIX" in call and 'sun_path="' in call and "/nscd/" not in call:
                found.add(call)
        elif name in ("chdir", "fchdir"):
            found.add(call)  # relative paths are below it no more
        elif _WRITES.search(call):
            for path in paths(call, root / "work"):
                inside = path.startswith(f"{root}/") or _OF_THE_SYSTEM.match(path)
                if not inside and _OF_A_COMPILER not in path:
                    found.add(f"{name} {path}")
    return sorted(found)


def ask(server: subprocess.Popen[str], work: Path) -> None:
    """Ask a server for its health, pages, vectors and a search, and end it by SIGTERM."""
    assert server.stderr is not None
    url = next(line.split()[-1] for line in server.stderr if line.startswith("serve: "))
    image = (work / QUERY).read_bytes()
    for path in ("/health/ready", "/", "/metrics", "/api/v1/embed", "/api/v1/search?k=3"):
        data = image if path.startswith("/api") else None
        sent = urllib.request.Request(url + path, data, {"Content-Type": "image/png"})
        with urllib.request.urlopen(sent, timeout=60) as answer:
            answer.read()
    # the server is strace's child
    (child,) = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)


def write_photos(work: Path) -> None:
    """Write two classes that a small network tells apart, and a decision about two images."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        place = work / "photos" / name
        place.mkdir(parents=True)
        for at in range(6):
            pixels = rng.integers(100 * label, 100 * label + 90, (8, 8), np.uint8)
            Image.fromarray(pixels).save(place / f"{at}.png")
    (work / "decided.csv").write_text("left,right,same\ndark/0.png,dark/2.png,1\n")


def main() -> int:
    """Trace all commands, one after the other, as a user would type them."""
    missing = set(commands()) - {line.split()[0] for line in LINES}
    if missing:
        print("expected a line for each command; none for:", *sorted(missing))
        return 1
    bad = 0
    with tempfile.TemporaryDirectory() as folder, running_hub() as hub:
        root = Path(folder).resolve()
        write_photos(root / "work")
        for name in ("home", "temporary"):
            (root / name).mkdir()
        kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        # a home of its own: a file in it that is not of the cache is found
        kept |= {"HOME": str(root / "home"), "TMPDIR": str(root / "temporary")}
        kept |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
        for line in LINES:
            words = line.split()
            serves = words[0] == "serve"
            log = root / "trace" / str(LINES.index(line))
            log.mkdir(parents=True)
            # a file for each thread: no call is told in two lines
            strace = f"strace -ff -y -qq -s 4096 --seccomp-bpf -e trace={FILES},{SOCKETS} -o"
            running = subprocess.Popen(
                [*strace.split(), str(log / "of"), sys.executable, "-m", "twinset", *words],
                cwd=root / "work",
                env=kept,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            if serves:
                ask(running, root / "work")
            said = running.communicate(timeout=600)[1]
            asks = {hub.url.rpartition(":")[2]} if "user/shades" in line else set[str]()
            # processes that train together meet at this machine's own address
            listens = serves or "--processes" in words
            found = outside(log, root, listens=listens, asks=asks)
            home = [p for p in (root / "home").rglob("*") if p.is_file()]
            found += [str(p) for p in home if not _CACHES.search(p.as_posix())]
            bad += len(found)
            print(
                f"{words[0]:<12}{running.returncode:>3}{len(found):>4}",
                *found[:8],
                sep="\n  ",
                flush=True,
            )
            if running.returncode not in (0, 1):
                print(said)
                bad += 1
        left = [str(p) for p in (root / "temporary").iterdir()]
        print("left in the folder for temporary files:", *left or ["nothing"])
    print(
        f"{bad} files or sockets outside the stated folders, over {len(LINES)} lines of all "
        f"{len(commands())} commands"
    )
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
