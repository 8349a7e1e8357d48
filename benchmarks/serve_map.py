"""The map of 60,000 points in headless Chromium with software rendering: load, frames.

./task bench serve_map [--rounds 5] [--home FOLDER]

Load is from the start of the navigation to the first frame with colours, after which the map can
be moved: in a new context each time, so that nothing is cached in the browser. The first load
after the start of a server, which has nothing in its cache either, stands alone: by a browser that
was just started, which itself takes long then, and by one that is warm, of further servers.
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

import ledger
from serve_worlds import index_folder, model_folder, quiet, twinset_serve

CHOSEN = "canvas"  # by the page itself, without a graphics card
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WAYS = {"WebGL2": "webgl2", "canvas": "canvas"}
# one frame after the one in which colours came
WATCH = """
const watch = new MutationObserver(() => {
  if (!document.querySelector(".map-plot[data-ready]")) return;
  watch.disconnect();
  const told = () => (document.documentElement.dataset.loaded = performance.now());
  requestAnimationFrame(() => requestAnimationFrame(told));
});
watch.observe(document, { subtree: true, childList: true, attributes: true });
"""
# as fast as it goes: each frame moves the map a little
FRAMES = """() => new Promise((done) => {
  const plot = document.querySelector(".map-plot");
  const begun = performance.now();
  let frames = 0;
  const step = () => {
    const key = frames % 40 < 20 ? "ArrowLeft" : "ArrowRight";
    plot.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    const since = performance.now() - begun;
    if (since > 3000) return done((1000 * frames) / since);
    frames++;
    requestAnimationFrame(step);
  };
  step();
})"""


def visit(browser, url, way):
    """Load the map once: seconds to interactive, and frames a second while it is moved."""
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    page = context.new_page()
    page.add_init_script(WATCH)
    page.goto(f"{url}/map?draw={WAYS[way]}")
    page.wait_for_selector("html[data-loaded]", timeout=60_000)
    kind = page.locator(".map-plot").get_attribute("data-ready")
    assert kind == WAYS[way], f"expected {way}, drawn by {kind}"
    loaded = float(page.locator("html").get_attribute("data-loaded")) / 1000
    told = loaded, page.evaluate(FRAMES)
    context.close()
    return told


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--home", type=Path, help="keep model and index there")
    options = parser.parse_args()
    print(quiet())
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        home = options.home or Path(folder)
        model = model_folder(home, "mlp")
        index = index_folder(home, model)
        browser = driver.chromium.launch(executable_path=program, args=ARGUMENTS)
        firsts = []
        for turn in range(options.rounds + 1):
            os.environ["XDG_CACHE_HOME"] = f"{folder}/cache{turn}"
            with twinset_serve(model, index=index) as server:
                firsts.append(visit(browser, f"http://127.0.0.1:{server.port}", CHOSEN)[0])
        ledger.say("map, first load of a new server by a new browser, s", f"{firsts[0]:.2f}")
        ledger.say("map, first load of a new server, s", ledger.spread(firsts[1:]))
        with twinset_serve(model, index=index) as server:
            url = f"http://127.0.0.1:{server.port}"
            for way in WAYS:
                loads, frames = zip(
                    *(visit(browser, url, way) for _ in range(options.rounds)), strict=True
                )
                ledger.say(f"map, load to interactive, {way}, s", ledger.spread(loads))
                ledger.say(f"map, frames/s while moved, {way}", ledger.spread(frames, 0))
        browser.close()


if __name__ == "__main__":
    main()
