"""Find what is most like an image, in an index on disk that later programs open without Keras."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import twinset

train, test = twinset.load_fashion_mnist()
model = twinset.fit(train.subset(np.arange(6000)), recipe="fast", epochs=4)

with tempfile.TemporaryDirectory() as folder:
    photos, place = Path(folder, "photos"), Path(folder, "photos.index")
    for i in range(500):  # the user's own: a folder of images for each class
        kind = photos / test.class_names[test.labels[i]].replace("/", " or ")
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(test.images[i]).save(kind / f"{i}.png")

    with twinset.Index.build(model, photos, place) as index:
        print(index, "|", index.changes.sentence())

    with twinset.Index.open(place) as index:  # it keeps its own copy of the model
        query = Image.fromarray(test.images[600])
        for hit in index.search(query, k=3):
            print(f"{hit.distance:.3f}  {hit.id}")

        # conditions on what is known of the items, and all that the model takes for the same
        coats = index.search(query, k=None, within="threshold", where={"label": "Coat"})
        print(len(coats), "coats match")

        # only what has changed is read again; ids are paths, so these are new ones
        Path(photos, "Bag").rename(photos / "Handbag")
        print(index.update(photos, remove_missing=True).sentence())
