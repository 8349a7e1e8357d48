"""Many pairs of images at once, by one model or by several that judge together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twinset import distance as distances
from twinset import tables
from twinset.data.cache import decode_batches
from twinset.data.decoding.decode import ImageLike
from twinset.data.image_sources import FileSource
from twinset.data.names import shown
from twinset.data.pair_tables import PairTable, read_pair_table
from twinset.data.pairs import hanging_together
from twinset.decision import Threshold, Verdict, check_prior
from twinset.errors import DataError
from twinset.files import write_bytes
from twinset.metrics.fusion import FOLDS, Fusion, fuse
from twinset.models.embedder import Embedder
from twinset.progress import Progress, Report, Wanted, reporting


def measure_pairs(
    models: Sequence[Embedder], given: PairTable, tell: Report
) -> tuple[NDArray[np.float64], list[str]]:
    """Measure each pair by each model, beside its columns of evidence; and tell what was wrong."""
    # each once, however often the table names it
    names = list(dict.fromkeys(name for pair in given.pairs for name in pair))
    place = {name: i for i, name in enumerate(names)}
    left, right = (np.array([place[name] for name in side]) for side in (given.left, given.right))
    columns, problems = [], dict[str, str]()
    for model in models:
        embeddings, bad = _embedded(model, given.file.parent, names, tell)
        problems |= bad
        apart = distances.of_pairs(embeddings, left, right)
        columns.append(apart.astype(np.float64))
    if len(problems) == len(names):
        raise DataError(f"{given.name}: none of its images can be read. {problems[names[0]]}")
    scores = np.column_stack([*columns, *([] if given.evidence is None else [given.evidence])])
    told = [
        "; ".join(problems[name] for name in dict.fromkeys(pair) if name in problems)
        for pair in given.pairs
    ]
    return scores, told


def _embedded(
    model: Embedder, folder: Path, names: list[str], tell: Report
) -> tuple[NDArray[np.float32], dict[str, str]]:
    # a row of NaN where a file cannot be read, and why not
    result = np.full((len(names), model.dim), np.nan, np.float32)
    problems: dict[str, str] = {}
    done = 0
    files = [FileSource(folder / name, name) for name in names]
    for batch in decode_batches(files, model.preprocessing):
        if len(batch.positions):
            result[batch.positions] = model.embed(batch.pixels)
        for place, skipped in batch.skipped.items():
            name = names[place]  # as the table has it
            problems[name] = shown(skipped.reason.replace(str(files[place].path), name))
        done += len(batch.positions) + len(batch.skipped)
        tell(Progress("compare", done, len(names), "images"))
    return result, problems


@dataclass(frozen=True, eq=False)
class Joint:
    r"""Models whose distances, and columns whose numbers, are joined as calibrated evidence.

    Made by `fit`. Its verdicts are of minus the joined log-likelihood ratio: smaller is closer, as
    everywhere.

    Args:
        models: by whose distances a pair is judged.
        columns: of a table of pairs, whose numbers count as well.
        fusion: how all these are joined.
        threshold: of minus the evidence: at most this is a match.

    Example:
        >>> import tempfile, numpy as np, twinset
        >>> from PIL import Image
        >>> images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), np.uint8)
        >>> labels = [0, 0, 0, 1, 1, 1]
        >>> models = [
        ...     twinset.fit(images, labels, seed=seed, epochs=1, encoder={"units": [8]})
        ...     for seed in (0, 1)
        ... ]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for at, image in enumerate(images):
        ...         Image.fromarray(image).save(f"{folder}/{at}.png")
        ...     rows = ["left,right,same", "0.png,1.png,1", "0.png,3.png,0", "4.png,5.png,1"]
        ...     _ = Path(folder, "judged.csv").write_text("\n".join([*rows, "2.png,5.png,0"]))
        ...     joint = Joint.fit(models, f"{folder}/judged.csv")
        >>> joint.compare(images[0], images[0]).distance == joint.judge([0, 0]).distance
        True
    """

    models: tuple[Embedder, ...]
    columns: tuple[str, ...]
    fusion: Fusion
    threshold: Threshold

    @classmethod
    def fit(
        cls,
        models: Sequence[Embedder],
        judged: str | Path,
        *,
        columns: Sequence[str] = (),
        progress: Wanted = False,
    ) -> Joint:
        """Fit how scores are joined, on pairs that people have judged.

        No model may have been trained on their images, where distances are too small: its evidence
        would count for too much.

        Args:
            models: one or more.
            judged: a table with the columns "left", "right" and "same", as for `compare_pairs`.
                Pairs that nobody has judged, and files that cannot be read, are left out.
            columns: of the table, each with a number of which more or less says "same". Defaults
                to none.
            progress: as for `compare_pairs`. Defaults to False.

        Raises:
            DataError: the table cannot be read, has not both kinds of pairs, or lacks a column.
        """
        table = read_pair_table(judged, evidence=columns)
        with reporting(progress) as tell:
            scores, problems = measure_pairs(models, table, tell)
        used = (table.same >= 0) & np.array([not problem for problem in problems])
        same = table.same[used] == 1
        if not used.any() or same.all() or not same.any():
            raise DataError(
                f"{table.name}: expected judged pairs of both kinds, the same and different. "
                f"Received {int(same.sum()):,} and {int((~same).sum()):,}."
            )
        names = [f"distance {at + 1}" for at in range(len(models))]
        names = [*(names if len(models) > 1 else ["distance"]), *columns]
        rule = models[0].threshold.rule if models[0].threshold.calibrated else "balanced accuracy"
        groups, images = _groups(table, used)
        fusion = fuse(scores[used], same, names=names, groups=groups, rule=rule)
        digest = hashlib.sha256(table.file.read_bytes()).hexdigest()
        threshold = replace(fusion.threshold, data=digest, images=images)
        return cls(tuple(models), tuple(columns), fusion, threshold)

    def judge(self, scores: ArrayLike, *, prior: float = 0.5) -> Verdict:
        """Turn the scores of a pair, (k,), into a verdict.

        Args:
            scores: its distance by each model, then its columns.
            prior: as for `Embedder.compare`. Defaults to 0.5.

        Raises:
            DataError: another number of scores, or the prior is out of range.
        """
        row = np.asarray(scores, np.float64)[None]
        against = -float(self.fusion.llr(row)[0])
        probability = float(self.fusion.probability(row, prior)[0])
        same = against <= self.threshold.value
        return Verdict(same, against, self.threshold, probability, prior, "evidence against")

    def compare(self, left: ImageLike, right: ImageLike, *, prior: float = 0.5) -> Verdict:
        """Say whether two images show the same, by all models together.

        Args:
            left: the path of a file, a PIL image, or a uint8 array.
            right: likewise.
            prior: as for `Embedder.compare`. Defaults to 0.5.

        Raises:
            ImageFileError: a file cannot be read.
            DataError: columns count as well, which two images do not have.
        """
        if self.columns:
            raise DataError(
                f"Expected a table of pairs, with the columns {', '.join(self.columns)}. Received "
                "two images, which have no such columns: use `compare_pairs`."
            )
        each = (distances.euclidean(*model.embed([left, right])) for model in self.models)
        return self.judge(list(each), prior=prior)


def _groups(table: PairTable, used: np.ndarray[Any, Any]) -> tuple[Any, int]:
    # Pairs that are linked by images are left out together, as long as they fall apart at all;
    # where all hang together, three numbers that are fitted remember no image.
    pairs = [pair for pair, kept in zip(table.pairs, used, strict=True) if kept]
    names = {name: at for at, name in enumerate(dict.fromkeys(n for pair in pairs for n in pair))}
    left, right = (np.array([names[pair[side]] for pair in pairs]) for side in (0, 1))
    of = hanging_together(len(names), (left, right))
    return (of[left] if of.max() + 1 >= 2 * FOLDS else None), len(names)


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
        rows = (each.row().values() for each in self.rows)
        told = [[int(x) if isinstance(x, bool) else x for x in row] for row in rows]
        text = tables.csv([*COLUMNS, *RESULTS, "problem"], told)
        write_bytes(path, text.encode("utf-8", "surrogateescape"))


def compare_pairs(
    model: Embedder | Joint, table: str | Path, *, prior: float = 0.5, progress: Wanted = False
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
        ...     found.write_csv(f"{folder}/verdicts.csv")
        ...     Path(folder, "verdicts.csv").read_text().splitlines()[0]
        'left,right,same,distance,probability,note,problem'
        >>> found.to_dict()["prior"], found.sentence().partition(";")[0]
        (0.5, '2 pairs: 1 same, 0 different, 1 not compared')
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
