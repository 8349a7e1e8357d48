"""Who is this, or nobody known: the same answer as a loop over all references gives."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from halves import Halves, write
from search_oracles import grid
from twinset import distance
from twinset.errors import DataError, StoreError
from twinset.metrics.fusion import fit_posterior, posterior
from twinset.metrics.trials import RULES, join, leave_out, spreads
from twinset.report.index_page import draw_identities
from twinset.search.gallery import Gallery, View, rank
from twinset.search.identification import Identification, IdentitySettings, and_more
from twinset.search.index import Index
from twinset.search.items import Items, Signature
from twinset.search.layers import Layers
from twinset.search.store import Store, create_store, open_store
from twinset.search.where import conditions

SIGNATURE = Signature("halves", 2)


@pytest.fixture(autouse=True)
def _kept_models_are_halves(monkeypatch):
    monkeypatch.setattr("twinset.models.onnx_model.load_model", Halves.load)


def people(names="abcdef", each=4, seed=0, spread=0.02):
    """References of identities on a circle, and one item of nobody."""
    rng = np.random.default_rng(seed)
    turn = 2 * np.pi * np.arange(len(names)) / len(names)
    middle = np.stack([np.cos(turn), np.sin(turn)], 1)
    vectors = np.repeat(middle, each, axis=0) + spread * rng.normal(size=(len(names) * each, 2))
    known = [{"who": name, "side": "lr"[i % 2]} for name in names for i in range(each)]
    ids = [f"{one['who']}{i}" for i, one in enumerate(known)]
    return Items([*ids, "loose"], [*vectors, [0.0, 0.0]], [*known, {"who": None}])


@pytest.fixture
def index(tmp_path):
    with create_store(str(tmp_path / "people.index"), SIGNATURE) as store:
        store.add(people())
        made = Index(store, Halves(), "people.index")
        made.identify_by("who")
        yield made


def test_every_store_tells_who_it_is(url):
    with create_store(url, SIGNATURE) as store:
        store.add(people())
        index = Index(store, Halves(), "people.index")
        assert index.identities is None
        with pytest.raises(StoreError, match="people.index has no identities. Name the column"):
            index.identify(np.zeros((1, 2)))
        chosen = index.identify_by("who")
        found = index.identify(np.array([[1.0, 0.0], [0.0, 0.0]]), k=2)
    with open_store(url) as store:  # it is remembered
        index = Index(store, Halves(), "people.index")
        assert index.identities == chosen
        assert index.identify(np.array([[1.0, 0.0], [0.0, 0.0]]), k=2) == found
        store.add(Items(["new"], [[0.0, 0.0]], [{"who": "g"}]))  # seen by the next call
        assert index.identify(np.zeros(2)).best.name == "g"
        store.remove(["new"])
        assert not index.identify(np.zeros(2))
    anna, nobody = found
    assert (chosen.references, chosen.identities) == (24, 6)
    assert anna.known
    assert (anna.best.name, anna.best.references) == ("a", 4)
    assert [one.match for one in anna.identities] == [True, False]
    assert anna.best.nearest.metadata["who"] == "a"
    assert anna.best.probability > 0.9 > 0.1 > anna.nobody
    assert not nobody
    assert nobody.best is None
    assert nobody.nobody > 0.5
    assert nobody.sentence().startswith("vector 1: nobody known: the nearest, ")
    assert anna.sentence().startswith("vector 0: a: distance 0.0")
    assert anna.to_dict()["identity"] == "a"
    assert sum(one.probability for one in anna.identities) + anna.nobody <= 1 + 1e-9


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 60),
    k=st.integers(1, 8),
    images=st.integers(1, 4),
    together=st.booleans(),
    moved=st.sampled_from([0.0, 1000.0]),
    whole=st.booleans(),
)
def test_the_short_list_misses_nobody(
    tmp_path_factory, rule, seed, n, k, images, together, moved, whole
):
    rng = np.random.default_rng(seed)
    make = grid if whole else lambda r, count, d: r.normal(size=(count, d)).astype(np.float32)
    vectors, queries = make(rng, n, 3) + np.float32(moved), make(rng, images, 3) + np.float32(moved)
    who = rng.integers(0, max(1, n // 3), n)

    class Listed:
        signature = Signature("x", 3)
        since, version = Store.since, Store.version

        def batches(self):
            for start in range(0, n, 7):
                part = slice(start, start + 7)
                ids = [str(i) for i in range(n)[part]]
                yield Items(ids, vectors[part], [{"who": int(w)} for w in who[part]])

    gallery = Gallery.read(Listed(), "who")
    names, first = np.unique(who, return_index=True)
    names = names[np.argsort(first)]  # numbered as they come
    assert gallery.names == tuple(names.tolist())
    for at, found in enumerate(rank([View(gallery, rule, queries)], k, together=together)):
        images_of = queries if together else queries[at : at + 1]
        own = spreads(images_of, np.zeros(len(images_of), int))
        expected = {}
        for name in names:
            mine = vectors[who == name]
            apart = np.array([[distance.euclidean(q, r) for r in mine] for q in images_of])
            spread = (spreads(mine, np.zeros(len(mine), int)) + own)[None]
            expected[name] = join(apart[None], np.zeros(len(mine), int), rule, spread=spread)[0, 0]
        order = sorted(expected.values())[:k]
        np.testing.assert_allclose(found.distances, order, rtol=1e-6, atol=1e-6 * (1 + moved))
        for code, far, row in zip(found.identities, found.distances, found.references, strict=True):
            assert far == pytest.approx(expected[names[code]], rel=1e-6, abs=1e-6 * (1 + moved))
            assert who[int(gallery.ids[row])] == names[code]
        assert len(set(found.identities.tolist())) == min(k, len(names))


@given(seed=st.integers(0, 10**6), q=st.integers(1, 3), m=st.integers(1, 300))
def test_layers_join_as_the_rules_say(seed, q, m):
    rng = np.random.default_rng(seed)
    # one identity with very many references, many with a few
    sizes = np.where(rng.random(m) < 0.02, 200, rng.integers(1, 6, m))
    codes = np.repeat(np.arange(m), sizes)
    apart = rng.integers(1, 9, (q, len(codes))).astype(np.float32)  # so that many are equal
    spread = rng.random(m)
    layers = Layers(codes)
    for rule in RULES:
        found = layers.join(apart[:, layers.order], rule, spread)
        np.testing.assert_allclose(found, join(apart, codes, rule, spread=spread), rtol=1e-6)


WHO = st.sampled_from([None, "", "a", "b", "c", 1, True])
IDS = st.integers(0, 11)
CHANGES = st.one_of(
    st.tuples(st.just("put"), st.lists(st.tuples(IDS, WHO), min_size=1, max_size=6)),
    st.tuples(st.just("replace"), st.lists(st.tuples(IDS, WHO), min_size=1, max_size=6)),
    st.tuples(st.just("describe"), st.lists(st.tuples(IDS, WHO), min_size=1, max_size=6)),
    st.tuples(st.just("remove"), st.lists(st.tuples(IDS, WHO), min_size=1, max_size=2)),
    st.tuples(st.just("decide"), st.just([])),
)


def carry_out(index, rng, kind, items):
    """Do one change, as far as the items are there, or are not."""
    there = {own for own, _ in index.items()}
    told = {f"i{number}": {"who": who, "side": "lr"[number % 2]} for number, who in items}
    told = {own: known for own, known in told.items() if (own in there) == (kind != "put")}
    if kind == "decide":
        index.store.record("other", [{"a": 1}])
    elif not told:
        return
    elif kind == "describe":
        index.store.update_metadata(list(told), list(told.values()))
    elif kind == "remove":
        index.remove(list(told))
    else:
        vectors = rng.normal(size=(len(told), 2))
        index.store.add(Items(list(told), vectors, list(told.values())), replace=kind == "replace")


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rule=st.sampled_from(RULES),
    steps=st.lists(st.tuples(CHANGES, st.booleans()), min_size=1, max_size=12),
)
def test_a_gallery_that_follows_is_as_if_read_anew(tmp_path_factory, seed, rule, steps):
    rng = np.random.default_rng(seed)
    folder = str(tmp_path_factory.mktemp("followed") / "a.index")
    with create_store(folder, SIGNATURE) as store, open_store(folder) as again:
        writer, reader = Index(store, Halves(), folder), Index(again, Halves(), folder)
        store.add(Items([f"i{k}" for k in range(40)], rng.normal(size=(40, 2)), whose(rng, 40)))
        asked = rng.normal(size=(3, 2)).astype(np.float32)
        for (kind, items), looks in steps:
            carry_out(writer, rng, kind, items)
            for where in ((), conditions("side=l")) if looks else ():
                found = reader._gallery("who", where)
                fresh = Gallery.read(store, "who", where)
                assert found.names == fresh.names
                assert found.codes.tolist() == fresh.codes.tolist()
                assert [found.ids[at] for at in found.rows] == [fresh.ids[at] for at in fresh.rows]
                np.testing.assert_array_equal(found.vectors, fresh.vectors)
                np.testing.assert_array_equal(found.spreads, fresh.spreads)
                if not fresh.names:
                    continue
                pairs = zip(
                    rank([View(found, rule, asked)], 3),
                    rank([View(fresh, rule, asked)], 3),
                    strict=True,
                )
                for one, other in pairs:
                    np.testing.assert_array_equal(one.distances, other.distances)
                    np.testing.assert_array_equal(one.identities, other.identities)
                    names = [
                        [each.ids[at] for at in of.references]
                        for each, of in ((found, one), (fresh, other))
                    ]
                    assert names[0] == names[1]


def whose(rng, count):
    names = rng.choice(["a", "b", "c", "d"], count).tolist()
    return [{"who": who, "side": "lr"[k % 2]} for k, who in enumerate(names)]


@pytest.mark.parametrize("rule", RULES)
def test_after_a_change_only_what_is_new_is_read(index, monkeypatch, rule):
    index.store.record("identities", [index.identities.to_dict() | {"rule": rule}])
    index.identify(np.zeros(2))
    read = []
    since = index.store.since
    monkeypatch.setattr(
        index.store, "since", lambda version: read.append(since(version)) or read[-1]
    )
    index.store.add(Items(["new"], [[0.0, 0.0]], [{"who": "g"}]))
    assert index.identify(np.zeros(2)).best.name == "g"
    index.store.update_metadata(["new", "a0"], [{"who": "h"}, {}])
    assert index.identify(np.zeros(2)).best.name == "h"
    assert index.identify(np.array([1.0, 0.0])).best.references == 3
    index.remove(["new"])
    assert not index.identify(np.zeros(2))
    assert [(each.first, each.changed) for each in read] == [(25, []), (26, [0, 25]), (26, [25])]


def test_several_images_of_one_are_one_query(index):
    both = np.array([[1.0, 0.1], [1.0, -0.1]], np.float32)
    found = index.identify(both, together=True)
    assert found.images == 2
    assert found.query == "vector 0 and 1 more"
    assert found.best.name == "a"
    # judged as queries of two images are, as far as identities have so many
    assert found.settings.together == 2
    assert found.settings.threshold_rule.endswith(" on 12 queries of 2 images left out")
    assert index.identify(both, together=True) == found  # remembered
    many = index.identify(np.repeat(both, 4, axis=0), together=True)
    assert many.settings == found.settings
    assert len(index.store.records("identities_more")) == 1
    assert index.identify(both[0]).settings == index.identities


def test_conditions_choose_references(index):
    found = index.identify(np.array([1.0, 0.0]), where=["side=l"])
    assert found.best.references == 2
    assert found.best.nearest.metadata["side"] == "l"
    nobody = index.identify(np.array([1.0, 0.0]), where={"side": "x"})
    assert (
        nobody.sentence()
        == "vector 0: nobody to compare with: no item, or none that is asked for, has a who"
    )
    assert nobody.to_dict()["identities"] == []
    with pytest.raises(StoreError, match="nope"):
        index.identify(np.array([1.0, 0.0]), where={"side": "x"}, point="nope")
    with pytest.raises(DataError, match="prior"):
        index.identify(np.array([1.0, 0.0]), where={"side": "x"}, prior=7)


def test_single_references_fall_back_to_the_nearest_and_say_so(tmp_path):
    with create_store(str(tmp_path / "a.index"), SIGNATURE) as store:
        store.add(people(each=1))
        index = Index(store, Halves(), "a.index")
        chosen = index.identify_by("who")
        found = index.identify(np.array([1.0, 0.0]))
    assert chosen.rule == "nearest"
    assert "nothing to choose" in chosen.reason
    assert (chosen.threshold, chosen.threshold_rule) == (
        0.2,
        "the model's, for pairs: fixed by hand",
    )
    assert (found.best.name, found.best.probability, found.nobody) == ("a", None, None)
    assert IdentitySettings.of(chosen.to_dict() | {"later": 1}) == chosen


def test_many_single_references_ask_for_a_stricter_threshold(tmp_path):
    """The threshold for pairs, 0.2, would call each of 300 strangers somebody."""
    rng = np.random.default_rng(0)
    vectors = rng.random((300, 2))
    with create_store(str(tmp_path / "a.index"), SIGNATURE) as store:
        store.add(Items([f"{i}" for i in range(300)], vectors, [{"who": i} for i in range(300)]))
        index = Index(store, Halves(), "a.index")
        chosen = index.identify_by("who")
        strangers = index.identify(rng.random((300, 2)).astype(np.float32))
    assert chosen.threshold < 0.02
    assert chosen.threshold_rule.startswith("FPIR <= 0.05 on 300 references looked for without")
    assert 0.04 < chosen.fpir <= 0.05
    assert chosen.fnir is None
    assert "takes 5.0% of strangers for somebody)" in chosen.sentence()
    assert np.mean([answer.known for answer in strangers]) < 0.1


def test_how_many_strangers_may_be_somebody_is_asked_for_and_remembered(index):
    index.update(people(each=6, spread=0.5))
    for share in (0.3, 0.1, 0.02):
        chosen = index.identify_by("who", strangers=share)
        assert chosen.threshold_rule.startswith(f"FPIR <= {share:g} on 54 queries left out")
        assert share - 2 / 54 <= chosen.fpir <= share
    more = people("ghij", each=3, seed=2)
    index.update(Items(more.ids[:-1], more.vectors[:-1] * 3, more.metadata[:-1]))
    assert index.identities.strangers == 0.02  # chosen anew, as asked before
    assert index.identities.fpir <= 0.02
    for share in (0, 1, -0.1, float("nan")):
        with pytest.raises(StoreError, match="somebody between 0 and 1"):
            index.identify_by("who", strangers=share)


def test_it_is_judged_anew_when_much_has_changed(index):
    before = index.identities
    one = people("a", each=1, seed=1)
    index.update(Items(["more"], one.vectors[:1], [{"who": "a"}]))
    assert index.identities == before  # 1 of 24
    more = people("ghij", seed=2)
    index.update(Items(more.ids[:-1], more.vectors[:-1] * 3, more.metadata[:-1]))
    assert (index.identities.identities, index.identities.references) == (10, 41)


def test_after_a_switch_to_another_model_it_is_chosen_anew(index):
    old = index.identities
    index.store.record("identities", [old.to_dict() | {"model": "another", "threshold": 9.0}])
    assert index.identify(np.zeros(2)).settings == old
    assert index.identities == old


def test_a_reference_that_is_removed_meanwhile(index, monkeypatch):
    query = np.array([1.0, 0.0])
    first = index.identify(query).best.nearest.id
    read = index.store.get

    def late(ids):
        if first in ids:
            index.store.remove([first])
        return read(ids)

    monkeypatch.setattr(index.store, "get", late)
    found = index.identify(query)
    assert found.best.name == "a"
    assert (found.best.references, found.best.nearest.id != first) == (3, True)


def test_nobody_is_known_any_more(index):
    items = people()
    index.update(Items(items.ids, items.vectors, [{}] * len(items)))
    assert index.identify(np.zeros(2)).sentence().endswith("has a who")


def test_who_may_only_read_gets_answers(index, monkeypatch):
    def refuse(kind, texts):
        raise StoreError("no right to write")

    both = np.array([[1.0, 0.1], [1.0, -0.1]], np.float32)
    with monkeypatch.context() as patched:
        patched.setattr(index.store, "_record", refuse)
        found = index.identify(both, together=True)
        assert index.identify(both, together=True) == found
    assert index.store.records("identities_more") == []
    assert found.settings.together == 2


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ({"k": 0}, StoreError, "Expected k as 1 or more"),
        ({"prior": 1.0}, DataError, "Expected a prior between 0 and 1"),
        ({"where": 1}, StoreError, "Expected conditions as a text, a mapping or a list"),
    ],
)
def test_questions_that_make_no_sense(index, asked, error, words):
    with pytest.raises(error, match=words):
        index.identify(np.zeros(2), **asked)


def test_a_column_that_nobody_has(index):
    with pytest.raises(StoreError, match="Expected items with a value of 'name'. Received none"):
        index.identify_by("name")
    with pytest.raises(StoreError, match="Expected an image to identify. Received none"):
        index.identify(np.zeros((0, 2), np.float32))


def test_probabilities_are_kept():
    """Of those called so and so likely, about so many are right; on queries not fitted to."""
    rng = np.random.default_rng(0)
    who = np.repeat(np.arange(80), 4)

    def seen(middles, who):
        return middles[who] + 0.35 * rng.normal(size=(len(who), 6))

    middles = rng.normal(size=(160, 6))
    references = seen(middles, who)
    _, weight = fit_posterior([leave_out(references, who, "nearest")])
    asked = np.concatenate([np.repeat(np.arange(80), 5), np.repeat(np.arange(80, 160), 5)])
    queries = seen(middles, asked)
    apart = np.sqrt(((queries[:, None] - references[None]) ** 2).sum(-1))
    joined = join(apart, who, "nearest")
    answers = [posterior(each, weight) for each in joined]
    best = np.array([shares.max() for shares, _ in answers])
    right = joined.argmin(axis=1) == asked
    assert abs(best.mean() - right.mean()) < 0.05
    nobody = np.array([share for _, share in answers])
    assert abs(nobody.mean() - 0.5) < 0.05
    sure = best > 0.8
    assert sure.sum() > 50
    assert abs(best[sure].mean() - right[sure].mean()) < 0.08
    shares, none = answers[0]
    assert shares.sum() + none == pytest.approx(1)


class Other(Halves):
    """Sees what Halves sees, turned, and half as large."""

    def encode(self, pixels):
        return super().encode(pixels)[:, ::-1] / 2


def seen_twice(tmp_path, seed=3):
    """Two indexes of the same images: one sees left or right, the other up or down."""
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(9), 6)
    place = np.stack([who % 3, who // 3], 1) + 0.1 * rng.normal(size=(54, 2))
    known = [{"who": int(w)} for w in who]
    ids = np.array([f"i{k}" for k in range(54)])
    made = []
    for axis, model in ((0, Halves()), (1, Other("other"))):
        vectors = place * (np.arange(2) == axis) + 0.1 * rng.normal(size=(54, 2))
        store = create_store(str(tmp_path / f"{axis}"), Signature(model.digest, 2))
        order = rng.permutation(54)
        store.add(Items(ids[order].tolist(), vectors[order], [known[at] for at in order]))
        made.append(Index(store, model, f"{axis}"))
    return made


def test_two_models_know_more_than_one(tmp_path):
    one, two = seen_twice(tmp_path)
    with one, two:
        alone = one.identify_by("who")
        write("query.png", 0.0, 0.0)  # of identity 0 in both
        found = one.identify("query.png", other=two)
        assert found.settings.fnir < alone.fnir - 0.3
        assert found.settings.fpir < 0.2
        assert 0.3 < found.settings.share < 0.7
        assert found.best.name == 0
        assert one.identify("query.png", other=two) == found  # remembered
        assert len(one.store.records("identities_more")) == 1
        told = found.settings.sentence()
        assert "% from the model other by " in told
        # the slow way: the shares of both joined distances
        joined = []
        for index, share, rule in (
            (one, found.settings.share, found.settings.rule),
            (two, 1 - found.settings.share, found.settings.other_rule),
        ):
            (items,) = index.store.batches()
            query = index.model.embed(["query.png"])
            codes = np.array([known["who"] for known in items.metadata])
            order = np.argsort(codes, kind="stable")
            apart = distance.euclidean(query, items.vectors[order])
            spread = spreads(items.vectors[order], codes[order])
            joined.append(share * join(apart[None], codes[order], rule, spread=spread)[0])
        total = joined[0] + joined[1]
        assert [each.name for each in found.identities] == np.argsort(total)[:5].tolist()
        assert found.best.distance == pytest.approx(total.min())
        with pytest.raises(StoreError, match="which the same model made"):
            one.identify("query.png", other=one)
        two.remove(["i7"])
        with pytest.raises(StoreError, match="two indexes of the same items.* 53 are in both"):
            one.identify("query.png", other=two)


def test_of_many_threads_that_identify_one_reads_the_gallery(monkeypatch):
    made = []
    read = Gallery.read.__func__
    monkeypatch.setattr(Gallery, "read", classmethod(lambda *args: made.append(1) or read(*args)))
    held = people()
    with Index.build(Halves(threshold=0.3), held) as index, ThreadPoolExecutor(8) as pool:
        index.identify_by("who")
        index._galleries = ()
        made.clear()
        answers = list(pool.map(lambda row: index.identify(held.vectors[row]), range(24)))
    assert [one.best.name for one in answers] == [name for name in "abcdef" for _ in range(4)]
    assert len(made) == 1


def test_identities_are_chosen_anew_when_enough_was_put_in():
    held = people()
    with Index.build(Halves(threshold=0.3), held) as index:
        before = index.identify_by("who")
        for turn in range(4):
            index.put(Items([f"new{turn}"], held.vectors[:1], [{"who": "a"}]))
            chosen = index.identities.references
            assert chosen == before.references + (0 if turn < 2 else 3)


def test_of_several_images_the_first_is_drawn(tmp_path):
    query = str(tmp_path / "query.png")
    write(query, 0.0, 0.0)
    about = IdentitySettings("who", "nearest", "so told", 0.5, "EER", 3, 1, "a1")
    for images in (1, 3):
        asked = Identification(query + and_more(images), (), about, images)
        assert len(draw_identities([asked]).axes[0].images) == 1, "a hatched place is no image"
