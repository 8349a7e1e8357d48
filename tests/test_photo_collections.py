"""The collections of photos that benchmarks and tests judge recipes on."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from twinset.evaluation.choice import choose
from twinset.metrics.all_pairs import AllPairs
from twinset.metrics.baselines import raw_pixels, unit_norm
from twinset.metrics.pairs import auc
from twinset.metrics.retrieval import retrieve

MODULE = Path(__file__).parents[1] / "benchmarks" / "photo_collections.py"


@pytest.fixture(scope="module")
def collections():
    spec = importlib.util.spec_from_file_location("photo_collections", MODULE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_three_can_be_made_anywhere(collections):
    assert {"places", "characters", "typefaces"} <= set(collections.available())


@pytest.mark.parametrize(
    ("name", "classes"), [("places", 40), ("characters", 40), ("typefaces", 20)]
)
def test_a_collection_as_a_folder_and_in_memory(collections, name, classes, tmp_path):
    how = {"views": 2, "size": (32, 32), "seed": 3}
    collections.write(tmp_path / "photos", name, **how)
    images = collections.labelled(name, 32, **how)
    assert np.bincount(images.labels).tolist() == [2] * classes
    read = twinset.load_images(tmp_path / "photos", cache=tmp_path / "cache")
    assert read.class_names == images.class_names
    np.testing.assert_array_equal(read.images[:], images.images)
    # made twice, and the seed is all that it depends on; views differ, as photographs do
    assert collections.labelled(name, 32, **how | {"seed": 4}).digest != images.digest
    assert len(np.unique(images.fingerprints, axis=0)) == 2 * classes


def test_halves_share_no_class(collections):
    images = collections.labelled("typefaces", 32, views=1)
    seen, unseen = collections.halves(images, seed=1)
    assert not np.intersect1d(seen.labels, unseen.labels).size
    assert len(seen) == len(unseen) == 10
    assert not np.array_equal(seen.labels, collections.halves(images, seed=2)[0].labels)


def test_places_are_apart_and_have_something_to_see(collections):
    edge = Image.new("L", (200, 120))
    edge.paste(255, (0, 0, 60, 120))
    (first, *others) = collections.eventful(edge, 3, 40)
    assert abs(first[0] - 60) <= 5
    spots = [first, *others]
    for i, (x, y) in enumerate(spots):
        assert all(max(abs(x - a), abs(y - b)) >= 40 for a, b in spots[:i])


def test_neither_too_easy_nor_impossible(collections):
    """What raw pixels tell: much of places, next to nothing of characters in any colours."""
    found = {}
    for name in ("places", "characters"):
        images = collections.labelled(name, 24, views=3, size=(24, 24))
        found[name] = auc(AllPairs(raw_pixels(images.images), images.labels).curve())
    assert 0.8 < found["places"] < 0.97
    assert 0.45 < found["characters"] < 0.6


@pytest.mark.parametrize(("name", "views"), [("places", 3), ("characters", 3), ("typefaces", 4)])
def test_the_choice_is_not_below_raw_pixels_on_classes_not_seen(collections, name, views):
    """And not below `fast`, `conv` and `unseen`, which benchmarks/photos.py trains for minutes."""
    images = collections.labelled(name, 64, views=views, size=(64, 64))
    seen, unseen = collections.halves(images)
    model = twinset.fit(seen, choose(seen, choice={"purpose": "unseen"}).recipe, progress=False)
    found = []
    for embeddings in (model.embed(unseen), unit_norm(raw_pixels(unseen.images))):
        embeddings = np.asarray(embeddings, np.float32)
        area = auc(AllPairs(embeddings, unseen.labels).curve())
        found.append((area, retrieve(embeddings, unseen.labels, ks=(1,)).recall_at[1]))
    ours, pixels = found
    assert ours[0] > pixels[0] + 0.03
    assert ours[1] >= pixels[1]
