"""Duplicates: exact ones against a loop, near ones planted among real images."""

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from twinset.data.checks import near_duplicates
from twinset.data.checks.near_duplicates import FEW, Duplicates, _candidates, find_duplicates
from twinset.data.checks.thumbnails import signatures
from twinset.data.image_sources import StoredPixels, fingerprints
from twinset.data.labelled import LabelledImages

BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "near_duplicates.py"


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's planted changes and its colour images, so that both measure one thing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARK.parent)
        spec = importlib.util.spec_from_file_location("near_duplicates_benchmark", BENCHMARK)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def clothes(fashion_mnist):
    return fashion_mnist[0].images[:1000]


def noise(count, *shape):
    return np.random.default_rng(2).integers(0, 256, (count, *shape), np.uint8)


# --- the same pixels


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.sampled_from([(2, 3), (1, 1, 3), (9, 8)]))
def test_exact_duplicates_are_what_a_loop_finds(kinds, shape):
    images = noise(5, *shape)[kinds] if kinds else np.empty((0, *shape), np.uint8)
    found = find_duplicates(images, threshold=0)
    pairs = [
        [next(i for i, other in enumerate(images) if (other == image).all()), j]
        for j, image in enumerate(images)
    ]
    assert found.first.tolist() == [i for i, _ in pairs]
    assert found.pairs.tolist() == sorted([i, j] for i, j in pairs if i != j)
    assert found.exact.all()
    assert not found.distances.any()
    families = {}
    for i, j in pairs:
        families.setdefault(i, []).append(j)
    several = sorted((f for f in families.values() if len(f) > 1), key=lambda f: (-len(f), f[0]))
    assert [group.tolist() for group in found.groups()] == several


def test_a_thousand_equal_images_are_a_thousand_pairs_at_most():
    found = find_duplicates(np.repeat(noise(1, 28, 28), 1000, axis=0))
    assert len(found.pairs) == 999
    assert found.exact.all()
    assert found.skipped == 0
    assert [len(group) for group in found.groups()] == [1000]


def test_blank_images_are_equal_or_nothing():
    images = np.stack([np.full((28, 28), level, np.uint8) for level in (0, 10, 10, 255, 30)])
    images[4, 3, 3] = 31  # the noise of a file format
    with np.errstate(all="raise"):
        found = find_duplicates(images)
    assert found.pairs.tolist() == [[1, 2]]
    assert found.constant.all()


def test_known_fingerprints_are_used():
    images = noise(3, 28, 28)
    pretended = fingerprints(images)[[0, 1, 0]]
    assert find_duplicates(images, fingerprints=pretended).pairs.tolist() == [[0, 2]]


def test_below_eight_pixels_only_the_same_pixels_count():
    images = noise(6, 7, 28)
    images[5], images[4, :, 1:] = images[0], images[1, :, :-1]
    assert find_duplicates(images).pairs.tolist() == [[0, 5]]


# --- nearly the same


# Floors are some points below what the benchmark measures with more images.
FLOORS = {
    "JPEG, quality 60": 0.95,
    "shifted by 1 pixel": 0.98,
    "shifted by 1 pixel, diagonally": 0.9,
    "shifted by 2 and 1 pixels": 0.8,
    "resized to 97% and back": 0.95,
    "brightness + 10%": 0.98,
    "brightness − 10%": 0.98,
}


def planted(images, name, originals, benchmark):
    """The share of the originals whose one changed copy is found."""
    copies = np.stack([benchmark.CHANGES[name](images[i]) for i in originals])
    found = find_duplicates(np.concatenate([images, copies]))
    pairs = set(map(tuple, found.pairs.tolist()))
    return np.mean([(i, len(images) + k) in pairs for k, i in enumerate(originals)]), found


@pytest.mark.parametrize("name", FLOORS)
def test_planted_copies_of_clothes_are_found(name, clothes, benchmark):
    originals = np.random.default_rng(0).permutation(len(clothes))[:100].tolist()
    share, found = planted(clothes, name, originals, benchmark)
    assert share >= FLOORS[name]
    # nobody but the originals and their copies, but for a few look-alikes
    strangers = set(found.pairs.ravel().tolist()) & set(range(len(clothes))) - set(originals)
    assert len(strangers) <= 0.005 * len(clothes)


@pytest.mark.parametrize("name", FLOORS)
def test_planted_copies_of_colour_photographs_are_found(name, benchmark):
    photos = benchmark.tiles()
    share, found = planted(photos, name, range(len(photos)), benchmark)
    assert share >= FLOORS[name]
    assert all(j == i + len(photos) for i, j in found.pairs.tolist())


def test_clean_clothes_photographs_and_digits_raise_few_alarms(clothes, benchmark):
    digits = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    for images in (clothes, benchmark.tiles(), digits):
        found = find_duplicates(images)
        assert np.unique(found.pairs).size <= 0.005 * len(images)
        assert 0.05 <= found.threshold <= 0.25


def test_fashion_mnist_has_one_product_twice(fashion_mnist):
    """Two positions of one pair of trousers, found by this module and seen by eye."""
    images = np.concatenate([fashion_mnist[0].images[[753, 29413, 43549]], noise(40, 28, 28)])
    found = find_duplicates(images, threshold=0.05)
    assert found.pairs.tolist() == [[1, 2], [0, 1], [0, 2]]
    assert not found.exact.any()
    assert (np.diff(found.distances) >= 0).all()
    assert [group.tolist() for group in found.groups()] == [[0, 1, 2]]


def test_the_order_of_the_images_does_not_matter(clothes):
    images = np.concatenate([clothes[:200], np.roll(clothes[:20], 1, axis=2)])
    order = np.random.default_rng(3).permutation(len(images))
    first = find_duplicates(images, threshold=0.08)
    second = find_duplicates(images[order], threshold=0.08)
    renamed = np.sort(order[second.pairs], axis=1)
    assert {tuple(pair) for pair in first.pairs.tolist()} == {tuple(p) for p in renamed.tolist()}
    assert len(first.pairs) >= 18


def test_only_the_first_of_equal_images_is_compared(clothes):
    near = np.roll(clothes[3:4], 1, axis=2)
    images = np.concatenate([clothes[:50], near, clothes[3:4], near])
    found = find_duplicates(images, threshold=0.05)
    assert found.pairs.tolist() == [[3, 51], [50, 52], [3, 50]]
    assert found.exact.tolist() == [True, True, False]
    assert [group.tolist() for group in found.groups()] == [[3, 50, 51, 52]]


def test_stored_images_give_the_same(tmp_path, clothes):
    images = np.concatenate([clothes[:60], clothes[:5], np.roll(clothes[:5], 1, axis=1)])
    (tmp_path / "pixels").write_bytes(images.tobytes())
    stored = find_duplicates(StoredPixels(tmp_path / "pixels", images.shape))
    ours = find_duplicates(images)
    assert np.array_equal(stored.pairs, ours.pairs)
    assert len(ours.pairs) >= 9


# --- the search


def test_candidates_are_what_a_loop_finds_across_tiles(clothes, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    known = signatures(clothes[:60])
    cosines = known @ known.T
    expected, more = set(), 0
    for i in range(60):
        later = [j for j in range(i + 1, 60) if cosines[i, j] >= 0.93]
        later.sort(key=lambda j: -cosines[i, j])
        expected |= {(i, j) for j in later[:3]}
        more += len(later[3:])
    found, skipped = _candidates(known, 0.93, 3)
    assert {tuple(pair) for pair in found.tolist()} == expected
    assert skipped == more
    assert more > 10


def test_a_crowd_of_look_alikes_is_bounded_and_counted():
    icon = noise(1, 28, 28)[0]
    icons = np.repeat(icon[None], 300, axis=0)
    icons[np.arange(300), np.arange(300) % 28, np.arange(300) // 28] ^= 1  # 300 different ones
    found = find_duplicates(icons, neighbours=4)
    assert not found.exact.any()
    assert len(found.pairs) <= 4 * 300
    # all pairs are candidates: 300 · 299 / 2, of which 4 for each but the last four are kept
    assert found.skipped == 300 * 299 // 2 - (296 * 4 + 3 + 2 + 1)
    assert [len(group) for group in found.groups()] == [300]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_few_images_are_no_trouble(count):
    images = noise(3, 28, 28)[:count]
    found = find_duplicates(images)
    assert found.pairs.shape == (0, 2)
    assert found.groups() == []


def test_a_chain_is_one_group():
    pairs = np.array([[0, 4], [4, 5], [1, 2]])
    found = Duplicates(
        pairs, np.zeros(3), np.zeros(3, bool), np.arange(6), np.zeros(6, bool), 0.1, 0
    )
    assert [group.tolist() for group in found.groups()] == [[0, 4, 5], [1, 2]]


def test_what_was_found_is_kept(tmp_path, monkeypatch):
    """By the pixels alone: other labels find it again, another pixel does not."""
    pixels = noise(FEW, 12, 12)
    pixels[7], pixels[9, 1:] = pixels[3], pixels[5, :-1]
    looked = []

    def counted(*arguments, **named):
        looked.append(1)
        return find_duplicates(*arguments, **named)

    monkeypatch.setattr(near_duplicates, "find_duplicates", counted)
    for labels in (np.arange(FEW) % 2, np.arange(FEW) % 3):
        images = LabelledImages(pixels, labels, ("a", "b", "c"))
        for _ in range(2):
            found = near_duplicates.kept_duplicates(images, tmp_path / "kept")
            same(found, find_duplicates(pixels))
            assert found.pairs.tolist() == [[3, 7], [5, 9]]
    assert len(looked) == 1
    other = LabelledImages(pixels + np.uint8(1), labels, ("a", "b", "c"))
    near_duplicates.kept_duplicates(other, tmp_path / "kept")
    assert len(looked) == 2
    for path in (tmp_path / "kept").glob("*.npz"):
        path.write_bytes(path.read_bytes()[:100])  # a disk that was full
    same(near_duplicates.kept_duplicates(images, tmp_path / "kept"), find_duplicates(pixels))
    assert len(looked) == 3
    # few are looked at anew, and a folder that cannot be written is no reason to end
    (tmp_path / "file").touch()
    near_duplicates.kept_duplicates(images, tmp_path / "file")
    near_duplicates.kept_duplicates(images.subset(np.arange(9)), tmp_path / "few")
    assert not (tmp_path / "few").exists()


def same(one, other):
    for field in dataclasses.fields(Duplicates):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
        assert type(getattr(one, field.name)) is type(getattr(other, field.name))
