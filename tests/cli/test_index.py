"""`twinset index`, `search`, `duplicates`, `inspect`, `remove`: what a terminal shows."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from halves import Halves, write


@pytest.fixture(autouse=True)
def run(monkeypatch):
    """A run's folder, with a model that needs no Keras; and photographs."""
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("run").mkdir()
    Halves().save("run")
    write("photos/dark/a.png", 0.0, 0.0)
    write("photos/dark/b.png", 0.0, 0.1)
    write("photos/light/[c].png", 1.0, 1.0)
    write("photos/light/d.png", 1.0, 0.9)
    write("photos/loose.png", 0.0, 1.0)
    write("query.png", 0.0, 0.0)
    write("new.png", 0.5, 0.5)


def test_index_search_duplicates_inspect_remove(command):
    made = command("index", "run", "photos", "--out", "photos.index")
    assert (made.code, made.out) == (0, "photos.index: 5 items; 5 added\n")
    assert made.err == "embed 5 of 5 items\n"
    again = command("index", "run", "photos", "--out", "photos.index")
    assert (again.out, again.err) == ("photos.index: 5 items; 5 unchanged\n", "")

    found = command("search", "photos.index", "query.png", "-k", "3")
    assert found.code == 0
    # 26 levels of 255 apart, and white is 1 from black
    assert found.out.splitlines() == [
        "query.png: 3 nearest, 2 of them matches (distance <= 0.2000, fixed by hand)",
        "distance  verdict  label  id",
        "  0.0000  match    dark   dark/a.png",
        "  0.1020  match    dark   dark/b.png",
        "  1.0000  -               loose.png",
    ]

    copies = command("duplicates", "photos.index")
    assert copies.out.splitlines() == [
        "2 groups with 4 of 5 items: same thing, within 0.2 of each other on average (fixed by "
        "hand)",
        "group  kind        items   width  ids, the middle first",
        "    1  same thing      2  0.0980  light/[c].png, light/d.png",
        "    2  same thing      2  0.1020  dark/a.png, dark/b.png",
    ]

    told = command("inspect", "photos.index")
    assert told.out.splitlines() == [
        "photos.index: 5 items of size 2, model halves",
        "label   items",
        "dark        2",
        "light       2",
        "(none)      1",
    ]

    gone = command("remove", "photos.index", "loose.png", "dark/a.png")
    assert gone.out == "photos.index: 3 items; 2 removed\n"
    wrong = command("remove", "photos.index", "dark/b.png", "nonsense")
    assert wrong.code == 2
    assert "'nonsense'" in wrong.err
    assert json.loads(command("inspect", "photos.index", "--json").out)["items"] == 3


def test_the_same_for_programs(command):
    Path("photos/broken.png").write_bytes(b"no image")
    made = command("index", "run", "photos", "--out", "photos.index", "--json")
    told = json.loads(made.out)
    assert made.err == ""
    assert (told["items"], told["added"], told["removed"]) == (5, 5, 0)
    assert [bad["name"] for bad in told["skipped"]] == ["broken.png"]

    found = command("search", "photos.index", "query.png", "new.png", "-k", "1", "--json")
    first, second = json.loads(found.out)
    assert first["known"] is first["found"] is True
    assert first["neighbours"] == [
        {
            "id": "dark/a.png",
            "distance": 0.0,
            "match": True,
            "metadata": {"label": "dark", "path": str(Path("photos/dark/a.png").absolute())},
        }
    ]
    assert second["known"] is second["found"] is False
    assert second["threshold"] == {"value": 0.2, "rule": "fixed by hand"}

    groups = json.loads(command("duplicates", "photos.index", "--json").out)
    assert [group["size"] for group in groups["groups"]] == [2, 2]
    gone = command("remove", "photos.index", "loose.png", "--json")
    assert json.loads(gone.out) == {"index": "photos.index", "removed": 1, "items": 4}


def test_what_cannot_be_used_is_listed(command):
    for i in range(12):
        Path(f"photos/{i:02}.txt").touch()
    made = command("index", "run", "photos", "--out", "photos.index")
    lines = made.err.splitlines()
    assert lines[0] == "embed 5 of 5 items"
    assert lines[1] == (
        "index: skipped 00.txt: not an image by its name: .txt is none of the suffixes"
    )
    assert lines[-1] == "index: skipped 2 more; --json lists them"
    assert made.out == "photos.index: 5 items; 5 added, 12 could not be used\n"


def test_nothing_similar_enough(command):
    command("index", "run", "photos", "--out", "photos.index")
    found = command("search", "photos.index", "new.png", "--within", "threshold")
    assert (found.code, found.err) == (0, "")
    (line,) = found.out.splitlines()
    assert line.startswith("new.png: nothing similar enough: the nearest, ")
    assert line.endswith(" > 0.2000")
    checks = ("search", "photos.index", "--exit-code")
    assert command(*checks, "new.png").code == 1
    assert command(*checks, "query.png").code == 0
    assert command(*checks, "query.png", "new.png").code == 1
    assert command(*checks, "query.png", "--where", "label=light").code == 1
    write("near.png", 0.0, 0.05)  # 13 of 255 levels from the nearest
    assert command(*checks, "near.png", "--within", "0.01").code == 1
    assert command(*checks, "near.png", "--within", "0.06").code == 0
    assert command(*checks, "new.png", "--within", "0.7").code == 0


def test_limits_and_conditions(command):
    command("index", "run", "photos", "--out", "photos.index")

    def ids(*arguments):
        (told,) = json.loads(
            command("search", "photos.index", "query.png", "--json", *arguments).out
        )
        return [one["id"] for one in told["neighbours"]]

    assert ids("--all", "--within", "1") == ["dark/a.png", "dark/b.png", "loose.png"]
    assert ids("--within", "1", "-k", "2", "--exact") == ["dark/a.png", "dark/b.png"]
    assert ids("--where", "label=light", "-k", "1") == ["light/d.png"]
    assert ids("--where", "label!=light", "--where", "label!=dark") == ["loose.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("search", "nowhere.index", "query.png"), "nowhere.index"),
        (("search", "photos.index", "nothing.png"), "nothing.png"),
        (("search", "photos.index", "query.png", "--within", "far"), "a number, threshold or any"),
        (("search", "photos.index", "query.png", "--all"), "Expected k, or `within`"),
        (("search", "photos.index", "query.png", "--where", "label"), "conditions such as"),
        (("index", "run", "nowhere", "--out", "new.index"), "no such file or folder"),
        (("index", "other", "photos", "--out", "photos.index"), "this one is other"),
        (("duplicates", "photos.index", "--threshold", "nan"), "a threshold of 0 or more"),
    ],
)
def test_mistakes_end_in_one_line(command, arguments, words):
    command("index", "run", "photos", "--out", "photos.index")
    Path("other").mkdir()
    Halves("other").save("other")
    done = command(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert words in done.err
    assert done.err.count("\n") == 1
    assert not Path("new.index").exists()


def test_an_index_is_made_anew_only_when_told(command):
    command("index", "run", "photos", "--out", "photos.index")
    Path("photos/loose.png").unlink()
    same = command("index", "run", "photos", "--out", "photos.index")
    assert same.out == "photos.index: 5 items; 4 unchanged\n"
    gone = command("index", "run", "photos", "--out", "photos.index", "--remove-missing")
    assert gone.out == "photos.index: 4 items; 4 unchanged, 1 removed\n"
    anew = command("index", "run", "photos", "--out", "photos.index", "--overwrite")
    assert anew.out == "photos.index: 4 items; 4 added\n"


def test_a_condition_that_looks_like_a_number_is_explained(command):
    write("digits/7/a.png", 0.5, 0.5)
    command("index", "run", "digits", "--out", "digits.index")
    none = command("search", "digits.index", "query.png", "--where", "label=7")
    assert none.out == ("query.png: nothing to compare with: no item, or none that is asked for\n")
    assert none.err == ("search: label=7 asks for the number 7, not for the text: label='7'\n")
    for typed, told in (("007", "the number 7"), ("1e3", "the number 1000.0"), ("true", "true")):
        none = command("search", "digits.index", "query.png", "--where", f"label={typed}")
        assert none.err == (
            f"search: label={typed} asks for {told}, not for the text: label='{typed}'\n"
        )
    some = command("search", "digits.index", "query.png", "--where", "label='7'")
    assert "7/a.png" in some.out
    assert some.err == ""


def test_pictures_and_tables(command):
    command("index", "run", "photos", "--out", "photos.index")
    drawn = command("search", "photos.index", "query.png", "--picture", "found.png")
    assert drawn.code == 0, drawn.err
    with Image.open("found.png") as picture:
        assert picture.width == 1000
        assert len(np.unique(np.asarray(picture.convert("L")))) > 20
    done = command("duplicates", "photos.index", "--picture", "copies.png", "--csv", "copies.csv")
    assert done.code == 0, done.err
    with Image.open("copies.png") as picture:
        assert picture.width == 1000
    rows = list(csv.DictReader(io.StringIO(Path("copies.csv").read_text())))
    assert [row["id"] for row in rows] == [
        *("light/[c].png", "light/d.png"),
        *("dark/a.png", "dark/b.png"),
    ]
    assert rows[1]["distance"] == rows[1]["diameter"]
    none = command("duplicates", "photos.index", "--threshold", "0", "--picture", "none.png")
    assert none.out.startswith("0 groups with 0 of 5 items")
    assert not Path("none.png").exists()


def test_an_approximate_index_is_told_of(command):
    pytest.importorskip("faiss", reason="needs faiss, of the extra ann")
    vectors = np.random.default_rng(0).random((2000, 2), np.float32)
    np.save("many.npy", vectors)
    made = command("index", "run", "many.npy", "--out", "many.index", "--approximate")
    assert made.code == 0, made.err
    first, second = made.out.splitlines()
    assert first == "many.index: 2,000 items; 2,000 added"
    assert second.startswith("approximate: faiss ")
    assert float(second.rpartition(" ")[2]) >= 0.95
    assert "over 2,000 items, recall@10" in command("inspect", "many.index").out
    again = command("index", "run", "many.npy", "--out", "many.index", "--approximate", "--json")
    assert json.loads(again.out)["approximation"]["recall"] >= 0.95
    exact = command("search", "many.index", "query.png", "-k", "5", "--exact", "--json")
    (found,) = json.loads(exact.out)
    nearest = np.argsort(np.linalg.norm(vectors, axis=1))[:5]
    assert [one["id"] for one in found["neighbours"]] == [f"many.npy[{row}]" for row in nearest]


def test_chains_are_cut_and_told_of(command):
    for i in range(5):
        write(f"row/{i}.png", 0, i * 0.15)
    command("index", "run", "row", "--out", "row.index")
    lines = command("duplicates", "row.index").out.splitlines()
    assert lines[0].startswith("2 groups with 4 of 5 items: same thing, within 0.2 of each other")
    assert lines[1].startswith("2 cuts between groups that only a chain of small steps")


# --- a fresh process

HEAVY = {"jax", "keras", "matplotlib", "pandas", "scipy", "sklearn", "tensorflow", "torch"}


def fresh(*arguments):
    """Run a command in a process of its own; tell its output, and what heavy it has loaded."""
    script = (
        "import sys\n"
        f"sys.argv = ['twinset', *{arguments!r}]\n"
        "from twinset.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        f"    print(*sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def test_an_index_is_made_and_searched_without_keras(stripes):
    """By a model that was trained with Keras: its index keeps it as a graph."""
    model = twinset.fit(stripes, epochs=2, encoder={"units": [8]})
    with twinset.Index.build(model, "photos", "photos.index") as index:
        expected = index.search("query.png", k=2)
    out, heavy = fresh("search", "photos.index", "query.png", "-k", "2", "--json")
    (found,) = json.loads(out)
    assert heavy == set()
    assert [one["id"] for one in found["neighbours"]] == [one.id for one in expected]
    assert found["neighbours"][0]["distance"] == pytest.approx(expected[0].distance, abs=1e-5)
    (kept,) = filter(Path.is_dir, Path("photos.index/model").iterdir())
    out, heavy = fresh("index", str(kept), "photos", "--out", "again.index")
    assert out == "again.index: 5 items; 5 added\n"
    assert heavy == set()
    _, heavy = fresh("search", "again.index", "query.png", "--picture", "found.png")
    assert "matplotlib" in heavy  # else this test could not fail
