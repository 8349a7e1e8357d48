import csv
import io
import sys
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from twinset.data.sources import read_listing
from twinset.data.sources import table as source
from twinset.errors import DataError


def files(*names):
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table(text, name="t.csv", encoding="utf-8"):
    Path(name).write_bytes(text.encode(encoding))
    return name


def rows(listing):
    """What is listed: name → class, and group and part if there are such."""
    columns = [c.tolist() for c in (listing.groups, listing.parts) if c is not None]
    classes = [listing.class_names[label] for label in listing.labels]
    names = [source.name for source in listing.sources]
    return [*zip(names, classes, *columns, strict=True)]


def aside(listing):
    return [(bad.name, bad.reason) for bad in listing.skipped]


def test_all_four_columns():
    files("a.png", "photos/b c.png")
    listing = read_listing(
        table("split,path,label,group\nval,photos/b c.png,10,g\n,./a.png,2,\n train ,a.jpg,2,h\n")
    )
    assert (listing.name, listing.class_names) == ("t.csv", ("2", "10"))
    # an image without a group is a group by itself
    assert rows(listing) == [("photos/b c.png", "10", "g", "tune"), ("a.png", "2", "a.png", "")]
    assert aside(listing) == [("a.jpg", "line 4: no such file")]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_delimiters_line_ends_and_marks(delimiter, ending, mark):
    files("a,b.png", "c;d.png", "e\tf.png", 'g"h.png')
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=ending)
    writer.writerow(["Class Name", "File", "note; of, all"])
    for name in ("a,b.png", "c;d.png", "e\tf.png", 'g"h.png'):
        writer.writerow([f"of {name}", name, "x"])
    listing = read_listing(table(mark + text.getvalue()))
    assert rows(listing) == [
        ("a,b.png", "of a,b.png"),
        ("c;d.png", "of c;d.png"),
        (r"e\x09f.png", r"of e\x09f.png"),
        ('g"h.png', 'of g"h.png'),
    ]


@settings(max_examples=40)
@example([(":\\", "a")], ",")  # a name that is an absolute path on Windows
@given(
    st.lists(
        st.tuples(
            st.text(
                st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20
            ),
            st.text(st.characters(codec="utf-8"), max_size=20),
        ),
        min_size=1,
        max_size=5,
        unique_by=lambda row: row[0],
    ),
    st.sampled_from(",;\t"),
)
def test_any_names_and_labels_come_back(tmp_path_factory, pairs, delimiter):
    folder = tmp_path_factory.mktemp("rows")
    pairs = [(f"x{name}.png", label) for name, label in pairs]
    assume(any(label.strip() for _, label in pairs))
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([("path", "label"), *pairs])
    for name, _ in pairs:
        (folder / name).touch()
    listing = read_listing(folder / "t.csv")
    named = [(name, label) for name, label in pairs if label.strip()]
    assert [Path(s.path).name for s in listing.sources] == [name for name, _ in named]
    for (_, first), one in zip(named, listing.labels, strict=True):
        for (_, second), two in zip(named, listing.labels, strict=True):
            forms = {unicodedata.normalize("NFC", text.strip()) for text in (first, second)}
            assert (len(forms) == 1) == (one == two)
    assert len(listing.skipped) == len(pairs) - len(named)


def test_columns_by_name():
    files("a.png", "b.png")
    path = table("path,scan,label,species,photographer,use\na.png,b.png,x,cat,Ann,test\n")
    listing = read_listing(path, image="scan", label="species", group="photographer", split="use")
    assert rows(listing) == [("b.png", "cat", "Ann", "test")]


def test_a_line_of_json_for_each_image():
    """As Hugging Face has them beside images: metadata.jsonl."""
    files("a.png", "b.png")
    path = table(
        '{"file_name": "a.png", "label": "cat", "legs": 4, "tame": true}\n\n'
        '{"label": "Möwe", "file_name": "b.png", "legs": null, "seen": ["x", 1]}\n',
        "metadata.jsonl",
    )
    assert rows(read_listing(path)) == [("a.png", "cat"), ("b.png", "Möwe")]
    kept = read_listing(path, labelled=False)
    assert [kept.metadata(i).get("seen", kept.metadata(i)) for i in (0, 1)] == [
        {**kept.metadata(0), "label": "cat", "legs": 4, "tame": True},
        '["x", 1]',
    ]


@pytest.mark.parametrize("line", ["a.png,cat", '["a.png", "cat"]', "3", "[" * 100_000])
def test_lines_that_are_no_objects(line):
    path = table('{"path": "a.png", "label": "cat"}\n' + line, "t.jsonl")
    with pytest.raises(DataError, match=r"t.jsonl, line 2: expected one JSON object in each line"):
        read_listing(path)


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("name,label\n", {}, "one column path or .*columns 'name', 'label': .* --image COLUMN"),
        ("path,file,label\n", {}, "one column path or .*'path', 'file', 'label'"),
        ("path,colour\n", {}, "one column label or .*for the label with --label COLUMN"),
        ("path,label,class\n", {}, "one column label or labels or class"),
        (
            "path,label\n",
            {"group": "who"},
            "one column 'who'. .* for the group with --group COLUMN",
        ),
        ("path,label,label\n", {"label": "label"}, "one column 'label'"),
        ("path,label\n", {}, "t.csv: expected images with labels. Received none"),
        ("", {}, "t.csv: expected a table. Received an empty file"),
        ("\n \n", {}, "t.csv: expected a table. Received an empty file"),
        ("path,label\nx.png,a\n", {}, "Received 1, none of use. The first is 'x.png': line 2"),
        ('path,label\na.png,"b\nc.png,d\n', {}, "t.csv, line 2: expected cells in quotes"),
        ('path,label\n\na.png,"b"c\n', {}, "t.csv, line 3: expected cells in quotes"),
        ("path,label,split\na.png,b,\nc.png,b,Later\n", {}, "t.csv, line 3: .*Received 'Later'"),
    ],
)
def test_tables_that_cannot_be_read(text, arguments, words):
    files("a.png")
    with pytest.raises(DataError, match=words):
        read_listing(table(text), **arguments)


def test_the_error_for_a_split_names_what_is_accepted():
    with pytest.raises(DataError, match=r"split out of train, .*dev, .*test, .*nothing"):
        read_listing(table("path,label,split\na.png,b,later\n"))


def test_an_encoding_that_does_not_say_so():
    with pytest.raises(DataError, match=r"t.csv, line 3: expected text in UTF-8. .* byte 0xe9"):
        read_listing(table("path,label\na.png,the\nb.png,thé\n", encoding="latin-1"))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path\tlabel\r\na.png\tthé\r\n", "utf-16"),  # Excel's "Unicode text"
        ("path,label\na.png,thé\n", "utf-8-sig"),
        ('"path";"label"\n"a.png";"thé"\n', "utf-8"),  # all in quotes
        ('"path"\t"label"\n"a.png"\t"thé"\n', "utf-8"),
        ("path|label\na.png|thé\n", "utf-8"),
        ("sep=;\npath;label\na.png;thé\n", "utf-8"),  # Excel's own mark
        ('"SEP=|"\n"path"|"label,old"\na.png|thé\n', "utf-8"),
    ],
)
def test_tables_as_spreadsheets_write_them(text, encoding):
    files("a.png")
    names = {"label": "label,old"} if "old" in text else {}
    assert rows(read_listing(table(text, encoding=encoding), **names)) == [("a.png", "thé")]
    with pytest.raises(DataError, match=r"t.csv: .*The first is 'b.png': line [23]: no such file"):
        read_listing(table(text.replace("a.png", "b.png"), encoding=encoding), **names)


def test_a_table_without_names_of_columns():
    with pytest.raises(DataError, match=r"'a.png', 'x': the first line has to name the columns"):
        read_listing(table("a.png,x\nb.png,y\n"))


def test_a_table_that_is_not_there():
    with pytest.raises(DataError, match=r"none.csv: expected .* Received nothing: no such file"):
        read_listing("none.csv")


def test_rows_that_cannot_be_used():
    files("a.png", "b.png", "c.png", "d,e.png", "good.png", "folder/x")
    listing = read_listing(
        table(
            "path,label\n"
            "a.png,\n"
            "b.png,  \n"
            "\n"
            "c.png\n"
            "d,e.png,x\n"
            "gone.png,x\n"
            ",x\n"
            "folder,x\n"
            '"a\nb.png",x\n'
            "https://example.org/a.png,x\n"
            "good.png,y,,\n"
        )
    )
    assert rows(listing) == [("good.png", "y")]  # a class without images is none
    assert listing.class_names == ("y",)
    assert aside(listing) == [
        ("a.png", "line 2: no label"),
        ("b.png", "line 3: no label"),
        ("c.png", "line 5: no label"),
        ("d", "line 6: 3 cells where the header has 2: put cells that contain ',' in quotes"),
        ("gone.png", "line 7: no such file"),
        ("t.csv/5", "line 8: no path"),
        ("folder", "line 9: no file, but a folder or a device"),
        (r"a\x0ab.png", "line 10: no such file"),
        ("https:/example.org/a.png", "line 12: an address, not a file: download it first"),
    ]


def test_a_file_that_is_named_again():
    files("a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    listing = read_listing(
        table(
            "path,label,group,split\n"
            "a.png,x,g,train\n"
            "./a.png,x,g,training\n"  # the same, in other words
            "b.png,x,g,train\n"
            "b.png,y,g,train\n"
            "b.png,x,g,train\n"
            "c.png,x,g,train\n"
            "sub/../c.png,x,g,test\n"  # `sub` does not exist
            "d.png,x,g,train\n"
            "d.png,x,g,test\n"
            "e.png,x,g,\n"
            "e.png,x,h,\n"
            "f.png,z,h,\n"
            "f.png,,h,\n"
        )
    )
    assert rows(listing) == [
        ("a.png", "x", "g", "train"),
        ("c.png", "x", "g", "train"),
        ("f.png", "z", "h", ""),
    ]
    assert aside(listing) == [
        ("a.png", "line 3: the same file as line 2, which says the same"),
        ("b.png", "line 4: label 'x', but line 5 gives the same file label 'y'"),
        ("b.png", "line 5: label 'y', but line 4 gives the same file label 'x'"),
        ("b.png", "line 6: label 'x', but line 5 gives the same file label 'y'"),
        ("c.png", "line 8: no such file"),
        ("d.png", "line 9: split 'train', but line 10 gives the same file split 'test'"),
        ("d.png", "line 10: split 'test', but line 9 gives the same file split 'train'"),
        ("e.png", "line 11: group 'g', but line 12 gives the same file group 'h'"),
        ("e.png", "line 12: group 'h', but line 11 gives the same file group 'g'"),
        ("f.png", "line 14: no label"),
    ]


def test_paths_may_lead_anywhere():
    files("here/a.png", "there/b.png", "here/c.png")
    outside = Path("there/b.png").resolve()
    inside = Path("here/c.png").resolve()
    path = table(f"path,label\na.png,x\n../there/b.png,x\n{outside},x\n{inside},x\n", "here/t.csv")
    listing = read_listing(path)
    assert [source.name for source in listing.sources] == ["a.png", "../there/b.png", "c.png"]
    assert aside(listing) == [
        (str(outside), "line 4: the same file as line 3, which says the same")
    ]


def test_other_spellings_of_a_path():
    composed, apart = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    files("a.png", "sub/b.png", f"c{composed}", f"d{apart}", " e.png")
    path = table(f"path,label\n a.png ,x\nsub\\b.png,x\nc{apart},x\nd{composed},x\n e.png,x\n")
    listing = read_listing(path)
    assert [name for name, _ in rows(listing)] == [
        *("a.png", "sub/b.png", f"c{composed}", f"d{apart}", " e.png"),
    ]
    assert listing.skipped == ()


def test_labels_in_both_forms_are_one_class():
    files("a.png", "b.png")
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    listing = read_listing(table(f"path,label\na.png,{composed}\nb.png, {apart} \n"))
    assert listing.class_names == (composed,)


# --- Parquet


@pytest.fixture
def parquet():
    arrow = pytest.importorskip("pyarrow", reason="needs pyarrow, of the extra parquet")
    write = pytest.importorskip("pyarrow.parquet").write_table

    def made(**columns):
        write(arrow.table(columns), "t.parquet", row_group_size=2)
        return "t.parquet"

    made.arrow = arrow
    return made


def test_parquet_says_the_same_as_text(parquet):
    files("a.png", "b.png", "c.png", "d.png")
    columns = {
        "path": ["a.png", "b.png", "c.png", "d.png", "e.png", None],
        "label": ["x10", "x9", None, "x9", "x9", "x9"],
        "group": ["g", "g", "g", None, "h", "h"],
        "split": ["train", "test", "", "dev", None, None],
    }
    found = read_listing(parquet(**columns))
    assert rows(found) == [
        ("a.png", "x10", "g", "train"),
        ("b.png", "x9", "g", "test"),
        ("d.png", "x9", "d.png", "tune"),
    ]
    assert aside(found) == [
        ("c.png", "row 2: no label"),
        ("e.png", "row 4: no such file"),
        ("t.parquet/5", "row 5: no path"),
    ]
    with Path("t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    text = read_listing("t.csv")
    assert rows(text) == rows(found)
    assert text.class_names == found.class_names == ("x9", "x10")


@pytest.mark.parametrize(
    ("values", "kind", "names"),
    [
        ([10, 9, None, 9], "int16", ("9", "10")),
        ([10.0, 9.0, float("nan"), 9.0], "float64", ("9", "10")),
        ([0.5, 10.0, None, 10.0], "float32", ("0.5", "10")),
        ([True, False, None, False], "bool", ("false", "true")),
        (["b", "a", "", "a"], "large_string", ("a", "b")),
    ],
)
def test_labels_of_any_plain_type_are_names(parquet, values, kind, names):
    files(*"abcd")
    kind = getattr(parquet.arrow, kind + "_" * (kind == "bool"))()
    for column in (parquet.arrow.array(values, kind), None):
        if column is None:  # as pandas writes categories
            column = parquet.arrow.array(values, kind).dictionary_encode()
        listing = read_listing(parquet(path=list("abcd"), label=column))
        assert listing.class_names == names
        assert aside(listing) == [("c", "row 2: no label")]
        assert listing.labels[1] == listing.labels[2] != listing.labels[0]


def test_columns_of_unfit_types(parquet):
    with pytest.raises(DataError, match=r"t.parquet, column 'label': expected text .*list<"):
        read_listing(parquet(path=["a"], label=[["x"]]))
    with pytest.raises(DataError, match=r"t.parquet, column 'path': expected paths .*int64"):
        read_listing(parquet(path=[1], label=["x"]))
    with pytest.raises(DataError, match=r"t.parquet: expected images with labels. Received none"):
        read_listing(
            parquet(
                path=parquet.arrow.array([], parquet.arrow.string()),
                label=parquet.arrow.array([], parquet.arrow.string()),
            )
        )


def test_damaged_parquet(parquet):
    whole = Path(parquet(path=["a"], label=["x"])).read_bytes()
    for damaged in (
        b"",
        b"path,label\n",
        whole[:-20],
        whole[:4] + bytes(len(whole) - 8) + whole[-4:],
    ):
        Path("t.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match=r"t.parquet: expected a whole Parquet or Arrow file"):
            read_listing("t.parquet")
    with pytest.raises(DataError, match=r"none.parquet: expected .* Received nothing"):
        read_listing("none.parquet")


def test_parquet_without_pyarrow(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    files("t.parquet")
    with pytest.raises(DataError, match=r"pip install 'twinset\[parquet\]'"):
        read_listing("t.parquet")


# --- paths of other systems


@pytest.mark.parametrize(
    ("path", "absolute"),
    [
        (PurePosixPath("/photos/a.png"), True),
        (PureWindowsPath(r"C:\photos\a.png"), True),
        (PureWindowsPath("C:/photos/a.png"), True),
        (PureWindowsPath(r"\\server\share\a.png"), True),
        (PurePosixPath("photos/a.png"), False),
        (PureWindowsPath(r"photos\a.png"), False),
        (PureWindowsPath("C:a.png"), False),  # in the working folder of a drive
        ("a:b.png", False),
        ("", False),
    ],
)
def test_absolute_paths_of_either_system(path, absolute):
    assert source.is_absolute(str(path)) is absolute


def test_an_absolute_path_of_another_system_is_not_looked_for_beside_the_table():
    files("sub/C:/photos/a.png", "sub/b.png")  # here a folder may be called "C:"
    path = table("path,label\nC:\\photos\\a.png,x\nb.png,x\n", "sub/t.csv")
    listing = read_listing(path)
    assert [one.name for one in listing.sources] == ["b.png"]
    assert aside(listing) == [("C:\\photos\\a.png", "line 2: no such file")]
