"""Two models and a column judge together: by evidence that was learnt from judged pairs."""

import numpy as np
import pytest

from halves import Halves, write
from twinset.errors import DataError
from twinset.models.compare_pairs import Joint, compare_pairs


class Half(Halves):
    """Sees one half of an image only."""

    def __init__(self, side):
        super().__init__(f"half {side}")
        self.side = side

    def encode(self, pixels):
        return super().encode(pixels) * (np.arange(2) == self.side)


@pytest.fixture
def judged():
    """Nine kinds of images by two halves, thrice each; two of three pairs are judged."""
    rng = np.random.default_rng(0)
    kinds = [(a, b) for a in (0.1, 0.5, 0.9) for b in (0.1, 0.5, 0.9)] * 3
    for number, kind in enumerate(kinds):
        write(f"in/{number}.png", *np.clip(kind + 0.04 * rng.normal(size=2), 0, 1))
    rows = ["left,right,same,price"]
    for i in range(27):
        for j in range(i):
            same = kinds[i] == kinds[j]
            word = ("yes" if same else "no") if (i + j) % 3 else ""
            price = abs(rng.normal()) + (0 if same else 1)
            rows.append(f"{i}.png,{j}.png,{word},{price:.3f}")
    return table("judged.csv", *rows)


def table(name, *rows):
    from pathlib import Path

    path = Path("in") / name
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_two_models_judge_better_than_one(judged):
    joint = Joint.fit([Half(0), Half(1)], judged)
    assert joint.fusion.names == ("distance 1", "distance 2")
    assert joint.fusion.cllr < 0.4 < min(joint.fusion.single)
    assert joint.threshold.images == 27
    found = compare_pairs(joint, judged)
    judgements = [row.verdict.same for row in found.rows]
    truth = [int(r.left[:-4]) % 9 == int(r.right[:-4]) % 9 for r in found.rows]
    assert np.mean(np.equal(judgements, truth)) > 0.97
    one = joint.compare("in/0.png", "in/9.png")
    assert one.same
    assert one.sentence().startswith("same: evidence against -")
    (row,) = [row for row in found.rows if (row.left, row.right) == ("9.png", "0.png")]
    assert row.verdict == one
    assert joint.compare("in/0.png", "in/9.png", prior=0.01).probability < one.probability


def test_a_column_counts_as_well(judged):
    joint = Joint.fit([Half(0)], judged, columns=["price"])
    assert joint.fusion.names == ("distance", "price")
    assert joint.fusion.cllr < min(joint.fusion.single) < 1
    with pytest.raises(DataError, match="with the columns price. Received two images"):
        joint.compare("in/0.png", "in/9.png")
    found = compare_pairs(
        joint, table("new.csv", "left,right,price", "0.png,9.png,0", "0.png,9.png,9")
    )
    near, far = (row.verdict for row in found.rows)
    assert near.distance < far.distance
    with pytest.raises(DataError, match="expected a column 'price'. Received 'left', 'right'"):
        compare_pairs(joint, table("bare.csv", "left,right", "0.png,9.png"))
    with pytest.raises(DataError, match="line 2: expected a number in column 'price'. Rec.*'low'"):
        compare_pairs(joint, table("bad.csv", "left,right,price", "0.png,9.png,low"))


def test_a_table_that_teaches_nothing(judged):
    one = table("one.csv", "left,right,same", "0.png,9.png,1", "0.png,1.png,", "0.png,x.png,0")
    with pytest.raises(DataError, match="judged pairs of both kinds.* Received 1 and 0"):
        Joint.fit([Half(0), Half(1)], one)
