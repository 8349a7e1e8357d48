"""`twinset recipe`: what a training can be told, as a file that says so itself."""

import tomllib

import pytest

from twinset.recipe import Recipe, builtin_names


@pytest.mark.parametrize("name", builtin_names())
def test_it_prints_the_recipe_itself(command, tmp_path, name):
    done = command("recipe", name)
    (tmp_path / "mine.toml").write_text(done.out, "utf-8")
    assert Recipe.load(tmp_path / "mine.toml") == Recipe.load(name)


def test_every_value_is_explained(command):
    lines = command("recipe", "fast", "--set", "loss.name=triplet").out.splitlines()
    told = {
        line.partition(" = ")[0]
        for before, line in zip(["", *lines], lines, strict=False)
        if " = " in line and before.startswith("# ")
    }
    values = tomllib.loads("\n".join(lines))
    sections = {key: value for key, value in values.items() if isinstance(value, dict)}
    assert {key for key in values if key not in sections} <= told
    for section in sections.values():
        assert {key for key in section if key != "name"} <= told
    assert "# The objective. Its name is one of circle, contrastive," in "\n".join(lines)
    assert "mining" in sections["loss"]


def test_mistakes_are_told(command):
    done = command("recipe", "fast", "--set", "loss.margins=1")
    assert (done.code, done.out) == (2, "")
    assert "unknown key 'loss.margins'" in done.err
