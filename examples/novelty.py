"""Tell what was never seen: nothing in the index is near enough, so the answer is empty."""

import numpy as np

import twinset

train, test = twinset.load_fashion_mnist()
names = train.class_names
new = [names.index("Bag"), names.index("Trouser")]  # neither trained on nor indexed


def of_known(images, count):
    return images.subset(np.flatnonzero(~np.isin(images.labels, new))[:count])


model = twinset.fit(of_known(train, 6000), recipe="fast", epochs=4)
known, strange = of_known(test, 1000), test.subset(np.flatnonzero(np.isin(test.labels, new))[:500])

with twinset.Index.build(model, of_known(train, 5000)) as index:
    # the limit: so that 5% of known images are taken for new, chosen on images of their own
    tune = train.subset(np.arange(50_000, 52_000))
    nearest = [answer[0].distance for answer in index.search(of_known(tune, 1000).images, k=1)]
    limit = float(np.quantile(nearest, 0.95))

    false_alarms = [not answer for answer in index.search(known.images, within=limit)]
    found = [not answer for answer in index.search(strange.images, within=limit)]
    print(f"limit {limit:.3f}: {np.mean(false_alarms):.1%} of known images are taken for new,")
    print(f"and {np.mean(found):.1%} of trousers and bags, which the model never saw")
    print(next(a for a in index.search(strange.images, within=limit) if not a).sentence())
