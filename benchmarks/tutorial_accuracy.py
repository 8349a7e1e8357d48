"""Accuracy of the tutorial recipe at threshold 0.5 on the 19,980 test pairs, over seeds.

./task bench tutorial_accuracy [--seeds 5]
"""

import argparse
import statistics

import ledger
import twinset


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    train, test = twinset.load_fashion_mnist()
    accuracies = []
    for seed in range(options.seeds):
        model = twinset.fit(train, "tutorial", seed=seed)
        pairs = twinset.tutorial_pairs(test.labels, seed=seed)
        scores = twinset.score_pairs(model.distances(test, pairs), pairs.same, 0.5)
        accuracies.append(100 * scores.accuracy)
        print(f"seed {seed}: accuracy {accuracies[-1]:.2f}%, AUC {scores.auc:.4f}", flush=True)
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    print(ledger.machine())
    ledger.say(
        f"accuracy at 0.5, mean of seeds 0 to {options.seeds - 1}",
        f"{mean:.2f}% (SD {deviation:.2f}, {min(accuracies):.2f} to {max(accuracies):.2f})",
    )


if __name__ == "__main__":
    main()
