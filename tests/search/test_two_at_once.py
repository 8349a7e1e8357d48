"""Two `twinset index` at the same moment, on a place where nothing is yet."""

import threading

import numpy as np
import pytest

from halves import Halves
from twinset.errors import StoreError, TakenError
from twinset.search.indexing import index_images
from twinset.search.items import Items, Signature
from twinset.search.store import create_store, open_store


def items(first, count):
    ids = [f"{i:03}" for i in range(first, first + count)]
    return Items(ids, np.random.default_rng(first).random((count, 2), np.float32))


@pytest.mark.parametrize("turn", range(5))
def test_one_makes_it_and_all_add(turn, tmp_path):
    """Whoever comes second finds it made, and nobody is told to overwrite."""
    place, failed = tmp_path / "photos.index", []
    start = threading.Barrier(4)

    def add(number):
        start.wait()
        try:
            index_images(Halves(), items(10 * number, 10), place).close()
        except BaseException as error:  # noqa: BLE001 - told below, by the thread that can fail
            failed.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failed
    with open_store(place) as store:
        assert sorted(id_ for part in store.batches() for id_ in part.ids) == [
            f"{i:03}" for i in range(40)
        ]
    assert [each.name for each in tmp_path.iterdir()] == ["photos.index"]


def test_a_store_that_is_made_meanwhile_is_told_apart(url):
    """On every engine: not as some error of a disk or a server."""
    signature = Signature("model", 2)
    create_store(url, signature).close()
    with pytest.raises(TakenError, match="There is an index at .* already"):
        create_store(url, signature)


def test_overwrite_wins(tmp_path):
    index_images(Halves(), items(0, 3), tmp_path / "a").close()
    with index_images(Halves(), items(5, 2), tmp_path / "a", overwrite=True) as made:
        assert len(made) == 2


def test_a_place_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/todo.txt").write_text("milk")
    with pytest.raises(StoreError, match="is no index"):
        index_images(Halves(), items(0, 3), tmp_path / "notes")
