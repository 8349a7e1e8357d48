"""What a verdict says where its threshold and its probability disagree."""

import json

import pytest

from twinset.decision import Threshold, Verdict

STRICT = Threshold(0.25, "FPR <= 0.01", images=40, data="abc")


@pytest.mark.parametrize(
    ("same", "probability", "words"),
    [
        (False, 0.555, "more likely the same than not"),
        (True, 0.445, "more likely different than not"),
        (True, 0.555, ""),
        (False, 0.445, ""),
        (True, 0.5, ""),
        (False, 0.5, ""),
        (True, None, ""),
        (False, None, ""),
    ],
)
def test_a_verdict_says_why_threshold_and_probability_disagree(same, probability, words):
    verdict = Verdict(same, 0.2 if same else 0.3, STRICT, probability)
    sentence = verdict.sentence()
    told = json.loads(json.dumps(verdict.to_dict()))
    if words:
        assert verdict.note == f"{words}, but the threshold follows its rule: FPR <= 0.01"
        assert sentence.endswith(f"at a prior of 0.5 ({verdict.note})")
    else:
        assert verdict.note == ""
        assert "but" not in sentence
    assert told["note"] == verdict.note
    assert told["threshold"]["rule"] == "FPR <= 0.01"


def test_what_is_promised_is_said_with_its_intervals():
    assert STRICT.promise == ""
    bare = Threshold(0.25, "EER", fmr=0.01, fnmr=0.2)
    assert bare.promise == "promised 1.00% / 20.00%"
    known = Threshold(
        0.25, "EER", fmr=0.0, fnmr=0.2, fmr_range=(0.0, 0.042), fnmr_range=(0.1, 0.31)
    )
    assert known.promise == "promised 0.00% [0.00%, 4.20%] / 20.00% [10.00%, 31.00%]"
