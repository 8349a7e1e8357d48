"""Thresholds, reviews, decisions and duplicates over HTTP: as in Python, kept, taken back."""

import csv
import io

import twinset
from twinset.decision import Threshold
from twinset.server.kept import Kept


def get(server, path, **query):
    return server.http.get(f"/api/v1/{path}", params=query)


def post(server, path, body=None, **query):
    return server.http.post(f"/api/v1/{path}", json=body, params=query)


def test_what_a_threshold_costs(server, index):
    told = get(server, "threshold").json()
    curve = index.model.error_curve
    assert told["curve"]["distance"] == list(curve.distance)
    assert told["curve"]["fmr_high"] == list(curve.fmr_high)
    assert len(told["densities"]["edges"]) == len(told["densities"]["same"]) + 1
    assert (told["reason"], told["points"]) == ("", [])
    assert told["threshold"]["rule"] == index.threshold.rule
    while told["computing"]:
        told = get(server, "threshold").json()
    rates = get(server, "threshold", counts=False).json()  # what is left is not counted for these
    assert (rates["index"], rates["computing"]) == (None, False)
    assert rates["curve"] == told["curve"]
    left = told["index"]
    found = twinset.duplicates(index, left["distance"][60], pictures=False)
    assert left["matches"][-1] == left["items"] == 48
    assert len(left["distance"]) == len(left["groups"]) == len(left["matches"])
    assert (left["groups"][60] > 0) == (len(found.groups) > 0)


def test_a_model_without_curves_says_why(home, start):
    with start(home, index=False) as one:
        one.service.model.__dict__["error_curve"] = None
        told = get(one, "threshold").json()
        assert (told["curve"], told["index"], told["computing"]) == (None, None, False)
        assert "Calibrate it (" in told["reason"]


def test_points_are_named_used_and_taken_away(writable, home):
    made = post(writable, "points", {"name": "strict", "threshold": 0.0, "who": "anna"})
    assert (made.status_code, made.json()["who"]) == (201, "anna")
    assert [one["name"] for one in get(writable, "points").json()] == ["strict"]
    assert get(writable, "index").json()["points"][0]["threshold"] == 0
    data = {"item": "items/05", "point": "strict"}
    (told,) = writable.http.post("/api/v1/search", data=data).json()["answers"]
    assert told["known"] is False
    assert told["threshold"]["rule"] == "operating point strict"
    pair = {"left_item": "items/05", "right_item": "items/09", "point": "strict"}
    verdict = writable.http.post("/api/v1/compare", data=pair).json()
    assert (verdict["same"], verdict["threshold"]["rule"]) == (False, "operating point strict")
    assert writable.http.delete("/api/v1/points/strict").json() == {"removed": "strict"}
    assert writable.http.delete("/api/v1/points/strict").status_code == 404
    assert "'strict'" in writable.http.post("/api/v1/compare", data=pair).json()["detail"]
    for bad in ({"name": "a/b", "threshold": 1}, {"name": "a", "threshold": -1}, {}, []):
        assert post(writable, "points", bad).status_code == 422


def test_a_review_asks_what_is_not_decided(writable):
    index = writable.service.index
    told = get(writable, "review", count=12).json()
    found = index.review(12)
    assert [(one["left"], one["right"]) for one in told["questions"]] == [
        (one.left, one.right) for one in found.questions
    ]
    assert told["sentence"] == found.sentence()
    one = told["questions"][0]
    assert told["items"][one["left"]].keys() == {"label", "price"}
    decided = [{"left": one["left"], "right": one["right"], "same": False, "why": one["why"]}]
    got = post(writable, "decisions", decided, who="anna").json()
    assert (got["new"], got["decisions"], got["sentence"]) == (1, 1, "1 new")
    left = get(writable, "review", count=12).json()["questions"]
    assert (one["left"], one["right"]) not in [(each["left"], each["right"]) for each in left]
    (kept,) = get(writable, "decisions").json()["decisions"]
    assert (kept["who"], kept["same"], kept["why"]) == ("anna", False, one["why"])
    held = get(writable, f"items/{one['left']}").json()
    assert held["decisions"][0]["sentence"] == kept["sentence"]
    got = post(writable, "decisions/undo").json()
    assert (got["undone"], got["decisions"], got["pairs"][0]["left"]) == (1, 0, one["left"])
    assert post(writable, "decisions/undo").json()["sentence"] == "nothing to do"
    assert get(writable, "decisions", all="true").json()["total"] == 2


def test_decisions_count_and_are_checked(writable, own):
    pair = {"left": "items/00", "right": "items/01"}
    assert post(writable, "decisions", [pair | {"same": False}]).json()["replaced"] == 0
    told = post(writable, "decisions", [pair | {"same": True}]).json()
    assert (told["new"], told["replaced"]) == (1, 1)  # another tab had said the contrary
    (told,) = writable.http.post("/api/v1/search", data={"item": "items/00"}).json()["answers"]
    assert (told["neighbours"][0]["id"], told["neighbours"][0]["match"]) == ("items/01", True)
    assert told["decided"] == ["items/01"]
    path = str(own / "photos" / "00.png")
    for left, status in ((path, 404), ("items/99", 404), ("items/01", 422), ("", 422)):
        got = post(writable, "decisions", [{"left": left, "right": "items/01", "same": True}])
        assert got.status_code == status
    assert post(writable, "decisions", {"left": "a"}).status_code == 422
    got = post(writable, "decisions/undo", [pair]).json()
    assert (got["undone"], got["decisions"]) == (1, 1)  # the earlier one stands again


def test_duplicates_are_those_of_python(server, index):
    most = index.threshold.value
    found = twinset.duplicates(index)
    for kind, name in (("thing", "same thing"), ("picture", "same picture")):
        told = get(server, "duplicates", kind=kind).json()
        groups = [group for group in found.groups if group.kind == name]
        assert told["total"] == told["totals"][kind] == len(groups)
        assert [[one["id"] for one in group["members"]] for group in told["groups"]] == [
            [one.id for one in group.members] for group in groups[:50]
        ]
        for group in told["groups"]:
            assert (group["weakest"] is None) == (group["size"] < 3)
            assert group["weakest"] is None or group["weakest"]["distance"] <= group["diameter"]
            assert "path" not in group["members"][0]["metadata"]
    assert told["sentences"] == found.sentences()
    assert get(server, "duplicates", within=0).json()["total"] == 0
    assert get(server, "duplicates", within=-1).status_code == 422
    assert get(server, "duplicates", within=most, point="x").status_code == 422


def test_a_plan_names_ids_and_paths_for_the_token_alone(writable, own):
    got = get(writable, "duplicates/plan.csv", things="true")
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(got.text)))
    assert rows
    assert all(row["keep"].startswith("items/") for row in rows)
    paths = get(writable, "duplicates/plan.csv", things="true", paths="true")
    assert all("photos" in row["aside"] for row in csv.DictReader(io.StringIO(paths.text)))
    del writable.http.headers["Authorization"]
    assert get(writable, "duplicates/plan.csv", paths="true").status_code == 401
    assert "largest" in get(writable, "duplicates/plan.csv", rule="x").json()["detail"]


def test_writes_want_the_token(server):
    pair = [{"left": "items/00", "right": "items/01", "same": True}]
    for path, body in (("points", {"name": "a", "threshold": 1}), ("decisions", pair)):
        assert post(server, path, body).status_code == 403
    assert post(server, "decisions/undo", pair).status_code == 403
    assert server.http.delete("/api/v1/points/a").status_code == 403


def test_no_path_is_told_by_way_of_a_review_or_an_error(writable, own):
    for column in ("path", "_stamp"):
        got = get(writable, "review", column=column)
        assert (got.status_code, "Expected a column of GET /index" in got.text) == (422, True)
    (own / "photos.index" / "items.sqlite").unlink()
    writable.service.index.store.close()
    for path in ("items", "points", "decisions", "review"):
        got = get(writable, path)
        assert got.status_code >= 400
        assert str(own) not in got.text


def test_what_takes_long_is_told_and_there_later(home, start):
    with start(home) as one:
        one.service.caches["kept"] = Kept(patience=0)
        got = get(one, "duplicates")
        told = got.json()
        assert (got.status_code, got.headers["content-type"]) == (202, "application/json")
        assert (got.headers["retry-after"], told["state"]) == ("1", "computing")
        assert told["detail"].startswith("The groups are being computed")
        with twinset.Client(one.url) as client:  # which waits
            assert client.duplicates().items == 48
        assert get(one, "duplicates").status_code == 200


def test_duplicates_begin_at_the_strictest_threshold_and_tell_classes_apart(home, start):
    with start(home) as one:
        model = one.service.index.model
        model.__dict__["alternatives"] = (Threshold(0.05, "FPR <= 0.01"), Threshold(0.0, "none"))
        told = get(one, "duplicates").json()
        assert (told["threshold"]["value"], told["threshold"]["rule"]) == (0.05, "FPR <= 0.01")
        assert (told["large"], told["stricter"]) == (0, None)
        model.__dict__["alternatives"] = ()  # as of a model without a calibration
        assert get(one, "duplicates").json()["threshold"]["value"] == model.threshold.value
        told = get(one, "duplicates", within=10).json()  # all items are one group
        assert [len(group["members"]) for group in told["groups"]] == [48]
        assert (told["large"], told["stricter"]) == (1, 5)
        assert "smaller `within`, such as 5" in told["sentences"][-1]
