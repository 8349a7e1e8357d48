"""What the folder store promises beyond the contract: files, kills, damage, two at once."""

import os
import resource
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from index_writer import content, kill_many
from twinset.errors import ReplacedError, StoreError
from twinset.nearest import Matrix
from twinset.search.sqlite import database
from twinset.search.sqlite.store import SqliteStore
from twinset.search.store import Items, Signature, create_store, open_store

SIGNATURE = Signature("digest", 3)


def some(first=0, n=10):
    vectors = np.random.default_rng(first).normal(size=(n, 3)).astype(np.float32)
    return Items(
        [str(i) for i in range(first, first + n)],
        vectors,
        [{"row": i} for i in range(first, first + n)],
    )


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "photos.index"


@pytest.fixture
def store(folder):
    with SqliteStore.create(str(folder), SIGNATURE) as made:
        made.add(some())
        yield made


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_change_that_was_not_noted_is_not_missed(store, folder):
    before = store.version()
    for number in range(3):
        store.add(some(10 + number, 1))
    assert store.since(before).changed == []
    with sqlite3.connect(folder / "items.sqlite") as db:
        db.execute("DELETE FROM changes WHERE change = 3")
    assert store.since(before).changed is None
    before = store.version()
    store.remove(["3"])
    assert (store.since(before).changed, store.since(before).first) == ([3], 13)


def test_only_so_many_changes_are_remembered(store, monkeypatch):
    monkeypatch.setattr("twinset.search.sqlite.rows._LOGGED", 2)
    seen = []
    for number in range(3):
        seen.append(store.version())
        store.add(some(10 + number, 1))
    assert [store.since(each).changed for each in seen] == [None, [], []]


# --- files


def test_what_is_in_the_folder(store, folder):
    store.close()
    assert files(folder) == ["items.sqlite", "vectors-0.f32"]
    raw = np.fromfile(folder / "vectors-0.f32", "<f4").reshape(-1, 3)
    np.testing.assert_array_equal(raw, some().vectors)


def test_the_folder_may_move(store, folder, tmp_path):
    store.close()
    folder.rename(tmp_path / "odd name?#%20ü.index")
    with open_store(str(tmp_path / "odd name?#%20ü.index")) as moved:
        assert list(content(moved)) == list(some().ids)


def test_the_process_may_go_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with create_store("a.index", SIGNATURE) as store:
        store.add(some())
        monkeypatch.chdir(tmp_path.parent)
        store.add(some(20, 4))
        assert len(store.search(some().vectors[:1], k=1)) == 1
    assert files(tmp_path) == ["a.index"]


@pytest.mark.parametrize("compacted", [False, True])
def test_another_in_its_place_is_not_written_to(folder, compacted):
    """Its vectors are found by path; a connection goes on with the file that was moved away."""
    beside = folder.with_name("fresh")
    with create_store(str(folder), SIGNATURE) as old, create_store(str(beside), SIGNATURE) as fresh:
        old.add(some(0, 3))
        fresh.add(some(0, 10))
        if compacted:
            fresh.remove([str(i) for i in range(6)])
        fresh.close()
        folder.rename(folder.with_name("before"))
        beside.rename(folder)
        with open_store(str(folder)) as there:
            kept = content(there)
        for change in (
            lambda: old.add(some(20, 4)),
            lambda: old.remove(["1"]),
            lambda: old.record("decisions", [{"left": "1"}]),
            lambda: old.search(some().vectors[:1], k=1),
            lambda: len(old),
        ):
            with pytest.raises(ReplacedError, match="replaced since it was opened. Open it again"):
                change()
        with open_store(str(folder)) as there:
            assert content(there) == kept
        with open_store(str(folder.with_name("before"))) as moved:
            assert len(moved) == 3
        folder.rename(folder.with_name("gone"))
        with pytest.raises(ReplacedError, match="Open it again"):
            old.add(some(20, 4))


def test_making_leaves_nothing_else(folder, tmp_path):
    create_store(str(tmp_path / "a" / "b.index"), SIGNATURE).close()
    assert files(tmp_path) == ["a"]
    assert files(tmp_path / "a") == ["b.index"]
    (tmp_path / "empty").mkdir()
    create_store(str(tmp_path / "empty"), SIGNATURE).close()
    assert files(tmp_path / "empty") == ["items.sqlite", "vectors-0.f32"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_folder_of_other_things_becomes_an_index(folder, overwrite):
    folder.mkdir()
    (folder / "a.jpg").write_bytes(b"precious")
    with pytest.raises(StoreError, match="is there and is no index. Choose"):
        create_store(str(folder), SIGNATURE, overwrite=overwrite)
    assert files(folder) == ["a.jpg"]
    with pytest.raises(StoreError, match="is there and is no index. Choose"):
        create_store(str(folder / "a.jpg"), SIGNATURE, overwrite=overwrite)
    assert (folder / "a.jpg").read_bytes() == b"precious"


def test_overwriting_keeps_what_is_not_the_stores(store, folder):
    (folder / "model").mkdir()
    with create_store(str(folder), Signature("other", 5), overwrite=True) as new:
        assert len(new) == 0
        new.add(Items(["a"], np.zeros((1, 5))))
        with pytest.raises(StoreError, match="the index was replaced since it was op"):
            store.search(np.zeros((1, 3)))
        with pytest.raises(StoreError, match="the index was replaced since it was op"):
            store.add(some(50))
        assert list(content(new)) == ["a"]
    store.close()
    assert files(folder) == ["items.sqlite", "model", "vectors-1.f32"]


def test_removed_rows_go_when_they_are_most(store, folder):
    store.remove(some().ids[:5])
    assert (folder / "vectors-0.f32").stat().st_size == 120
    store.remove(some().ids[5:6])
    assert "vectors-0.f32" not in files(folder)
    assert (folder / "vectors-1.f32").stat().st_size == 48
    assert list(content(store)) == ["6", "7", "8", "9"]
    (hits,) = store.search(some().vectors[7:8], k=1, where=["row=7"])
    assert (hits[0].id, hits[0].distance) == ("7", 0.0)
    store.add(some(10, 3))
    assert list(content(store)) == ["6", "7", "8", "9", "10", "11", "12"]


def test_readers_keep_what_they_began_with(store, folder):
    with open_store(str(folder)) as reader:
        batches = reader.batches(4)
        begun = next(batches)
        store.remove(some().ids[:8])
        store.add(some(10, 5))
        assert "vectors-0.f32" not in files(folder)
        rest = list(batches)
        assert [id_ for part in (begun, *rest) for id_ in part.ids] == list(some().ids)
        assert np.concatenate([begun.vectors, *(part.vectors for part in rest)]).tobytes() == (
            some().vectors.tobytes()
        )
        assert list(content(reader)) == [str(i) for i in range(8, 15)]
        batches = reader.batches()
        reader.close()
        with pytest.raises(StoreError, match="This index is closed"):
            next(batches)


def test_a_reader_between_state_and_vectors_reads_again(store, folder, monkeypatch):
    """The file of the state that a reader has just read may be gone when it looks for it."""
    with open_store(str(folder)) as reader:
        read = database.read
        moved = []

        def slowly(db):
            state = read(db)
            if not moved:
                moved.append(True)
                monkeypatch.setattr(database, "read", read)
                store.remove(some().ids[:8])
            return state

        reader._mapped = None
        monkeypatch.setattr(database, "read", slowly)
        assert list(reader.get(["8", "9"]).ids) == ["8", "9"]
        assert moved


def test_what_lies_behind_is_overwritten(store, folder):
    store.close()
    with (folder / "vectors-0.f32").open("ab") as file:
        file.write(b"\xff" * 1000)  # NaN, half a row at the end
    (folder / "vectors-1.f32").write_bytes(b"the rest of a compaction")
    with open_store(str(folder)) as again:
        assert content(again).keys() == set(some().ids)
        again.add(some(10))
        assert np.isfinite(again.get([str(i) for i in range(20)]).vectors).all()
        assert again.search(some(10).vectors, k=1)[9][0].id == "19"
    assert files(folder) == ["items.sqlite", "vectors-0.f32"]


def test_opening_reads_no_row(store, folder, monkeypatch):
    store.close()
    seen = []
    connect = sqlite3.connect

    def watched(*args, **kwargs):
        db = connect(*args, **kwargs)
        db.set_trace_callback(seen.append)
        return db

    monkeypatch.setattr(sqlite3, "connect", watched)
    open_store(str(folder)).close()
    assert [text for text in seen if "SELECT" in text] == ["SELECT * FROM state"]


def test_where_nobody_can_write(store, folder, monkeypatch):
    store.close()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with open_store(str(folder)) as reader:
        assert len(reader) == 10
        assert files(folder) == ["items.sqlite", "vectors-0.f32"]
        with pytest.raises(StoreError, match="the index may not be opened or written"):
            reader.add(some(10))


def test_the_same_conditions_again_after_a_change(store):
    """What they chose is kept from one search to the next, but not beyond a change."""
    asked = {"k": 100, "where": ["row>=5"]}
    assert len(store.search(np.zeros((1, 3)), **asked)[0]) == 5
    assert len(store.search(np.zeros((1, 3)), **asked)[0]) == 5
    store.add(some(10))
    assert len(store.search(np.zeros((1, 3)), **asked)[0]) == 15
    store.remove(["6", "12"])
    assert len(store.search(np.zeros((1, 3)), **asked)[0]) == 13


# --- damage


def garbage(folder):
    (folder / "items.sqlite").write_bytes(b"not a database" * 1000)


def nothing(folder):
    (folder / "items.sqlite").write_bytes(b"")


def another_program(folder):
    (folder / "items.sqlite").unlink()
    with sqlite3.connect(folder / "items.sqlite") as db:
        db.execute("CREATE TABLE state (a)")
    db.close()


def another_version(folder):
    with sqlite3.connect(folder / "items.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()


def no_state(folder):
    with sqlite3.connect(folder / "items.sqlite") as db:
        db.execute("DELETE FROM state")
    db.close()


def no_table(folder):
    with sqlite3.connect(folder / "items.sqlite") as db:
        db.execute("DROP TABLE state")
    db.close()


def short_vectors(folder):
    os.truncate(folder / "vectors-0.f32", 119)


def no_vectors(folder):
    (folder / "vectors-0.f32").unlink()


def no_database(folder):
    (folder / "items.sqlite").unlink()


DAMAGES = {
    garbage: "the index is damaged",
    nothing: "but a database of another program",
    another_program: "but a database of another program",
    another_version: "photos.index has format 99, and this version of twinset reads format 3",
    no_state: "the index is damaged",
    no_table: "the index is damaged",
    short_vectors: "vectors-0.f32: the index is damaged: this file has 119 bytes instead of 120",
    no_vectors: "vectors-0.f32: the index is damaged: this file has 0 bytes instead of 120",
    no_database: "There is no index at .*photos.index: a folder of other things",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told(store, folder, damage):
    store.close()
    damage(folder)
    with pytest.raises(StoreError, match=DAMAGES[damage]):
        open_store(str(folder))


@pytest.mark.parametrize("damage", [garbage, no_state, short_vectors, no_vectors, no_database])
def test_a_damaged_one_can_be_overwritten(store, folder, damage):
    store.close()
    damage(folder)
    (folder / "model").mkdir()
    with pytest.raises(StoreError, match="There is an index at"):
        create_store(str(folder), SIGNATURE)
    with create_store(str(folder), SIGNATURE, overwrite=True) as new:
        new.add(some(3, 2))
        assert list(content(new)) == ["3", "4"]
    assert [name[:7] for name in files(folder)] == ["items.s", "model", "vectors"]


@pytest.mark.parametrize("damage", [another_program, another_version])
def test_what_is_not_ours_is_not_overwritten(store, folder, damage):
    store.close()
    damage(folder)
    before = (folder / "items.sqlite").read_bytes()
    with pytest.raises(StoreError, match="(a database of another program|format 99)"):
        create_store(str(folder), SIGNATURE, overwrite=True)
    assert (folder / "items.sqlite").read_bytes() == before


def test_damage_while_open_is_told(store, folder):
    no_vectors(folder)
    with pytest.raises(StoreError, match="vectors-0.f32: .*the index is damaged"):
        store.add(some(10))
    with pytest.raises(StoreError, match="is damaged"), open_store(str(folder)):
        pass


def test_a_hole_in_the_database_gives_no_answer(folder):
    """Every page but the first in turn: an error or the right answer, never another."""
    with SqliteStore.create(str(folder), SIGNATURE) as store:
        store.add(some(0, 400))
        right = content(store)
    whole = (folder / "items.sqlite").read_bytes()
    told = 0
    for start in range(4096, len(whole), 4096):
        broken = whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :]
        (folder / "items.sqlite").write_bytes(broken)
        try:
            with open_store(str(folder)) as store:
                assert content(store) == right
                assert len(store.search(np.zeros((1, 3)), k=400)[0]) == 400
                assert len(store.search(np.zeros((1, 3)), k=400, where=["row<100"])[0]) == 100
        except StoreError as error:
            assert "damaged" in str(error)  # noqa: PT017
            told += 1
    assert told > 3


# --- several at once


def test_a_second_writer_waits_and_then_gives_up(store, folder, monkeypatch):
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with open_store(str(folder)) as second:
        blocker = sqlite3.connect(folder / "items.sqlite", isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another process has been writing to this index for"):
            second.add(some(10))
        assert len(second) == 10  # readers do not wait
        blocker.execute("ROLLBACK")
        blocker.close()
        second.add(some(10))
        assert len(store) == 20


def test_threads_share_a_store(store):
    wrong = []

    def search():
        for _ in range(30):
            for row, hits in enumerate(store.search(some().vectors, k=1)):
                if (hits[0].id, hits[0].distance) != (str(row), 0.0):
                    wrong.append(hits)

    def add(first):
        for start in range(first, first + 100, 10):
            store.add(some(start))
            store.remove(some(start).ids[:7])

    threads = [threading.Thread(target=search) for _ in range(3)]
    threads += [threading.Thread(target=add, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(store) == 10 + 2 * 10 * 3


def during_a_search(monkeypatch, job):
    """Call `job` each time when a search looks at vectors."""
    look = Matrix.search

    def slowly(self, *args, **asked):
        job()
        return look(self, *args, **asked)

    monkeypatch.setattr(Matrix, "search", slowly)


@pytest.mark.parametrize("queries", [1, 3])
def test_searches_overlap(store, monkeypatch, queries):
    """Each waits until another looks at vectors too: one at a time would wait for ever."""
    together = threading.Barrier(3)
    during_a_search(monkeypatch, lambda: together.wait(20))
    vectors = some().vectors[:queries]
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(store.search, vectors, k=2, where=["row<9"]) for _ in range(3)]
        first, *others = [answer.result() for answer in answers]
    assert [hits[0].id for hits in first] == [str(row) for row in range(queries)]
    assert others == [first, first]


def test_a_search_sees_the_moment_at_which_it_began(store, folder, monkeypatch):
    """Whatever is written meanwhile, even if all moves to another file and ids come back anew."""
    before = store.search(some().vectors, k=10, where=["row>=2"])
    changed = []

    def change():
        monkeypatch.undo()
        store.remove(some().ids[:8])
        assert "vectors-0.f32" not in files(folder)
        new = Items(some().ids[:9], -some().vectors[:9], [{"row": 99}] * 9)
        with open_store(str(folder)) as other:
            other.add(new, replace=True)
        changed.append(store.search(some().vectors, k=1))

    during_a_search(monkeypatch, change)
    assert store.search(some().vectors, k=10, where=["row>=2"]) == before
    assert [hits[0].metadata for hits in changed[0]] != [hits[0].metadata for hits in before]
    assert store.get(["3"]).metadata == ({"row": 99},)


def test_closing_waits_for_nobody_and_breaks_nothing(store, monkeypatch):
    during_a_search(monkeypatch, store.close)
    assert len(store.search(some().vectors[:1], k=10)[0]) == 10
    with pytest.raises(StoreError, match="This index is closed"):
        store.search(some().vectors[:1])


def test_processes_write_in_turn(folder):
    create_store(str(folder), SIGNATURE).close()
    script = (
        "import sys, numpy as np\n"
        "from twinset.search.store import Items, open_store\n"
        "with open_store(sys.argv[1]) as store:\n"
        "    for i in range(20):\n"
        "        at = int(sys.argv[2]) * 100 + i\n"
        "        store.add(Items([str(at)], np.full((1, 3), at)))\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    running = [subprocess.Popen([*command, str(number)]) for number in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    with open_store(str(folder)) as store:
        assert sorted(map(int, content(store))) == [*range(20), *range(100, 120)]
        assert all(
            np.frombuffer(vector, np.float32).tolist() == [float(id_)] * 3
            for id_, (vector, _) in content(store).items()
        )


# --- nothing is lost


def test_killed_at_any_moment(folder):
    """20 writers, each killed while it writes: all that they acknowledged is there."""
    counts = kill_many(folder, 20, seed=0)
    assert counts["steps"] >= 20


def test_a_full_disk_loses_nothing(store, folder):
    """Files that cannot grow stand for it: the system refuses the bytes as a full disk would."""
    before = content(store)
    # what is in the log goes to the file, or the limit would be met by reading
    store.close()
    for room in (0, 100, 3000, 20_000, 60_000, 100_000):
        size = max(path.stat().st_size for path in folder.iterdir())
        script = (
            "import resource, sys, numpy as np\n"
            "from twinset.errors import StoreError\n"
            "from twinset.search.store import Items, open_store\n"
            "store = open_store(sys.argv[1])\n"
            "limit = int(sys.argv[2])\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
            "items = Items([f'new {i}' for i in range(5000)], np.ones((5000, 3)))\n"
            "try:\n"
            "    store.add(items)\n"
            "except StoreError as error:\n"
            "    print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, str(folder), str(size + room)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "could not be read or written" in done.stdout
        with open_store(str(folder)) as again:
            assert content(again) == before
        if size + room < 5000 * 12:  # no room for the vectors: what there was is given back
            assert (folder / "vectors-0.f32").stat().st_size == 120
    with open_store(str(folder)) as again:
        again.add(some(10))
        assert len(again) == 20


def test_the_limit_is_real():
    """The test above would pass if nothing were refused: here a plain write is."""
    script = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "with open('file', 'wb') as file:\n"
        "    file.write(bytes(1000))\n"
    )
    assert resource.RLIM_INFINITY in resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode != 0
    assert Path("file").stat().st_size <= 100
