import math
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import twinset
from twinset.errors import RecipeError
from twinset.recipe import Recipe, builtin_names, parse_setting

KEYS = ", ".join(Recipe.model_fields)

positive = st.floats(0, exclude_min=True, allow_infinity=False)
counts = st.integers(1, 2**31 - 1)
# a lone half of a surrogate pair is no character: UTF-8 and so TOML cannot write it
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
recipes = st.builds(
    Recipe,
    name=names,
    pairs=st.just("batch"),
    threshold=positive,
    batch_size=counts,
    epochs=counts,
    seed=st.integers(0, 2**31 - 1),
    encoder=st.fixed_dictionaries(
        {
            "units": st.lists(counts, min_size=1, max_size=5),
            "dropout": st.floats(0, 1, exclude_max=True),
        }
    ),
    loss=st.fixed_dictionaries({"margin": positive}),
    optimizer=st.fixed_dictionaries({"learning_rate": positive}),
    blend=st.fixed_dictionaries({"learned": positive, "features": positive, "pixels": positive}),
)


def refused(call, *arguments, **keywords):
    """The message of the RecipeError, which must be one line."""
    with pytest.raises(RecipeError, match=r"(?s).") as caught:
        call(*arguments, **keywords)
    message = str(caught.value)
    assert len(message.splitlines()) == 1, message
    return message


def test_the_tutorial_holds_the_tutorials_values():
    assert builtin_names() == [
        "auto",
        "best",
        "conv",
        "fast",
        "head",
        "search",
        "tutorial",
        "unseen",
    ]
    assert Recipe.load("tutorial").model_dump() == {
        "name": "tutorial",
        "pairs": "tutorial",
        "threshold": 0.5,
        "holdout": "none",
        "rule": "balanced accuracy",
        "batch_size": 128,
        "per_class": 0,
        "micro_batch": 0,
        "epochs": 20,
        "seed": 0,
        "precision": "float32",
        "images": {
            "size": "auto",
            "colour": "auto",
            "resize": "pad",
            "background": "auto",
            "largest": 128,
        },
        "split": {"test": 0.2, "calibration": 0.1, "tune": 0.0},
        "augment": {
            "flip": False,
            "shift": 0,
            "erase": 0.0,
            "brightness": 0.0,
            "contrast": 0.0,
            "crop": 0.0,
            "saturation": 0.0,
            "hue": 0.0,
        },
        "encoder": {
            "name": "mlp",
            "units": (128, 128, 128),
            "dropout": 0.1,
            "linear": False,
            "normalize": False,
        },
        "loss": {"name": "contrastive", "margin": 1.0, "positive_margin": 0.0},
        "optimizer": {
            "name": "rmsprop",
            "learning_rate": 0.001,
            "schedule": "constant",
            "warmup": 0.0,
            "weight_decay": 0.0,
            "epsilon": 1e-7,
            "trunk_rate": 1.0,
        },
        "blend": {"learned": 1.0, "features": 0.0, "pixels": 0.0, "mirror": False},
        "stopping": {"keep": "last", "by": "AUC", "patience": 0},
        "head": {"kind": "trained", "shrinkage": 1.0, "dim": 512, "weights": ()},
        "choice": {"candidates": "none", "purpose": "auto", "budget": "auto"},
    }


def test_the_tutorial_is_the_default_of_everything():
    assert Recipe.load() == Recipe.load("tutorial") == Recipe() == Recipe.parse({})


def test_the_recipe_is_public():
    assert twinset.Recipe is Recipe


@given(recipes)
def test_toml_brings_a_recipe_back(recipe):
    path = Path("recipe.toml")
    path.write_bytes(recipe.to_toml().encode())
    assert Recipe.load(path) == recipe
    assert Recipe.load("recipe.toml") == recipe


def test_toml_is_for_people():
    lines = Recipe.load(encoder={"units": [8]}).to_toml().splitlines()
    assert lines[:2] == ['name = "tutorial"', 'pairs = "tutorial"']
    assert {"epochs = 20", "[encoder]", "dropout = 0.1", "[loss]", "margin = 1.0"} <= set(lines)


def test_a_file_needs_only_what_differs():
    Path("short.toml").write_text("epochs = 3  # a comment\n[loss]\nmargin = 2\n")
    assert Recipe.load("short.toml") == Recipe(epochs=3, loss={"margin": 2.0})


@pytest.mark.parametrize(
    "overrides",
    [
        {"epochs": 3, "loss": {"margin": 2}},
        {"epochs": 3, "loss.margin": 2},
        {"epochs": 3, "loss": Recipe(loss={"margin": 2.0}).loss},
        {"epochs": 3, "loss": {}, "loss.margin": 2.0},
    ],
    ids=["mapping", "dotted", "section", "both"],
)
@pytest.mark.parametrize("source", ["tutorial", "file", "short file", "recipe"])
def test_overrides(source, overrides):
    Path("short.toml").write_text("epochs = 7\n")
    Path("whole.toml").write_text(Recipe(epochs=7).to_toml())
    origin = {
        "tutorial": "tutorial",
        "file": "whole.toml",
        "short file": Path("short.toml"),
        "recipe": Recipe(epochs=7, loss={"margin": 5.0}),
    }[source]
    assert Recipe.load(origin, **overrides) == Recipe(epochs=3, loss={"margin": 2.0})


def test_an_override_leaves_the_rest_of_its_section():
    base = Recipe.load(encoder={"units": [8, 4], "dropout": 0.25})
    changed = Recipe.load(base, **{"encoder.dropout": 0})
    assert (changed.encoder.units, changed.encoder.dropout) == ((8, 4), 0.0)
    assert Recipe.load(base, encoder={"units": [16]}).encoder.dropout == 0.25
    assert base.encoder.dropout == 0.25, "the source must stay as it was"


def test_values_take_their_own_type():
    recipe = Recipe.load(threshold=1, encoder={"units": [8]})
    assert type(recipe.threshold) is float
    assert recipe.encoder.units == (8,)


@pytest.mark.parametrize("change", [("epochs", 3), ("loss", {})])
def test_recipes_are_frozen(change):
    recipe = Recipe()
    with pytest.raises(ValueError, match="frozen"):
        setattr(recipe, *change)
    with pytest.raises(ValueError, match="frozen"):
        recipe.loss.margin = 3.0
    assert recipe == Recipe()
    assert hash(recipe) == hash(Recipe())


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("epoch", "unknown key 'epoch' (did you mean 'epochs'?)"),
        ("learning_rate", "unknown key 'learning_rate'"),
        ("batchsize", "unknown key 'batchsize' (did you mean 'batch_size'?)"),
        ("zzz", "unknown key 'zzz'"),
    ],
)
def test_unknown_keys(key, hint):
    assert refused(Recipe.load, **{key: 3}) == f"recipe 'tutorial': {hint}; known are {KEYS}"


@pytest.mark.parametrize("overrides", [{"loss": {"margn": 2}}, {"loss.margn": 2}])
def test_unknown_keys_of_a_section(overrides):
    assert refused(Recipe.load, **overrides) == (
        "recipe 'tutorial': unknown key 'loss.margn' (did you mean 'margin'?); "
        "known are name, margin, positive_margin"
    )


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("losss.margin", ["'losss.margin'", "'encoder', 'loss', 'optimizer'", "mean 'loss'?"]),
        ("zzz.margin", ["'zzz.margin'", "'encoder', 'loss', 'optimizer'"]),
        ("epochs.more", ["'epochs.more'", "'encoder', 'loss', 'optimizer'"]),
        (".epochs", ["'.epochs'"]),
    ],
)
def test_unknown_sections(key, words):
    message = refused(Recipe.load, **{key: 2})
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1; received 0"),
        ({"epochs": 2.5}, "epochs: input should be a valid integer.*; received 2.5"),
        ({"epochs": "many"}, "epochs: input should be a valid integer.*; received 'many'"),
        (
            {"epochs": "two\nlines"},
            r"epochs: input should be a valid int.*; received 'two\\nlines'",
        ),
        ({"epochs": None}, "epochs: input should be a valid integer; received None"),
        ({"batch_size": -1}, "batch_size: input should be greater than .*; received -1"),
        ({"seed": -1}, "seed: input should be greater than or equal to 0; received -1"),
        ({"seed": 2**31}, "seed: input should be less than 2147483648; received 2147483648"),
        ({"threshold": 0}, "threshold: input should be greater than 0; received 0"),
        ({"threshold": math.inf}, "threshold: input should be a finite number; received inf"),
        ({"threshold": math.nan}, "threshold: input should be .*; received nan"),
        ({"name": ""}, "name: string should have at least 1 character; received ''"),
        ({"name": 5}, "name: input should be a valid string; received 5"),
        ({"pairs": "all"}, "pairs: input should be 'tutorial' or 'batch'; received 'all'"),
        (
            {"distance": "cosine"},
            "embeddings are compared by their Euclidean distance, .*: leave .*",
        ),
        ({"loss": "triplet"}, "loss: expected a table of settings; received 'triplet'"),
        ({"augment.flip": 3}, "augment.flip: input should be 'auto' or .* boolean.*; received 3"),
        ({"loss.name": "triplet"}, "the loss 'triplet' needs pairs = 'batch': .*"),
        (
            {"loss.name": "triplett"},
            r"loss.name: Expected a loss out of .*'circle', .*'triplett' \(did .* 'triplet'\?\)\.",
        ),
        ({"loss.margin": 0}, "loss.margin: input should be greater than 0; received 0"),
        ({"encoder.name": "nonsense"}, "encoder.name: Expected .*'mlp'.* 'nonsense'."),
        ({"encoder.units": 8}, "encoder.units: .*; received 8"),
        ({"encoder.units": []}, "encoder.units: .* at least 1 item .*; received \\[\\]"),
        ({"encoder.units": [8, 0]}, "encoder.units.1: .* greater than .* 1; received 0"),
        ({"encoder.dropout": 1}, "encoder.dropout: input should be less than 1; received 1"),
        ({"encoder.dropout": -0.1}, "encoder.dropout: .* greater than .* 0; received -0.1"),
        ({"optimizer.name": "lion"}, "optimizer.name: input should be 'rmsprop', .* 'lion'"),
        ({"optimizer.learning_rate": "fast"}, "optimizer.learning_rate: .*; received 'fast'"),
    ],
)
def test_wrong_values(overrides, words):
    message = refused(Recipe.load, **overrides)
    assert message.startswith("recipe 'tutorial': ")
    with pytest.raises(RecipeError, match=f": {words}$"):
        Recipe.load(**overrides)


@pytest.mark.parametrize("key", ["epochs", "batch_size", "seed", "threshold", "loss.margin"])
@pytest.mark.parametrize("value", [True, "4"])
def test_neither_truth_nor_text_is_a_number(key, value):
    """`epochs = true` in a file would be one epoch, without a word."""
    message = refused(Recipe.load, **{key: value})
    assert f"{key}: " in message
    assert f"received {value!r}" in message


def test_all_mistakes_are_told_at_once():
    message = refused(Recipe.load, epoch=3, seed=-1, loss={"margn": 2})
    for word in ("'epoch' (did you", "seed: ", "received -1", "'loss.margn'", "mean 'margin'?"):
        assert word in message


@pytest.mark.parametrize("values", [[1], "epochs", None, 3])
def test_what_is_no_table(values):
    assert repr(values) in refused(Recipe.parse, values)


def test_the_origin_is_named():
    assert refused(Recipe.parse, {"epoch": 1}, "card.json").startswith("card.json: unknown key")
    assert refused(Recipe.load, Recipe(name="mine"), epoch=1).startswith("recipe 'mine': unknown")
    Path("mine.toml").write_text("epoch = 1\n")
    assert refused(Recipe.load, "mine.toml").startswith("mine.toml: unknown key 'epoch'")
    Path("mine.toml").write_text("[losss]\nmargin = 1\n")
    assert refused(Recipe.load, Path("mine.toml")) == (
        f"mine.toml: unknown key 'losss' (did you mean 'loss'?); known are {KEYS}"
    )


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("tutorail", "'tutorail' (did you mean 'tutorial'?)."),
        ("Tutorial", "'Tutorial' (did you mean 'tutorial'?)."),
        ("zzz", "'zzz'."),
        ("", "''."),
        ("missing.toml", "'missing.toml'."),
        ("folder.toml", "'folder.toml'."),
        ("no_suffix", "'no_suffix'."),
        ("two\nlines.toml", "'two\\nlines.toml'."),
        ("nul\0.toml", "'nul\\x00.toml'."),
    ],
)
def test_what_is_neither_a_name_nor_a_file(source, words):
    Path("folder.toml").mkdir()
    Path("no_suffix").write_text("epochs = 3\n")
    assert refused(Recipe.load, source) == (
        f"Expected a recipe out of {builtin_names()} or the path of a .toml file. Received {words}"
    )


def test_a_name_too_long_for_a_file():
    assert "Received" in refused(Recipe.load, "x" * 5000 + ".toml")


@pytest.mark.parametrize("source", [None, 5, {"epochs": 3}])
def test_what_is_no_source(source):
    assert f"{source!r}" in refused(Recipe.load, source)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epochs = = 3\n", "bad.toml: expected TOML. "),
        (b"epochs = 3\nepochs = 4\n", "bad.toml: expected TOML. "),
        ('name = "café"\n'.encode("latin-1"), "bad.toml: expected TOML. 'utf-8' codec"),
        ("epochs = 3\n".encode("utf-16"), "bad.toml: expected TOML. "),
        (b"\x89PNG\r\n\x1a\n\0\0", "bad.toml: expected TOML. "),
    ],
)
def test_what_is_no_toml(content, words):
    Path("bad.toml").write_bytes(content)
    assert refused(Recipe.load, "bad.toml").startswith(words)


def test_the_byte_order_mark_of_windows_is_no_mistake():
    Path("notepad.toml").write_bytes(b"\xef\xbb\xbfepochs = 3\r\n")
    assert Recipe.load("notepad.toml").epochs == 3


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("epochs=4", ("epochs", 4)),
        (" epochs = 4 ", ("epochs", 4)),
        ("threshold=1e-1", ("threshold", 0.1)),
        ("encoder.units=[8, 4]", ("encoder.units", [8, 4])),
        ("loss={margin = 2}", ("loss", {"margin": 2})),
        ("name=mine", ("name", "mine")),
        ("name=a=b", ("name", "a=b")),
        ("name='4'", ("name", "4")),
        ("name=", ("name", "")),
        ("name=two words #1", ("name", "two words #1")),
        ("name=é 😀", ("name", "é 😀")),
        ("name=1\nepochs=2", ("name", "1\nepochs=2")),
    ],
)
def test_settings(text, setting):
    assert parse_setting(text) == setting


@pytest.mark.parametrize("text", ["", "epochs", "=4", " = 4"])
def test_what_is_no_setting(text):
    assert refused(parse_setting, text) == (
        f"Expected key=value, for example epochs=4. Received {text!r}."
    )


@given(st.text())
def test_any_text_is_a_setting_or_a_recipe_error(text):
    try:
        key, _ = parse_setting(text)
    except RecipeError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - either outcome is fine
    else:
        assert key == text.partition("=")[0].strip()


def test_another_kind_drops_the_values_of_the_old_one():
    recipe = Recipe.load(
        pairs="batch", encoder={"name": "conv", "embedding": 8}, loss={"name": "nt_xent"}
    )
    assert (recipe.encoder.name, recipe.encoder.embedding) == ("conv", 8)
    assert recipe.loss.model_dump() == {"name": "nt_xent", "temperature": 0.1, "prefixes": ()}
    assert Recipe.load(recipe, encoder={"embedding": 4}).encoder.embedding == 4
    assert "known are name, temperature, prefixes" in refused(
        Recipe.load, recipe, loss={"temper": 1.0}
    )
    # the same kind keeps what was set before
    assert Recipe.load(recipe, encoder={"name": "conv", "dropout": 0.5}).encoder.embedding == 8


def test_a_recipe_travels_between_processes():
    recipe = Recipe.load("conv", loss={"temperature": 0.2})
    again = pickle.loads(pickle.dumps(recipe))
    assert again == recipe
    assert type(again.loss) is type(recipe.loss)
