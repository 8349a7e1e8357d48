"""Run the tutorial's pages, and write what they print and draw into them and into their notebooks.

    ./task tutorial-pages [en fr]

A page is the one source: its ```python blocks are the notebook's cells, what stands between them
is its text. The ```text block after a cell is what it prints, the picture after it what it draws.
"""

import argparse
import base64
import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
NOTEBOOKS = {"en": "tutorial.ipynb", "fr": "tutoriel.ipynb"}
CELL = re.compile(
    r"^```python\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<printed>.*?)^```\n)?"
    r"(?:\n!\[[^\]]*\]\((?P<picture>[^)]+)\)\n)?",
    re.DOTALL | re.MULTILINE,
)


class Cell(NamedTuple):
    """Some text, or code with what it printed and the picture that it drew."""

    text: str
    code: str = ""
    printed: str | None = None
    picture: str | None = None


def page_of(language: str) -> Path:
    """Find the page of a language."""
    return FOLDER / f"{language}.md"


def cells_of(page: str) -> list[Cell]:
    """Part a page in cells; what a reader does not see is left out."""
    page = re.sub(r"\A---\n.*?\n---\n", "", page, flags=re.DOTALL)
    found, at = [], 0
    for match in CELL.finditer(page):
        found += [Cell(page[at : match.start()]), Cell("", **match.groupdict())]
        at = match.end()
    texts = [re.sub(r"<!--.*?-->\n", "", cell.text, flags=re.DOTALL).strip() for cell in found]
    last = Cell(page[at:].strip())
    cells = [cell._replace(text=text) for cell, text in zip(found, texts, strict=True)]
    return [cell for cell in [*cells, last] if cell.text or cell.code]


def run(cells: list[Cell], language: str) -> Any:
    """Run the code in Jupyter, and return the notebook."""
    import nbclient
    import nbformat.v4 as v4

    made = [
        v4.new_code_cell(cell.code.rstrip()) if cell.code else v4.new_markdown_cell(cell.text)
        for cell in cells
    ]
    for number, cell in enumerate(made):
        cell["id"] = f"{language}-{number}"
    notebook = v4.new_notebook(cells=made)
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=None,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
        ).execute()
    # which version ran it is no news, and would change with each run
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    }
    return notebook


def said(outputs: list[dict[str, Any]]) -> tuple[str, bytes | None]:
    """Tell what a cell printed, and the picture that it drew; a warning is refused."""
    printed, picture = "", None
    for output in outputs:
        if output.get("name") == "stderr":
            raise SystemExit(f"Expected no warnings. Received: {output['text']}")
        data = output.get("data", {})
        printed += output.get("text", "")
        if "image/png" in data:
            picture = base64.b64decode(data["image/png"])
    return printed, picture


def write(language: str) -> None:
    """Run one page; write it anew, its pictures, and its notebook."""
    import nbformat

    page = page_of(language)
    text = page.read_text("utf-8")
    notebook = run(cells_of(text), language)
    outputs = iter([said(cell.outputs) for cell in notebook.cells if cell.cell_type == "code"])

    def renewed(match: re.Match[str]) -> str:
        printed, picture = next(outputs)
        expected = match["printed"] is not None, bool(match["picture"])
        if (bool(printed), bool(picture)) != expected:
            raise SystemExit(f"Expected another kind of output: {match[0]}\nReceived: {printed}")
        if picture:
            target = FOLDER / match["picture"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture)
        if match["printed"] is None:
            return match[0]
        start, end = (place - match.start() for place in match.span("printed"))
        return match[0][:start] + printed + match[0][end:]

    page.write_text(CELL.sub(renewed, text), encoding="utf-8")
    nbformat.validate(notebook)
    (FOLDER / NOTEBOOKS[language]).write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def main() -> None:
    """Run the pages."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("languages", nargs="*", choices=[[], *NOTEBOOKS], default=[])
    for language in parser.parse_args().languages or NOTEBOOKS:
        write(language)


if __name__ == "__main__":
    main()
