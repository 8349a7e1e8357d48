"""The architecture, read from the source: who imports whom, what is public, what is documented."""

import ast
import functools
import importlib
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

# The rooms from the ground up: each imports from those before it alone.
ROOMS = (
    (
        "errors",
        "files",
        "cache_folder",
        "progress",
        "registry",
        "tables",
        "settings",
        "cores",
        "distance",
        "nearest",
        "decision",
        "recipe",
    ),
    ("figures",),
    ("metrics",),
    ("losses",),
    ("data",),
    ("backbones",),
    ("networks",),
    ("models",),
    ("exporters",),
    ("training",),
    ("search",),
    ("report",),
    ("evaluation",),
    ("run",),
    ("server",),
    ("cli", "", "__main__"),
)
FLOOR = {name: height for height, names in enumerate(ROOMS) for name in names}
# These take arrays, whoever made them: of the rooms they import nothing but the ground floor.
TAKES_ARRAYS = {"figures", "metrics"}
KERAS = {"losses", "networks", "models", "exporters", "training", "evaluation", "run", "cli", ""}
HEAVY = {"jax", "keras", "matplotlib", "tensorflow", "torch"}


@functools.cache
def text(module):
    return SOURCES[module].read_text("utf-8")


@functools.cache
def tree(module):
    return ast.parse(text(module))


# --- rule 1: imports go down, and never in a circle


def imported(source, module, is_package):
    """All modules that a source imports: at its top, in a function, and for types alone.

    `from twinset import x` gives `twinset.x` if that is a module, else `twinset`.
    """
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(source):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            home = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = f"{home}.{alias.name}"
                yield deeper if deeper in SOURCES else home


def place(module):
    """The first name below `twinset`: a room, or a module of the ground floor."""
    return ".".join(module.split(".")[1:2])


def violations(source, module, is_package=False):
    """What a module's parsed source imports against the rules, each as one sentence."""
    here = place(module)
    if here not in FLOOR:
        yield f"{module}: {here!r} has no place in this test's lists"
        return
    for name in sorted(set(imported(source, module, is_package))):
        if name.split(".")[0] in HEAVY - {"matplotlib"}:
            if here not in KERAS:
                yield f"{module} imports {name}, which this room may not"
            continue
        if name.split(".")[0] != "twinset":
            continue
        there = place(name)
        if FLOOR.get(there, 99) > FLOOR[here]:
            yield f"{module} imports {name}, which is above it"
        elif here in TAKES_ARRAYS and FLOOR[there] and there != here:
            yield f"{module} imports {name}, but takes arrays"


def is_package(module):
    return SOURCES[module].name == "__init__.py"


def test_imports_go_down():
    assert not [
        sentence
        for module in SOURCES
        for sentence in violations(tree(module), module, is_package(module))
    ]


@pytest.mark.parametrize(
    ("module", "source", "words"),
    [
        (
            "twinset.data.pairs",
            "import twinset.losses.batch as b\nimport twinset.training",
            "above",
        ),
        ("twinset.data.pairs", "from twinset.evaluation import study", "above"),
        ("twinset.data.pairs", "def f():\n    from twinset.models import card", "above"),
        ("twinset.data.pairs", "from ..networks.dense import mlp", "above"),
        ("twinset.data.pairs", "import keras", "which this room may not"),
        ("twinset.report.run_report", "import jax.numpy as jnp", "which this room may not"),
        ("twinset.metrics.pairs", "from twinset.figures import roc", "but takes arrays"),
        ("twinset.metrics.pairs", "from twinset.data.pairs import Pairs", "above"),
        ("twinset.search.index", "if TYPE_CHECKING:\n    from twinset.run import train", "above"),
        (
            "twinset.search.index",
            "if TYPE_CHECKING:\n    x = 1\nelse:\n    import keras",
            "may not",
        ),
        ("twinset.models.keras_model", "from twinset import LabelledImages", "above"),
        ("twinset.models.keras_model", "import twinset", "above"),
        ("twinset.distance", "from twinset.data.pairs import Pairs", "above"),
        ("twinset.figures.canvas", "from .. import evaluation", "above"),
        ("twinset.recipe", "import twinset.cli.app", "above"),
        ("twinset.utils", "", "has no place"),
    ],
)
def test_the_checker_sees_what_is_wrong(module, source, words):
    (sentence,) = violations(ast.parse(source), module)
    assert sentence.startswith(module)
    assert words in sentence


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("twinset.models.keras_model", "from twinset import files, distance as distances"),
        (
            "twinset.models.keras_model",
            "import keras\nfrom twinset.data import pairs\nfrom . import x",
        ),
        ("twinset.search.index", "from twinset.metrics.pairs import score_pairs"),
        (
            "twinset.report.run_report",
            "if TYPE_CHECKING:\n    from twinset.data.pairs import Pairs",
        ),
        ("twinset.figures.curves", "import matplotlib\nfrom twinset.figures.canvas import save"),
        ("twinset.run", "import keras\nfrom twinset.report.run_report import Report"),
        ("twinset.cli.app", "import twinset\nfrom twinset.run import train"),
    ],
)
def test_the_checker_lets_pass_what_is_right(module, source):
    assert not list(violations(ast.parse(source), module))


def circles(imports):
    """The groups of modules that import each other, however long the way round.

    Args:
        imports: module → the modules that it imports.
    """
    reach = {module: set(found) & set(imports) for module, found in imports.items()}
    for middle in imports:  # Warshall, 1962
        for found in reach.values():
            if middle in found:
                found |= reach[middle]
    return sorted(
        {
            tuple(sorted(m for m in found if module in reach[m]))
            for module, found in reach.items()
            if module in found
        }
    )


def test_no_module_is_in_a_circle_of_imports():
    imports = {
        module: set(imported(tree(module), module, is_package(module))) - {module}
        for module in SOURCES
        if module != "twinset"  # which names all others, each on its first use
    }
    assert circles(imports) == []


def test_circles_are_seen():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a", "x"}}) == [("a", "b", "c")]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


# --- rule 2: what need not be heavy is light


def python(script):
    """Run a script in a fresh interpreter, and tell what it printed."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


LIGHT = [
    "twinset",
    "twinset.recipe",
    "twinset.distance",
    "twinset.cli.app",
    "twinset.data.sources.fashion_mnist",
    "twinset.data.decoding.decode",
    "twinset.models.card",
    "twinset.models.onnx_model",
    "twinset.models.onnx_model",
    "twinset.metrics.pairs",
    "twinset.report.run_report",
    "twinset.search.index",
    "twinset.search.duplicates",
    "twinset.exporters.export",
    "twinset.models.compare_pairs",
    "twinset.server.running",
]


def heavy_after_each(modules):
    """Import modules in turn in one interpreter; tell what is heavy after each."""
    script = (
        "import importlib, sys\n"
        f"for module in {modules!r}:\n"
        "    importlib.import_module(module)\n"
        f"    print(module, *sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    return python(script).splitlines()


def test_importing_these_is_light():
    assert heavy_after_each(LIGHT) == LIGHT


def test_the_check_sees_what_is_heavy():
    modules = ["twinset.figures.canvas", "twinset.recipe"]
    assert heavy_after_each(modules) == [f"{module} matplotlib" for module in modules]


def test_these_commands_are_light():
    """Each in turn in one interpreter; a wrong name is told before Keras is loaded."""
    commands = [
        ["--help"],
        ["train", "--help"],
        ["compare", "--help"],
        ["export", "--help"],
        ["train", "nonsense"],
    ]
    script = (
        "import sys\n"
        "from twinset.cli.app import main\n"
        "sys.stderr = sys.stdout\n"
        f"for arguments in {commands!r}:\n"
        "    sys.argv = ['twinset', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit as stop:\n"
        "        code = stop.code or 0\n"
        f"    print('=', code, *sorted({HEAVY!r} & set(sys.modules)))\n"
    )
    *helps, wrong, end = re.split(r"^= (.*)\n", python(script), flags=re.MULTILINE)
    assert end == ""
    assert helps[1::2] == ["0"] * 4
    assert all("usage: twinset" in shown for shown in helps[:-1:2])
    assert "nonsense" in helps[-1]
    assert set(wrong.split()) <= {"2", "matplotlib"}


USE = {
    name: (
        "import sys\n"
        f"sys.argv = ['twinset', {name!r}, 'model', 'a.png', 'a.png']\n"
        "from twinset.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
    )
    for name in ("compare", "explain")
} | {
    "load_model": "import twinset\ntwinset.load_model('model').compare('a.png', 'a.png')\n",
}


def test_a_trained_model_is_used_without_keras(tmp_path):
    """Nor with what else takes its time to load: SciPy, scikit-learn, ONNX' own package."""
    pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
    images = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
    folder = tmp_path / "model"
    twinset.fit(images, epochs=1, encoder={"units": [4]}, progress=False).save(folder)
    twinset.export(folder)
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")

    tail = "import sys\nprint('\\n', *{name.split('.')[0] for name in sys.modules})"
    for script in USE.values():
        loaded = set(python(script + tail).splitlines()[-1].split())
        assert "onnxruntime" in loaded
        assert not loaded & (HEAVY | {"scipy", "sklearn", "onnx", "pandas"})
    loaded = set(python("import onnx, scipy\n" + tail).splitlines()[-1].split())
    assert {"onnx", "scipy"} <= loaded, "the check sees what is heavy"


def test_a_command_that_trains_does_not_load_what_keras_wraps():
    """Nor does it hide it from others: scikit-learn can be imported afterwards."""
    script = (
        "import sys\n"
        "from twinset.cli.arguments import choose_backend\n"
        "choose_backend(None)\n"
        "import twinset.training.one_step, twinset.metrics.calibration\n"
        "print('keras' in sys.modules, {'sklearn', 'pandas'} & set(sys.modules))\n"
        "import sklearn.base, pandas\n"
        "print({'sklearn', 'pandas'} <= set(sys.modules))\n"
    )
    assert python(script).splitlines() == ["True set()", "True"]


def test_jax_is_the_back_end_unless_chosen():
    script = "import os, twinset; print(os.environ['KERAS_BACKEND'])"
    for chosen in ("jax", "torch"):
        given = f"import os; os.environ['KERAS_BACKEND'] = {chosen!r}; {script}"
        assert python(given) == f"{chosen}\n"
    none = f"import os; os.environ.pop('KERAS_BACKEND', None); {script}"
    assert python(none) == "jax\n"


# --- the public names


def test_public_names_agree():
    """`__all__`, what is loaded on first use, and what type checkers see are one list."""
    assert twinset.__all__ == sorted(twinset.__all__)
    assert list(twinset._HOMES) == twinset.__all__
    (block,) = (node for node in tree("twinset").body if isinstance(node, ast.If))
    assert ast.unparse(block.test) == "TYPE_CHECKING"
    seen = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname == alias.name  # so that it is public for type checkers
            module = f"{node.module}.{alias.name}"
            seen[alias.name] = module if alias.name in twinset._MODULES else node.module
            assert (module in SOURCES) == (alias.name in twinset._MODULES)
    assert dict(sorted(seen.items())) == twinset._HOMES
    assert dir(twinset) == sorted([*twinset.__all__, "__version__"])


def test_a_star_import_brings_all_names():
    names = {}
    exec("from twinset import *", names)
    assert set(names) - {"__builtins__"} == set(twinset.__all__)


def test_public_names_come_from_their_home():
    for name in twinset.__all__:
        value = getattr(twinset, name)
        home = importlib.import_module(twinset._HOMES[name])
        assert value is (home if name in twinset._MODULES else vars(home)[name])
        if not inspect.ismodule(value):
            assert value.__module__ == home.__name__, f"{name}: its home is where it is defined"


def test_names_that_are_not_public():
    with pytest.raises(AttributeError, match="module 'twinset' has no attribute 'nonsense'"):
        _ = twinset.nonsense
    with pytest.raises(ImportError, match="cannot import name 'Nonsense' from 'twinset'"):
        exec("from twinset import Nonsense")


@pytest.mark.parametrize("former", sorted(twinset._RENAMED))
def test_former_names_still_serve_and_warn(former):
    now = twinset._RENAMED[former]
    with pytest.warns(DeprecationWarning, match=f"twinset.{former} is called twinset.{now}; "):
        assert getattr(twinset, former) is getattr(twinset, now)
    assert former not in dir(twinset)


def public_methods(cls):
    """Name → function of the public methods of a class that twinset defines, inherited ones too."""
    found = {name: inspect.getattr_static(cls, name) for name in dir(cls) if name[0] != "_"}
    found = {name: getattr(each, "__func__", each) for name, each in found.items()}
    return {
        name: each
        for name, each in found.items()
        if inspect.isfunction(each) and each.__module__.split(".")[0] == "twinset"
    }


def public_functions():
    """Qualified name → function, of the public functions and the methods of public classes."""
    found = {}
    for name in twinset.__all__:
        value = getattr(twinset, name)
        if inspect.isfunction(value):
            found[name] = value
        elif inspect.isclass(value):
            found |= {f"{name}.{each}": call for each, call in public_methods(value).items()}
    return found


def returned(function):
    """The classes of twinset that a function says it returns, alone or in a container."""
    annotation = str(function.__annotations__.get("return", ""))
    imported = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in ast.walk(tree(function.__module__))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for name in re.findall(r"\b[A-Z]\w*", annotation):
        home, own = imported.get(name, (function.__module__, name))
        value = getattr(importlib.import_module(home), own, None) if home else None
        if inspect.isclass(value) and value.__module__.split(".")[0] == "twinset":
            yield value


def test_every_type_that_is_returned_is_public():
    hidden = {
        f"{name} returns {each.__name__}"
        for name, function in public_functions().items()
        for each in returned(function)
        if each.__name__ not in twinset.__all__
    }
    assert not hidden
    assert twinset.Answer in returned(twinset.Index.search)


def without_example():
    """The public names and methods that no example shows, which doctest runs and checks.

    A method may be shown in the docstring of its class, and both in that of a public function
    that returns the class.
    """
    shown = {each: each.__doc__ or "" for each in map(twinset.__getattr__, twinset.__all__)}
    makers = {}
    for function in public_functions().values():
        for each in returned(function):
            makers.setdefault(each, []).append(function.__doc__ or "")
    for name, value in zip(twinset.__all__, shown, strict=True):
        texts = [shown[value], *makers.get(value, [])]
        if not inspect.ismodule(value) and not any(map(EXAMPLE.search, texts)):
            yield name
        for method, function in public_methods(value).items() if inspect.isclass(value) else ():
            use = re.compile(rf"^ +(>>>|\.\.\.) .*\.{method}\(", re.MULTILINE)
            bases = [base.__doc__ or "" for base in value.__mro__ if base is not object]
            if not EXAMPLE.search(function.__doc__ or "") and not any(
                map(use.search, [*texts, *bases])
            ):
                yield f"{name}.{method}"


# a line to run, and one that it should print
EXAMPLE = re.compile(r"^ *>>> .*\n(?: *(?:>>>|\.\.\.) .*\n)* *(?!>>>|\.\.\.)\S", re.MULTILINE)


def test_every_public_name_has_a_checked_example():
    assert list(without_example()) == []


def test_the_check_of_examples_sees_what_has_none(monkeypatch):
    monkeypatch.setattr(twinset.Index, "add", lambda self: None)
    monkeypatch.setattr(twinset.Index.add, "__module__", "twinset.search.index")
    monkeypatch.setattr(twinset.Index, "__doc__", "An index.\n\n>>> 1\n1\n")
    assert "Index.add" in list(without_example())


# --- documentation: every name, every argument


def own_members(module):
    """The public functions, classes and methods that a module defines, by qualified name."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield value
            for member_name, member in list(vars(value).items()):
                member = getattr(member, "__func__", member)  # of a class method
                if inspect.isfunction(member) and not member_name.startswith("_"):
                    yield member
        elif inspect.isfunction(value):
            yield value


@functools.cache
def members():
    """All of these, of all modules."""
    modules = [importlib.import_module(name) for name in SOURCES if name != "twinset.__main__"]
    return [member for module in modules for member in own_members(module)]


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
    assert not [module for module in SOURCES if not ast.get_docstring(tree(module))]


def test_every_public_argument_is_typed():
    empty = inspect.Parameter.empty
    untyped = [
        f"{full_name(thing)}({name})"
        for thing in members()
        for name, parameter in (parameters(thing) or {}).items()
        if parameter.annotation is empty
    ]
    assert not untyped


def test_the_public_names_are_among_the_checked():
    checked = {full_name(thing) for thing in members()}
    names = set(twinset.__all__) - set(twinset._MODULES)
    assert {f"{twinset._HOMES[name]}.{name}" for name in names} <= checked


# --- size


def bodies(source):
    """Each function's name and number of lines, without its docstring."""
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, (body[-1].end_lineno - body[0].lineno + 1 if body else 0)


def test_modules_and_functions_are_short():
    assert not [module for module in SOURCES if len(text(module).splitlines()) > 400]
    assert not [
        (module, name, size)
        for module in SOURCES
        for name, size in bodies(tree(module))
        if size > 60
    ]


def test_the_ruler_measures():
    source = (
        'def f():\n    """Say.\n\n    More.\n    """\n    x = (\n        1\n    )\n    return x\n'
    )
    assert dict(bodies(ast.parse(source))) == {"f": 4}
