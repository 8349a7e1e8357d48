"""The map, the review and the duplicates in headless Chromium: drawn, moved, lassoed, decided."""

import io
import re
import time

import pytest
from PIL import Image

import twinset
from visiting import LOOKS, PHONE, check, visited

# A browser that draws without a graphics card is quicker on the canvas.
KINDS = [("&draw=webgl2", "webgl2"), ("&draw=canvas", "canvas"), ("", "canvas")]
# where the points of the items are on the page, by the map's own numbers, and how large it is
PLACES = """() => Promise.all([
  fetch("/api/v1/map").then((r) => r.arrayBuffer()), fetch("/api/v1/map/ids").then((r) => r.json()),
]).then(([bytes, ids]) => {
  const xy = new Float32Array(bytes);
  const { left, top, width, height } = document.querySelector(".map-plot").getBoundingClientRect();
  const scale = 0.46 * Math.min(width, height);
  return Object.fromEntries(ids.map((id, k) => [
    id, [left + width / 2 + scale * xy[2 * k], top + height / 2 - scale * xy[2 * k + 1]]]));
})"""


def inks(page):
    """How many colours are on the map, each on 10 pixels or more."""
    shot = page.locator(".map-plot").screenshot()
    found = Image.open(io.BytesIO(shot)).convert("RGB").getcolors(2**24)
    return sum(times >= 10 for times, _ in found)


def drawn(page):
    page.locator(".map-plot[data-ready]").wait_for()
    return page.locator(".map-plot").get_attribute("data-ready")


@pytest.mark.parametrize(("way", "kind"), KINDS, ids=["webgl2", "canvas", "chosen"])
def test_the_map_is_drawn_with_and_without_webgl(browser, server, way, kind):
    with visited(browser, f"{server.url}/map?by=label{way}") as page:
        assert drawn(page) == kind
        assert inks(page) >= 5  # four kinds, and paper
        before = page.url
        page.locator(".map-plot").hover()
        page.mouse.wheel(0, -600)
        page.wait_for_url(re.compile(r"[?&]at=[-\d.]+%2C[-\d.]+%2C3\.3"))  # e^1.2
        page.locator(".map-plot").focus()
        page.keyboard.press("0")
        page.wait_for_url(before)
        for key, shift in (("ArrowRight", "at=0."), ("+", "%2C1.5")):
            page.keyboard.press(key)
            page.wait_for_url(f"**{shift}*")


def test_a_browser_without_webgl_gets_the_canvas(browser, server):
    with visited(browser, f"{server.url}/compare", kept=False) as page:
        page.context.add_init_script(
            "const get = HTMLCanvasElement.prototype.getContext;"
            "HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {"
            "  return kind === 'webgl2' ? null : get.call(this, kind, ...rest); };"
        )
        page.goto(f"{server.url}/map")
        assert drawn(page) == "canvas"
        assert inks(page) >= 5


def test_a_lasso_lists_what_is_inside(browser, server):
    with visited(browser, f"{server.url}/map") as page:
        drawn(page)
        places = page.evaluate(PLACES)
        order = sorted(places, key=lambda own: places[own][0])
        edge = (places[order[11]][0] + places[order[12]][0]) / 2  # twelve are left of it
        box = page.locator(".map-plot").bounding_box()
        low, high = box["y"] + 2, box["y"] + box["height"] - 2
        page.get_by_role("button", name=re.compile("^Lasso")).click()
        page.mouse.move(edge, low)
        page.mouse.down()
        for x, y in ((box["x"] + 2, low), (box["x"] + 2, high), (edge, high), (edge, low)):
            page.mouse.move(x, y, steps=2)
        page.mouse.up()
        page.get_by_role("heading", name="12 items chosen").wait_for()
        assert page.locator(".map-chosen h2:focus").count() == 1  # read aloud
        with page.expect_download() as saved:
            page.get_by_role("button", name="Save as CSV").click()
        rows = saved.value.path().read_text("utf-8").splitlines()
        assert rows[0] == "id,kind"
        assert {row.split(",")[0] for row in rows[1:]} == set(order[:12])
        link = page.locator(".map-chosen a").first
        assert link.get_attribute("href").startswith("./search?item=items%2F")


def test_a_point_tells_what_it_is(browser, server):
    with visited(browser, f"{server.url}/map") as page:
        drawn(page)
        places = page.evaluate(PLACES)
        # one that stands alone, so that it is the one under the mouse
        alone = max(
            places,
            key=lambda own: min(
                abs(x - places[own][0]) + abs(y - places[own][1])
                for other, (x, y) in places.items()
                if other != own
            ),
        )
        page.mouse.move(*places[alone])
        name = alone.split("/")[1]
        page.locator(".map-card strong", has_text=name).wait_for()
        page.locator(
            ".map-card", has_text=("red", "green", "blue", "gray")[int(name) % 4]
        ).wait_for()
        page.mouse.click(*places[alone])
        page.get_by_role("dialog").get_by_text(alone).wait_for()


@LOOKS
def test_the_map_by_its_table(browser, server, look):
    with visited(browser, f"{server.url}/map", **look) as page:
        drawn(page)
        assert page.locator(".map-table tbody tr").count() == 4
        page.get_by_role("button", name="red", exact=True).focus()
        page.keyboard.press("Enter")
        page.wait_for_url("**kind=red*")
        page.get_by_role("button", name=re.compile(": red$")).click()
        page.get_by_role("heading", name="red", exact=True).wait_for()
        assert page.locator(".map-chosen .tile").count() == 12
        check(page)
        page.reload()  # as a colleague would open it
        drawn(page)
        assert (
            page.get_by_role("button", name="red", exact=True).get_attribute("aria-pressed")
            == "true"
        )


def test_mistakes_and_a_new_image_on_the_map(browser, server, home):
    told = {}
    while told.get("state") != "ready":
        told = server.http.get("/api/v1/map/mistakes", params={"name": "label"}).json()
    with visited(browser, f"{server.url}/map") as page:
        drawn(page)
        page.get_by_role("button", name="Taken for another").click()
        n = len(told["mistaken"]["rows"])
        page.get_by_role("heading", name=re.compile(f"^{n} items? taken for another$")).wait_for()
        assert page.locator(".map-chosen .tile").count() == min(n, 48)
        page.get_by_role("button", name="Taken for another").click()
        page.locator("input[type=file]:not([capture])").set_input_files(home / "photos" / "08.png")
        page.get_by_role("heading", name="Nearest to the new image").wait_for()
        assert page.locator(".map-chosen .tile").count() == 8
        assert page.locator(".map-chosen .badge").first.inner_text().startswith("same")


def test_an_empty_collection_says_so(browser, writable):
    index = writable.service.index
    index.remove([own for own, _ in index.items()])
    with visited(browser, f"{writable.url}/map") as page:
        for view in ("Map", "Review", "Duplicates", "Search"):  # in Search it can be added to
            page.get_by_role("link", name=view, exact=True).click()
            page.wait_for_url(f"**/{view.lower()}")
            page.get_by_role("heading", name="Nothing is in the collection yet").wait_for()


def token(page, server):
    page.get_by_label("Token").fill(server.service.token)
    page.get_by_role("button", name="Begin").click()


def test_keys_decide_and_undo(browser, writable):
    index = writable.service.index
    with visited(browser, f"{writable.url}/review?count=6") as page:
        page.get_by_label("Token").wait_for()
        check(page)
        token(page, writable)
        page.locator(".review-top", has_text="1 of 6").wait_for()
        page.locator(".review-images").wait_for()
        check(page)
        [first, second, *_] = writable.http.get("/api/v1/review?count=6").json()["questions"]
        page.keyboard.press("d")
        page.locator(".review-said", has_text="they are never in one group again").wait_for()
        page.locator(".review-top", has_text="2 of 6").wait_for()
        page.keyboard.press("s")
        page.locator(".review-said", has_text="from now on they are in one group").wait_for()
        assert [(one.left, one.right, one.same) for one in index.decisions()] == [
            (first["left"], first["right"], False),
            (second["left"], second["right"], True),
        ]
        page.keyboard.press("u")
        page.locator(".review-said", has_text="Taken back.").wait_for()
        page.locator(".review-top", has_text="2 of 6").wait_for()
        assert [one.same for one in index.decisions()] == [False]
        page.keyboard.press("ArrowRight")
        page.locator(".review-top", has_text="3 of 6").wait_for()
        # a different never comes back
        page.reload()
        page.locator(".review-images").wait_for()
        left = writable.http.get("/api/v1/review?count=6").json()["questions"]
        assert (first["left"], first["right"]) not in {(q["left"], q["right"]) for q in left}


def test_a_token_that_holds_no_more_is_asked_for_again(browser, writable):
    service = writable.service
    with visited(browser, f"{writable.url}/review?count=6", noisy=True) as page:
        token(page, writable)
        page.locator(".review-images").wait_for()
        page.keyboard.press("d")
        page.locator(".review-said", has_text="they are never in one group again").wait_for()
        service.token = "another"
        page.keyboard.press("s")
        token(page, writable)
        # what was decided is not asked again, and what was not is
        page.locator(".review-top", has_text="1 of 5").wait_for()
        page.keyboard.press("s")
        page.locator(".review-said", has_text="from now on they are in one group").wait_for()
        assert [one.same for one in service.index.decisions()] == [False, True]


@LOOKS
def test_a_review_that_is_read_only_is_saved_as_a_table(browser, server, tmp_path, look):
    with visited(browser, f"{server.url}/review?count=4", **look) as page:
        page.locator(".review-images").wait_for()
        check(page)
        page.locator(".review-same").click()
        page.locator(".review-different").click()
        with page.expect_download() as saved:
            page.locator(".review-top .button").click()
        table = tmp_path / "decisions.csv"
        saved.value.save_as(table)
    rows = [line.split(",")[2] for line in table.read_text("utf-8").splitlines()]
    assert rows == ["same", "1", "0", "", ""]
    assert not server.service.index.decisions()


@LOOKS
def test_duplicates_in_two_tabs(browser, server, look):
    french = look is PHONE
    told = {}
    while "groups" not in told:
        told = server.http.get("/api/v1/duplicates").json()
    with visited(browser, f"{server.url}/duplicates?kind=thing", **look) as page:
        page.locator(".group").first.wait_for()
        assert page.locator(".group").count() == len(told["groups"])
        sizes = [
            int(re.findall(r"\d+", text)[1]) for text in page.locator(".group h2").all_inner_texts()
        ]
        assert sizes == [group["size"] for group in told["groups"]]
        check(page)
        name = "Même image" if french else "Same picture"
        page.get_by_role("button", name=re.compile(f"^{name}")).click()
        page.wait_for_url("**/duplicates")


def test_a_slider_asks_once_it_rests(browser, server):
    slide = """async () => {
        const slider = document.querySelector("input[type=range]");
        const frame = () => new Promise(requestAnimationFrame);
        const replace = history.replaceState.bind(history);
        window.kept = 0;
        history.replaceState = (...given) => (window.kept++, replace(...given));
        for (let step = 1; step <= 5; step++) {
            slider.value = (slider.max * step) / 10;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await frame().then(frame);
        }
        return slider.value;
    }"""
    with visited(browser, f"{server.url}/duplicates?kind=thing", kept=False) as page:
        page.locator(".group").first.wait_for()
        last = float(page.evaluate(slide))
        page.wait_for_url(lambda url: f"thing-within={last:.4}" in url)
        assert page.evaluate("kept") == 1


def test_a_group_is_cut_at_its_weakest_link(browser, writable, home):
    index = writable.service.index
    while writable.http.get("/api/v1/duplicates").status_code == 202:
        time.sleep(0.1)
    with visited(browser, f"{writable.url}/duplicates?kind=thing") as page:
        page.get_by_role("button", name=re.compile("weakest link")).first.click()
        page.get_by_role("dialog").get_by_label("Token").fill(writable.service.token)
        page.get_by_role("button", name="Begin").click()
        page.locator("dialog .review-different").click()
        page.get_by_role("status").get_by_text("never in one group again").wait_for()
        [one] = index.decisions()
        groups = twinset.duplicates(index, pictures=False).groups
        assert not any({one.left, one.right} <= {m.id for m in group.members} for group in groups)
        with page.expect_response("**/decisions/undo"):
            page.get_by_role("button", name="Undo").click()
        assert not index.decisions()
