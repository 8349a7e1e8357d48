"""Models on a hub: pushed and fetched, in private, without a network, and never with code."""

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
from halves import Halves
from hub_server import TOKEN, running_hub
from twinset.errors import ModelError
from twinset.models.hub import local_folder, own_folder
from twinset.server.opening import open_service


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was evaluated, on photographs of dark and of bright things."""
    place = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(0)
    for i in range(40):
        path = place / "photos" / ("dark", "bright")[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 100, (6, 6), np.uint8) + np.uint8(i % 2 * 150)).save(path)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(place / "cache"))
        settings = {"epochs": 1, "encoder": {"units": [8]}, "holdout": "auto"}
        twinset.train(place / "photos", "tutorial", out=place / "run", progress=False, **settings)
    (place / "run/evaluation.md").write_text("# shades\n\n## Thresholds\n\n- 97.5%\n")
    return place / "run"


@pytest.fixture(scope="module")
def served():
    # one for all: older versions of huggingface_hub believe in the address of their first import
    with running_hub() as found:
        yield found


@pytest.fixture
def hub(served, monkeypatch, tmp_path):
    """An empty hub."""
    served.empty()
    monkeypatch.setenv("HF_ENDPOINT", served.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    return served


@pytest.fixture
def pushed(hub, run):
    """The hub, with the model of the run."""
    twinset.load_model(run).push_to_hub("user/shades", private=False)
    return hub


def test_a_run_goes_there_and_back(hub, run, monkeypatch):
    model = twinset.load_model(run)
    address = model.push_to_hub("user/shades")
    assert address == f"hf://user/shades@{hub.sha('user/shades', 'main')}"
    assert hub.private == {"user/shades"}
    again = twinset.load_model("hf://user/shades")
    assert type(again).__name__ == "OnnxModel"
    assert (again.digest, again.threshold) == (model.digest, model.threshold)
    assert again.recipe == model.recipe
    images = np.arange(72, dtype=np.uint8).reshape(2, 6, 6)
    assert np.array_equal(again.embed(images), model.embed(images))
    keras = twinset.load_model(Path("hf://user/shades"), engine="keras")
    assert np.allclose(keras.embed(images), model.embed(images), atol=1e-5)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(ModelError, match=r"^hf://user/shades@branch: .* none of this name, or it"):
        twinset.load_model("hf://user/shades@branch")
    assert twinset.load_model(address, token=TOKEN).digest == model.digest


def test_the_repository_tells_what_the_model_is_and_nothing_of_this_machine(pushed, run):
    content = pushed.repos["user/shades"]["main"]
    assert set(content) == {
        *("README.md", "encoder.keras", "encoder.onnx", "history.csv", "model.json"),
        *("parts.npz", "recipe.toml"),
    }
    page = content["README.md"].decode()
    assert page.startswith("---\nlibrary_name: twinset\n")
    threshold = twinset.load_model(run).threshold
    for told in (
        *(
            'load_model("hf://user/shades")',
            "images of 6 × 6",
            "photos[fit]: 32 images, ",
            "2 classes",
        ),
        *(f"same up to {threshold.value:.4g}", "## shades", "### Thresholds", "97.5%"),
    ):
        assert told in page, page
    with np.load(run / "parts.npz") as whole:
        assert "source" in whole.files
    for name, data in content.items():
        assert str(run.parent).encode() not in data, name
    stripped = local_folder("hf://user/shades") / "parts.npz"
    with np.load(stripped) as parts, np.load(run / "parts.npz") as whole:
        assert np.array_equal(parts["fit"], whole["fit"])
        assert not {"source", "pairs", "columns"} & {*parts.files}


def test_where_weights_lay_is_not_told(hub, run, tmp_path):
    recipe = Path(shutil.copytree(run, tmp_path / "run"), "recipe.toml")
    own = '[encoder]\nname = "onnx"\nfile = "/somewhere/of/mine/dino.onnx"\n\n['
    text, count = re.subn(r"\[encoder\][^[]*(\[8\][^[]*)?\[", own, recipe.read_text("utf-8"))
    assert count == 1
    recipe.write_text(text)
    twinset.load_model(tmp_path / "run").push_to_hub("user/shades")
    content = hub.repos["user/shades"]["main"]["recipe.toml"].decode()
    assert 'file = "dino.onnx"' in content
    assert "mine" not in content


def test_results_beside_a_model_are_of_its_revision(pushed, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert (own_folder("hf://user/shades") / "parts.npz").is_file()
    kept = twinset.load_model(run, engine="keras")
    again = kept.calibrate(twinset.load_images(run.parent / "photos"))
    assert again.home == kept.home == run  # so that its fingerprints go along
    del pushed.repos["user/shades"]["main"]["parts.npz"]
    pushed.commit("user/shades", "main", {"README.md": b"mine"})
    assert not (own_folder("hf://user/shades") / "parts.npz").exists()


def test_a_page_of_the_owners_own_stays(pushed, run):
    page = pushed.repos["user/shades"]["main"]["README.md"]
    pushed.commit("user/shades", "main", {"README.md": page + b"edited"})
    twinset.load_model(run).push_to_hub("user/shades")
    assert pushed.repos["user/shades"]["main"]["README.md"] == page
    pushed.commit("user/shades", "main", {"README.md": b"mine"})
    twinset.load_model(run).push_to_hub("user/shades")
    assert pushed.repos["user/shades"]["main"]["README.md"] == b"mine"


def test_a_model_without_a_folder_one_calibrated_anew_and_a_graph_alone(hub, run, tmp_path):
    fresh = replace(twinset.load_model(run, engine="keras"))  # which knows no folder
    assert fresh.home is None
    fresh.push_to_hub("user/fresh")
    assert "encoder.onnx" not in hub.repos["user/fresh"]["main"]
    assert type(twinset.load_model("hf://user/fresh")).__name__ == "SiameseModel"
    twinset.load_model(run).push_to_hub("user/fresh")
    assert {"encoder.onnx", "parts.npz"} < set(hub.repos["user/fresh"]["main"])
    fresh.push_to_hub("user/fresh")  # neither is this model's
    assert not {"encoder.onnx", "parts.npz"} & set(hub.repos["user/fresh"]["main"])
    other = replace(twinset.load_model(run), threshold=twinset.Threshold(0.25, "by hand"))
    other.push_to_hub("user/other", revision="trial")
    found = twinset.load_model("hf://user/other@trial")
    assert found.threshold == other.threshold
    assert "97.5%" not in hub.repos["user/other"]["trial"]["README.md"].decode()
    assert not hub.repos["user/other"]["main"]
    twinset.export(run, tmp_path / "exported")
    alone = twinset.load_model(tmp_path / "exported")
    alone.push_to_hub("user/alone")
    assert twinset.load_model("hf://user/alone").threshold == alone.threshold
    with pytest.raises(ModelError, match="encoder.onnx: expected the folder .* unchanged"):
        replace(alone, threshold=other.threshold).push_to_hub("user/alone")
    moved = twinset.load_model(shutil.copytree(run, tmp_path / "moved"))
    (tmp_path / "moved/encoder.onnx").unlink()
    with pytest.raises(ModelError, match=r"No such file or directory: load the model again"):
        moved.save(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="expected the card of a model. KeyError"):
        Halves().push_to_hub("user/halves")
    unsaved = Halves()
    unsaved.save = None
    with pytest.raises(ModelError, match="can be saved. Received Halves"):
        unsaved.push_to_hub("user/halves")


def test_nothing_else_of_a_repository_is_fetched(pushed):
    evil = {"modeling.py": b"raise SystemExit", "weights.pkl": b"\x80\x04.", "../up.json": b"{}"}
    pushed.commit("user/shades", "main", evil)
    folder = local_folder("hf://user/shades")
    assert {path.name for path in folder.iterdir()} == {
        *("encoder.keras", "encoder.onnx", "history.csv", "model.json", "parts.npz", "recipe.toml")
    }


def test_without_a_network_what_was_fetched_is_used(hub, run, monkeypatch):
    address = twinset.load_model(run).push_to_hub("user/shades")
    digest = twinset.load_model("hf://user/shades").digest
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for known in ("hf://user/shades", address):
        assert twinset.load_model(known).digest == digest
    with pytest.raises(ModelError, match=r"expected http://127.0.0.1:9 to answer, or a whole copy"):
        twinset.load_model("hf://user/others")
    with pytest.raises(ModelError, match=r"user/shades: expected http://127.0.0.1:9 to answer"):
        twinset.load_model(run).push_to_hub("user/shades")


def test_each_failure_is_told_in_a_sentence(pushed, run, monkeypatch):
    pushed.commit("user/empty", "main", {"config.json": b"{}"})
    pushed.commit("user/consent", "main", {"model.json": b"{}"})
    pushed.gated.add("user/consent")
    for address, words in (
        ("hf://shades", "expected hf://USER/NAME, or hf://USER/NAME@REVISION"),
        ("hf://user/shades/model.json", "expected hf://USER/NAME"),
        ("hf://user/none", "There is none of this name, or it is private: check the name, or set"),
        ("hf://user/shades@v9", "expected a branch, tag or commit of the repository. It has none"),
        ("hf://user/empty", "expected a model of twinset.*: push one with `twinset push`"),
        ("hf://user/consent", "asks for consent: give it on its page there"),
        ("hf://us..er/shades", "expected a name that the hub knows"),
    ):
        with pytest.raises(ModelError, match=words):
            twinset.load_model(address)
    model = twinset.load_model(run)
    for name in ("shades", "a/b/c", "user/shades@main", ""):
        with pytest.raises(ModelError, match="Expected a name such as 'user/name'"):
            model.push_to_hub(name)
    for token in ("hf_reads", None):
        monkeypatch.setenv("HF_TOKEN", token or "")
        with pytest.raises(ModelError, match=r"The hub says no: set HF_TOKEN.* may write there"):
            model.push_to_hub("user/shades", token=token)
    with monkeypatch.context() as missing:
        missing.setitem(sys.modules, "huggingface_hub", None)
        with pytest.raises(ModelError, match=r"pip install 'twinset\[hub\]'"):
            twinset.load_model("hf://user/shades")


def test_commands_take_it_as_a_run(hub, run, command, undrawn, monkeypatch):
    photos = run.parent / "photos"
    made = command("push", run, "user/shades", "--public", "--json")
    assert made.code == 0, made.err
    address = json.loads(made.out)["model"]
    assert not hub.private
    a, b = photos / "dark/0.png", photos / "bright/1.png"
    here = command("compare", run, a, b).out
    assert command("compare", "hf://user/shades", a, b).out == here
    assert command("embed", address, photos, "--out", "v.parquet").out.startswith("v.parquet: 40")
    assert "40 items" in command("index", "hf://user/shades", photos, "--out", "i").out
    told = command("evaluate", "hf://user/shades")
    assert (told.code, told.out) == (2, "")
    assert "Expected data to evaluate on, as a model from the hub" in told.err
    told = command("evaluate", "hf://user/shades", photos, "--no-baselines")
    assert told.code == 0, told.err
    assert "of 40 images were used in training: left out" in told.err
    page = Path("runs/user--shades/evaluation.html")
    assert f"report: {page}" in told.out
    assert page.exists()
    service = open_service("hf://user/shades")
    assert service.model.digest == twinset.load_model(run).digest
    service.close()
    told = command("evaluate", run, photos, "--against", "hf://user/shades")
    assert told.code == 0, told.err
    told = command("export", "hf://user/shades")
    assert (told.code, told.out) == (2, "")
    assert "Expected a folder for the graph of a model on the hub. Received none" in told.err
    assert command("export", "hf://user/shades", "--out", "exported").code == 0
    assert command("compare", "exported", a, b).out == here
