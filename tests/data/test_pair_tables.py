"""Tables of judged pairs, as people write them."""

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from twinset.data.pair_tables import read_pair_table
from twinset.errors import DataError


def written(folder, *rows, header="left,right,same", name="pairs.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("same", "different"),
    [
        ("1", "0"),
        ("+1", "-1"),
        ("1.0", "0.0"),
        ("yes", "no"),
        (" Y ", " N "),
        ("TRUE", "FALSE"),
        ("same", "different"),
        ("Match", "non-match"),
        ("genuine", "forged"),
        ("duplicate", "not_duplicate"),
        ("identical", "Not  the same"),
    ],
)
def test_every_spelling_of_same_and_different(tmp_path, same, different):
    path = written(tmp_path, f"a,b,{same}", f"a,c,{different}", "b,c,", "b,d,unsure", "c,d,?")
    assert read_pair_table(path).same.tolist() == [1, 0, -1, -1, -1]


@pytest.mark.parametrize("value", ["2", "0.7", "sam", "-2", "11"])
def test_another_word_is_named_with_its_row(tmp_path, value):
    path = written(tmp_path, "a,b,1", f"a,c,{value}")
    with pytest.raises(DataError, match=f"line 3: expected 1 or 0 .* Received '{value}'"):
        read_pair_table(path)


@pytest.mark.parametrize(
    "header",
    [
        "left,right,same",
        "Image 1,Image 2,Label",
        "path_a,path_b,is_same",
        "first,second,match",
        "img1,img2,y",
        "left_image,right_image,is_duplicate",
        "file1;file2;genuine",
        "id_1\tid_2\ttarget",
    ],
)
def test_usual_names_of_columns(tmp_path, header):
    delimiter = next(each for each in ",;\t" if each in header)
    path = written(tmp_path, delimiter.join(["x.png", "y.png", "no"]), header=header)
    found = read_pair_table(path)
    assert (found.pairs, found.same.tolist()) == ([("x.png", "y.png")], [0])
    assert found.groups is None


def test_a_columns_own_name_comes_first(tmp_path):
    header = "label,group,same,match,left,image_1,right"
    found = read_pair_table(written(tmp_path, "cat, p1 ,1,0,a,x,b", header=header))
    assert (found.pairs, found.same.tolist(), found.groups) == ([("a", "b")], [1], ["p1"])
    assert found.where(0) == "line 2"


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("left,right", "expected the columns left, right and same"),
        ("left,right,match,y", "expected the columns left, right and same"),  # which of the two?
        ("image,label,same", "Received 'image', 'label', 'same'"),
    ],
)
def test_columns_that_are_missing(tmp_path, header, words):
    path = written(tmp_path, ",".join("1" for _ in header.split(",")), header=header)
    with pytest.raises(DataError, match=words):
        read_pair_table(path)


@pytest.mark.parametrize(
    "same", [[True, False, None], [1, 0, None], [1.0, 0.0, np.nan], ["same", "different", ""]]
)
def test_parquet(tmp_path, same):
    columns = {"left": ["a", "a", "b"], "right": ["b", "c", "c"], "same": same}
    parquet.write_table(pa.table({**columns, "group": [1, 1, 2]}), tmp_path / "pairs.parquet")
    found = read_pair_table(tmp_path / "pairs.parquet")
    assert found.pairs == [("a", "b"), ("a", "c"), ("b", "c")]
    assert (found.same.tolist(), found.groups) == ([1, 0, -1], ["1", "1", "2"])
    assert found.where(2) == "row 2"
