"""Kill a writer at random moments; after each, what it acknowledged must be there, and no half.

./task bench kill_index [--kills 200] [--seed 1]

The writer adds, replaces and removes, which compacts now and then. It is stopped with SIGKILL, so
what the system had taken is kept: this shows what a kill does, and not what a power cut does.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import ledger

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from index_writer import kill_many


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts = kill_many(Path(folder, "photos.index"), options.kills, options.seed)
    print(ledger.machine())
    ledger.say(
        "kill -9 during index writes: consistent states",
        f"{counts['kills']} of {options.kills}, after {counts['steps']:,} acknowledged changes; "
        f"{counts['there though not acknowledged']} times the change in hand was there as well",
    )


if __name__ == "__main__":
    main()
