"""What the file of the labeling page holds; test_labeling_browser.py has what it does."""

import json
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from cards import CLASSES, HOSTILE, card
from PIL import Image

from fisher_al.labeling.page import THUMBNAIL_SIDE, write_page


def contents(page: Path) -> dict:
    """The round that a page carries."""
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def thumbnail(page: Path, number: int) -> Image.Image:
    return Image.open(BytesIO(b64decode(contents(page)["thumbnails"][number].partition("base64,")[2])))


def test_page_needs_nothing_but_itself(tmp_path, pictures):
    write_page(tmp_path / "new" / "index.html", "Round 1", CLASSES, [card("a.png", pictures[0], pictures[1])])
    text = (tmp_path / "new" / "index.html").read_text()
    assert not re.search(r"https?:|//\w+\.|@import|url\(|<link|<iframe|src=\"[^d]", text)
    assert "default-src 'none'" in text
    assert "unsafe" not in text
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["index.html"]


def test_hostile_text_does_not_become_markup(tmp_path, pictures):
    plain, hostile = tmp_path / "plain.html", tmp_path / "hostile.html"
    write_page(plain, "title", ["cat"], [card("a.png", pictures[0])])
    cards = [card(name, pictures[0], predicted=name) for name in HOSTILE]
    write_page(hostile, HOSTILE[0], HOSTILE, cards)
    assert contents(hostile)["classes"] == HOSTILE
    assert [each["filepath"] for each in contents(hostile)["cards"]] == HOSTILE
    skeletons = [re.sub(r"(<title>|json\">).*?</", r"\1</", page.read_text()) for page in (plain, hostile)]
    assert skeletons[0] == skeletons[1]
    assert hostile.read_text().count("<script") == plain.read_text().count("<script") == 2
    write_page(hostile, HOSTILE[-2], ["cat"], cards)  # a title that is no UTF-8


def test_thumbnails_are_small_upright_and_not_enlarged(tmp_path, pictures):
    names = ("large.jpg", "turned.jpg", "deep.png", "turned.tif")
    large, turned, deep, tiff = (tmp_path / name for name in names)
    Image.new("CMYK", (2000, 1000)).save(large)
    orientation = Image.Exif()
    orientation[0x0112] = 6  # the camera was held upright
    for path in (turned, tiff):
        Image.new("RGB", (90, 60)).save(path, exif=orientation)
    Image.new("I;16", (40, 30), 257 * 200).save(deep)
    page = tmp_path / "index.html"
    write_page(
        page, "x", ["cat"], [card(path.name, path) for path in (large, turned, deep, pictures[0], tiff)]
    )
    sizes = [thumbnail(page, number).size for number in range(5)]
    assert sizes == [(THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2), (60, 90), (40, 30), (32, 24), (60, 90)]
    assert thumbnail(page, 2).convert("L").getpixel((9, 9)) == pytest.approx(200, abs=2)
    assert not thumbnail(page, 1).getexif()


def test_an_image_stands_once_however_often_it_is_matched(tmp_path, pictures):
    page = tmp_path / "index.html"
    write_page(page, "x", ["cat"], [card(f"{n}.png", pictures[n % 2], pictures[2]) for n in range(8)])
    assert len(set(contents(page)["thumbnails"])) == len(contents(page)["thumbnails"]) == 3
    assert {each["matchedImage"] for each in contents(page)["cards"]} == {1}


def test_page_of_many_large_photographs_is_a_few_megabytes(tmp_path):
    image = Image.effect_noise((400, 300), 40).convert("RGB")  # harder to compress than a photograph
    for number in range(20):
        image.save(tmp_path / f"{number}.jpg", quality=90)
    page = tmp_path / "index.html"
    write_page(
        page, "x", ["cat"], [card(f"{number}.jpg", tmp_path / f"{number}.jpg") for number in range(20)]
    )
    assert page.stat().st_size < 20 * 35_000


def test_unreadable_images_have_a_placeholder(tmp_path, pictures):
    broken = [tmp_path / name for name in ("missing.png", "empty.png", "cut.png", "text.jpg", "bomb.png")]
    for path in broken[1:]:
        path.write_bytes(b"")
    broken[2].write_bytes(pictures[0].read_bytes()[:60])
    broken[3].write_text("no image")
    page = tmp_path / "index.html"
    write_page(page, "x", ["cat"], [card(path.name, path, tmp_path) for path in [*broken, pictures[0]]])
    sizes = [thumbnail(page, each["image"]).size for each in contents(page)["cards"]]
    assert sizes == [(128, 128)] * len(broken) + [(32, 24)]


def test_rounds_are_told_apart_by_title_classes_and_images(tmp_path, pictures):
    """Else one would take over labels that were given in another, of classes that it has not."""
    one, two = pictures[:2]
    rounds = [
        ("a", ["cat"], [one, two]),
        ("b", ["cat"], [one, two]),
        ("a", ["cats"], [one, two]),
        ("a", ["cat"], [two, one]),
        ("a", ["cat"], [one]),
        ("a", ["cat"], [one, two]),
    ]
    keys = []
    for title, classes, images in rounds:
        write_page(tmp_path / "x.html", title, classes, [card("same name", image) for image in images])
        keys.append(contents(tmp_path / "x.html")["key"])
    assert keys[0] == keys[-1]
    assert len({*keys}) == len(rounds) - 1
