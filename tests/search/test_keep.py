"""A plan of files to keep: by each rule, and as scripts that survive any name."""

import csv
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from twinset.decision import Threshold
from twinset.errors import StoreError
from twinset.search.duplicates import PICTURE, THING, DuplicateGroup, Duplicates
from twinset.search.items import Neighbour
from twinset.search.keep import keep_plan

NASTY = "it's $HOME `date`; \u2019 -rf\n*.png" if os.name == "posix" else "it's $x; \u2019.png"


def photo(name, side, time):
    path = Path("photos", name).absolute()
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (side, side)).save(path, "PNG")
    os.utime(path, (time, time))
    return Neighbour(name, 0.0, {"path": str(path)})


def names(plan):
    return [(Path(step.keep).name, Path(step.aside).name) for step in plan.steps]


@pytest.fixture
def found():
    """A picture three times, and a thing that holds two of these and another."""
    a, b, c = photo("a.png", 10, 300), photo("b.png", 30, 200), photo(NASTY, 20, 100)
    other = photo("other.png", 40, 400)
    gone = Neighbour("gone", 0.0, {"path": str(Path("photos/gone.png").absolute())})
    row = Neighbour("row", 0.0, {"path": a.metadata["path"], "_row": 1, "_column": "image"})
    groups = (
        DuplicateGroup((a, b, c, gone, row), 0.0, PICTURE),
        DuplicateGroup((b, c, other), 0.1, THING),
    )
    return Duplicates(groups, Threshold(0.2, "by hand"), 6)


@pytest.mark.parametrize(
    ("rule", "kept", "aside"),
    [
        ("largest", "b.png", [NASTY, "a.png"]),
        ("middle", "a.png", ["b.png", NASTY]),
        ("newest", "a.png", ["b.png", NASTY]),
        ("oldest", NASTY, ["b.png", "a.png"]),
    ],
)
def test_each_rule_keeps_one_of_the_same_picture(found, rule, kept, aside):
    plan = keep_plan(found, rule)
    assert names(plan) == [(kept, one) for one in aside]
    assert plan.left_out == 2
    assert plan.sentence() == (
        f"2 files to move aside, 1 to keep ({rule} of a group); without a file: 2"
    )
    (first, _) = csv.DictReader(io.StringIO(plan.to_csv()))
    assert (Path(first["keep"]).name, first["kind"], first["rule"]) == (kept, PICTURE, rule)


def test_things_only_where_asked_and_what_is_kept_once_stays(found):
    plan = keep_plan(found, things=True)
    # b is kept as the picture; as a thing it would go, for the larger one
    assert names(plan) == [("b.png", NASTY), ("b.png", "a.png")]
    only = Duplicates(found.groups[1:], found.threshold, found.items)
    assert names(keep_plan(only, things=True)) == [("other.png", "b.png"), ("other.png", NASTY)]
    assert keep_plan(only).steps == ()


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_the_shell_script_moves_and_deletes_nothing(found):
    keep_plan(found).write("plan.sh")
    before = {path: path.read_bytes() for path in Path("photos").iterdir()}
    refused = subprocess.run(["sh", "plan.sh"], capture_output=True, text=True, check=False)
    assert refused.returncode
    assert {path: path.read_bytes() for path in Path("photos").iterdir()} == before
    Path("moved by").mkdir()
    subprocess.run(["sh", "plan.sh", "moved by/hand"], check=True)
    assert sorted(path.name for path in Path("photos").iterdir()) == ["b.png", "other.png"]
    moved = sorted(path.name for path in Path("moved by/hand").iterdir())
    assert moved == [f"00001 {NASTY}", "00002 a.png"]
    assert Path("moved by/hand", moved[1]).read_bytes() == before[Path("photos/a.png")]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_nothing_is_moved_once_the_one_to_keep_is_gone(found):
    keep_plan(found).write("plan.sh")
    Path("photos/b.png").unlink()
    subprocess.run(["sh", "plan.sh", "aside"], check=True)
    assert list(Path("aside").iterdir()) == []


def test_powershell_quotes_what_it_takes_for_quotes(found):
    keep_plan(found).write("plan.ps1")
    text = Path("plan.ps1").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf# 2 files to move aside")
    assert "it''s" in text.decode("utf-8-sig")
    assert "\u2019\u2019" in text.decode("utf-8-sig")
    if shutil.which("pwsh"):
        subprocess.run(["pwsh", "-NoProfile", "-File", "plan.ps1", "aside"], check=True)
        assert len(list(Path("aside").iterdir())) == 2


def test_what_is_no_rule_and_no_kind_of_file_is_refused(found):
    with pytest.raises(StoreError, match="a rule out of largest, middle"):
        keep_plan(found, "best")
    with pytest.raises(StoreError, match=r"a plan as \.csv, \.sh, \.ps1. Received 'plan.txt'"):
        keep_plan(found).write("plan.txt")


def test_on_the_command_line(command, monkeypatch):
    from halves import Halves, write

    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("run").mkdir()
    Halves().save("run")
    for name in ("a", "b"):
        write(f"pictures/{name}.png", 0.0, 0.1)
    command("index", "run", "pictures", "--out", "photos.index")
    done = command(
        *("duplicates", "photos.index", "--plan", "plan.csv", "--keep", "oldest", "--things")
    )
    assert done.code == 0, done.err
    assert "plan.csv: 1 file to move aside, 1 to keep (oldest of a group)" in done.out
    assert Path("plan.csv").read_text().count("same thing") == 1
