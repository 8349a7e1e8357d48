"""What an index says of who is shown: identities with a verdict each, or nobody known."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from twinset.decision import Calibrator
from twinset.files import Plain
from twinset.search.answer import for_people
from twinset.search.checked import Scalar
from twinset.search.items import Neighbour

# Strangers taken for somebody, from which on a gallery says what to do about it.
MANY = 0.05


@dataclass(frozen=True)
class IdentitySettings(Plain):
    """How an index tells identities apart: by which column, rule and threshold, and why by these.

    An index keeps it as a record, so each value is a plain one.

    Example:
        >>> about = IdentitySettings("who", "nearest", "so told", 0.5, "EER", 6, 2, "a1")
        >>> IdentitySettings.of(about.to_dict()) == about
        True
    """

    column: str  # of the metadata: equal values are one identity
    rule: str  # how distances to several references are joined: one of `metrics.joining.RULES`
    reason: str  # why this rule
    threshold: float  # a joined distance up to this is a match
    threshold_rule: str  # how it was chosen
    references: int  # how many there were when all this was chosen
    identities: int  # likewise
    model: str  # digest of the model that made them
    slope: float | None = None  # of the weight of evidence by joined distance; None if not known
    intercept: float | None = None
    fpir: float | None = None  # share of strangers who were taken for somebody; None if not tried
    fnir: float | None = None  # share of those known who were not told, or for somebody else
    other: str = ""  # digest of a second model, whose joined distances count as well
    other_rule: str = ""  # how its distances to several references are joined
    share: float = 1.0  # of this model's in the sum of both joined distances
    together: int = 1  # images of one query
    strangers: float | None = None  # share of them that may be taken for somebody, if asked for
    learned: int = 0  # identities that are named like classes of the model's data

    @classmethod
    def of(cls, record: dict[str, Any]) -> Self:
        """Read a record; what later versions add is left out."""
        return cls(**{each.name: record[each.name] for each in fields(cls) if each.name in record})

    @property
    def weight(self) -> Calibrator | None:
        """The weight of evidence of a joined distance, in a gallery of this size."""
        if self.slope is None or self.intercept is None:
            return None
        return Calibrator(self.slope, self.intercept)

    def sentence(self) -> str:
        """Say it in one line.

        Example:
            >>> about = IdentitySettings("who", "nearest", "so told", 0.5, "EER", 6, 2, "a1")
            >>> about.sentence()
            '2 identities by who, 6 references; joined by nearest (so told); threshold 0.5000 (EER)'
        """
        tried = ""
        if self.fpir is not None:
            missed = "" if self.fnir is None else f", misses {self.fnir:.1%}"
            tried = f": takes {self.fpir:.1%} of strangers for somebody{missed}"
        beside = ""
        if self.other:
            beside = (
                f", {self.share:.0%} of it; {1 - self.share:.0%} from the model "
                f"{self.other[:12]} by {self.other_rule}"
            )
        return (
            f"{self.identities:,} identities by {self.column}, {self.references:,} references; "
            f"joined by {self.rule}{beside} ({self.reason}); threshold {self.threshold:.4f} "
            f"({self.threshold_rule}{tried})"
        )

    @property
    def advice(self) -> str:
        """What to know of the rates, and what to do where many strangers match unasked; or "".

        Example:
            >>> told = "who", "nearest", "so told", 0.5, "EER", 6, 2, "a1"
            >>> IdentitySettings(*told, fpir=0.3).advice.partition(":")[0]
            '30.0% of strangers would be taken for somebody'
        """
        told = []
        if self.learned and self.fpir is not None:
            told.append(
                f"{self.learned:,} of the identities are named like classes of the model's own "
                "data. What it was trained on it tells apart better than what it has not seen: "
                "more strangers will be taken for somebody than is said here, and more new images "
                "missed. `twinset evaluate` judges on images that were kept out."
            )
        if self.strangers is None and self.fpir is not None and self.fpir > MANY:
            told.append(
                f"{self.fpir:.1%} of strangers would be taken for somebody: the threshold follows "
                "the model's rule, which is made for pairs. Where strangers are asked about, say "
                "how many may be: --strangers 0.01, strangers=0.01 in Python. More of those known "
                "are missed then."
            )
        return " ".join(told)


@dataclass(frozen=True)
class Identity:
    """One identity in an answer.

    Example:
        >>> from twinset import Neighbour
        >>> Identity("Rex", 0.2, True, 0.9, Neighbour("rex-1.jpg", 0.15, {}), 3).references
        3
    """

    name: Scalar  # its value in the column of identities
    distance: float  # joined, 0 or more
    match: bool  # whether that is at most the threshold
    # that the query shows it, at the answer's prior; None where that was not calibrated
    probability: float | None
    nearest: Neighbour  # the reference that is nearest to an image of the query
    references: int  # how many it has


def and_more(images: int) -> str:
    """Say after the first of several images how many more a query has."""
    return f" and {images - 1:,} more" if images > 1 else ""


@dataclass(frozen=True)
class Identification:
    """The answer of an index to the question who is shown; true if that is somebody known.

    Example:
        >>> from twinset import Neighbour
        >>> about = IdentitySettings("who", "nearest", "so told", 0.5, "EER", 3, 1, "a1")
        >>> rex = Identity("Rex", 0.2, True, 0.9, Neighbour("rex-1.jpg", 0.15, {}), 3)
        >>> found = Identification("query.jpg", (rex,), about)
        >>> found.sentence().partition(" (")[0], found.to_dict()["identity"], bool(found)
        ('query.jpg: Rex: distance 0.2000 <= 0.5000', 'Rex', True)
    """

    query: str  # what was asked for; of several images, the first and how many more
    identities: tuple[Identity, ...]  # the k nearest, nearest first; they may be no match
    settings: IdentitySettings
    images: int = 1  # of the query
    nobody: float | None = None  # probability of nobody known, at the prior
    prior: float = 0.5  # share of queries that show somebody known, for the probabilities

    def __bool__(self) -> bool:
        return self.known

    @property
    def known(self) -> bool:
        """Whether the nearest identity is a match."""
        return bool(self.identities) and self.identities[0].match

    @property
    def best(self) -> Identity | None:
        """The identity that it is; None for nobody known."""
        return self.identities[0] if self.known else None

    def sentence(self) -> str:
        """Say it in one line: who it is, or that it is nobody known and who is nearest."""
        if not self.identities:
            which = f"no item, or none that is asked for, has a {self.settings.column}"
            return f"{self.query}: nobody to compare with: {which}"
        first, limit = self.identities[0], self.settings.threshold
        many = f" of {first.references:,} references" if first.references > 1 else ""
        by = f"{self.settings.rule}{many}, {self.settings.threshold_rule}"
        if not first.match:
            sure = "" if self.nobody is None else f"; probability of nobody known {self.nobody:.3f}"
            return (
                f"{self.query}: nobody known: the nearest, {first.name}, is at "
                f"{first.distance:.4f} > {limit:.4f} ({by}){sure}"
            )
        sure = "" if first.probability is None else f"; probability {first.probability:.3f}"
        return (
            f"{self.query}: {first.name}: distance {first.distance:.4f} <= {limit:.4f} ({by})"
            f"{sure}; like {first.nearest.id}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        told = [
            asdict(one)
            | {"nearest": asdict(one.nearest) | {"metadata": for_people(one.nearest.metadata)}}
            for one in self.identities
        ]
        threshold = {"value": self.settings.threshold, "rule": self.settings.threshold_rule}
        return {
            "query": self.query,
            "images": self.images,
            "known": self.known,
            "identity": None if self.best is None else self.best.name,
            "nobody": self.nobody,
            "prior": self.prior,
            "rule": self.settings.rule,
            "threshold": threshold,
            "identities": told,
        }
