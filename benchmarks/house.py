"""Measure the source: lines, modules, docstrings and comments, of all and of each room.

Nothing here is asserted but that it can be counted; `tests/test_imports.py` holds the caps. Run:

    ./task house
"""

import ast
import io
import statistics
import tokenize
from collections import Counter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "twinset"
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
# comments for tools say nothing to a reader
FOR_TOOLS = ("# noqa", "# type:")


def docstring_lines(source: str) -> int:
    """Count the lines that docstrings take."""
    found = (
        node.body[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None
    )
    return sum(first.end_lineno - first.lineno + 1 for first in found)


def comments(source: str) -> int:
    """Count the comments, a line each."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(
        token.type == tokenize.COMMENT and not token.string.startswith(FOR_TOOLS)
        for token in tokens
    )


def measure(path: Path) -> Counter:
    """Count what one module holds."""
    source = path.read_text("utf-8")
    return Counter(
        modules=1,
        lines=len(source.splitlines()),
        docstrings=docstring_lines(source),
        comments=comments(source),
    )


def row(name: str, found: Counter) -> str:
    """One line of the table."""
    lines = max(found["lines"], 1)
    return (
        f"{name:<12}{found['modules']:>8}{found['lines']:>8}"
        f"{found['docstrings'] / lines:>12.1%}{100 * found['comments'] / lines:>14.1f}"
    )


def main() -> None:
    rooms: dict[str, Counter] = {}
    sizes = []
    for path in sorted(SOURCE.rglob("*.py")):
        inside = path.relative_to(SOURCE).parts
        found = measure(path)
        sizes.append(found["lines"])
        rooms.setdefault(inside[0] if len(inside) > 1 else "(ground)", Counter()).update(found)
    print(f"{'room':<12}{'modules':>8}{'lines':>8}{'docstrings':>12}{'comments/100':>14}")
    for name, found in sorted(rooms.items()):
        print(row(name, found))
    print(row("all", sum(rooms.values(), Counter())))
    print(f"a module: median {statistics.median(sizes):.0f} lines, longest {max(sizes)}")
    print("aims: 170 modules, 28,000 lines, 20% docstrings, 4 comments per 100 lines, median 150")


if __name__ == "__main__":
    main()
