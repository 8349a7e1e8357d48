"""Where a URL leads: a folder, our databases, or a package of somebody else's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

import twinset
from halves import Halves, write
from twinset.errors import StoreError
from twinset.search.milvus.address import address
from twinset.search.store import STORES, Signature, Store, open_store, scheme_of

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("photos.index", ""),
        ("/data/photos.index", ""),
        ("a:b/photos.index", ""),
        (r"C:\photos\fashion.index", ""),
        ("C:/photos/fashion.index", ""),
        ("C://photos", ""),
        (PureWindowsPath(r"D:\photos.index"), ""),
        (r"\\server\share\photos.index", ""),
        ("postgresql://me@host/db?index=shoes", "postgresql"),
        ("MILVUS:///data/x.db?index=shoes", "milvus"),
        ("my-store+v2://x", "my-store+v2"),
    ],
)
def test_a_drive_is_no_scheme(url, scheme):
    assert scheme_of(url) == scheme


def test_a_file_of_milvus_may_be_on_a_drive():
    assert address("milvus:///C:/data/x.db?index=a").server == "C:/data/x.db"
    assert address("milvus:///data/x.db?index=a").server == "/data/x.db"


def test_stores_are_found_by_their_folders_and_by_entry_points():
    assert STORES.names() == ["json", "milvus", "postgresql", "sqlite"]


@pytest.mark.parametrize("url", ["mysql://me:secret@x/y", "http://host/index", "sqlite://x"])
def test_places_that_are_none(url):
    words = (
        "Expected an index as the path of a folder, or a URL that begins with json://… or "
        f"milvus://… or postgresql://…. Received {scheme_of(url)}://…"
    )
    with pytest.raises(StoreError) as error:
        open_store(url)
    assert str(error.value) == words


def test_a_store_is_added_by_one_file(tmp_path):
    """That of docs/contributing.md, dropped into a copy of the package."""
    copy = tmp_path / "src/twinset"
    shutil.copytree(Path(twinset.__file__).parent, copy, ignore=shutil.ignore_patterns("__*__"))
    (copy / "search/json").mkdir()
    program = (TESTS / "third_party/twinset_extra/stores.py").read_text("utf-8")
    (copy / "search/json/__init__.py").write_text(f"{program}\nSTORE = JsonStore\n", "utf-8")
    script = (
        "import numpy as np\n"
        "from twinset.search.store import Items, STORES, Signature, create_store\n"
        "with create_store('json://photos.json', Signature('m', 2)) as store:\n"
        "    store.add(Items(['a', 'b'], np.eye(2)))\n"
        "    print(STORES.names(), store.search([[0, 1]], k=1)[0][0].id)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['json', 'milvus', 'postgresql', 'sqlite'] b\n", done.stderr


COMMAND = """
import sys
sys.path.insert(0, {tests!r})
import twinset.models.onnx_model
from halves import Halves
twinset.models.onnx_model.load_model = Halves.load
from twinset.cli.app import main
main()
"""


def test_a_store_of_another_package_works_from_the_command_line(tmp_path):
    """Found by its entry point, in a process that knows nothing else of it."""
    write("photos/dark/a.png", 0.0, 0.0)
    write("photos/light/c.png", 1.0, 1.0)
    Path("run").mkdir()
    Halves().save("run")
    place = f"json://{tmp_path / 'photos.json'}"

    def run(*arguments):
        script = COMMAND.format(tests=str(TESTS))
        path = [str(Path(twinset.__file__).parents[1]), str(TESTS / "third_party")]
        done = subprocess.run(
            [sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{script}", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("index", "run", "photos", "--out", place) == f"{place}: 2 items; 2 added\n"
    assert run("index", "run", "photos", "--out", place) == f"{place}: 2 items; 2 unchanged\n"
    found = run("search", place, "photos/dark/a.png", "--model", "run", "-k", "1")
    assert found.splitlines()[-1].split() == ["0.0000", "match", "dark", "dark/a.png"]
    assert run("remove", place, "dark/a.png") == f"{place}: 1 item; 1 removed\n"


def test_a_store_that_keeps_no_records(tmp_path):
    from twinset_extra.stores import JsonStore

    class Plain(JsonStore):
        """As it was before there were records."""

        _record, _records = Store._record, Store._records

    with Plain.create(f"json://{tmp_path / 'a.json'}", Signature("digest", 2)) as store:
        assert store.records("decisions") == []
        with pytest.raises(StoreError, match="Plain keeps no records, which identities and dec"):
            store.record("decisions", [{"left": "a"}])
