"""What is published: one version, the same bytes from any folder, and a wheel that works alone."""

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import twinset

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
