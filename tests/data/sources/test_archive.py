"""Archives are read as the folder that they were made of, and none of them harms the machine."""

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from halves import Halves, write
from twinset.cache_folder import cache_folder
from twinset.cli.app import run
from twinset.data.data_set import load_images
from twinset.data.sources import archive, is_path, read_listing
from twinset.errors import DataError
from twinset.models.bulk import embed_images
from twinset.search.indexing import index_images

NAMES = ["cat/2.png", "cat/10.png", "dog/old/1.png", "dog/3.png"]
KINDS = ["photos.zip", "photos.tar", "photos.tar.gz", "photos.TGZ", "photos.tar.bz2", "photos.txz"]


@pytest.fixture(autouse=True)
def photos(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for i, name in enumerate(NAMES):
        write(f"photos/{name}", i / 5, 1 - i / 5)


def pack(place, root="."):
    """Archive `photos`, as `photos/cat/…` or, from inside, as `cat/…`."""
    files = [path for path in sorted(Path("photos").rglob("*")) if path.is_file()]
    named = {path.relative_to(root).as_posix(): path for path in files}
    if place.lower().endswith(".zip"):
        with zipfile.ZipFile(place, "w") as file:
            for name, path in named.items():
                file.write(path, name)
        return
    how = next(
        (k for e, k in {"gz": "gz", "bz2": "bz2", "xz": "xz"}.items() if e in place.lower()), ""
    )
    with tarfile.open(place, f"w:{how}") as file:
        for name, path in named.items():
            file.add(path, name)


def facts(listing):
    return (
        *(listing.ids, listing.class_names, listing.labels.tolist(), listing.name),
        [(bad.name, bad.reason) for bad in listing.skipped],
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_is_the_folder_in_it(kind):
    Path("photos/cat/notes.txt").write_text("no image")
    Path("photos/cat/.hidden.png").write_bytes(b"")
    Path("photos/Thumbs.db").write_bytes(b"")
    pack(kind.replace("TGZ", "tgz"))
    Path(kind.replace("TGZ", "tgz")).rename(kind)
    found = read_listing(kind)
    assert facts(found) == facts(read_listing("photos"))
    assert found.place == str(Path(kind).absolute())
    assert [each.probe() for each in found.sources] == [(4, 4, "L")] * 4


def test_with_a_folder_around_the_classes_and_without():
    pack("around.zip")
    pack("bare.zip", "photos")
    assert read_listing("around.zip").ids == read_listing("bare.zip").ids
    assert read_listing("bare.zip").name == "bare"


def test_a_class_alone_stays_a_class():
    with zipfile.ZipFile("one.zip", "w") as file:
        file.write("photos/cat/2.png", "cat/2.png")
    assert read_listing("one.zip").class_names == ("cat",)


def test_a_table_and_a_folder_in_an_archive():
    Path("photos/pets.csv").write_text("path,label\ncat/2.png,tom\n../../../../secret.png,spy\n")
    pack("photos.zip")
    found = read_listing("photos.zip/photos/pets.csv")
    assert (found.ids, found.class_names) == (("cat/2.png",), ("tom",))
    assert [bad.reason for bad in found.skipped] == ["line 3: it leads out of the archive"]
    assert read_listing("photos.zip/photos/dog").class_names == ("old",)
    assert is_path("photos.zip/photos/pets.csv")
    assert not is_path("photos.rar/photos/pets.csv")
    with pytest.raises(DataError, match=r"^photos.zip/photos/none: expected .* Received nothing"):
        read_listing("photos.zip/photos/none")
    Path("photos/cat").rename("cat")
    Path("photos/dog").rename("dog")
    pack("photos.zip")
    with pytest.raises(DataError, match=r"pass photos.zip/photos/pets.csv\.$"):
        read_listing("photos.zip")


def test_it_is_unpacked_once_and_anew_when_it_has_changed(monkeypatch):
    pack("photos.zip")
    first = read_listing("photos.zip").sources[0].path
    with monkeypatch.context() as alone:
        alone.setattr(zipfile, "ZipFile", None)
        assert read_listing("photos.zip").sources[0].path == first
    assert first.startswith(str(cache_folder("archives")))
    write("photos/cat/11.png", 1, 1)
    pack("photos.zip")
    assert "cat/11.png" in read_listing("photos.zip").ids


def test_an_index_and_a_file_of_embeddings_know_the_images_again():
    pack("photos.zip")
    model = Halves()
    with index_images(model, "photos.zip", "made.index") as made:
        assert dict(made.items())["cat/2.png"]["_source"] == str(Path("photos.zip").absolute())
    assert model.embedded == 4
    write("photos/cat/11.png", 1, 1)
    pack("photos.tar.gz")  # another archive, unpacked elsewhere, with one image more
    with index_images(model, "photos.tar.gz", "made.index") as made:
        assert len(made) == 5
    assert model.embedded == 5
    assert embed_images(model, "photos.zip", "vectors.parquet").rows == 4


def test_the_command_and_the_images(capsys):
    for i in range(12):
        write(f"photos/{'ab'[i % 2]}/{i}.png", i / 12, i % 3 / 3)
    pack("photos.zip")
    assert load_images("photos.zip").images.shape == (16, 4, 4)
    assert run(["check", "photos.zip"]) == 0
    assert "photos: 16 images of 4 × 4 in 5 classes" in capsys.readouterr().out


# --- archives that mean harm, or are broken


def zipped(*entries):
    with zipfile.ZipFile("bad.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for info, content in (*entries, ("ok/1.png", Path("photos/cat/2.png").read_bytes())):
            file.writestr(info, content)
    return "bad.zip"


def tarred(*entries):
    with tarfile.open("bad.tar.gz", "w:gz") as file:
        for info, content in (*entries, (tarfile.TarInfo("ok/1.png"), b"x")):
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return "bad.tar.gz"


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


OUT = ["../out.png", "a/../../out.png", "/out.png", "C:/out.png", "C:\\out.png", "..\\out.png"]


@pytest.mark.parametrize("name", OUT)
def test_no_name_leads_out(name, tmp_path):
    before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    found = read_listing(zipped((name, b"x")))
    assert [bad.reason for bad in found.skipped] == ["it leads out of the archive"]
    if "\\" not in name:
        found = read_listing(tarred((tarfile.TarInfo(name), b"x")))
        assert [bad.reason for bad in found.skipped] == ["it leads out of the archive"]
    after = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
    assert {path.name for path in after - before} <= {"bad.zip", "bad.tar.gz"}
    assert found.ids == ("ok/1.png",)


def test_links_and_devices_are_not_followed():
    link = zipfile.ZipInfo("ok/link.png")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    assert read_listing(zipped((link, b"/etc/passwd"))).skipped[0].reason == "a link"
    found = read_listing(
        tarred(
            (special("ok/soft.png", tarfile.SYMTYPE, "/etc/passwd"), b""),
            (special("ok/hard.png", tarfile.LNKTYPE, "ok/1.png"), b""),
            (special("ok/pipe.png", tarfile.FIFOTYPE), b""),
            # through a link that would lead elsewhere
            (special("up", tarfile.SYMTYPE, ".."), b""),
            (tarfile.TarInfo("up/out.png"), b"x"),
        )
    )
    told = {bad.name: bad.reason for bad in found.skipped}
    assert told == dict.fromkeys(["ok/soft.png", "ok/hard.png", "up"], "a link") | {
        "ok/pipe.png": "no regular file"
    }
    assert found.ids == ("ok/1.png", "up/out.png")


def test_bombs_are_refused_and_leave_nothing(monkeypatch):
    monkeypatch.setattr(archive, "SMALL", 100_000)
    for place in (
        zipped(("ok/0.png", bytes(10**7))),
        tarred((tarfile.TarInfo("a/0.png"), bytes(10**7))),
    ):
        with pytest.raises(DataError, match=r"expected at most 100 times .* Received more"):
            read_listing(place)
    long = tarfile.TarInfo("a" * 2**21)
    with pytest.raises(DataError, match=r"Received one of 2,097,1..: if you trust"):
        read_listing(tarred((long, b"")))
    assert not list(cache_folder("archives").rglob("*.png"))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_sizes_below_nothing_end(kind):
    """Python's own reader would go back, and read the same entry for ever."""
    info = special("a/0.png", kind)
    info.size = -512
    Path("bad.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    with pytest.raises(DataError, match=r"^bad.tar: expected a whole archive\. "):
        read_listing("bad.tar")


def test_what_a_pax_header_says_is_not_believed():
    for told, words in (({"size": "-512"}, "negative size"), ({"path": "a/\0.png"}, "")):
        info = tarfile.TarInfo("a/0.png")
        info.pax_headers = told
        with tarfile.open("bad.tar", "w", format=tarfile.PAX_FORMAT) as file:
            file.addfile(info)
            ok = tarfile.TarInfo("ok/1.png")
            ok.size = 1
            file.addfile(ok, io.BytesIO(b"x"))
        if words:
            with pytest.raises(DataError, match=words):
                read_listing("bad.tar")
        else:
            assert [bad.reason for bad in read_listing("bad.tar").skipped] == ["no name for a file"]


def test_what_is_broken_is_told():
    for kind in ("photos.zip", "photos.tar", "photos.tar.gz", "photos.tar.xz"):
        pack(kind)
        whole = Path(kind).read_bytes()
        for cut in (0, 300, len(whole) // 2):
            Path(kind).write_bytes(whole[:cut])
            with pytest.raises(DataError, match=rf"^{kind}: expected a whole archive\. .*fetch it"):
                read_listing(kind)
    Path("photos.tar").write_bytes(b"no archive at all" * 100)
    with pytest.raises(DataError, match=r"photos.tar: expected a whole archive"):
        read_listing("photos.tar")
    place = zipped(("ok/a.png", b"some bytes"), ("ok", b"a file of a folder's name"))
    content = Path(place).read_bytes()
    Path(place).write_bytes(content.replace(content[36:46], b"other byte", 1))
    told = {bad.name: bad.reason for bad in read_listing(place).skipped}
    assert told["ok/a.png"].startswith("damaged: ")
    assert told["ok"].startswith("cannot be unpacked beside the others")


def test_an_encrypted_entry_and_one_that_is_named_twice():
    with pytest.warns(UserWarning, match="Duplicate name"):
        place = zipped(("ok/1.png", b"x"))
    assert [bad.name for bad in read_listing(place).skipped] == ["ok/1.png"]
    content = bytearray(Path(zipped(("ok/0.png", b"x"))).read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    Path(place).write_bytes(content)
    assert [bad.reason for bad in read_listing(place).skipped] == ["it is encrypted"]
