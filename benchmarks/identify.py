"""Who is this, among 6,000 identities: one query against one search, by each rule of joining.

./task bench identify [--identities 6000] [--references 10] [--rounds 60]

Vectors of 128 coordinates and unit length in a folder's index; half of the queries show somebody
known. Search and identification take turns, one query at a time, as somebody waits for each; the
figures are medians, and ratios of medians. Then one item after another is added, and somebody asked
for after each. `--cpu` counts processor time, for a busy machine.
"""

import argparse
import statistics
import tempfile
import time

import numpy as np

import ledger
from twinset.data.labelled import VectorInput
from twinset.decision import Threshold
from twinset.metrics.trials import RULES
from twinset.models.card import TrainedOn
from twinset.models.embedder import Embedder
from twinset.search.identification import IdentitySettings
from twinset.search.identify import RECORD
from twinset.search.index import Index
from twinset.search.items import Items, Signature
from twinset.search.store import create_store

DIM = 128


class Given(Embedder):
    """A model whose embeddings are there already."""

    digest, dim = "given", DIM
    preprocessing = VectorInput(DIM)
    threshold = Threshold(0.9, "by hand")
    alternatives, calibrator, class_names = (), None, ()
    trained_on = TrainedOn("nothing", "", 0)

    def encode(self, pixels):
        """Return them."""
        return np.asarray(pixels, np.float32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=int, default=6000)
    parser.add_argument("--references", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(options.identities), options.references)
    middles = rng.normal(size=(options.identities + options.rounds, DIM))
    vectors = unit(middles[who] + 0.8 * rng.normal(size=(len(who), DIM)))
    asked = np.arange(options.rounds)
    asked[1::2] = options.identities + asked[1::2]  # somebody who is not there
    queries = unit(middles[asked] + 0.8 * rng.normal(size=(len(asked), DIM)))
    now = time.process_time if options.cpu else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        store = create_store(f"{folder}/a.index", Signature("given", DIM))
        known = [{"who": int(each)} for each in who]
        store.add(Items([f"{row}" for row in range(len(who))], vectors, known))
        print(ledger.machine())
        with Index(store, Given(), "a.index") as index:
            started = now()
            chosen = index.identify_by("who")
            ledger.say("choosing rule and threshold, s", f"{now() - started:.1f}")
            print(chosen.sentence())
            for rule in RULES:
                settings = IdentitySettings.of(chosen.to_dict() | {"rule": rule})
                store.record(RECORD, [settings.to_dict()])
                times = {"search": [], "identify": []}
                index.identify(queries[0])
                index.search(queries[0])
                for query in queries:
                    for name, ask in (("search", index.search), ("identify", index.identify)):
                        started = now()
                        ask(query)
                        times[name].append(1000 * (now() - started))
                ratio = statistics.median(times["identify"]) / statistics.median(times["search"])
                for name, each in times.items():
                    ledger.say(f"{len(who):,} items, {rule}, {name}, ms", ledger.spread(each))
                ledger.say(f"{len(who):,} items, {rule}, identify / search", f"{ratio:.2f}")
            after = []
            for row, query in enumerate(queries):
                store.add(Items([f"more {row}"], query[None], [{"who": row}]))
                started = now()
                index.identify(query)
                after.append(1000 * (now() - started))
            ledger.say("identify after one added item, ms", ledger.spread(after))


if __name__ == "__main__":
    main()
