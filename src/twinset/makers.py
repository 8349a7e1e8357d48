"""What a recipe names: callables whose signatures are sections, found when a recipe is read."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

from twinset.errors import RecipeError
from twinset.registry import Registry, suggestion
from twinset.settings import Section, parameters, read, section_of, table


class Maker:
    """One callable whose signature is a section, or a section itself, imported when first needed.

    `given` are the arguments that are no settings, but handed over by `make`.
    """

    def __init__(self, place: str, given: Collection[str] = ()) -> None:
        self._place = place
        self._given = frozenset(given)

    @functools.cached_property
    def _call(self) -> Any:
        module, _, attribute = self._place.partition(":")
        return getattr(importlib.import_module(module), attribute)

    def read(self, values: Any, at: str) -> Section:
        """Check settings, which stand at a place of the recipe."""
        declared = isinstance(self._call, type) and issubclass(self._call, Section)
        section = self._call if declared else section_of(self._call, self._given)
        return read(section, values, at)

    def make(self, section: Section, **given: Any) -> Any:
        """Call it with the settings of a section, and with what a recipe does not say."""
        return self._call(**dict(section), **given)


class Makers(Registry):
    """Callables of one kind, of which a section of a recipe chooses one by its name.

    Built-in ones are in the package that is called as the group of entry points is: whatever
    `named` marks in one of its modules. There is no other list. A section without a name means the
    `default`; `given` are the arguments that are no settings, but handed over by `make`.
    """

    def __init__(self, kind: str, group: str, default: str, given: Collection[str]) -> None:
        super().__init__(kind, group, lambda: _named_in(group))
        self._default = default
        self._given = frozenset(given)

    def section(self, name: str) -> type[Section]:
        """Find the section that a name stands for."""
        return section_of(self.load(name), self._given, name)

    def read(self, values: Any, at: str) -> Section:
        """Check settings, which stand at a place of the recipe."""
        values = table(values, at)
        try:
            section = self.section(str(values.get("name", self._default)))
        except RecipeError as error:
            raise RecipeError(f"{at}.name: {error}") from None
        return read(section, values, at)

    def parse(self, name: str, settings: Mapping[str, Any]) -> Section:
        """Check the settings of what has a name."""
        return self.read({"name": name, **settings}, self.kind)

    def make(self, section: Section, **given: Any) -> Any:
        """Call what a section names, with its settings and those of `given` that it takes."""
        maker = self.load(section.name)
        settings = {key: value for key, value in section if key != "name"}
        taken = {key: given[key] for key in given if key in parameters(maker)}
        return maker(**settings, **taken)


def _named_in(package: str) -> dict[str, str]:
    marked = defined_in(package, lambda value: "recipe_name" in vars(value))
    return {
        value.recipe_name: f"{value.__module__}:{attribute}" for attribute, value in marked.items()
    }


def defined_in(package: str, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    """Import a package's modules, and find the functions and classes that they define."""
    return {
        name: value
        for module in modules_of(package)
        for name, value in vars(importlib.import_module(module)).items()
        if getattr(value, "__module__", None) == module and wanted(value)
    }


def absent(package: str, name: str, known: Collection[str]) -> AttributeError:
    """Make the error of a package that has no such public name."""
    hint = suggestion(name, known)
    return AttributeError(f"module {package!r} has no attribute {name!r}{hint}")


def modules_of(package: str) -> Iterator[str]:
    """List the full names of a package's modules."""
    path = importlib.import_module(package).__path__
    return (f"{package}.{found.name}" for found in pkgutil.iter_modules(path))


@dataclass(frozen=True)
class Part:
    """The mark of a recipe's field that is a section, which is found when a recipe is read.

    Not when the class is made, as the callables of losses and networks take an import of Keras.
    """

    source: Maker | Makers

    def __get_pydantic_core_schema__(self, kind: Any, handler: Any) -> core_schema.CoreSchema:
        """Tell pydantic how to read and write it."""
        return core_schema.with_info_plain_validator_function(
            self._read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda section, info: section.model_dump(mode=info.mode), info_arg=True
            ),
        )

    def _read(self, values: Any, info: core_schema.ValidationInfo) -> Section:
        at = info.field_name or ""
        try:
            return self.source.read(values, at)
        except RecipeError as error:
            # one text, which `explain` repeats: pydantic would forget which section it is about
            raise PydanticCustomError("section", "{text}", {"text": str(error)}) from None
