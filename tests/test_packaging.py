"""What is published: one version, the same bytes from any folder, and a wheel that works alone."""

import argparse
import ast
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import pages
import twinset
from twinset.cli.app import arguments_of, commands

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The folder of an installed wheel, without what it needs; it was built twice."""
    folder = tmp_path_factory.mktemp("built")
    built = script("build").build_twice(ROOT, folder / "dist")
    assert sorted(name.split("-")[1][:5] for name in built) == [twinset.__version__] * 2
    with zipfile.ZipFile(next((folder / "dist").glob("*.whl"))) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def test_one_version_in_all_files():
    assert set(script("build").versions().values()) == {twinset.__version__}
    assert re.fullmatch(r"\d+\.\d+\.\d+", twinset.__version__)


def test_two_builds_that_differ_are_refused():
    built = {"a.whl": "1", "a.tar.gz": "2"}
    script("build").expect_same(built, dict(built))
    with pytest.raises(SystemExit, match=r"the same bytes .* others of \['a.tar.gz'\]"):
        script("build").expect_same(built, built | {"a.tar.gz": "3"})


def test_the_wheel_has_each_file_of_the_package_and_no_other(wheel):
    source = Path(twinset.__file__).parent
    ours = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    packed = {path.relative_to(wheel / "twinset") for path in (wheel / "twinset").rglob("*.*")}
    assert {path for path in ours if "__pycache__" not in path.parts} == packed
    assert Path("py.typed") in packed
    (about,) = wheel.glob("*.dist-info")
    assert {"LICENSE"} == {path.name for path in (about / "licenses").iterdir()}
    offered = re.findall(r"^Provides-Extra: (.+)$", (about / "METADATA").read_text("utf-8"), re.M)
    assert set(offered) == set(PROJECT["optional-dependencies"])


def test_the_readme_holds_away_from_the_repository(wheel):
    """As an index of packages shows it: each link is an address, and no picture is broken."""
    (about,) = wheel.glob("*.dist-info")
    text = (about / "METADATA").read_text("utf-8").partition("\n\n")[2]
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    assert [each for each in targets if not each.startswith("https://")] == []
    source = PROJECT.get("urls", {}).get("Source")
    assert (
        text.strip() == script("readme").packaged(readme, source, f"v{twinset.__version__}").strip()
    )
    assert re.findall("^#.*", text, re.MULTILINE) == re.findall("^#.*", readme, re.MULTILINE)


def test_links_and_pictures_of_the_readme():
    given = (
        "![A page](docs/a.png)\n\n[how](docs/how.md#to), [JAX](https://jax.dev), [see](#below)\n"
    )
    packaged = script("readme").packaged
    assert packaged(given) == "how, [JAX](https://jax.dev), [see](#below)\n"
    there = "https://example.org/us/it"
    assert packaged(given, there, "v1.2.3") == (
        f"![A page]({there}/raw/v1.2.3/docs/a.png)\n\n"
        f"[how]({there}/blob/v1.2.3/docs/how.md#to), [JAX](https://jax.dev), [see](#below)\n"
    )


# As in an installation without extras: these can be neither found nor imported.
HIDDEN = ("matplotlib", "pandas", "sklearn")
WITHOUT_EXTRAS = f"import sys; sys.modules.update(dict.fromkeys({HIDDEN!r}))"
# What the extras are for is told, and all else works.
ASKED = """
import sys, twinset
from twinset import *
from twinset import figures
from twinset.cli.app import main
for call in (
    SiameseTransformer,
    lambda: figures.roc({}),
    lambda: check_data("photos", pictures="seen"),
):
    try:
        call()
    except TwinsetError as error:
        print(error)
for line in ("evaluate run", "explain run a.jpg b.jpg --picture why.png"):
    sys.argv = ["twinset", *line.split()]
    try:
        main()
        print("= 0")
    except SystemExit as stop:
        print("=", stop.code or 0)
"""


def test_a_newcomers_first_answer_from_the_wheel(wheel, tmp_path):
    """The commands of `./task newcomer`, which installs as well; here on fewer photos."""
    newcomer = script("newcomer")
    assert 1 + len(newcomer.COMMANDS) <= 3
    (wheel / "sitecustomize.py").write_text(WITHOUT_EXTRAS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(wheel)}
    where = [sys.executable, "-c", "import twinset; print(twinset.__file__)"]
    assert subprocess.check_output(where, env=environment, text=True).startswith(str(wheel))
    said = newcomer.answer(sys.executable, tmp_path, 4, environment=environment)
    assert said.startswith("same")

    done = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert "Traceback" not in done.stderr
    assert "pip install 'twinset[sklearn]'" in done.stdout
    assert done.stdout.count("pip install 'twinset[pictures]'") == 2
    assert re.findall("^= (.*)", done.stdout, re.MULTILINE) == ["0", "2"]
    assert "--picture: Expected matplotlib to be installed" in done.stderr
    for page in ("report.html", "evaluation.html"):
        text = (tmp_path / "run" / page).read_text("utf-8")
        assert "This page has no plots. Expected matplotlib" in text
        assert "<img" not in text
    assert not list((tmp_path / "run").glob("*.png"))


def instructions(name):
    """The instructions of a Dockerfile, each with its words; of lists in JSON their items."""
    lines = [line for line in (ROOT / name).read_text("utf-8").splitlines() if line[:1] != "#"]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        kind, _, rest = line.partition(" ")
        if kind:
            found = rest.removeprefix("CMD ") if kind == "HEALTHCHECK" else rest
            yield kind, json.loads(found) if found[:1] == "[" else shlex.split(found)


def parsed(words):
    """Arguments of a command line, which has to be one of ours."""
    assert words[0] == "twinset"
    if words[1] == "--help":
        return argparse.Namespace()
    assert words[1] in commands()
    return arguments_of(words[1]).parser.parse_intermixed_args(words[2:])


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.train"])
def test_what_an_image_is_made_of_is_there(name, tmp_path):
    """As nobody can build one here: files, user, packages, programs and command line."""
    said = list(instructions(name))
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = set()
    for *sources, target in (words for kind, words in said if kind == "COPY"):
        for each in sources:
            copied.add(each)
            assert f"!{each}" in ignored
            place = tmp_path / target
            if (ROOT / each).is_dir():
                shutil.copytree(ROOT / each, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / each, place)
    assert ignored[0] == "*"  # so nothing else is there, from which `pip install .` makes a wheel
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "made"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True)
    assert len([*tmp_path.glob("made/*.whl")]) == 1
    runs = [" ".join(words) for kind, words in said if kind == "RUN"]
    assert "useradd --uid 10001 --no-create-home twinset" in " ".join(runs)
    kinds = [kind for kind, _ in said]
    assert max(i for i, kind in enumerate(kinds) if kind == "RUN") < kinds.index("USER")
    assert dict(said)["USER"] == ["twinset"]
    for run in runs:
        pages.assert_extras(run)
        assert "requirements.lock" not in run or "requirements.lock" in copied
    version = dict(said)["FROM"][0].removeprefix("python:").removesuffix("-slim")
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    for _, words in said:
        for flag, program in itertools.pairwise(words):
            if flag == "-c" and not program.endswith(".lock"):
                for each in ast.walk(ast.parse(program)):
                    if isinstance(each, ast.Import):
                        assert all(importlib.util.find_spec(name.name) for name in each.names)
    parsed([*dict(said)["ENTRYPOINT"], *dict(said)["CMD"]])


def test_what_the_pages_ask_of_docker_is_what_its_images_do():
    """Options and volumes of `docker build` and `docker run`, against the files."""
    built, asked = {}, 0
    docker = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    docker.add_argument("-f", default="Dockerfile")
    docker.add_argument("-t")
    docker.add_argument("-p")
    docker.add_argument("-v", action="append", default=[])
    docker.add_argument("--rm", action="store_true")
    docker.add_argument("--user")
    docker.add_argument("rest", nargs=argparse.REMAINDER)
    lines = [
        line
        for page in pages.PAGES
        for block in pages.blocks_of(page)
        if block.note == "not run: needs Docker"
        for line in block.commands()
    ]
    for program, kind, *words in map(shlex.split, lines):
        assert program == "docker"
        given = docker.parse_args(words)
        if kind == "build":
            assert given.rest == ["."]
            built[given.t] = dict(instructions(given.f))
            continue
        asked += 1
        image, *arguments = given.rest
        said = built[image]
        command = parsed([*said["ENTRYPOINT"], *(arguments or said["CMD"])])
        inside = {each.split(":")[1] for each in given.v}
        # what the command reads and writes comes from outside
        places = [command.run, command.index] if command.__dict__.get("index") else []
        places += [getattr(command, name, None) for name in ("data", "out")]
        for place in filter(None, places):
            whole = Path(said["WORKDIR"][0], place).as_posix()
            assert any(whole == each or whole.startswith(f"{each}/") for each in inside), place
        if given.p:
            assert given.p.split(":")[1] == said["EXPOSE"][0] == str(command.port)
    assert asked == len(built) == 2
