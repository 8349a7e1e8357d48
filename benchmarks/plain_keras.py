"""The rival: the tutorial's recipe in plain Keras on TensorFlow, as its readers write it today.

Pixel arrays of both sides of every pair, scaled to [0, 1], go to `fit`. What Keras 3 no longer
takes (a Lambda without an output shape, `K.sqrt` and its kin) is said in today's words; nothing
else is changed. Prints the seconds that `fit` took and the accuracy, and writes the tutorial's
plots of pairs and model.

    python benchmarks/plain_keras.py [--epochs 20] [--out FOLDER]

RIVAL_BACKEND=jax runs it on JAX instead.
"""

import argparse
import json
import os
import random
import time
from pathlib import Path

os.environ["KERAS_BACKEND"] = os.environ.get("RIVAL_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from keras import ops

import twinset


@keras.saving.register_keras_serializable()
class EuclideanDistance(keras.layers.Layer):
    """The tutorial's euclidean_distance, as a layer that can be saved."""

    def call(self, left, right):  # noqa: D102
        squared = ops.sum(ops.square(left - right), axis=1, keepdims=True)
        return ops.sqrt(ops.maximum(squared, keras.config.epsilon()))


def contrastive_loss(y_true, y_pred):
    margin = 1
    y_true = ops.cast(y_true, y_pred.dtype)
    return ops.mean(
        y_true * ops.square(y_pred) + (1 - y_true) * ops.square(ops.maximum(margin - y_pred, 0))
    )


def create_base_network(shape):
    image = keras.Input(shape)
    x = keras.layers.Flatten()(image)
    x = keras.layers.Dense(128, activation="relu")(x)
    x = keras.layers.Dropout(0.1)(x)
    x = keras.layers.Dense(128, activation="relu")(x)
    x = keras.layers.Dropout(0.1)(x)
    x = keras.layers.Dense(128, activation="relu")(x)
    return keras.Model(image, x)


def create_pairs(x, digit_indices):
    pairs, labels = [], []
    n = min(len(digit_indices[d]) for d in range(10)) - 1
    for d in range(10):
        for i in range(n):
            pairs += [[x[digit_indices[d][i]], x[digit_indices[d][i + 1]]]]
            other = (d + random.randrange(1, 10)) % 10
            pairs += [[x[digit_indices[d][i]], x[digit_indices[other][i]]]]
            labels += [1, 0]
    return np.array(pairs), np.array(labels, dtype="float32")


def create_pairs_on_set(images, labels):
    digit_indices = [np.where(labels == d)[0] for d in range(10)]
    return create_pairs(images, digit_indices)


def plot_pairs(path, pairs, captions):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, len(pairs), figsize=(20, 4))
    for column, (pair, caption) in enumerate(zip(pairs, captions, strict=True)):
        axes[0, column].imshow(pair[0], cmap="gray")
        axes[1, column].imshow(pair[1], cmap="gray")
        axes[1, column].set_title(caption)
    figure.savefig(path)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    random.seed(options.seed)
    keras.utils.set_random_seed(options.seed)

    # Both contestants read the data with the same loader.
    train, test = twinset.load_fashion_mnist(progress=False)
    pairs, same = create_pairs_on_set(train.images.astype("float32") / 255.0, train.labels)
    test_pairs, test_same = create_pairs_on_set(test.images.astype("float32") / 255.0, test.labels)

    base = create_base_network((28, 28))
    left, right = keras.Input((28, 28)), keras.Input((28, 28))
    model = keras.Model([left, right], EuclideanDistance()(base(left), base(right)))
    model.compile(loss=contrastive_loss, optimizer="rmsprop")
    started = time.perf_counter()
    model.fit(
        [pairs[:, 0], pairs[:, 1]],
        same,
        epochs=options.epochs,
        batch_size=128,
        verbose=0,
    )
    seconds = time.perf_counter() - started

    found = model.predict([test_pairs[:, 0], test_pairs[:, 1]], verbose=0).ravel()
    accuracy = float(np.mean((found <= 0.5) == (test_same == 1)))
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        plot_pairs(options.out / "train.png", pairs[:10], same[:10])
        plot_pairs(options.out / "test.png", test_pairs[:10], found[:10])
        try:
            keras.utils.plot_model(model, options.out / "model.png", show_shapes=True)
        except ImportError:
            print("plot_model skipped: no graphviz")
    print(f"* Accuracy on test set: {100 * accuracy:.2f}%")
    print(json.dumps({"fit_seconds": seconds, "accuracy": accuracy}))


if __name__ == "__main__":
    main()
