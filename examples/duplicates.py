"""Find images that are there twice, or nearly so, in groups; and see how sure that is."""

import io

import numpy as np
from PIL import Image

import twinset

train, test = twinset.load_fashion_mnist()
model = twinset.fit(train.subset(np.arange(6000)), recipe="fast", epochs=4)


def saved_again(image):
    """Return an image as it comes back from a JPEG: each pixel a little off."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95)
    return np.asarray(Image.open(file))


# 1,000 images, and 100 of them once more
copies = np.stack([saved_again(image) for image in test.images[:100]])
images = np.concatenate([test.images[:1000], copies])
names = [f"{i}.png" for i in range(1000)] + [f"{i}.jpg" for i in range(100)]
labels = np.concatenate([test.labels[:1000], test.labels[:100]])
photos = twinset.LabelledImages(images, labels, test.class_names, "photos", names=names)

with twinset.Index.build(model, photos) as index:
    # The model's own threshold says "the same class"; copies are far closer than that.
    for threshold in (0.001, 0.01, 0.03, index.threshold.value):
        found = twinset.duplicates(index, threshold)
        groups = [{one.id for one in group.members} for group in found.groups]
        hits = sum(any({f"{i}.png", f"{i}.jpg"} <= ids for ids in groups) for i in range(100))
        largest = max(map(len, groups), default=0)
        print(
            f"within {threshold:.3f}: {hits} of 100 copies in {len(groups)} groups, "
            f"the largest of {largest}"
        )
