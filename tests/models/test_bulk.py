"""Bulk embedding: what is in the file, what a kill leaves, and what an index makes of it."""

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

import pages
import twinset
from halves import Halves, write
from twinset.cores import cores
from twinset.data.sources import read_listing
from twinset.errors import DataError, ModelError, StoreError
from twinset.models.bulk import embed_images
from twinset.search.indexing import index_images

GRAYS = {
    f"{name}/{i}.png": (i / 10, shade) for name, shade in (("a", 0), ("b", 1)) for i in range(5)
}


@pytest.fixture(autouse=True)
def photos():
    for name, (upper, lower) in GRAYS.items():
        write(f"photos/{name}", upper, lower)


class Killed(Halves):
    """A model whose machine dies at an image that is nearly white above."""

    def encode(self, pixels):
        if (pixels[:, 0] > 96).any():
            raise KeyboardInterrupt
        return super().encode(pixels)


def test_a_row_for_each_image_in_the_order_of_the_source():
    Path("photos/b/1.png").write_bytes(b"no image")
    told = []
    made = embed_images(Halves(), "photos", "vectors.parquet", shard=3, progress=told.append)
    table = parquet.read_table("vectors.parquet")
    ids = [name for name in GRAYS if name != "b/1.png"]
    assert table["id"].to_pylist() == ids
    np.testing.assert_allclose(
        table["embedding"].to_pylist(), [GRAYS[id_] for id_ in ids], atol=0.002
    )
    assert table["label"].to_pylist() == [id_[0] for id_ in ids]
    assert table["path"].to_pylist() == [str(Path("photos", id_).absolute()) for id_ in ids]
    assert (made.rows, made.resumed, [bad.name for bad in made.skipped]) == (9, 0, ["b/1.png"])
    assert [(p.done, p.total) for p in told] == [(3, 10), (6, 10), (9, 10), (10, 10)]
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["photos", "vectors.parquet"]
    note = json.loads(table.schema.metadata[b"twinset"])
    assert note == {"model": "halves", "dim": 2}


def test_what_was_interrupted_goes_on_and_only_what_changed_is_embedded_again():
    with pytest.raises(KeyboardInterrupt):
        embed_images(Killed(), "photos", "vectors.parquet", shard=4)
    assert not Path("vectors.parquet").exists()
    write("photos/a/0.png", 0.1, 1)
    model = Halves()
    # "halves" is the digest of both; the first four images were done, and one of them has changed
    made = embed_images(model, "photos", "vectors.parquet", shard=4)
    assert (made.resumed, model.embedded, made.rows) == (0, 10, 10)
    with pytest.raises(KeyboardInterrupt):
        embed_images(Killed(), "photos", "again.parquet", shard=4)
    shutil.rmtree("photos/b")
    model = Halves()
    made = embed_images(model, "photos", "again.parquet", shard=4)
    assert (made.resumed, model.embedded, made.rows) == (4, 1, 5)


def test_an_index_of_the_file_is_that_of_the_images():
    embed_images(Halves(), "photos", "vectors.parquet", shard=4)
    of_images, of_file = Halves(), Halves()
    with index_images(of_images, "photos", "one") as one:
        expected = [{k: v for k, v in known.items() if k != "_source"} for _, known in one.items()]
        vectors = one.get([*GRAYS]).vectors
    with index_images(of_file, "vectors.parquet", "two") as two:
        assert [id_ for id_, _ in two.items()] == [*GRAYS]
        found = [{k: v for k, v in known.items() if k != "_source"} for _, known in two.items()]
        assert found == expected
        np.testing.assert_array_equal(two.get([*GRAYS]).vectors, vectors)
    assert of_file.embedded == 0
    # and goes on with the images themselves: what has not changed is known
    with index_images(of_file, "photos", "two") as two:
        assert (two.changes.relabelled, of_file.embedded) == (10, 0)


def test_an_index_of_another_model_refuses_the_file():
    embed_images(Halves("first"), "photos", "vectors.parquet")
    with pytest.raises(StoreError, match="embeddings of the model second. Received those of first"):
        index_images(Halves("second"), "vectors.parquet", "made.index")
    assert not Path("made.index").exists()


def test_columns_of_a_table_keep_their_types():
    names = list(GRAYS)
    lines = ["path,id,price,sold,name,mixed"]
    for i, name in enumerate(names):
        lines.append(f"photos/{name},item {i},{i if i % 3 else ''},{i % 2 == 0},shoe {i},{'x' * i}")
    Path("table.csv").write_text("\n".join(lines), encoding="utf-8")
    embed_images(Halves(), "table.csv", "vectors.parquet", shard=3)
    with index_images(Halves(), "table.csv", "one") as one:
        expected = dict(one.items())
    with index_images(Halves(), "vectors.parquet", "two") as two:
        found = dict(two.items())
    for known in (*expected.values(), *found.values()):
        del known["_source"]
    assert found == expected
    assert found["item 4"]["price"] == 4
    assert found["item 4"]["sold"] is True


def test_images_in_a_table_stay_findable():
    import pyarrow

    cells = [Path("photos", name).read_bytes() for name in GRAYS]
    parquet.write_table(pyarrow.table({"image": cells, "label": [*"ab" * 5]}), "cells.parquet")
    embed_images(Halves(), "cells.parquet", "vectors.parquet", shard=3)
    table = parquet.read_table("vectors.parquet")
    assert table["_row"].to_pylist() == list(range(10))
    with index_images(Halves(), "vectors.parquet", "made.index") as made:
        known = dict(made.items())["cells.parquet[3]"]
    assert (known["_row"], known["_column"], known["label"]) == (3, "image", "b")
    assert known["path"] == str(Path("cells.parquet").absolute())


def test_the_file_trains(stripes):
    embed_images(Halves(), "photos", "vectors.parquet")
    data = twinset.load_features("vectors.parquet")
    assert (data.class_names, len(data), data.dim) == (("a", "b"), 10, 2)
    model = twinset.fit(data, epochs=1, encoder={"units": [4]}, progress=False)
    made = embed_images(model, "vectors.parquet", "further.parquet", shard=4)
    further = read_listing("further.parquet", labelled=False)
    assert (made.rows, further.model) == (10, model.digest)
    np.testing.assert_allclose(further.rows, model.embed(data.vectors), atol=1e-6)


@pytest.mark.parametrize(
    ("out", "arguments", "error", "words"),
    [
        ("vectors.npy", {}, DataError, "expected the name of a .parquet file"),
        ("there.parquet", {}, DataError, "choose another --out, or allow --overwrite"),
        ("new.parquet", {"engine": "spark"}, ModelError, "Received 'spark'"),
        (
            "new.parquet",
            {"address": "auto"},
            ModelError,
            "Expected the engine ray beside an address",
        ),
        ("new.parquet", {"shard": 0}, DataError, "Expected 1 image or more"),
    ],
)
def test_what_cannot_be_is_told_before_an_image_is_read(out, arguments, error, words):
    Path("there.parquet").touch()
    model = Halves()
    with pytest.raises(error, match=words):
        embed_images(model, "photos", out, **arguments)
    assert model.embedded == 0


def test_nothing_that_can_be_read():
    for name in GRAYS:
        Path("photos", name).write_bytes(b"no image")
    with pytest.raises(DataError, match="All 10 failed, the last: b/4.png"):
        embed_images(Halves(), "photos", "vectors.parquet")
    assert [path.name for path in Path.cwd().iterdir()] == ["photos"]


def test_a_full_disk_loses_nothing():
    resource = pytest.importorskip("resource", reason="Windows limits no process")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    # each shard has less, and the whole file more
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, usual[1]))
    try:
        with pytest.raises(DataError, match=r"vectors\.parquet: expected room .* same command"):
            embed_images(Halves(), "photos", "vectors.parquet", shard=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert not Path("vectors.parquet").exists()
    model = Halves()
    made = embed_images(model, "photos", "vectors.parquet", shard=2)
    assert (made.rows, made.resumed, model.embedded) == (10, 10, 0)


def test_two_at_once_are_told_apart():
    class Slow(Halves):
        def encode(self, pixels):
            with pytest.raises(DataError, match="another process is writing it"):
                embed_images(Halves(), "photos", "vectors.parquet")
            return super().encode(pixels)

    assert embed_images(Slow(), "photos", "vectors.parquet").rows == 10


def test_the_command(command, monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("run").mkdir()
    Halves().save("run")
    Path("photos/a/broken.png").write_bytes(b"no image")
    made = command("embed", "run", "photos", "--out", "vectors.parquet")
    assert (made.code, made.out) == (0, "vectors.parquet: 10 rows; 1 skipped\n")
    assert "embed: skipped a/broken.png: " in made.err
    again = command("embed", "run", "photos", "--out", "vectors.parquet")
    assert again.code == 2
    assert "--overwrite" in again.err
    told = command("embed", "run", "photos", "--out", "vectors.parquet", "--overwrite", "--json")
    assert told.err == ""
    answer = json.loads(told.out)
    assert (answer["rows"], answer["resumed"]) == (10, 0)
    assert [bad["name"] for bad in answer["skipped"]] == ["a/broken.png"]


def test_the_page(command, monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("runs/photos").mkdir(parents=True)
    Halves().save("runs/photos")
    page = Path(__file__).parents[2].joinpath("docs", "bulk.md").read_text("utf-8")
    first, *_ = re.findall(r"^```sh\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for line in first.splitlines():
        assert command(*line.split()[1:]).code == 0
    (program,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names = {}
    exec(program, names)
    np.testing.assert_allclose(names["vectors"], [*GRAYS.values()], atol=0.002)


@pytest.mark.clusters
def test_two_raylets_write_the_same_though_a_worker_is_killed(monkeypatch):
    Path("photos/b/broken.png").write_bytes(b"no image")
    script = Path(__file__).with_name("two_raylets.py")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    # both machines have worked, and "killed" stands beside their names
    assert done.stdout.splitlines()[-1:] == ["10 3 ['b/broken.png']"], done.stderr
    embed_images(Halves(), "photos", "local.parquet")
    assert parquet.read_table("ray.parquet").equals(parquet.read_table("local.parquet"))


@pytest.mark.clusters
def test_the_cluster_of_the_page(command, monkeypatch):
    """The lines of docs/bulk.md; the machines are this one, with a core each."""
    (block,) = (
        each for each in pages.blocks_of(pages.ROOT / "docs/bulk.md") if "ray " in each.text
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lines = block.text.replace("10.0.0.1:6379", f"127.0.0.1:{port}").replace("/nfs/", "")
    install, *machines, embed = (shlex.split(line, comments=True) for line in lines.splitlines())
    pages.assert_extras(block.commands()[0])
    assert install[0] == "pip"
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)
    Path("runs/photos").mkdir(parents=True)
    Halves().save("runs/photos")
    small = ["--block", "--num-cpus=1", f"--object-store-memory={80 * 2**20}"]
    running = []
    try:
        for ray, *words in machines:
            assert ray == "ray"
            if "--head" in words:
                words += [
                    f"--port={port}",
                    "--node-ip-address=127.0.0.1",
                    "--include-dashboard=false",
                ]
            script = [sys.executable, "-m", "ray.scripts.scripts", *words, *small]
            running.append(subprocess.Popen(script, stdout=subprocess.PIPE, text=True))
            assert any("Ray runtime started" in line for line in running[-1].stdout)
        told = command(*embed[1:])
    finally:
        for each in running:
            each.terminate()
            each.communicate(timeout=60)
    assert told.code == 0, told.err
    embed_images(Halves(), "photos", "local.parquet")
    assert parquet.read_table("vectors.parquet").equals(parquet.read_table("local.parquet"))


def test_a_cluster_that_is_not_there_is_told(monkeypatch):
    with pytest.raises(ModelError, match="nowhere: expected the address of a running Ray cluster"):
        embed_images(Halves(), "photos", "new.parquet", engine="ray", address="nowhere")


@pytest.mark.parametrize(("told", "most"), [("1", 1), ("", None), ("4,2", None), ("0", None)])
def test_a_process_takes_the_cores_that_it_is_given(monkeypatch, told, most):
    """By the variable by which Ray gives each of its workers a share."""
    count = cores.__wrapped__
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    here = count()
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert count() == (most or here)
