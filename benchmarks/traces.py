"""Which files each command writes and which sockets it opens, as the system sees it: by strace.

Prints a line for each command, and what lies outside the folders that it may write to: the place
of its result, the cache folder, that for temporary files. Ends with 1 if there is any.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

CALLS = "openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,symlink,link,linkat"
QUERY = "photos/dark/0.png"
COMMANDS = (
    "--help",
    "check photos",
    "train photos --recipe tutorial --set epochs=2 --set encoder.units=[8] --out run",
    "evaluate run",
    "export run",
    "index run photos --out w --identity label",
    f"search w {QUERY} --picture found.png",
    f"identify w {QUERY}",
    "duplicates w --csv groups.csv --plan plan.sh",
    "review w --out doubts",
    "decisions w --csv decisions.csv",
    "inspect w",
    "remove w dark/1.png",
    "embed run photos --out vectors.parquet",
    f"compare run {QUERY} photos/bright/0.png",
    f"explain run {QUERY} photos/bright/0.png --picture why.png",
    "recipe fast",
)
_WRITES = re.compile(r"O_WRONLY|O_RDWR|O_CREAT|^(?!open)")
_PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
_MACHINE = re.compile(r"AF_UNIX|AF_NETLINK|127\.\d+\.\d+\.\d+|\"::1\"|AF_UNSPEC")


def outside(log: str, root: Path) -> list[str]:
    """Find what a log of strace tells of files and sockets that are none of the command's."""
    found = set[str]()
    for line in log.splitlines():
        call = re.sub(r"^\d+ +", "", line)
        if re.search(r"= -1 E|resumed>|^[+-]{3}", call):
            continue
        if call.startswith("connect("):
            if not _MACHINE.search(call):
                found.add(call)
        elif _WRITES.search(call):
            for path in _PATH.findall(call):
                whole = os.path.normpath(root / "work" / path)
                if (
                    not whole.startswith((str(root), "/dev/", "/proc/"))
                    and "__pycache__" not in whole
                ):
                    found.add(whole)
    return sorted(found)


def main() -> int:
    """Trace all commands, one after the other, as a user would type them."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(0)
        for label, name in enumerate(("dark", "bright")):
            place = root / "work/photos" / name
            place.mkdir(parents=True)
            for at in range(6):
                pixels = rng.integers(100 * label, 100 * label + 90, (8, 8), np.uint8)
                Image.fromarray(pixels).save(place / f"{at}.png")
        (root / "home").mkdir()
        (root / "temporary").mkdir()
        # a home of its own: a file in it that is not of the cache is found
        own = {"HOME": str(root / "home"), "TMPDIR": str(root / "temporary")}
        kept = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
        for words in COMMANDS:
            log = root / "trace"
            strace = [
                "strace",
                "-f",
                "-qq",
                "-s",
                "4096",
                "-e",
                f"trace={CALLS},connect",
                "-o",
                log,
            ]
            done = subprocess.run(
                [*strace, sys.executable, "-m", "twinset", *words.split()],
                cwd=root / "work",
                env=kept | own,
                capture_output=True,
                text=True,
                timeout=600,
            )
            found = outside(log.read_text(errors="replace"), root)
            home = [p for p in (root / "home").rglob("*") if p.is_file()]
            found += [str(p) for p in home if ".cache/twinset" not in p.as_posix()]
            bad += len(found)
            print(
                f"{words.split()[0]:<12}{done.returncode:>3}{len(found):>4}", *found[:5], flush=True
            )
            if done.returncode not in (0, 1):
                print(done.stderr)
                bad += 1
    print(f"{bad} files or sockets outside the stated folders, over {len(COMMANDS)} commands")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
