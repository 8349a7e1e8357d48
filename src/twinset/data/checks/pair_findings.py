"""What a check has to say of judged pairs: contradictions, chains that break, too few of a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from twinset.data.checks.findings import Finding
from twinset.data.checks.near_duplicates import Duplicates, image_name
from twinset.data.labelled import LabelledImages

# With more of the judgements against the classes, these are something else than was asked.
MOST_AGAINST = 0.2


def about_pairs(data: LabelledImages, found: Duplicates) -> Iterator[Finding]:
    """Judge what was judged."""
    settled, judged = data.settled, data.judged
    assert settled is not None
    assert judged is not None

    def lines(pairs: Sequence[Sequence[int]], mark: str) -> tuple[str, ...]:
        return tuple(mark.join(image_name(data, at) for at in each) for each in pairs)

    same = int(judged.same.sum())
    different = len(judged) - same
    if not (same and different) and not data.class_names:
        lacking = "different" if same else "same"
        yield Finding(
            "error",
            "one-kind-of-pairs",
            f"Expected same and different pairs. Received {same:,} same and {different:,} "
            f"different: judge some that are {lacking}, since nothing is taken for {lacking} that "
            "nobody judged.",
            len(judged),
        )
    if settled.contradictions:
        text = (
            f"{_pairs(len(settled.contradictions))} judged both the same and different, which "
            "count for nothing: judge them again."
        )
        examples = lines(settled.contradictions, " =≠ ")
        yield Finding("warning", "contradictions", text, len(examples), examples)
    if settled.conflicts:
        text = (
            f"{_pairs(len(settled.conflicts))} judged different, though a chain of others says "
            "that they are the same; one link is wrong. All count as judged, and nothing is "
            "concluded from these chains: judge them again."
        )
        chains = (f"{line} ≠ {line.split(' = ')[0]}" for line in lines(settled.conflicts, " = "))
        yield Finding("warning", "broken-chains", text, len(settled.conflicts), tuple(chains))
    yield from _about_classes(data, lines)
    yield from _about_copies(data, found, lines)
    if settled.repeated:
        text = (
            f"{_pairs(settled.repeated)} there twice, or of an image with itself: they count once."
        )
        yield Finding("note", "repeated-pairs", text, settled.repeated)


def _about_classes(
    data: LabelledImages, lines: Callable[..., tuple[str, ...]]
) -> Iterator[Finding]:
    judged, settled = data.judged, data.settled
    assert settled is not None
    assert judged is not None
    if not settled.against:
        return
    rows = list(settled.against)
    pairs = np.stack([judged.left[rows], judged.right[rows]], axis=1).tolist()
    classed = (data.labels[[judged.left, judged.right]] < len(data.class_names)).all(axis=0)
    share = len(settled.against) / max(int(classed.sum()), 1)
    severe = share > MOST_AGAINST
    text = f"{_pairs(len(settled.against))} say otherwise than the classes ({share:.1%})" + (
        f", where {MOST_AGAINST:.0%} are bearable: if these are no classes but folders of "
        "another kind, leave the data out, and give paths that begin at the table."
        if severe
        else ", and count as they were judged: correct one of the two."
    )
    examples = tuple(
        f"{line} ({data.class_names[data.labels[i]]} / {data.class_names[data.labels[j]]})"
        for line, (i, j) in zip(lines(pairs, ", "), pairs, strict=True)
    )
    yield Finding(
        "error" if severe else "warning", "against-classes", text, len(examples), examples
    )


def _about_copies(
    data: LabelledImages, found: Duplicates, lines: Callable[..., tuple[str, ...]]
) -> Iterator[Finding]:
    judged = data.judged
    assert judged is not None
    equal = np.flatnonzero(~judged.same & (found.first[judged.left] == found.first[judged.right]))
    if len(equal):
        text = (
            f"{_pairs(len(equal))} of the same pixels judged different, which no model can tell "
            "apart: judge them again, or remove the copies."
        )
        pairs = np.stack([judged.left[equal], judged.right[equal]], axis=1).tolist()
        yield Finding("warning", "copies-judged-different", text, len(equal), lines(pairs, " = "))
    if data.parts is not None:
        parts = data.parts[judged.left], data.parts[judged.right]
        across = np.flatnonzero((parts[0] != parts[1]) & (parts[0] != "") & (parts[1] != ""))
        if len(across):
            text = f"{_pairs(len(across))} join two parts of the data, and are not used."
            pairs = np.stack([judged.left[across], judged.right[across]], axis=1).tolist()
            yield Finding("warning", "pairs-across-parts", text, len(across), lines(pairs, ", "))


def _pairs(count: int) -> str:
    return f"{count:,} pair{'s' * (count != 1)}"
