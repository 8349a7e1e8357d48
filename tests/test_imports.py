"""The architecture, read from the source: who imports whom, what is public, what is documented."""

import ast
import importlib
import importlib.metadata
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import twinset

ROOT = Path(twinset.__file__).parent
SOURCES = {
    ".".join(("twinset", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}

# The data travels from left to right, imports go from right to left.
STAGES = ("data", "embed", "evaluate", "search", "serve")
# These take arrays, whoever made them.
TAKES_ARRAYS = {"evaluate", "search"}
BELOW = {
    "errors",
    "distance",
    "decision",
    "recipe",
    "recipe_sections",
    "recipe_losses",
    "atomic",
    "figures",
}
ABOVE = {"", "workflow", "commands", "cli", "__main__"}
HEAVY = {"jax", "keras", "matplotlib", "tensorflow", "torch"}


# --- rule 1: imports go leftwards


def imported(tree, module, is_package):
    """All modules that a source imports, at its top or in a function, but not for types alone.

    `from twinset import x` gives `twinset.x` if that is a module, else `twinset`.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    pending = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{home}.{alias.name}"
                yield deeper if deeper in SOURCES else home


def place(module):
    """The first name below `twinset`: a stage, or a module of the root."""
    return ".".join(module.split(".")[1:2])


def violations(source, module, is_package=False):
    """What a module imports against the rules, each as one sentence."""
    here = place(module)
    if here not in {*STAGES, *BELOW, *ABOVE}:
        yield f"{module}: {here!r} has no place in this test's lists"
    for name in sorted(set(imported(ast.parse(source), module, is_package))):
        if name.split(".")[0] in HEAVY - {"matplotlib"}:
            if here not in {"embed", *ABOVE}:
                yield f"{module} imports {name}, which only embed may"
            continue
        if name.split(".")[0] != "twinset" or here in ABOVE:
            continue
        there = place(name)
        if there in ABOVE:
            yield f"{module} imports {name}, which is above it"
        elif there in STAGES and here in BELOW:
            yield f"{module} imports {name}, but no stage is below it"
        elif there in STAGES and STAGES.index(there) > STAGES.index(here):
            yield f"{module} imports {name}, to its right"
        elif here in TAKES_ARRAYS and there in {"data", "embed"}:
            yield f"{module} imports {name}, but takes arrays"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_leftwards(module):
    path = SOURCES[module]
    assert not list(violations(path.read_text("utf-8"), module, path.name == "__init__.py"))


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        ("twinset.data.pairs", "import twinset.embed.losses", "to its right"),
        ("twinset.data.pairs", "from twinset.evaluate import report", "to its right"),
        ("twinset.data.pairs", "def f():\n    from twinset.embed import losses", "to its right"),
        ("twinset.data.pairs", "from ..embed.losses import build", "to its right"),
        ("twinset.data.pairs", "import keras", "which only embed may"),
        ("twinset.evaluate.report", "import jax.numpy as jnp", "which only embed may"),
        ("twinset.evaluate.report", "from twinset.data.pairs import Pairs", "but takes arrays"),
        ("twinset.search.index", "from twinset.embed.model import x", "but takes arrays"),
        ("twinset.search.index", "from ..data import pairs", "but takes arrays"),
        ("twinset.search.index", "if TYPE_CHECKING:\n    x = 1\nelse:\n    import keras", "only"),
        ("twinset.serve.app", "from twinset.cli import app", "above it"),
        ("twinset.embed.model", "from twinset import LabelledImages", "above it"),
        ("twinset.embed.model", "import twinset", "above it"),
        ("twinset.embed.model", "from twinset.workflow.run import train", "above it"),
        ("twinset.distance", "from twinset.data.pairs import Pairs", "no stage is below"),
        ("twinset.figures.canvas", "from .. import evaluate", "no stage is below"),
        ("twinset.recipe", "import twinset.cli", "above it"),
        ("twinset.utils", "", "has no place"),
    ],
)
def test_the_checker_sees_what_is_wrong(module, source, words):
    (sentence,) = violations(source, module)
    assert sentence.startswith(module)
    assert words in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("twinset.embed.model", "from twinset import atomic, distance as distances"),
        ("twinset.embed.model", "import keras\nfrom twinset.data import pairs\nfrom . import x"),
        ("twinset.serve.app", "from twinset.search.index import Index\nimport twinset.embed.model"),
        ("twinset.search.index", "from twinset.evaluate.verification import roc_auc"),
        ("twinset.evaluate.report", "if TYPE_CHECKING:\n    from twinset.data.pairs import Pairs"),
        ("twinset.figures.curves", "import matplotlib\nfrom twinset.figures.canvas import save"),
        ("twinset.workflow.run", "import keras\nfrom twinset.evaluate.report import Report"),
        ("twinset.cli", "import twinset\nfrom twinset.workflow.run import train"),
    ],
)
def test_the_checker_lets_pass_what_is_right(module, source):
    assert not list(violations(source, module))


# --- rule 2: what need not be heavy is light


def heavy_after(script):
    """Run a script in a fresh interpreter, and tell which heavy packages it has loaded."""
    tail = f"\nimport sys\nprint(*sorted({HEAVY!r} & set(sys.modules)), sep=',', file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script + tail], check=True, capture_output=True, text=True
    )
    return done.stderr.split("\n")[0], done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "twinset",
        "twinset.cli",
        "twinset.recipe",
        "twinset.distance",
        "twinset.data.sources.fashion_mnist",
        "twinset.data.decoding.decode",
        "twinset.embed.card",
        "twinset.embed.load",
        "twinset.embed.onnx_model",
        "twinset.evaluate.verification",
        "twinset.evaluate.report",
        "twinset.workflow.index",
        "twinset.workflow.duplicates",
        "twinset.workflow.export",
        "twinset.workflow.verdicts",
    ],
)
def test_importing_these_is_light(module):
    assert heavy_after(f"import {module}")[0] == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("train", "--help"),
        ("compare", "--help"),
        ("export", "--help"),
        ("train", "nonsense"),
    ],
)
def test_these_commands_are_light(arguments):
    script = (
        "import sys\n"
        f"sys.argv = ['twinset', *{arguments!r}]\n"
        "sys.stderr, stderr = sys.stdout, sys.stderr\n"
        "from twinset.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit:\n"
        "    sys.stderr = stderr\n"
    )
    heavy, shown = heavy_after(script)
    if "--help" in arguments:
        assert heavy == ""
        assert "Usage: twinset" in shown
    else:  # a wrong name is told before Keras is loaded
        assert set(heavy.split(",")) <= {"", "matplotlib"}


@pytest.fixture
def exported(tmp_path):
    """A folder with a small model and its graph, and an image file."""
    pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    images = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
    folder = tmp_path / "model"
    twinset.fit(images, epochs=1, encoder={"units": [4]}, progress=False).save(folder)
    twinset.export(folder)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    return folder


USE = {
    "compare": (
        "import sys\n"
        "sys.argv = ['twinset', 'compare', 'model', 'a.png', 'a.png']\n"
        "from twinset.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
    ),
    "load_model": "import twinset\ntwinset.load_model('model').compare('a.png', 'a.png')",
}


@pytest.mark.parametrize("use", USE)
def test_a_trained_model_is_used_without_keras(exported, use):
    """Nor with what else takes its time to load: SciPy, scikit-learn, ONNX' own package."""
    tail = "\nimport sys\nprint(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    script = USE[use] + tail
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    loaded = set(done.stderr.split())
    assert "onnxruntime" in loaded
    assert not loaded & (HEAVY | {"scipy", "sklearn", "onnx", "pandas"})
    (exported / "encoder.onnx").unlink()  # and the check sees what is heavy
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert {"keras", "jax"} <= set(done.stderr.split())


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("import twinset.embed.networks", "keras"),
        ("import twinset.figures.canvas", "matplotlib"),
    ],
)
def test_the_check_sees_what_is_heavy(script, expected):
    assert expected in heavy_after(script)[0].split(",")


def test_jax_is_the_back_end_unless_chosen():
    script = "import os, twinset; print(os.environ['KERAS_BACKEND'])"
    for chosen in ("jax", "torch"):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                f"import os; os.environ['KERAS_BACKEND'] = {chosen!r}; {script}",
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == f"{chosen}\n"
    script = f"import os; os.environ.pop('KERAS_BACKEND', None); {script}"
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout == "jax\n"


# --- the public names


def test_public_names_agree():
    """`__all__`, what is loaded on first use, and what type checkers see are one list."""
    assert twinset.__all__ == sorted(twinset.__all__)
    assert list(twinset._HOMES) == twinset.__all__
    tree = ast.parse(SOURCES["twinset"].read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname is None
            module = f"{node.module}.{alias.name}"
            seen[alias.name] = module if alias.name in twinset._MODULES else node.module
            assert (module in SOURCES) == (alias.name in twinset._MODULES)
    assert dict(sorted(seen.items())) == twinset._HOMES
    assert dir(twinset) == sorted([*twinset.__all__, "__version__"])


def test_a_star_import_brings_all_names():
    names = {}
    exec("from twinset import *", names)
    assert set(names) - {"__builtins__"} == set(twinset.__all__)


@pytest.mark.parametrize("name", twinset.__all__)
def test_public_names_come_from_their_home(name):
    value = getattr(twinset, name)
    home = importlib.import_module(twinset._HOMES[name])
    if name == "evaluate":  # the stage, which can be called as the verb
        assert value is sys.modules["twinset.evaluate"]
        assert callable(value)
        return
    assert value is (home if name in twinset._MODULES else vars(home)[name])
    if not inspect.ismodule(value):
        assert value.__module__ == home.__name__, "a name's home is where it is defined"


def test_names_that_are_not_public():
    with pytest.raises(AttributeError, match="module 'twinset' has no attribute 'nonsense'"):
        _ = twinset.nonsense
    with pytest.raises(ImportError, match="cannot import name 'Nonsense' from 'twinset'"):
        exec("from twinset import Nonsense")


def test_the_version_is_the_packages():
    assert twinset.__version__ == importlib.metadata.version("twinset")


# --- documentation: every name, every argument


def own_members(module):
    """The public functions, classes and methods that a module defines, by qualified name."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield value
            for member_name, member in vars(value).items():
                member = getattr(member, "__func__", member)  # of a class method
                if inspect.isfunction(member) and not member_name.startswith("_"):
                    yield member
        elif inspect.isfunction(value):
            yield value


def members():
    """All of these, of all modules."""
    for name in SOURCES:
        if name != "twinset.__main__":
            yield from own_members(importlib.import_module(name))


def full_name(thing):
    return f"{thing.__module__}.{thing.__qualname__}"


def parameters(thing):
    """Name → parameter, as the docstring writes the name; None where they are another package's."""
    if getattr(thing, "_is_protocol", False):  # nobody makes one
        return None
    if inspect.isclass(thing) and "__signature__" not in vars(thing):
        maker = next(base for base in thing.__mro__ if "__init__" in vars(base))
        if maker.__module__.split(".")[0] != "twinset":
            return None
    found = inspect.signature(thing).parameters
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    named = {f"{stars.get(value.kind, '')}{name}": value for name, value in found.items()}
    return {name: value for name, value in named.items() if name not in ("self", "cls")}


def documented(docstring):
    """The names in the section "Args" of a docstring of Google's style; None without one."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    if "Args:" not in lines:
        return None
    section = lines[lines.index("Args:") + 1 :]
    end = next((i for i, line in enumerate(section) if line[:1].strip()), len(section))
    return [match[1] for line in section[:end] if (match := re.match(r" {4}(\*{0,2}\w+):", line))]


def mismatch(thing):
    """Where the documented arguments are not the arguments; "" if they are."""
    told, real = documented(thing.__doc__), parameters(thing)
    if told is None or real is None or told == list(real):
        return ""
    return f"{full_name(thing)}: documented {told}, takes {list(real)}"


def test_documented_arguments_are_the_arguments():
    assert not [sentence for thing in members() if (sentence := mismatch(thing))]


def test_enough_is_documented_for_that_to_mean_something():
    assert sum(documented(thing.__doc__) is not None for thing in members()) > 40


def _good(a, *, b=1, **rest):
    """Do.

    Args:
        a: first: with
            more lines: here.
        b: second.
        **rest: others.

    Returns:
        c: not an argument.
    """


def _renamed(x):
    """Do.

    Args:
        y: old name.
    """


def _missing(a, b):
    """Do.

    Args:
        a: first.
    """


def _no_stars(**rest):
    """Do.

    Args:
        rest: others.
    """


def test_the_argument_check_sees_what_is_wrong():
    assert mismatch(_good) == ""
    assert mismatch(_renamed).endswith("_renamed: documented ['y'], takes ['x']")
    assert mismatch(_missing).endswith("_missing: documented ['a'], takes ['a', 'b']")
    assert mismatch(_no_stars).endswith("_no_stars: documented ['rest'], takes ['**rest']")


def test_everything_public_has_a_docstring():
    assert not [full_name(thing) for thing in members() if not inspect.getdoc(thing)]
    for module in SOURCES:
        assert ast.get_docstring(ast.parse(SOURCES[module].read_text("utf-8"))), module


def test_every_public_argument_is_typed():
    empty = inspect.Parameter.empty
    untyped = [
        f"{full_name(thing)}({name})"
        for thing in members()
        for name, parameter in (parameters(thing) or {}).items()
        if parameter.annotation is empty
    ]
    assert not untyped


@pytest.mark.parametrize("name", [n for n in twinset.__all__ if n not in twinset._MODULES])
def test_the_public_names_are_among_the_checked(name):
    home = importlib.import_module(twinset._HOMES[name])
    assert vars(home)[name] in set(members())


# --- size


def bodies(tree):
    """Each function's name and number of lines, without its docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno - body[0].lineno + 1 if body else 0)


@pytest.mark.parametrize("module", SOURCES)
def test_modules_and_functions_are_short(module):
    source = SOURCES[module].read_text("utf-8")
    assert len(source.splitlines()) <= 400
    assert not [(name, size) for name, size in bodies(ast.parse(source)) if size > 60]


def test_the_ruler_measures():
    source = (
        'def f():\n    """Say.\n\n    More.\n    """\n    x = (\n        1\n    )\n    return x\n'
    )
    assert dict(bodies(ast.parse(source))) == {"f": 4}
