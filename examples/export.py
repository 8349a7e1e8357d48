"""Hand a model to a program that knows nothing of twinset: one file, ONNX Runtime and NumPy."""

import json
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

import twinset

train, test = twinset.load_fashion_mnist()
model = twinset.fit(train.subset(np.arange(6000)), recipe="fast", epochs=4)

with tempfile.TemporaryDirectory() as folder:
    done = twinset.export(model, Path(folder, "exported"))
    print(f"{done.size:,} bytes, off by {done.difference:.1e} from Keras")

    # From here on no Keras, and no twinset: pixels in, embeddings out.
    session = onnxruntime.InferenceSession(done.graph)
    card = json.loads(session.get_modelmeta().custom_metadata_map["twinset"])
    images = test.images[:1000]  # uint8, of the size that the card names
    assert list(images.shape[1:]) == card["preprocessing"]["shape"]
    embeddings = session.run(["embeddings"], {"images": images})[0]
    apart = np.linalg.norm(embeddings[:500] - embeddings[500:], axis=1)
    print((apart <= card["threshold"]["value"]).sum(), "of 500 pairs match")

    # What twinset makes of the same file is the same.
    again = twinset.load_model(done.graph)
    assert np.array_equal(again.embed(images), embeddings)
    print(again.compare(images[0], images[1]).sentence())

    # A quarter of the size, and what that costs.
    small = twinset.export(model, Path(folder, "small"), int8=True, data=test)
    print(f"{small.size:,} bytes")
    for precision, quality in small.quality.items():
        print(f"{precision}: accuracy {quality.accuracy:.2%}, ROC AUC {quality.auc:.4f}")
