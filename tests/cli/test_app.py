import ast
import atexit
import csv
import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset
import twinset.run
from twinset.cli.app import arguments_of, commands
from twinset.errors import DownloadError, TrainingError

pytestmark = pytest.mark.usefixtures("undrawn")

QUICK = ("--set", "epochs=2", "--set", "encoder.units=[8]", "--set", "batch_size=16")
FILES = {
    "distances.png",
    "encoder.keras",
    "encoder.onnx",
    "health.png",
    "history.csv",
    "loss.png",
    "model.json",
    "network.png",
    "parts.npz",
    "recipe.toml",
    "report.html",
    "report.json",
    "test_pairs.png",
    "training_pairs.png",
}
# there is one only if a verdict was wrong
SOMETIMES = {"mistakes.png"}


def shades(count, seed, name):
    """Dark and bright images that overlap a little, so that some verdicts are wrong."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], count)
    images = rng.integers(0, 130, (2 * count, 6, 5), dtype=np.uint8)
    images[labels == 1] += 60
    return twinset.LabelledImages(images, labels, ("dark", "bright"), name)


TINY = shades(40, 0, "shades/train"), shades(30, 1, "shades/test")


@pytest.fixture
def tiny(monkeypatch):
    """Train on a few small images instead of a data set."""
    monkeypatch.setattr(twinset.data.load, "load_data_set", lambda *_, **__: TINY)


def shell(*arguments, **environment):
    """Call a real process."""
    return subprocess.run(
        [sys.executable, "-m", "twinset", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )


def one_line(code, out, err, lines=1):
    """What a mistake ends in: exit code 2, and one line (or as many as told) that says all."""
    assert code == 2
    assert out == ""
    assert "Traceback" not in err
    assert err.startswith("twinset: ")
    assert err.endswith("\n")
    assert len(err.splitlines()) == lines, err
    assert all(line.isprintable() for line in err.splitlines()), err
    return err


def failing(error):
    def fail(*_, **__):
        raise error

    return fail


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*")}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a short run, to be read only."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twinset.data.load, "load_data_set", lambda *_, **__: TINY)
        twinset.train(out=folder, epochs=20, batch_size=16, encoder={"units": [8]})
    return folder


@pytest.fixture
def dark():
    Image.fromarray(np.zeros((60, 50), np.uint8)).save("dark.png")
    return Path("dark.png")


@pytest.fixture
def bright():
    Image.fromarray(np.full((6, 5, 3), 255, np.uint8)).save("bright.png")
    return Path("bright.png")


# --- help


@pytest.mark.parametrize(
    ("arguments", "example"),
    [
        ((), "twinset compare runs/first a.png b.png"),
        (("train",), "twinset train fashion-mnist --set epochs=4 --set loss.margin=2"),
        (("evaluate",), "twinset evaluate runs/first --protocol full"),
        (("compare",), "twinset compare runs/first a.png b.png"),
        (("explain",), "twinset explain runs/first a.png b.png --picture why.png"),
    ],
)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_has_an_example_that_can_be_copied(command, monkeypatch, arguments, example, option):
    monkeypatch.setenv("COLUMNS", "60")
    shown = command(*arguments, option)
    assert (shown.code, shown.err) == (0, "")
    assert f"    {example}\n" in shown.out


def test_the_commands_are_listed_with_what_they_do(command):
    shown = command("--help").out
    assert list(commands()) == [
        "check",
        "compare",
        "decide",
        "decisions",
        "duplicates",
        "embed",
        "evaluate",
        "explain",
        "export",
        "identify",
        "index",
        "inspect",
        "push",
        "recipe",
        "remove",
        "review",
        "search",
        "serve",
        "switch",
        "train",
    ]
    for name in commands():
        (line,) = re.findall(rf"^  {name} .*$", shown, re.MULTILINE)
        assert len(line) <= 79
        assert line.endswith(".")


def test_the_end_of_a_command_looks_for_no_garbage(command, monkeypatch):
    """Python would, once more, in all that Keras and JAX hold."""
    found = []
    monkeypatch.setattr(atexit, "register", found.append)
    assert command("--version").code == 0
    assert gc.freeze in found


def declared():
    for name in commands():
        for action in arguments_of(name).parser._actions[1:]:  # --help is argparse's
            yield name, action


def test_every_argument_is_explained():
    """In a sentence or several, which say the default where a value can be left out."""
    for name, action in declared():
        told = (name, action.dest, action.help)
        assert re.fullmatch(r"[A-Za-z0-9].{10,}[.\]]", action.help), told
        if action.default not in (None, False, []) and action.option_strings:
            assert f"Default: {action.default}." in action.help, told


def test_no_sentence_is_typed_twice():
    """What two commands share is declared once, in `arguments`: no module repeats a sentence."""
    folder = Path(twinset.__file__).parent / "cli"
    sentences = [
        node.value
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 25
    ]
    assert [text for text in set(sentences) if sentences.count(text) > 1] == []


def test_the_version(command):
    assert command("--version").out == f"twinset {twinset.__version__}\n"


def test_help_of_a_real_process():
    for arguments in (("--help",), ("train", "--help")):
        done = shell(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("usage: twinset ")


def test_without_a_command_help_is_shown(command):
    shown = command()
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("usage: twinset COMMAND")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "there is no command 'nonsense'."),
        (["trian"], "there is no command 'trian'. Did you mean 'train'?"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["evaluate"], "the following arguments are required: RUN"),
        (["export"], "the following arguments are required: RUN"),
        (["export", "run", "--format", "pickle"], "invalid choice: 'pickle'"),
        (["train", "fashion-mnist", "--epochs", "3"], "unrecognized arguments: --epochs"),
        (["train", "fashion-mnist", "--over"], "unrecognized arguments: --over"),
        (["train", "fashion-mnist", "--backend", "numpy"], "invalid choice: 'numpy'"),
        (["train", "fashion-mnist", "--seed", "one"], "argument --seed: invalid int value: 'one'"),
    ],
)
def test_misuse(command, arguments, words):
    shown = command(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert words in shown.err.splitlines()[-1]
    assert shown.err.startswith("usage: twinset ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.png"], "Expected two images, or a table of pairs with --pairs. Received 1 image."),
        ([], "Received no images."),
        (["a.png", "b.png", "c.png"], "Received 3 images."),
        (["a.png", "b.png", "--pairs", "p.csv"], "Received both: leave one out"),
        (["a.png", "b.png", "--out", "v.csv"], "Expected --out with --pairs"),
    ],
)
def test_misuse_of_compare(command, arguments, words):
    assert words in one_line(**vars(command("compare", "run", *arguments)))


# --- train


def test_train_end_to_end(tiny, command):
    shown = command("train", "fashion-mnist", *QUICK, "--out", "first")
    assert shown.code == 0
    written = {path.name: path for path in Path("first").iterdir()}
    assert written.keys() - SOMETIMES == FILES
    assert all(path.stat().st_size > 0 for path in written.values())
    for name, path in written.items():
        if name.endswith(".png"):
            with Image.open(path) as picture:
                picture.verify()
    report = json.loads(written["report.json"].read_text())
    (accuracy,) = re.findall(r"^\* Accuracy on test set: (\d+\.\d\d)%", shown.out, re.MULTILINE)
    assert accuracy == f"{100 * report['scores']['accuracy']:.2f}"
    assert 0.5 < report["scores"]["accuracy"] < 1, "so that the number says something"
    assert ("mistakes.png" in written) is (report["scores"]["accuracy"] < 1)
    assert f"{accuracy}%" in written["report.html"].read_text()
    assert shown.out.splitlines()[-1] == f"report: {Path('first/report.html')}"
    assert [line.split()[:2] for line in shown.err.splitlines()] == [
        ["epoch", "1/2"],
        ["epoch", "2/2"],
    ]
    recipe = twinset.Recipe.load(written["recipe.toml"])
    assert recipe == twinset.Recipe.load(epochs=2, encoder={"units": [8]}, batch_size=16)
    with written["history.csv"].open(newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert twinset.SiameseModel.load("first").class_names == ("dark", "bright")


def test_train_tells_programs_json_and_nothing_else(tiny, command):
    shown = command("train", "fashion-mnist", *QUICK, "--json", "--out", "first", "--seed", "3")
    assert (shown.code, shown.err) == (0, "")
    answer = json.loads(shown.out)
    assert set(answer) == {"folder", "report"}
    assert answer["folder"] == "first"
    assert answer["report"] == json.loads(Path("first/report.json").read_text())
    assert answer["report"]["facts"]["Recipe"]["seed"] == 3
    assert shown.out.count("\n") == 1


def test_train_makes_a_new_folder_each_time(tiny, command):
    Path("runs/tutorial").mkdir(parents=True)  # of the run before, say
    shown = command("train", "fashion-mnist", *QUICK, "--set", "epochs=1")
    assert f"report: {Path('runs/tutorial-2/report.html')}" in shown.out
    assert Path("runs/tutorial-2/report.html").is_file()
    assert {path.name for path in Path("runs").iterdir()} == {"tutorial", "tutorial-2"}
    assert not any(Path("runs/tutorial").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs names of files that are any bytes")
def test_train_tells_of_a_folder_whose_name_no_encoding_has(tiny, command):
    shown = command("train", "fashion-mnist", *QUICK, "--out", "half\udcff")
    assert shown.code == 0
    assert "report: half" in shown.out
    assert Path("half\udcff/report.html").is_file()


def test_train_reads_a_recipe_file_whose_name_is_the_folders(tiny, command):
    Path("mine.toml").write_text("name = 'mine'\nepochs = 2\n[encoder]\nunits = [8]\n")
    settings = ("--set", "loss.margin=2", "--set", "batch_size=16")
    shown = command("train", "fashion-mnist", "--recipe", "mine.toml", *settings)
    assert shown.code == 0
    assert f"report: {Path('runs/mine/report.html')}" in shown.out
    assert twinset.Recipe.load("runs/mine/recipe.toml") == twinset.Recipe.load(
        name="mine", epochs=2, encoder={"units": [8]}, batch_size=16, loss={"margin": 2}
    )


def test_train_refuses_a_folder_that_holds_files(tiny, command):
    Path("taken").mkdir()
    Path("taken/thesis.txt").write_text("years of work")
    before = contents(Path("taken"))
    shown = one_line(**vars(command("train", "fashion-mnist", *QUICK, "--out", "taken")))
    assert shown == (
        "twinset: taken: expected a new or empty folder. This one holds files: choose another "
        "--out, or allow --overwrite, or --resume a run that was stopped.\n"
    )
    assert contents(Path("taken")) == before


@pytest.fixture
def taken(run):
    """A folder with a run in it, which may be changed."""
    return shutil.copytree(run, "taken")


def test_train_overwrites_when_told_to(tiny, taken, command):
    Path("taken/thesis.txt").write_text("years of work")
    before = json.loads(Path("taken/report.json").read_text())
    shown = command("train", "fashion-mnist", *QUICK, "--seed", 2, "--out", "taken", "--overwrite")
    assert shown.code == 0
    after = json.loads(Path("taken/report.json").read_text())
    assert [report["facts"]["Recipe"]["seed"] for report in (before, after)] == [0, 2]
    assert before["scores"] != after["scores"]
    assert Path("taken/thesis.txt").read_text() == "years of work"


def test_a_new_model_never_lies_beside_the_report_of_another(tiny, taken, command, monkeypatch):
    assert Path("taken/report.html").exists()
    full = failing(OSError(28, "No space left on device", "f"))
    monkeypatch.setattr(twinset.run, "score", full)
    shown = command(
        "train", "fashion-mnist", *QUICK, "--seed", "7", "--out", "taken", "--overwrite"
    )
    assert shown.code == 2
    assert twinset.SiameseModel.load("taken").recipe.seed == 7
    assert {path.name for path in Path("taken").iterdir()} == {
        "encoder.keras",
        "encoder.onnx",
        "history.csv",
        "model.json",
        "parts.npz",
        "recipe.toml",
    }


def test_a_folder_that_cannot_be_written_costs_no_training(tiny, command, monkeypatch):
    monkeypatch.setattr("twinset.training.fit.fit", lambda *_, **__: pytest.fail("trained"))
    Path("file").touch()
    for out, words in {
        "file": "file: expected a folder to write to. Received a file.",
        "file/below": "below: expected a folder to write to. Not a directory.",
        "x" * 300: "File name too long.",
    }.items():
        err = one_line(**vars(command("train", "fashion-mnist", *QUICK, "--out", out)))
        assert err.endswith(f"{words}\n")


@pytest.mark.parametrize(
    "name",
    ["a/b", "../escaped", "{}/escaped", "a\0b", ".", "..", "...", "/", " ", "n" * 300, "é 😀"],
)
def test_the_recipes_name_stays_below_runs(tiny, command, tmp_path, monkeypatch, name):
    """A recipe comes from somebody else: its name must not choose where files are written."""
    monkeypatch.setattr("twinset.training.fit.fit", failing(TrainingError("stopped here.")))
    recipe = twinset.Recipe.load(name=name.format(tmp_path))
    Path("work").mkdir()
    Path("work/given.toml").write_bytes(recipe.to_toml().encode())
    monkeypatch.chdir("work")
    for _ in range(2):
        shown = command("train", "fashion-mnist", "--recipe", "given.toml")
        assert one_line(**vars(shown)) == "twinset: stopped here.\n"
    assert {path.name for path in tmp_path.iterdir()} == {"work"}
    assert {path.name for path in Path().iterdir()} == {"runs", "given.toml"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["mnist"], "mnist: expected .*fashion-mnist, .*Received nothing: no such file or folder"),
        (["two\nlines"], r"two\\x0alines: expected "),
        (["fashion-mnist", "--recipe", "nope"], "Received 'nope'."),
        (["fashion-mnist", "--recipe", "tutorail"], r"did you mean 'tutorial'\?"),
        (["fashion-mnist", "--recipe", "nope.toml"], "Received 'nope.toml'."),
        (["fashion-mnist", "--recipe", "bad.toml"], "bad.toml: expected TOML."),
        (["fashion-mnist", "--set", "epochs"], "Expected key=value.*Received 'epochs'."),
        (["fashion-mnist", "--set", "epoch=3"], r"unknown key 'epoch' \(did you mean 'epochs'\?"),
        (["fashion-mnist", "--set", "epochs=0"], "epochs: .*; received 0"),
        (["fashion-mnist", "--set", "epochs="], "epochs: .*; received ''"),
        (["fashion-mnist", "--set", "a.b=3"], "Expected a section .* 'a.b'"),
        (["fashion-mnist", "--seed", "-1"], "seed: .*; received -1"),
    ],
)
def test_mistakes_in_train_are_one_line(command, arguments, words):
    Path("bad.toml").write_text("epochs = = 3")
    err = one_line(**vars(command("train", *arguments)))
    assert re.search(words, err)


@pytest.mark.parametrize("name", ["nonsense", "", "numpy"])
@pytest.mark.parametrize(
    "arguments",
    [("train", "fashion-mnist"), ("compare", "x", "a", "a", "--engine", "keras"), ("export", "x")],
)
def test_an_unknown_back_end(command, monkeypatch, dark, name, arguments):
    monkeypatch.setenv("KERAS_BACKEND", name)
    dark.rename("a")
    err = one_line(**vars(command(*arguments)))
    assert "Expected a backend out of ['jax', 'tensorflow', 'torch']." in err
    assert f"Received KERAS_BACKEND={name!r}." in err


def test_a_back_end_that_is_not_installed(command, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    err = one_line(**vars(command("train", "fashion-mnist", "--backend", "torch")))
    assert "`pip install 'twinset[torch]'`" in err


def test_mistakes_of_a_real_process():
    for done, words in (
        (shell("train", "mnist"), "mnist: expected "),
        (shell("train", "fashion-mnist", KERAS_BACKEND="nonsense"), "KERAS_BACKEND='nonsense'"),
        (shell("compare", ".", "a.png", "b.png"), "a.png: expected an image file."),
    ):
        assert words in one_line(done.returncode, done.stdout, done.stderr)


def test_a_full_disk(tiny, command, monkeypatch):
    full = failing(OSError(28, "No space left on device", "f"))
    monkeypatch.setattr(twinset.run, "score", full)
    shown = command("train", "fashion-mnist", *QUICK, "--out", "first")
    lines = [line for line in shown.err.splitlines() if not line.startswith("epoch ")]
    assert lines == [
        "twinset: first: the model is trained and saved, but its evaluation failed. "
        "No space left on device. To go on: twinset evaluate first."
    ]
    assert (shown.code, shown.out) == (2, "")


def test_training_that_breaks_down(tiny, command):
    shown = command("train", "fashion-mnist", *QUICK, "--set", "optimizer.learning_rate=1e20")
    lines = [line for line in shown.err.splitlines() if not line.startswith("epoch ")]
    assert len(lines) == 1
    assert lines[0].startswith("twinset: Expected a finite loss. Received ")
    assert (shown.code, shown.out) == (2, "")


def test_a_message_of_several_lines_keeps_them(command, monkeypatch):
    """The library draws what it expects, or lists what was tried, a line for each."""
    failed = failing(DownloadError("Received:\n  a: 404\n  b: \x1b[2J"))
    monkeypatch.setattr(twinset.data.load, "load_data_set", failed)
    shown = command("train", "fashion-mnist")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == "twinset: Received:\n  a: 404\n  b: \\x1b[2J\n"


@pytest.mark.parametrize("name", ["train", "check"])
def test_the_commonest_mistake_is_told_with_a_drawing(command, name):
    """Images beside each other, in no folders of classes."""
    Path("photos").mkdir()
    for i in range(2):
        Image.new("L", (9, 9), i).save(f"photos/{i}.png")
    shown = command(name, "photos")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == (
        "twinset: photos: expected images in folders that are named after their classes:\n"
        "\n"
        "    photos/\n"
        "    ├── cat/\n"
        "    │   ├── 1.jpg\n"
        "    │   └── 2.jpg\n"
        "    └── dog/\n"
        "        └── 3.jpg\n"
        "\n"
        "Received 2 images directly in the root or in a part.\n"
    )


def test_a_terminal_that_lacks_our_characters(tmp_path):
    Image.new("L", (9, 9)).save("1.png")
    done = subprocess.run(
        [sys.executable, "-m", "twinset", "check", "."],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
    )
    assert done.returncode == 2
    assert rb"\u251c\u2500\u2500 cat/" in done.stderr
    assert b"Traceback" not in done.stderr


def test_who_reads_may_stop():
    for i in range(4):
        Path(f"photos/{i % 2}").mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), i).save(f"photos/{i % 2}/{i}.png")
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "twinset", "check", "photos"]
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert b"Broken" not in done.stderr


def test_ctrl_c_while_data_are_loaded(command, monkeypatch):
    monkeypatch.setattr(twinset.data.load, "load_data_set", failing(KeyboardInterrupt()))
    shown = command("train", "fashion-mnist")
    assert (shown.code, shown.out) == (130, "")
    assert shown.err.strip() in ("", "twinset: interrupted.")


def test_ctrl_c_while_training_keeps_the_model(command):
    """A real SIGINT to a real process in the midst of a training that would take hours."""
    for image, name, label in zip(TINY[0].images, range(80), TINY[0].labels, strict=True):
        Path(f"photos/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((8, 8)).save(f"photos/{label}/{name}.png")
    arguments = "train photos --recipe tutorial --out first --set epochs=10000000"
    # tests may be a background job, whose children inherit that SIGINT is ignored
    start = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from twinset.cli.app import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, *arguments.split(), *QUICK[2:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        started = time.perf_counter()
        told = []
        for line in process.stderr:
            told.append(line)
            if line.startswith("epoch 2/"):
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert time.perf_counter() - started < 120
    assert err.endswith("twinset: interrupted; kept what was trained until then.\n")
    assert "Traceback" not in err
    ours = ("decode ", "train: ", "epoch ")
    assert [line for line in told if not line.startswith(ours)] == [], "not of Keras or JAX"
    assert "* Accuracy on test set: " in out
    report = json.loads(Path("first/report.json").read_text())
    assert report["facts"]["Training"]["interrupted"] == "yes"
    assert report["scores"]["accuracy"] > 0.6
    assert 2 <= report["facts"]["Training"]["epochs"] < 10_000_000
    shown = command("compare", "first", "photos/0/0.png", "photos/0/0.png")
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.startswith("same: distance 0.0000 <= threshold ")


# --- compare


def test_compare_says_same_or_different(run, command, dark, bright):
    same = command("compare", run, dark, dark)
    assert (same.code, same.err) == (0, "")
    assert same.out == (
        "same: distance 0.0000 <= threshold 0.5000 (fixed by the recipe, not calibrated on data)\n"
    )
    different = command("compare", run, dark, bright)
    assert (different.code, different.err) == (0, "")
    assert re.fullmatch(
        r"different: distance \d\.\d{4} > threshold 0\.5000 \(.*not calibrated.*\)\n", different.out
    )


def test_compare_adapts_what_it_is_given(run, command, bright):
    Image.new("RGBA", (300, 200), (255, 255, 255, 255)).save("wide.webp")
    Image.new("RGB", (50, 60), (255, 255, 255)).save("photo.jpg")
    assert command("compare", run, bright, "photo.jpg").out.startswith("same: ")
    assert command("compare", run, "wide.webp", "wide.webp").out.startswith("same: ")


def test_compare_tells_programs_json(run, command, dark, bright):
    for right, same in ((dark, True), (bright, False)):
        shown = command("compare", run, dark, right, "--json")
        assert (shown.code, shown.err, shown.out.count("\n")) == (0, "", 1)
        answer = json.loads(shown.out)
        assert answer == {
            "same": same,
            "distance": answer["distance"],
            "threshold": {
                "value": 0.5,
                "rule": "fixed by the recipe, not calibrated on data",
                "data": None,
                "fmr": None,
                "fnmr": None,
                "images": None,
                "across": "",
                "fmr_range": None,
                "fnmr_range": None,
            },
            "probability": None,
            "prior": 0.5,
            "measure": "distance",
            "calibrated": False,
            "note": "",
        }
        assert (answer["distance"] <= 0.5) is same


@pytest.mark.parametrize("options", [("--exit-code",), ("--exit-code", "--json")])
def test_compare_as_a_condition(run, command, dark, bright, options):
    assert command("compare", run, dark, dark, *options).code == 0
    shown = command("compare", run, dark, bright, *options)
    assert (shown.code, shown.err) == (1, "")
    assert shown.out.startswith(("different: ", '{"same": false'))


def test_compare_in_a_real_process(run, dark, bright):
    done = shell("compare", run, dark, bright, "--exit-code")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("different: distance ")


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.png", None, "none.png: expected an image file. No such file or directory."),
        ("text.png", b"hello\n", "text.png: expected an image (PNG, JPEG, GIF, TIFF, WebP, …)."),
        ("empty.png", b"", "empty.png: expected an image file. Received an empty file."),
        ("two\nlines.png", None, "expected an image file. No such file or directory."),
        ("\x1b[2Jwiped.png", None, "expected an image file. No such file or directory."),
        ("\udcff.png", None, "expected an image file. No such file or directory."),
        ("", None, "expected an image file. Received a folder or a device."),
    ],
)
def test_files_that_are_no_images(run, command, dark, side, name, content, words):
    if content is not None:
        Path(name).write_bytes(content)
    pair = (name, dark) if side == "left" else (dark, name)
    assert words in one_line(**vars(command("compare", run, *pair)), lines=1 + name.count("\n"))


def test_a_photo_with_a_broken_exif_block(run, command, bright):
    with Image.open(bright) as picture:
        picture.save("broken.png", exif=b"no EXIF at all")
    shown = command("compare", run, bright, "broken.png")
    assert (shown.code, shown.err) == (0, "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (None, "with model.json in it. There is no such file: make one with `twinset train`."),
        ({"format": 1}, "expected a model of format 2. Received format 1, written by another"),
        ("{", "expected the card of a model."),
        ({"format": 99}, "Received format 99, written by another version of twinset"),
        ({"surprise": 1}, "surprise: expected no such field."),
        ({"threshold": {}}, "model.json"),
        ({"threshold": {"value": "low", "rule": "by hand"}}, "model.json"),
        ({"preprocessing": {"shape": [6, 5], "crop": 1}}, "model.json"),
        ({"preprocessing": {"shape": [6, -5]}}, "model.json"),
        ({"trained_on": {"name": "x"}}, "model.json"),
    ],
)
def test_folders_that_are_no_model(run, command, dark, tmp_path, change, words):
    folder = tmp_path / "model"
    folder.mkdir()
    for path in run.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    card = folder / "model.json"
    if change is None:
        card.unlink()
        (folder / "encoder.onnx").unlink()
    elif isinstance(change, str):
        card.write_text(change)
    else:
        card.write_text(json.dumps(json.loads(card.read_text()) | change))
    assert words in one_line(**vars(command("compare", folder, dark, dark)))


def test_keras_is_used_where_the_graph_is_of_another_training(run, command, dark, tmp_path):
    folder = shutil.copytree(run, tmp_path / "model")
    card = folder / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"digest": "0" * 64}))
    shown = command("compare", folder, dark, dark)
    assert (shown.code, shown.out[:6]) == (0, "same: ")
    assert shown.err.startswith("compare: on Keras, which starts more slowly")
    assert "Received that of another training" in shown.err
    err = one_line(**vars(command("compare", folder, dark, dark, "--engine", "onnx")))
    assert "write it anew with `twinset export`" in err
    (folder / "encoder.keras").write_bytes(b"something else")
    shown = command("compare", folder, dark, dark)
    assert (shown.code, shown.out) == (2, "")
    assert "a save was cut short or a file was replaced." in shown.err.splitlines()[-1]


def test_a_back_end_implies_keras(run, command, dark, tmp_path):
    folder = shutil.copytree(run, tmp_path / "model")
    (folder / "encoder.keras").unlink()
    assert command("compare", folder, dark, dark).code == 0
    err = one_line(**vars(command("compare", folder, dark, dark, "--backend", "jax")))
    assert "expected a whole model" in err
    err = one_line(
        **vars(command("compare", folder, dark, dark, "--backend", "jax", "--engine", "onnx"))
    )
    assert "Expected --backend with --engine keras" in err


def test_a_wrong_back_end_matters_only_where_keras_is_used(run, command, dark, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "nonsense")
    assert command("compare", run, dark, dark).code == 0
    folder = shutil.copytree(run, "model")
    Path(folder, "encoder.onnx").unlink()
    shown = command("compare", folder, dark, dark)
    assert shown.code == 2
    assert "Received KERAS_BACKEND='nonsense'." in shown.err.splitlines()[-1]


def test_the_prior_is_told(run, command, dark):
    card = json.loads((run / "model.json").read_text())
    folder = shutil.copytree(run, "model")
    card["calibrator"] = {"slope": -2.0, "intercept": 0.0, "note": ""}
    Path(folder, "model.json").write_text(json.dumps(card))
    shown = command("compare", folder, dark, dark, "--prior", "0.1", "--json")
    answer = json.loads(shown.out)
    # at distance 0 there is no evidence, so the probability is the prior
    assert (answer["prior"], answer["probability"]) == (0.1, pytest.approx(0.1))
    for prior in ("0", "1", "nan"):
        err = one_line(**vars(command("compare", run, dark, dark, "--prior", prior)))
        assert "Expected a prior between 0 and 1." in err


@pytest.fixture
def pairs(dark, bright):
    Path("pairs.csv").write_text("left,right\ndark.png,dark.png\ndark.png,bright.png\n")
    return Path("pairs.csv")


def test_compare_a_table_of_pairs(run, command, pairs):
    shown = command("compare", run, "--pairs", pairs)
    assert (shown.code, shown.err) == (0, "compare 2 of 2 images\n")
    lines = shown.out.splitlines()
    assert re.split(" {2,}", lines[0]) == ["verdict", "distance", "probability", "left", "right"]
    assert re.split(" {2,}", lines[1])[:2] == ["same", "0.0000"]
    assert lines[2].startswith("different")
    assert lines[3].startswith("2 pairs: 1 same, 1 different; threshold 0.5000")
    assert command("compare", run, "--pairs", pairs, "--exit-code").code == 1
    shown = command("compare", run, "--pairs", pairs, "--json")
    assert shown.err == ""
    assert [row["same"] for row in json.loads(shown.out)["pairs"]] == [True, False]


def test_bad_files_of_a_table_stop_nothing(run, command, pairs):
    with pairs.open("a") as table:
        table.write("dark.png,nowhere.png\n")
    shown = command("compare", run, "--pairs", pairs, "--out", "verdicts.csv")
    assert shown.code == 0
    assert "compare: nowhere.png: expected an image file. No such file" in shown.err
    assert "3 pairs: 1 same, 1 different, 1 not compared" in shown.out
    with Path("verdicts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["same"] for row in rows] == ["1", "0", ""]
    assert rows[2]["problem"].startswith("nowhere.png: expected an image file")
    pairs.write_text("left,right\nx.png,y.png\n")
    shown = command("compare", run, "--pairs", pairs)
    assert shown.code == 2
    assert "pairs.csv: none of its images can be read." in shown.err.splitlines()[-1]


# --- export


def test_export_and_compare_with_it(run, command, dark, bright):
    shown = command("export", run, "--out", "exported")
    assert shown.code == 0
    assert shown.out.startswith("exported/encoder.onnx: ")
    assert "embeddings differ from Keras' by " in shown.out
    assert sorted(path.name for path in Path("exported").iterdir()) == ["card.json", "encoder.onnx"]
    expected = command("compare", run, dark, bright).out
    assert command("compare", "exported", dark, bright).out == expected
    assert command("compare", "exported/encoder.onnx", dark, bright).out == expected


def test_export_to_8_bits_tells_what_it_costs(run, command, tiny):
    shown = command("export", run, "--out", "small", "--int8", "--json")
    assert (shown.code, shown.err) == (0, "")
    told = json.loads(shown.out)
    assert (told["precision"], told["pairs"]) == ("int8", 2 * 2 * 29)
    card = json.loads(Path("small/card.json").read_text())
    assert card["quality"] == told["quality"]
    assert abs(told["quality"]["int8"]["auc"] - told["quality"]["float32"]["auc"]) < 0.05


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere",), "expected a model folder"),
        (("{run}", "--int8"), "Expected a folder to write an 8-bit graph to."),
        (("{run}", "--int8", "--out", "{run}"), "expected a folder of its own for an 8-bit graph"),
        (("{run}", "--out", "dark.png"), "expected a folder to write to. Received a file."),
    ],
)
def test_mistakes_in_export(run, command, dark, arguments, words):
    before = contents(run)
    err = one_line(**vars(command("export", *(each.format(run=run) for each in arguments))))
    assert words in err
    assert contents(run) == before


@pytest.mark.parametrize("folder", ["nowhere", "dark.png", "", "two\nlines"])
def test_no_folder_at_all(command, dark, folder):
    one_line(**vars(command("compare", folder, dark, dark)), lines=1 + folder.count("\n"))
