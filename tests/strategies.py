"""Inputs that several test files draw with hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def scored_pairs(draw):
    """Distances with many ties, or none, and both kinds of pairs: two lists, floats and 0 or 1."""
    some = st.one_of(st.integers(0, 4).map(float), st.floats(0, 10))
    distances = draw(st.lists(some, min_size=2, max_size=40))
    same = draw(
        st.lists(st.integers(0, 1), min_size=len(distances), max_size=len(distances)).filter(
            lambda kinds: any(kinds) and not all(kinds)
        )
    )
    return distances, same
