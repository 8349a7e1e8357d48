import csv
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import twinset
from twinset.data.pair_tables import read_pair_table
from twinset.decision import Calibrator
from twinset.errors import DataError
from twinset.models import embedder
from twinset.models.compare_pairs import compare_pairs
from twinset.models.embedder import Embedder


class Gray(Embedder):
    """The mean gray level, in [0, 1], as an embedding of one number; counts what it is asked."""

    preprocessing = twinset.data.decoding.decode.Preprocessing((4, 4), "stretch")
    threshold = twinset.Threshold(0.25, "by hand")
    alternatives = ()
    calibrator = Calibrator(-8.0, 2.0)
    class_names = ("dark", "bright")
    trained_on = None
    digest = "gray"
    dim = 1

    def __init__(self):
        self.batches = []

    def encode(self, pixels):
        self.batches.append(len(pixels))
        return (pixels.mean(axis=(1, 2)) / 255).astype(np.float32)[:, None]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    for level in (0, 51, 204):
        Image.new("L", (9, 7), level).save(tmp_path / "in" / f"{level}.png")
    return tmp_path


def table(folder, *rows, header="left,right"):
    path = folder / "in" / "pairs.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_each_pair_gets_its_verdict(folder):
    pairs = table(folder, "0.png,51.png", "51.png,204.png", "204.png,204.png")
    found = compare_pairs(Gray(), pairs, prior=0.1)
    assert [row.verdict.same for row in found.rows] == [True, False, True]
    assert [row.verdict.distance for row in found.rows] == pytest.approx([0.2, 0.6, 0.0])
    # log odds: 2 − 8 d, and log(1 / 9) for the prior
    expected = [1 / (1 + 9 * np.exp(8 * d - 2)) for d in (0.2, 0.6, 0.0)]
    assert [row.verdict.probability for row in found.rows] == pytest.approx(expected)
    # at so low a prior all are more likely different
    why = "more likely different than not, but the threshold follows its rule: by hand"
    assert [row.verdict.note for row in found.rows] == [why, "", why]
    assert found.sentence() == (
        f"3 pairs: 2 same, 1 different; threshold 0.2500 (by hand); 2 {why}"
    )
    assert found.to_dict()["prior"] == 0.1


def test_it_is_what_compare_says_of_each(folder):
    model = Gray()
    names = ("0.png", "51.png", "204.png")
    rows = [(a, b) for a in names for b in names]
    found = compare_pairs(model, table(folder, *(",".join(row) for row in rows)))
    for (a, b), row in zip(rows, found.rows, strict=True):
        assert row.verdict == model.compare(folder / "in" / a, folder / "in" / b)


def test_each_image_is_read_and_embedded_once(folder):
    model = Gray()
    seen = []
    rows = ["0.png,51.png", "51.png,204.png", "0.png,204.png"] * 5
    compare_pairs(model, table(folder, *rows), progress=seen.append)
    assert sum(model.batches) == 3
    assert [(step.done, step.total, step.unit) for step in seen] == [(3, 3, "images")]


def test_more_images_than_go_through_at_once(tmp_path):
    for i in range(1030):
        Image.new("L", (1, 1), i % 256).save(tmp_path / f"{i}.bmp")
    path = tmp_path / "pairs.csv"
    path.write_text("left,right\n" + "".join(f"{i}.bmp,{i + 1}.bmp\n" for i in range(1029)))
    seen = []
    found = compare_pairs(Gray(), path, progress=seen.append)
    expected = [abs(i % 256 - (i + 1) % 256) / 255 for i in range(1029)]
    assert [row.verdict.distance for row in found.rows] == pytest.approx(expected, abs=1e-6)
    assert [step.done for step in seen] == [1024, 1030]


def test_bad_files_are_told_in_their_rows(folder):
    (folder / "in" / "text.png").write_text("hello")
    pairs = table(
        folder, "0.png,none.png", "none.png,none.png", "none.png,text.png", "0.png,51.png"
    )
    found = compare_pairs(Gray(), pairs)
    assert [row.verdict is None for row in found.rows] == [True, True, True, False]
    assert found.rows[0].problem == "none.png: expected an image file. No such file or directory."
    assert found.rows[1].problem == found.rows[0].problem
    assert "; text.png: expected an image (PNG" in found.rows[2].problem
    assert found.problems == found.rows[:3]
    assert "3 not compared" in found.sentence()
    with pytest.raises(DataError, match="pairs.csv: none of its images can be read. none.png: ex"):
        compare_pairs(Gray(), table(folder, "none.png,none.png"))


def read_pairs(path):
    return read_pair_table(path, judged=False).pairs


def test_results_come_back_as_a_table(folder):
    pairs = table(folder, "0.png,51.png", "0.png,204.png", "0.png,none.png")
    compare_pairs(Gray(), pairs).write_csv(folder / "out.csv")
    with (folder / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["same"] for row in rows] == ["1", "0", ""]
    assert [row["left"] for row in rows] == ["0.png"] * 3
    assert float(rows[0]["distance"]) == pytest.approx(0.2)
    assert 0 < float(rows[1]["probability"]) < float(rows[0]["probability"]) < 1
    assert rows[2]["problem"].startswith("none.png")
    # and can be given again
    assert read_pairs(folder / "out.csv") == read_pairs(pairs)


def test_paths_begin_at_the_tables_folder_and_may_lead_anywhere(folder, monkeypatch):
    monkeypatch.chdir("/")
    absolute = folder / "in" / "51.png"
    found = compare_pairs(Gray(), table(folder, f"0.png,{absolute}", "../in/0.png,0.png"))
    assert [row.verdict.distance for row in found.rows] == pytest.approx([0.2, 0.0])


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("left;right", "0.png;51.png"),
        ("left\tright", "0.png\t51.png"),
        ("label,Right, LEFT ", "x,51.png,0.png"),
        ("\ufeffleft,right", '"0.png","51.png"'),
        ("left,right\r", "0.png,51.png\r"),
    ],
)
def test_tables_as_people_write_them(folder, header, row):
    assert read_pairs(table(folder, row, header=header)) == [("0.png", "51.png")]


def test_names_that_are_no_text(folder):
    name = b"caf\xe9.png"
    (folder / "in" / "0.png").rename(folder / "in" / os.fsdecode(name))
    path = folder / "in" / "pairs.csv"
    path.write_bytes(b"left,right\n" + name + b",51.png\n")
    found = compare_pairs(Gray(), path)
    assert found.rows[0].verdict.distance == pytest.approx(0.2)
    found.write_csv(folder / "out.csv")
    assert name in (folder / "out.csv").read_bytes()


def test_names_of_any_script(folder):
    name = "№ 1 château.png"
    (folder / "in" / "0.png").rename(folder / "in" / name)
    found = compare_pairs(Gray(), table(folder, f"{name},51.png"))
    assert found.rows[0].verdict.distance == pytest.approx(0.2)
    found.write_csv(folder / "out.csv")
    assert read_pairs(folder / "out.csv") == [(name, "51.png")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a table. Received an empty file"),
        ("a.png,b.png\n", "Received 'a.png', 'b.png': name them in the first line"),
        ("left,right\n", "Received a table without rows"),
        ("left,right\na.png\n", "line 2: expected two paths. Received 'a.png' and ''"),
        ("left,right\na,b\n\n ,b\n", "line 4: expected two paths. Received '' and 'b'"),
        ('left,right\n"a\x00b,c\n', "expected"),
    ],
)
def test_what_is_no_table_of_pairs(folder, text, words):
    path = folder / "pairs.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        compare_pairs(Gray(), path)


def test_no_table_at_all(folder):
    with pytest.raises(DataError, match="expected a table. No such file"):
        compare_pairs(Gray(), folder / "nowhere.csv")
    with pytest.raises(DataError, match="expected a table. Is a directory"):
        compare_pairs(Gray(), folder)
    with pytest.raises(DataError, match="Expected a prior between 0 and 1. Received 2"):
        compare_pairs(Gray(), table(folder, "0.png,51.png"), prior=2)


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=1, max_size=12))
def test_any_table(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("pairs")
    levels = (0, 51, 204)
    for level in levels:
        Image.new("L", (4, 4), level).save(folder / f"{level}.png")
    path = folder / "pairs.csv"
    path.write_text("left,right\n" + "".join(f"{levels[a]}.png,{levels[b]}.png\n" for a, b in rows))
    found = compare_pairs(Gray(), path)
    expected = [abs(levels[a] - levels[b]) / 255 for a, b in rows]
    assert [row.verdict.distance for row in found.rows] == pytest.approx(expected, abs=1e-6)


def test_the_batch_of_an_encoder_is_bounded():
    for shape in ((1, 1), (28, 28), (64, 64, 3), (500, 500, 3), (9000, 9000, 3)):
        size = embedder.batch_size_for(shape)
        assert size & (size - 1) == 0
        assert 1 <= size <= 1024
        assert size == 1 or size * np.prod(shape) <= embedder.PIXELS
