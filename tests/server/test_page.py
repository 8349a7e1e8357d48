"""The page as people meet it: a real server, headless Chromium, desk and phone, two languages."""

from __future__ import annotations

import gzip
import re
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI

import twinset.server
from colours import png
from serving import running
from twinset.data.decoding.image_file import EncodedImage
from twinset.server.app import create_app
from twinset.server.opening import open_service
from visiting import LOOKS, PHONE, check, until, visited

PAGE = Path(twinset.server.__file__).parent / "page"
SOURCES = sorted(path for path in PAGE.rglob("*.js") if "vendor" not in path.parts)


def give(page, home, *rows):
    """Pick files for a place that takes images."""
    files = [home / "photos" / f"{row:02}.png" for row in rows]
    page.locator("input[type=file]:not([capture])").first.set_input_files(files)


@LOOKS
def test_comparing(browser, server, home, look):
    french = look is PHONE
    with visited(browser, f"{server.url}/compare", **look) as page:
        give(page, home, 0, 1)  # two at once fill both places
        verdict = page.locator(".verdict.different .voice")
        verdict.wait_for()
        assert verdict.inner_text() == (
            "Les deux images montrent des choses différentes."
            if french
            else "The two images show different things."
        )
        page.get_by_role("slider").focus()
        for _ in range(20):
            page.keyboard.press("ArrowRight")
        page.wait_for_url(re.compile(r"[?&]prior=0\.909"))  # odds of ten to one
        assert "91" in page.get_by_role("slider").get_attribute("aria-valuetext")
        page.get_by_role("button", name="accordent" if french else "agree").click()
        page.locator(".why .small.measure").wait_for()
        until(
            page,
            """() => String([...document.querySelectorAll(".overlay")].map((one) =>
                one.getContext("2d").getImageData(0, 0, one.width, one.height).data.some((n) => n)
            )) === "true,true\"""",
        )
        check(page)
        away = "Retirer : Première" if french else "Take away: First"
        page.get_by_role("button", name=away).click()
        page.get_by_text("encore une image" if french else "one more image").wait_for()


def test_a_slider_that_moves_on_while_its_value_is_kept(browser, server):
    """What was kept comes back a frame later, and must not undo the step between."""
    step = """() => new Promise((done) => {
        const slider = document.querySelector("input[type=range]");
        const to = (value) => {
            slider.value = value;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
        };
        const replace = history.replaceState.bind(history);
        history.replaceState = (...given) => {
            history.replaceState = replace;
            replace(...given);
            to(2);
            setTimeout(() => done(slider.value), 100);
        };
        to(1);
    })"""
    with visited(browser, f"{server.url}/compare?left=items/00&right=items/04") as page:
        page.get_by_role("slider").wait_for()
        assert page.evaluate(step) == "2"
        page.wait_for_url(re.compile(r"[?&]prior=0\.99$"))


def test_an_image_is_pasted_another_dropped_and_a_tile_dragged(browser, server):
    bring = """async ([kind, where, text]) => {
        const given = new DataTransfer();
        const picture = await (await fetch("/api/v1/images/items/03")).blob();
        if (text) given.setData("text/x-twinset-item", text);
        else given.items.add(new File([picture], "given.png", { type: picture.type }));
        const from = { bubbles: true, cancelable: true, dataTransfer: given, clipboardData: given };
        const event = kind === "paste" ? new ClipboardEvent(kind, from) : new DragEvent(kind, from);
        document.querySelectorAll(where)[0].dispatchEvent(event);
    }"""
    with visited(browser, f"{server.url}/compare") as page:
        page.evaluate(bring, ["paste", "body", ""])
        page.get_by_role("img", name="given.png").wait_for()
        page.evaluate(bring, ["drop", ".drop:nth-of-type(2)", ""])
        page.locator(".verdict.same").wait_for()
        page.evaluate(bring, ["drop", ".drop:nth-of-type(2)", "items/00"])
        page.locator(".verdict.different").wait_for()
        page.wait_for_url("**/compare?right=items%2F00")


def test_a_photo_from_a_computer_s_camera(browser, server):
    stream = """() => { navigator.mediaDevices.getUserMedia = async () => {
        const drawn = document.createElement("canvas");
        drawn.getContext("2d").fillRect(0, 0, 99, 99);
        return drawn.captureStream(20);
    }}"""
    none = "() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('no')) }"
    with visited(browser, f"{server.url}/compare?right=items/00", kept=False) as page:
        page.evaluate(stream)
        page.get_by_role("group", name="First").get_by_role("button", name="Photo").click()
        page.get_by_role("button", name="Take it").click()
        page.locator(".verdict").wait_for()
        page.get_by_role("button", name="Take away: First").click()
        page.evaluate(none)
        page.get_by_role("group", name="First").get_by_role("button", name="Photo").click()
        page.get_by_text("No camera may be used here").wait_for()


def test_the_probability_is_that_of_python_at_any_prior(browser, server):
    pair = "left=items/00&right=items/04"
    data = {"left_item": "items/00", "right_item": "items/04", "prior": "0.02"}
    told = server.http.post("/api/v1/compare", data=data).json()
    with visited(browser, f"{server.url}/compare?{pair}&prior=0.02") as page:
        shown = page.locator(".big").inner_text()
        page.locator(".verdict.same").wait_for()
    assert float(shown.strip("<>% ")) == pytest.approx(100 * told["probability"], abs=0.51)


@LOOKS
def test_searching(browser, server, home, look):
    with visited(browser, f"{server.url}/search", **look) as page:
        page.locator(".tile").nth(23).wait_for()  # the collection, to start from
        give(page, home, 8)
        page.locator(".results .verdict.same").wait_for()
        first = page.locator(".tile").first
        assert first.locator(".tile-name").inner_text() == "08"
        until(  # as the model sees it: 12 x 12 pixels, red
            page,
            """() => {
                const seen = document.querySelector(".seen canvas");
                if (!seen) return false;
                const [red, green] = seen.getContext("2d").getImageData(6, 6, 1, 1).data;
                return seen.width === 12 && seen.height === 12 && red > green;
            }""",
        )
        badge = "même" if look is PHONE else "same"
        assert first.locator(".badge").inner_text().startswith(badge)
        check(page)
        # on from a hit, which the address holds
        page.locator(".tile-face").nth(1).click()
        page.get_by_role("dialog").get_by_text("label").wait_for()
        page.locator("dialog .button.main").click()
        page.wait_for_url("**/search?item=items*")
        page.locator(".results .tile-face").first.click()
        page.get_by_role("dialog").wait_for()
        page.go_back()
        page.wait_for_url("**/search")
        page.get_by_role("dialog").wait_for(state="detached")


def test_a_thin_image_is_seen_as_the_model_sees_it(browser, server):
    thin = png(np.full((900, 6, 3), 200, np.uint8))
    with visited(browser, f"{server.url}/search") as page:
        given = {"name": "thin.png", "mimeType": "image/png", "buffer": thin}
        page.locator("input[type=file]:not([capture])").first.set_input_files(given)
        page.locator(".results .tile").first.wait_for()
        seen = page.locator(".seen canvas").evaluate(
            "one => [...one.getContext('2d').getImageData(0, 6, 12, 1).data]"
        )
    pixels = server.service.model.preprocessing.pixels(EncodedImage(thin, "thin.png"))
    assert seen[::4] == pixels[6, :, 0].tolist()


def test_nothing_similar_enough_is_an_answer(browser, server, home):
    with visited(browser, f"{server.url}/search?only=1&where=label!%3Dred") as page:
        give(page, home, 0)  # a red one
        page.get_by_role("heading", name="Nothing similar enough").wait_for()
        assert page.locator(".tile").count() == 1  # the nearest all the same
        assert "different" in page.locator(".tile .badge").inner_text()
        page.get_by_role("button", name="Take away: label is not red").click()
        page.locator(".results .verdict.same").wait_for()
        page.get_by_role("button", name="Add a condition").click()
        page.get_by_label("Where").select_option("price")
        page.get_by_role("combobox", name="is").select_option("<=")
        page.get_by_label("Value").fill("12")
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("button", name="price is at most 12").wait_for()
        assert page.url.endswith("where=price%3C%3D12")


def test_a_part_of_an_image_is_searched(browser, server, home):
    with visited(browser, f"{server.url}/search") as page:
        give(page, home, 8)
        page.get_by_role("button", name="Crop").click()
        part = page.get_by_role("group", name="The part chosen")
        part.focus()
        page.keyboard.press("Shift+ArrowLeft")
        box = part.bounding_box()
        page.mouse.move(box["x"] + 1, box["y"] + 1)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 4, steps=3)
        page.mouse.up()
        page.get_by_role("button", name="Use this part").click()
        given = page.get_by_role("img", name="08, a part.png")
        page.locator(".results .tile").first.wait_for()
        size = "one => [one.naturalWidth, one.naturalHeight]"
        assert given.evaluate(size) == [6, 3]  # half of 12 across, a quarter along


def test_a_long_name_stays_in_its_place(browser, writable, home):
    long, picture = "Donaudampfschiff" * 20, (home / "photos" / "00.png").read_bytes()
    added = writable.http.post("/api/v1/items", data={"id": long}, files={"image": picture})
    assert added.status_code == 201
    while writable.http.get("/api/v1/duplicates?kind=picture").status_code == 202:
        time.sleep(0.1)
    with visited(browser, f"{writable.url}/search?item=items/00", **PHONE) as page:
        page.locator(".tile-face").first.click()
        page.get_by_role("dialog").get_by_text(long).first.wait_for()
        check(page)
        page.goto(f"{writable.url}/duplicates")
        page.locator(".group-head .button").first.click()
        page.locator("dialog .review-images").wait_for()
        check(page)


def test_identities_and_a_new_item_with_the_token(browser, writable, home):
    writable.service.index.identify_by("label")
    with visited(browser, f"{writable.url}/search?as=identity") as page:
        give(page, home, 1)
        page.get_by_role("heading", name="This is green").wait_for()
        assert "like" in page.locator(".tile").first.inner_text()  # which reference it was
        page.get_by_role("button", name="Add to the collection").click()
        page.get_by_role("dialog").get_by_label("Name").fill("new one")
        page.get_by_role("dialog").get_by_label("label").fill("green")
        page.get_by_label("Token").fill(writable.service.token)
        page.get_by_role("button", name="Add", exact=True).click()
        page.get_by_role("status").get_by_text("new one is now in the collection").wait_for()
        assert writable.service.index.get(["new one"]).metadata[0]["label"] == "green"
        # kept in the tab alone
        assert page.evaluate("localStorage.getItem('token')") is None
        assert not page.context.cookies()


@LOOKS
def test_a_threshold_says_what_it_costs(browser, server, look):
    with visited(browser, f"{server.url}/threshold", **look) as page:
        page.locator(".cost").nth(1).wait_for()
        counted = "() => !/Counting|Comptage/.test(document.querySelector('.costs').innerText)"
        until(page, counted)
        own = page.locator(".costs").inner_text()
        left, right = sorted(
            (name.bounding_box() for name in page.locator(".scale .name").all()),
            key=lambda box: box["x"],
        )
        assert left["x"] + left["width"] <= right["x"], "a name of a hill covers the other"
        page.get_by_role("slider").focus()
        page.keyboard.press("Home")
        page.wait_for_url("**/threshold?at=0*")
        until(page, "own => document.querySelector('.costs').innerText !== own", own)
        assert page.locator(".cost .big").first.inner_text().startswith("0")  # no false match
        page.reload()
        page.locator(".cost").nth(1).wait_for()
        until(page, counted)
        assert page.get_by_role("slider").input_value() == "0"
        page.locator(".place").first.click()
        page.wait_for_url("**/threshold")
        until(page, "own => document.querySelector('.costs').innerText === own", own)
        check(page)


def test_an_operating_point_is_saved_and_chosen(browser, writable, home):
    with visited(browser, f"{writable.url}/threshold") as page:
        page.get_by_role("slider").focus()
        page.keyboard.press("PageDown")
        page.get_by_role("button", name="Save this threshold").click()
        page.get_by_label("Name", exact=True).fill("strict")
        page.get_by_label("Token").fill(writable.service.token)
        page.get_by_role("button", name="Save", exact=True).click()
        page.locator(".place", has_text="strict").wait_for()
        page.locator(".cost", has_text="of 48 items have a match").wait_for()
        assert list(writable.service.index.points()) == ["strict"]
        page.get_by_role("link", name="Search").click()
        page.get_by_label("Threshold").select_option("strict")
        page.wait_for_url("**/search?point=strict")


@LOOKS
def test_the_report(browser, server, look):
    with visited(browser, f"{server.url}/report", **look) as page:
        others = len(server.http.get("/api/v1/model").json()["alternatives"])
        page.locator(".table tbody tr").nth(others).wait_for()
        assert page.locator(".table tbody tr").count() == 1 + others
        check(page)


def test_without_an_index_two_images_can_be_compared(browser, home):
    with running(home, index=False) as one, visited(browser, f"{one.url}/search") as page:
        page.get_by_text("No collection is served here").wait_for()
        assert page.locator(".nav a").all_inner_texts() == ["Compare", "Threshold", "Report"]
        page.get_by_role("link", name="Threshold").click()
        page.locator(".cost").nth(1).wait_for()
        page.get_by_role("link", name="Compare").click()
        give(page, home, 0, 4)
        page.locator(".verdict.same").wait_for()


def test_every_view_is_in_reach_of_a_thumb(browser, server):
    with visited(browser, f"{server.url}/threshold", **PHONE) as page:
        page.get_by_role("button", name="Plus", exact=True).click()
        links = page.locator(".nav a")
        assert links.count() == 7
        for link in links.all():
            box = link.bounding_box()
            assert box["width"] >= 44
            assert box["height"] >= 44
            assert 0 <= box["x"] <= 390 - box["width"]
        page.get_by_role("link", name="Rapport").click()
        page.locator(".report").wait_for()
        page.get_by_role("link", name="Rapport").wait_for(state="hidden")  # closed again


def test_mounted_at_a_path_of_another_application(browser, home):
    service = open_service(home / "run", home / "photos.index")
    outer = FastAPI()
    outer.mount("/twins", create_app(service))
    with socket.create_server(("127.0.0.1", 0)) as place:
        one = uvicorn.Server(uvicorn.Config(outer, log_level="warning"))
        thread = threading.Thread(target=one.run, args=([place],))
        thread.start()
        url = f"http://127.0.0.1:{place.getsockname()[1]}/twins"
        pair = "left=items/00&right=items/04"
        with visited(browser, f"{url}/compare?{pair}", kept=False) as page:
            page.locator(".verdict.same").wait_for()
            page.get_by_role("link", name="Search").click()
            page.wait_for_url(f"{url}/search")
            page.locator(".tile-face").first.click()
            page.locator("dialog .button.main").click()
            page.wait_for_url(f"{url}/search?item=items%2F00")
            page.go_back()
            page.get_by_role("link", name="Report").click()
            page.frame_locator(".report").locator("title").wait_for(state="attached")
        one.should_exit = True
        thread.join()
    service.close()


def test_by_keyboard_alone(browser, server):
    with visited(browser, f"{server.url}/compare", kept=False) as page:
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        for _ in range(9):
            page.keyboard.press("Tab")
            if page.locator(":focus").inner_text() == "Report":
                break
        page.keyboard.press("Enter")
        page.wait_for_url("**/report")
        # the heading is read, and named in the tab
        assert page.locator("h1:focus").inner_text() == "What this model is, and how well it does"
        assert page.title() == "Report · twinset"
        page.go_back()
        assert page.locator("h1:focus").inner_text() == "Do these two show the same?"
        page.reload()
        assert page.title() == "Compare · twinset"


def test_language_and_theme_are_kept_and_a_link_brings_its_own(browser, server):
    with visited(browser, f"{server.url}/report") as page:
        page.get_by_role("button", name="Français").click()
        page.get_by_role("button", name="Passer en sombre").click()
        page.reload()
        page.get_by_role("button", name="Passer en clair").wait_for()
        assert page.locator("html").get_attribute("lang") == "fr"
        page.goto(f"{server.url}/report?lang=en")
        assert page.locator("h1").inner_text() == "What this model is, and how well it does"


def test_a_cut_network_is_said_and_can_be_tried_again(browser, server, home):
    with visited(browser, f"{server.url}/compare", noisy=True) as page:
        page.context.set_offline(True)
        give(page, home, 0, 4)
        page.get_by_role("alert").get_by_text("The server cannot be reached").wait_for()
        page.context.set_offline(False)
        page.get_by_role("button", name="Try again").first.click()
        page.locator(".verdict.same").wait_for()


def test_what_is_no_image_is_said_in_one_s_language_and_the_server_s_words(browser, server):
    with visited(browser, f"{server.url}/compare?lang=fr", noisy=True, kept=False) as page:
        lie = {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"}
        page.locator("input[type=file]:not([capture])").first.set_input_files([lie, lie])
        page.get_by_role("alert").get_by_text("a.png: expected an image").wait_for()
        assert page.locator(".problem h2").inner_text().startswith("Cette image est illisible")


def test_every_text_is_there_in_both_languages():
    texts = (PAGE / "texts.js").read_text("utf-8")
    keys = re.findall(r'^  (?:"([\w. -]+)"|(\w+)): \[', texts, re.MULTILINE)
    keys = [first or second for first, second in keys]
    assert len(keys) == len(set(keys))
    code = "\n".join(path.read_text("utf-8") for path in SOURCES if path.name != "texts.js")
    used = set(re.findall(r'\bt\("([\w. -]+)"', code))
    assert used <= set(keys), used - set(keys)
    made = re.findall(r"\bt\(`([\w.]+)\$", code)  # t(`verdict.${word}`)
    unused = {key for key in keys if f'"{key}"' not in code and not key.startswith(tuple(made))}
    assert all(key.startswith("rule.") for key in unused), unused


def test_all_assets_are_small_and_none_is_elsewhere():
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    size = sum(len(gzip.compress(path.read_bytes())) for path in files)
    assert size <= 400_000
    for path in SOURCES + sorted(PAGE.rglob("*.css")):
        found = re.findall(r"(?:https?:)?//[\w.-]+\.\w{2,}", path.read_text("utf-8"))
        assert not found, (path, found)
    for library in ("fonts/newsreader", "fonts/instrument-sans"):
        assert (PAGE / f"{library}-OFL.txt").is_file()


def test_modules_are_small():
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in SOURCES}
    del lines["texts.js"]  # a list
    assert max(lines.values()) <= 300, lines
