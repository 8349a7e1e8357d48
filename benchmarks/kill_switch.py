"""Kill a switch to another model at random moments; the index must answer by exactly one of both.

./task bench kill_switch [--kills 100] [--seed 1] [--store milvus]

A process switches an index of 200 images, then goes back and forth, and is stopped with SIGKILL.
After each kill every embedding must be that of the model that the index names and keeps, and every
decision must be there; one more is added before the next. The system keeps what it had taken: this
shows what a kill does, and not what a power cut does.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import ledger

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import switching
from twinset.models import onnx_model


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--store", choices=("folder", "milvus"), default="folder")
    options = parser.parse_args()
    onnx_model.load_model = switching.loaded  # models without Keras, so that a turn is quick
    with tempfile.TemporaryDirectory() as folder:
        place = f"milvus://{folder}/items.db?index=photos" if options.store == "milvus" else None
        seen = switching.kill_many(Path(folder), options.kills, options.seed, place)
    print(ledger.machine())
    ledger.say(
        "kill -9 during a switch to another model: indexes of exactly one model, no decision lost",
        f"{seen['halves'] + seen['left']} of {options.kills}: {seen['halves']} by the old model, "
        f"{seen['left']} by the new one; {seen['half embedded']} kills left a folder beside; "
        f"in {options.store}",
    )


if __name__ == "__main__":
    main()
