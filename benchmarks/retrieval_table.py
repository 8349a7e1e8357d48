"""A recipe in the columns of the published retrieval table (robrank, Fashion-MNIST).

./task bench retrieval_table [--recipe tutorial] [--seeds 5]

Query and gallery are the 10,000 test images; fitted on the protocol's 50,000. NMI compares ten
k-means clusters with the classes.
"""

import argparse
import statistics

from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score

import ledger
import twinset
from twinset.data.split import protocol_split
from twinset.metrics.retrieval import retrieve


def row(train, test, recipe, seed):
    model = twinset.fit(train, recipe, seed=seed)
    embeddings = model.embed(test)
    scores = retrieve(embeddings, test.labels, ks=(1, 2))
    clusters = KMeans(10, n_init=4, random_state=seed).fit_predict(embeddings)
    return {
        "R@1": scores.recall_at[1],
        "R@2": scores.recall_at[2],
        "mAP": scores.mean_average_precision,
        "MAP@10": scores.map_at_10,
        "NMI": normalized_mutual_info_score(test.labels, clusters),
        "MAP@R": scores.map_at_r,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="tutorial")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    train, test = twinset.load_fashion_mnist()
    fit = train.subset(protocol_split(train.labels)["fit"])
    rows = [row(fit, test, options.recipe, seed) for seed in range(options.seeds)]
    print(ledger.machine())
    for name in rows[0]:
        values = [each[name] for each in rows]
        spread = statistics.stdev(values) if len(values) > 1 else float("nan")
        ledger.say(f"retrieval, {name}", f"{statistics.mean(values):.4f} (SD {spread:.4f})")


if __name__ == "__main__":
    main()
