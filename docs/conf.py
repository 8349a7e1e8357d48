"""The documentation's site: `./task site` builds it with Sphinx, without a network."""

from __future__ import annotations

import os
import re
import shutil
import sys
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from PIL import Image

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT / "src"), str(DOCS)]

from pages_of_reference import file_names, write_reference  # noqa: E402

import twinset  # noqa: E402

project = "twinset"
author = "the authors of twinset"
copyright = f"{author}, Apache License 2.0"  # noqa: A001
release = version = twinset.__version__
html_title = f"twinset {release}"

extensions = [
    "ledger_bars",
    "myst_parser",
    "notfound.extension",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["**/*.ipynb"]
templates_path = ["_templates"]
# names in backticks of docstrings: a link where it is a public one
default_role = "py:obj"

myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = html_logo = "../src/twinset/server/page/icon.svg"
html_copy_source = False
html_show_sphinx = False
# as in twinset's own pages
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0072b2", "color-brand-content": "#0072b2"},
    "dark_css_variables": {"color-brand-primary": "#6dbcec", "color-brand-content": "#6dbcec"},
}
# the page 404 is shown at any address, so its links begin at the site's root
notfound_urls_prefix = os.environ.get("SITE_ROOT", "/")

# browsers draw MathML themselves; MathJax would be fetched from elsewhere
html_math_renderer = "mathml"

autosummary_filename_map = file_names()
autodoc_default_options = {"members": True, "undoc-members": False}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Call arguments", "Each of the results", "Reference"]

# Files at the root of the repository that are pages of the site.
ROOT_PAGES = {
    ROOT / "README.md": "start.md",
    ROOT / "CHANGELOG.md": "project/changelog.md",
    ROOT / "CONTRIBUTING.md": "project/rules.md",
    ROOT / "LICENSE": "project/licence.md",
    ROOT / "benchmarks/LEDGER.md": "project/ledger.md",
    ROOT / "examples": "project/examples.md",
}


def mend_links(text: str, folder: Path, docname: str) -> str:
    """Turn links that hold in the repository into links that hold in the site."""

    def mended(found: re.Match[str]) -> str:
        target, anchor = found[1], found[2] or ""
        path = Path(os.path.normpath(folder / target))
        if path in ROOT_PAGES:
            return f"](/{ROOT_PAGES[path]}{anchor})"
        if not path.is_file():
            return found[0]
        if path.is_relative_to(DOCS):
            return f"](/{path.relative_to(DOCS).as_posix()}{anchor})"
        # Sphinx offers any other file for download, by its path from the page
        return f"]({Path(os.path.relpath(path, (DOCS / docname).parent)).as_posix()})"

    return re.sub(r"\]\(([\w./-]+)(#[\w-]+)?\)", mended, text)


def _of_page(app: Any, docname: str, source: list[str]) -> None:
    source[0] = mend_links(source[0], (DOCS / docname).parent, docname)


def _of_included(app: Any, path: Path, docname: str, source: list[str]) -> None:
    source[0] = mend_links(source[0], (DOCS / path).resolve().parent, docname)


def _as_rst(app: Any, kind: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    # docstrings are plain text: no sign of theirs but backticks is markup, and formulas keep lines
    formula = False
    for at, line in enumerate(lines):
        formula = bool(line.strip()) and (formula or bool(re.match(r"\S{1,12} = ", line)))
        if not line.lstrip().startswith((">>>", "...")):
            parts = line.split("`")
            parts[::2] = [re.sub(r"([*|\\]|_\b)", r"\\\1", part) for part in parts[::2]]
            lines[at] = ("| " if formula else "") + "`".join(parts)


def _of_others(app: Any, kind: str, name: str, value: Any, skip: bool, options: Any) -> bool | None:
    # what Keras and pydantic define, they document
    home = getattr(getattr(value, "fget", value), "__module__", None)
    return None if (home or "twinset").startswith("twinset") else True


def _formula(translator: Any, node: nodes.Element) -> None:
    text = re.sub(r"(\\[Bb]ig)([([])", r"\1l\2", node.astext())
    text = re.sub(r"(\\[Bb]ig)([)\]])", r"\1r\2", text)
    block = isinstance(node, nodes.math_block)
    mathml = tex2mathml(text, as_block=block)
    translator.body.append(f'<div class="formula" tabindex="0">{mathml}</div>' if block else mathml)
    raise nodes.SkipNode


def _finish(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    if doctree and (texts := list(doctree.findall(nodes.paragraph))):
        told = escape(" ".join(texts[0].astext().split())[:160])
        context["metatags"] += f'<meta name="description" content="{told}">'
    if body := context.get("body"):
        # what scrolls sideways on a phone can be scrolled by keys alone
        scrolls = r'<(pre|div class="table-wrapper[^"]*")>'
        body = re.sub(scrolls, r'<\1 tabindex="0">', body)
        # a picture has its room before it is there, or the text below would jump
        files = {name: file for file, (_, name) in app.env.images.items()}
        context["body"] = re.sub(
            r'<img(?=[^>]* src="[^"]*_images/([^"]+)")',
            lambda found: f"<img {_size(DOCS / files[unquote(found[1])])}",
            body,
        )


def _size(file: Path) -> str:
    with Image.open(file) as picture:
        return 'width="{}" height="{}"'.format(*picture.size)


def _in_its_language(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    # a page says `lang` in its head; _templates/page.html says it of what is around it
    if language := (context.get("meta") or {}).get("lang"):
        context["language"] = language
        for part in {"body", "toc"} & context.keys():
            context[part] = f'<div lang="{language}">{context[part]}</div>'


def setup(app: Any) -> None:
    """Connect the above to Sphinx."""
    shutil.rmtree(DOCS / "reference/api", ignore_errors=True)
    write_reference(DOCS / "reference/api")
    app.connect("autodoc-skip-member", _of_others)
    # before napoleon's
    app.connect("autodoc-process-docstring", _as_rst, priority=400)
    app.connect("source-read", _of_page)
    app.connect("include-read", _of_included)
    app.connect("html-page-context", _finish)
    app.connect("html-page-context", _in_its_language)
    app.add_html_math_renderer("mathml", (_formula, None), (_formula, None))
