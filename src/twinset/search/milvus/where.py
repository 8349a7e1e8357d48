"""Conditions on metadata as Milvus can answer them: never fewer items than there are, maybe more.

Versions differ in what they do with a name that is missing, and with values of different kinds.
So Milvus is asked only for what it cannot leave out, and `where.holds` judges what it returns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twinset.search.where import Condition, kind

# Nothing here ends a text, or means anything in an expression or a path.
_PLAIN_NAME = re.compile(r"\w[\w -]*")
_PLAIN_TEXT = re.compile(r"[\w .,:;/@#+-]*")
# Larger ones are compared as floats, and so wrongly.
_EXACT = 2**53


def expressible(condition: Condition) -> bool:
    """Tell whether Milvus finds all items for which a condition holds.

    Example:
        >>> from twinset.search.where import parse
        >>> [expressible(parse(text)) for text in ("label=shoe", "price<10", "label!=shoe")]
        [True, True, False]
    """
    value = condition.value
    if condition.operator == "!=" or not _PLAIN_NAME.fullmatch(condition.name):
        return False
    if kind(value) == "number":
        assert isinstance(value, int | float)
        return abs(value) < _EXACT
    if kind(value) == "truth":
        return True
    return isinstance(value, str) and _PLAIN_TEXT.fullmatch(value) is not None


def expression(where: Sequence[Condition]) -> str:
    """Write the expressible ones of conditions as a filter; "" where there are none.

    Example:
        >>> from twinset.search.where import conditions
        >>> expression(conditions({"label": "shoe", "price": {"<": 10}}))
        'metadata["label"] == "shoe" and metadata["price"] < 10'
    """
    parts = []
    for condition in filter(expressible, where):
        value = condition.value
        if isinstance(value, bool):
            literal = "true" if value else "false"
        else:
            literal = f'"{value}"' if isinstance(value, str) else repr(value)
        sign = "==" if condition.operator == "=" else condition.operator
        parts.append(f'metadata["{condition.name}"] {sign} {literal}')
    return " and ".join(parts)
