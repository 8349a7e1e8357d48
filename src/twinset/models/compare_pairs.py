"""Many pairs of images at once: a table of paths in, a table of verdicts out."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twinset.data.pair_tables import read_pair_table
from twinset.decision import Threshold, Verdict, check_prior
from twinset.files import write_bytes
from twinset.models.embedder import Embedder
from twinset.models.pair_scores import measure_pairs
from twinset.progress import Wanted, reporting

if TYPE_CHECKING:
    from twinset.models.joint import Joint

COLUMNS = ("left", "right")
RESULTS = ("same", "distance", "probability", "note")


@dataclass(frozen=True)
class PairVerdict:
    """The answer for one row of a table; without a verdict, `problem` says why."""

    left: str
    right: str
    verdict: Verdict | None
    problem: str = ""

    def row(self) -> dict[str, Any]:
        """Say it as one row of a table; None for what is not known."""
        found = {name: getattr(self.verdict, name, None) for name in RESULTS}
        return {"left": self.left, "right": self.right, **found, "problem": self.problem}


@dataclass(frozen=True)
class PairVerdicts:
    """The answers for a table of pairs, in its order, by one threshold and at one prior."""

    rows: tuple[PairVerdict, ...]
    threshold: Threshold
    prior: float

    @property
    def problems(self) -> tuple[PairVerdict, ...]:
        """The rows without a verdict."""
        return tuple(row for row in self.rows if row.verdict is None)

    def sentence(self) -> str:
        """Sum up for people."""
        count = Counter(row.verdict.same for row in self.rows if row.verdict is not None)
        bad = len(self.problems)
        notes = Counter(row.verdict.note for row in self.rows if row.verdict and row.verdict.note)
        return (
            f"{len(self.rows):,} pairs: {count[True]:,} same, {count[False]:,} different"
            + (f", {bad:,} not compared" if bad else "")
            + f"; threshold {self.threshold.value:.4f} ({self.threshold.origin})"
            + "".join(f"; {number:,} {note}" for note, number in notes.items())
        )

    def to_dict(self) -> dict[str, Any]:
        """Say it for programs."""
        about = {"threshold": self.threshold.value, "rule": self.threshold.rule}
        return {**about, "prior": self.prior, "pairs": [row.row() for row in self.rows]}

    def write_csv(self, path: str | Path) -> None:
        """Write a table: left, right, same (1 or 0), distance, probability, note, problem."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [*COLUMNS, *RESULTS, "problem"], lineterminator="\n")
        writer.writeheader()
        for each in self.rows:
            row = each.row()
            same = row["same"]
            writer.writerow(row | {"same": None if same is None else int(same)})
        write_bytes(path, text.getvalue().encode("utf-8", "surrogateescape"))


def compare_pairs(
    model: Embedder | Joint,
    table: str | Path,
    *,
    prior: float = 0.5,
    progress: Wanted = False,
) -> PairVerdicts:
    r"""Compare the two images of each row of a table; each image is read and embedded once.

    A file that cannot be read is told in its rows and stops nothing.

    Args:
        model: a trained model, or several that judge together, `Joint.fit`.
        table: a text file in UTF-8, or Parquet, with the columns "left" and "right", paths of
            images; relative ones begin at the table's folder. The delimiter is ",", ";" or a tab.
        prior: share of same pairs where the verdicts will be used, in (0, 1). Defaults to 0.5.
        progress: as for `reporting`. Defaults to False.

    Raises:
        DataError: the table cannot be read, or none of its images; or the prior is out of range.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> from PIL import Image
        >>> pixels = np.stack([np.full((4, 4), 85 * i, np.uint8) for i in range(4)])
        >>> images = twinset.LabelledImages(pixels, [0, 0, 1, 1], ("dark", "bright"))
        >>> model = twinset.fit(images, epochs=1, encoder={"units": [8]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.fromarray(pixels[0]).save(f"{folder}/a.png")
        ...     _ = Path(folder, "pairs.csv").write_text("left,right\na.png,a.png\na.png,b.png\n")
        ...     found = compare_pairs(model, f"{folder}/pairs.csv")
        >>> found.rows[0].verdict.same, found.rows[1].problem.startswith("b.png: expected an image")
        (True, True)
    """
    check_prior(prior)
    models, columns = (
        ((model,), ()) if isinstance(model, Embedder) else (model.models, model.columns)
    )
    given = read_pair_table(table, judged=False, evidence=columns)
    with reporting(progress) as tell:
        scores, problems = measure_pairs(models, given, tell)
    rows = []
    for (a, b), score, problem in zip(given.pairs, scores, problems, strict=True):
        verdict = None
        if not problem:
            alone = isinstance(model, Embedder)
            verdict = model.judge(float(score[0]) if alone else score, prior=prior)
        rows.append(PairVerdict(a, b, verdict, problem))
    return PairVerdicts(tuple(rows), model.threshold, prior)
