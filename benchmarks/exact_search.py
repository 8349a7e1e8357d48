"""Exact search without faiss, against faiss' exact index, on the same vectors.

./task bench exact_search [--items 60000] [--rounds 15]

Vectors of 128 coordinates and unit length around 200 centres of a 24-dimensional space; k = 10.
Contestants take turns; each figure is a median, a ratio is of medians within this run. faiss uses
as many threads as there are cores, as it does by default, and one as well: where the machine is
busy its threads wait for one another. Vectors lie in memory; what is measured once (squared
lengths, `IndexFlatL2.add`) is not counted.
"""

import argparse
import statistics
import time

import faiss
import numpy as np

import ledger
from twinset.nearest import Matrix

K = 10


def clustered(n, seed=0, dim=128, centres=200):
    rng = np.random.default_rng(seed)
    fixed = np.random.default_rng(12345)
    places, basis = fixed.normal(size=(centres, 24)), fixed.normal(size=(24, dim))
    vectors = np.empty((n, dim), np.float32)
    for start in range(0, n, 100_000):
        part = vectors[start : start + 100_000]
        latent = places[rng.integers(0, centres, len(part))]
        latent = latent + 0.35 * rng.normal(size=latent.shape)
        rows = latent @ basis + 0.3 * rng.normal(size=part.shape)
        part[:] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return vectors


def compare(contestants, rounds):
    """Seconds of each, in turns."""
    seconds = {name: [] for name in contestants}
    for name in contestants:
        contestants[name]()
    for _ in range(rounds):
        for name, run in contestants.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def with_threads(count, run):
    def limited():
        faiss.omp_set_num_threads(count)
        return run()

    return limited


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=60_000)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    vectors, queries = clustered(options.items), clustered(1000, seed=1)
    matrix, flat = Matrix(vectors), faiss.IndexFlatL2(vectors.shape[1])
    flat.add(vectors)
    cores = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(cores)
    _, expected = flat.search(queries, K)
    found = matrix.search(queries, k=K).positions.reshape(-1, K)
    print(ledger.machine(), f", faiss {faiss.__version__}, {cores} threads", sep="")
    ledger.say("exact search, neighbours that both name", f"{(found == expected).mean():.4%}")
    for asked, rounds in ((queries, options.rounds), (queries[:1], 20 * options.rounds)):
        contestants = {
            "ours": with_threads(cores, lambda asked=asked: matrix.search(asked, k=K)),
            "faiss": with_threads(cores, lambda asked=asked: flat.search(asked, K)),
            "faiss, 1 thread": with_threads(1, lambda asked=asked: flat.search(asked, K)),
        }
        seconds = compare(contestants, rounds)
        what = f"{options.items:,} × 128, {len(asked):,} quer{'y' if len(asked) == 1 else 'ies'}"
        for name, times in seconds.items():
            ledger.say(f"{what}, {name}, ms", ledger.spread([1000 * t for t in times]))
        ours = statistics.median(seconds.pop("ours"))
        for name, times in seconds.items():
            ratio = statistics.median(times) / ours
            ledger.say(f"{what}, speed ours / {name}", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
