"""Collections of photos such as people have, made from what installed packages ship.

./task bench photo_collections [--out photos/] [--views 10] [--size 128] [--sheet sheet.png]

`places`: 40 places in three photographs (two of scikit-learn, one of matplotlib), each
photographed ten times from nearby, in other light. `wallpapers`: the same of 13 photographs of a
Debian package, where `./task` has fetched it. `characters`: 40 characters, each set in ten
typefaces. `typefaces`: 20 typefaces, each setting ten different texts. The first two are told
apart by instance, the last two by identity; no class is a kind of thing. A seed draws everything.
"""

import argparse
import functools
import io
import os
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

import twinset
from twinset.cache_folder import cache_folder
from twinset.data.names import natural_key

WALLPAPERS = "lomiri-wallpapers-16.04"  # 15 photographs by Ubuntu's community, CC BY-SA
# fonts of matplotlib that hold letters; those of mathematics are left out
TYPEFACES = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)
# no two that are one shape in another size, or in another typeface: c and C, l and I
CHARACTERS = "ABDEFGHJKLMNQRTYabdefghkmnqrty2345679&?%"


# --- a photograph of something flat, by somebody who holds the camera in the hand


def photographed(rng, scene, centre, span, size):
    """Photograph a place of a scene: from about there, a little turned, in some light, as a JPEG.

    `span` is the width in pixels of what a straight photograph shows; `size` is (width, height).
    """
    width, height = size
    angle = np.deg2rad(rng.uniform(-12, 12))
    zoom = span / width * rng.uniform(0.85, 1.15)
    x, y = np.add(centre, rng.uniform(-0.1, 0.1, 2) * span)
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # what may come into view, and no more: a blur of the whole would take most of the time
    left, top = int(x - span), int(y - span)
    scene = scene.crop((left, top, left + 2 * span, top + 2 * span))
    if zoom > 1.5:  # a lens averages what a pixel covers
        scene = scene.filter(ImageFilter.GaussianBlur(zoom / 3))
    start = [x - left, y - top] - turn @ [width / 2, height / 2]
    matrix = (*turn[0], start[0], *turn[1], start[1])
    seen = scene.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    light = rng.uniform(0.65, 1.2) * rng.uniform(0.92, 1.08, 3)
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    slope = 1 + rng.uniform(-0.15, 0.15) * across + rng.uniform(-0.15, 0.15) * down
    pixels = 255 * (np.asarray(seen, np.float32) / 255) ** rng.uniform(0.8, 1.25)
    noise = rng.uniform(1, 5) * rng.standard_normal(pixels.shape, np.float32)
    pixels = pixels * light * slope[..., None] + noise
    file = io.BytesIO()
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    picture.save(file, "JPEG", quality=int(rng.integers(50, 92)))
    return file.getvalue()


def eventful(photo, count, span):
    """Find places with most to see, none nearer to another than `span`."""
    gray = np.asarray(photo.convert("L"), np.float64)

    def sums(values):  # over each square of the span, by sums from the corner on
        whole = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        return (
            whole[span:, span:]
            - whole[:-span, span:]
            - whole[span:, :-span]
            + whole[:-span, :-span]
        )

    variance = sums(gray**2) / span**2 - (sums(gray) / span**2) ** 2
    # a view that is turned or moved stays within the photograph, but for a corner at times
    edge = int(0.35 * span)
    variance[:edge] = variance[-edge:] = variance[:, :edge] = variance[:, -edge:] = -1
    chosen = []
    while len(chosen) < count and variance.max() >= 0:
        y, x = np.unravel_index(variance.argmax(), variance.shape)
        variance[max(0, y - span + 1) : y + span, max(0, x - span + 1) : x + span] = -1
        chosen.append((int(x) + span // 2, int(y) + span // 2))
    return chosen


def instances(photos, span, seed, views, size):
    """Photograph places of photographs; each of these is (name, photograph, number of places)."""
    for title, photo, count in photos:
        for number, (x, y) in enumerate(eventful(photo, count, span)):
            name = f"{title} {number:02}"
            for view in range(views):
                yield name, photographed(random(seed, name, view), photo, (x, y), span, size)


def random(seed, *names):
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


# --- the collections: each yields (class, JPEG)


def places(seed=0, views=10, size=(128, 128)):
    from matplotlib.cbook import get_sample_data
    from sklearn.datasets import load_sample_images

    china, flower = map(Image.fromarray, load_sample_images().images)
    hopper = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    photos = [("temple", china, 15), ("flower", flower, 10), ("portrait", hopper, 15)]
    yield from instances(photos, 72, seed, views, size)


def wallpapers(seed=0, views=10, size=(128, 128)):
    photos = []
    for path in sorted(wallpaper_folder().glob("*_by_*.jpg")):
        title = path.stem.split("_by_")[0]
        if title in ("analogpattern", "umang"):  # no photographs
            continue
        photo = Image.open(path)
        photo.draft("RGB", (960, 960))
        photo = photo.convert("RGB")
        photo.thumbnail((960, 960))
        photos.append((title, photo, 3))
    yield from instances(photos, 160, seed, views, size)


def characters(seed=0, views=10, size=(128, 128)):
    for character in CHARACTERS:
        chosen = random(seed, character).permutation(len(TYPEFACES))
        for view in range(views):
            rng = random(seed, character, view)
            typeface = TYPEFACES[chosen[view % len(chosen)]]
            scene = printed(rng, character, typeface)
            # by number: a folder a is a folder A on Windows and macOS
            yield f"character {ord(character):03}", photographed(rng, scene, (160, 160), 160, size)


def typefaces(seed=0, views=10, size=(128, 128)):
    for typeface in TYPEFACES:
        for view in range(views):
            rng = random(seed, typeface, view)
            text = "\n".join("".join(rng.choice(list(CHARACTERS[:31]), 4)) for _ in range(3))
            scene = printed(rng, text, typeface)
            yield typeface, photographed(rng, scene, (160, 160), 190, size)


def printed(rng, text, typeface):
    """Print a text on paper of 320 × 320 pixels, dark on light or, at times, light on dark."""
    paper, ink = rng.integers(185, 256, 3), rng.integers(0, 90, 3)
    if rng.random() < 0.25:
        paper, ink = ink, paper
    sheet = Image.new("RGB", (320, 320), tuple(paper.tolist()))
    font = ImageFont.truetype(fonts() / f"{typeface}.ttf", 120)
    draw = ImageDraw.Draw(sheet)
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font, spacing=12)
    # as large as fits: the size of the letters shall not tell the typeface
    font = ImageFont.truetype(
        fonts() / f"{typeface}.ttf", int(120 * 120 / max(right - left, bottom - top))
    )
    draw.multiline_text((160, 160), text, tuple(ink.tolist()), font, "mm", spacing=4)
    return sheet


@functools.cache
def fonts():
    import matplotlib

    return Path(matplotlib.get_data_path(), "fonts", "ttf")


def wallpaper_folder():
    """Find where the Debian package puts them, or `./task` does."""
    system = Path("/usr/share/backgrounds")
    if (system / "picosdeeuropa_by_Aitzol_Berasategi.jpg").exists():
        return system
    return cache_folder(WALLPAPERS)


MAKERS = {
    "places": places,
    "characters": characters,
    "typefaces": typefaces,
    "wallpapers": wallpapers,
}


def available():
    """Name the collections that this machine can make, which are all but `wallpapers` anywhere."""
    there = any(wallpaper_folder().glob("*.jpg"))
    return [name for name in MAKERS if name != "wallpapers" or there]


# --- what is done with them


def write(folder, name, *, prefix="", **how):
    """Write a collection as people have it: a folder of files for each class."""
    counts = {}
    for kind, content in MAKERS[name](**how):
        number = counts[kind] = counts.get(kind, 0) + 1
        path = Path(folder, f"{prefix}{kind}", f"{number:03}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def labelled(name, side=64, **how):
    """Make a collection in memory, as its folder is read: square images of some pixels."""
    views = sorted(MAKERS[name](**how), key=lambda view: natural_key(view[0]))
    names = sorted({kind for kind, _ in views}, key=natural_key)
    pixels = []
    for _, content in views:
        image = Image.open(io.BytesIO(content))
        pixels.append(image if image.size == (side, side) else image.resize((side, side)))
    labels = [names.index(kind) for kind, _ in views]
    return twinset.LabelledImages(np.stack(pixels), labels, names, name)


def halves(images, seed=0):
    """Deal the classes into two halves at random: one to fit on, one that is not seen."""
    order = np.random.default_rng(seed).permutation(len(images.class_names))
    seen = np.isin(images.labels, order[: len(order) // 2])
    return images.subset(np.flatnonzero(seen)), images.subset(np.flatnonzero(~seen))


def sheet(name, **how):
    """Show a collection at a glance: a row for each class."""
    images = labelled(name, **how)
    rows = [np.hstack(images.images[images.labels == k]) for k in np.unique(images.labels)]
    middle = -(-len(rows) // 2)
    rows += [np.zeros_like(rows[0])] * (2 * middle - len(rows))
    return Image.fromarray(np.hstack([np.vstack(rows[:middle]), np.vstack(rows[middle:])]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("photos"))
    parser.add_argument("--views", type=int, default=10)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in available():
        how = {"seed": options.seed, "views": options.views}
        write(options.out / name, name, size=(options.size,) * 2, **how)
        sheet(name, **how).save(options.out / f"{name}.png")
        files = len(list((options.out / name).glob("*/*.jpg")))
        print(f"{options.out / name}{os.sep}: {files} photos")


if __name__ == "__main__":
    main()
