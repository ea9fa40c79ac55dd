"""The labeling page: what its file holds, and what it does in a browser."""

import json
import os
import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from browser import MISSING, Session, is_installed, open_browser
from hostile import examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from selenium.webdriver.common.keys import Keys

from fisher_al.labeling.page import THUMBNAIL_SIDE, Card, write_page

needs_browser = pytest.mark.skipif(not is_installed(), reason=MISSING)

CLASSES = ["cat", "dog", "frog", "newt", "owl", "pig", "rat", "seal", "toad", "swan", "sun", "snu", "cattle"]
HOSTILE = [
    "</script><script>document.title='x'</script>",
    '<img src=x onerror="document.title=1">',
    "<!-- <script>",
    "{{script}} ${document.title='x'} {{round}}",
    'say "hello", twice',
    "two\r\nlines\nand\rmore\u2028of\u2029them",
    "\u202egnp.exe\u202c \U0001f431 \u00e9",
    "=1+1, -dash, 'quote', back\\slash&amp;",
    os.fsdecode(b"no utf-8 \xff\xc3( \xf0\x9f\x98\x80.png"),
    "__proto__",
]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(3)]
    for path, color in zip(paths, ("red", "green", "blue"), strict=True):
        Image.new("RGB", (32, 24), color).save(path)
    return paths


def card(filepath: str, image: Path, matched: Path | None = None, predicted: str = "cat") -> Card:
    text = "" if matched is None else matched.name
    return Card(filepath, image, predicted, 0.5, text, text and "dog", matched)


def contents(page: Path) -> dict:
    """The round that a page carries."""
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page.read_text(), re.DOTALL)[1])


def thumbnail(page: Path, number: int) -> Image.Image:
    return Image.open(BytesIO(b64decode(contents(page)["thumbnails"][number].partition("base64,")[2])))


# ---- the file


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
    large, turned, deep = (tmp_path / name for name in ("large.jpg", "turned.jpg", "deep.png"))
    Image.new("CMYK", (2000, 1000)).save(large)
    orientation = Image.Exif()
    orientation[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (90, 60)).save(turned, exif=orientation)
    Image.new("I;16", (40, 30), 257 * 200).save(deep)
    page = tmp_path / "index.html"
    write_page(page, "x", ["cat"], [card(path.name, path) for path in (large, turned, deep, pictures[0])])
    sizes = [thumbnail(page, number).size for number in range(1, 5)]
    assert sizes == [(THUMBNAIL_SIDE, THUMBNAIL_SIDE // 2), (60, 90), (40, 30), (32, 24)]
    assert thumbnail(page, 3).convert("L").getpixel((9, 9)) == pytest.approx(200, abs=2)
    assert not thumbnail(page, 2).getexif()


def test_an_image_stands_once_however_often_it_is_matched(tmp_path, pictures):
    page = tmp_path / "index.html"
    write_page(page, "x", ["cat"], [card(f"{n}.png", pictures[n % 2], pictures[2]) for n in range(8)])
    assert len(set(contents(page)["thumbnails"])) == len(contents(page)["thumbnails"]) == 1 + 3
    assert {each["matchedImage"] for each in contents(page)["cards"]} == {2}


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


def test_rounds_are_told_apart_by_title_and_paths(tmp_path, pictures):
    rounds = [("a", ["1", "2"]), ("b", ["1", "2"]), ("a", ["2", "1"]), ("a", ["12"]), ("a", ["1", "2"])]
    keys = []
    for title, names in rounds:
        write_page(tmp_path / "x.html", title, ["cat"], [card(name, pictures[0]) for name in names])
        keys.append(contents(tmp_path / "x.html")["key"])
    assert keys[0] == keys[-1]
    assert len({*keys}) == len(rounds) - 1


# ---- in a browser


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture
def labeling(session, tmp_path, pictures, request) -> Session:
    """A page of six picks, opened; the browser keeps no labels of it from another test."""
    cards = [card(f"{number}.png", pictures[number % 3], pictures[2]) for number in range(6)]
    write_page(tmp_path / "index.html", request.node.name, CLASSES, cards)
    session.open(tmp_path / "index.html")
    yield session
    assert session.complaints() == []


@needs_browser
def test_all_picks_labeled_by_keyboard(labeling):
    labeling.press("2", Keys.ENTER, "s", "w", " ", "9")
    expected = ["dog", "cat", "skip", "swan", "cat", "toad"]
    assert labeling.downloaded() == [
        ("filepath", "label"),
        *((f"{n}.png", x) for n, x in enumerate(expected)),
    ]
    assert labeling.text("progress") == "5 labeled, 1 skipped, 0 open"
    assert "download labels.csv" in labeling.text("status")


@needs_browser
def test_keys_of_classes_are_distinct_and_no_commands(labeling):
    keys = labeling.script("return [...keysOfClasses()]")
    assert [key for _, key in keys] == ["s", *"123456789", "w", "a", "b", "c"]
    assert [name for name, _ in keys] == ["skip", *CLASSES]


@needs_browser
@pytest.mark.parametrize("undo", [("u",), (Keys.BACKSPACE,), (Keys.CONTROL, "z", Keys.NULL)])
def test_undo_goes_back_to_the_pick(labeling, undo):
    labeling.press("2", "3", "s", *undo)
    assert labeling.labels() == ["dog", "frog", "", "", "", ""]
    assert labeling.text("position") == "Pick 3 of 6"
    labeling.press(*undo, *undo, *undo)
    assert labeling.labels() == [""] * 6
    assert labeling.text("position") == "Pick 1 of 6"


@needs_browser
def test_moving_and_correcting(labeling):
    labeling.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "1", Keys.ARROW_LEFT, Keys.ARROW_LEFT, "2", "3")
    assert labeling.labels() == ["", "dog", "cat", "frog", "", ""]
    assert labeling.text("position") == "Pick 5 of 6"
    labeling.press("1", "1")
    assert labeling.text("position") == "Pick 1 of 6"  # the open one that was passed over
    labeling.press(Keys.ARROW_RIGHT, Keys.DELETE)
    assert labeling.labels() == ["", "", "cat", "frog", "cat", "cat"]
    labeling.press(Keys.ARROW_DOWN)
    assert labeling.text("position") == "Pick 6 of 6"
    labeling.press("n")
    assert labeling.text("position") == "Pick 1 of 6"


@needs_browser
def test_search_takes_the_first_class_found(labeling):
    labeling.press("/", "cat", Keys.ENTER, "/", "attl", Keys.ENTER, "/", "NEWT", Keys.ENTER)
    labeling.press("/", "owl", Keys.ESCAPE, "/", Keys.ENTER, "/", "ski", Keys.ENTER, "4")
    assert labeling.labels() == ["cat", "cattle", "newt", "skip", "newt", ""]


@needs_browser
def test_new_class_is_added_when_confirmed(labeling):
    labeling.press("/", "no such", Keys.ENTER)
    assert labeling.labels() == [""] * 6
    assert labeling.text("add") == "Add new class no such"
    labeling.press(Keys.ENTER, "d")
    assert labeling.labels() == ["no such", "", "", "", "", ""]  # "d" is no key of a class
    labeling.press("o", Keys.ARROW_LEFT, "u", "u", "/", "no such")
    assert labeling.labels() == [""] * 6
    assert labeling.script("return state.added") == []  # undone with its first label
    labeling.press(Keys.ESCAPE, "/", "owls", Keys.ENTER, Keys.ESCAPE, "1")
    assert labeling.labels() == ["cat", "", "", "", "", ""]
    labeling.press("/", "skip")
    assert not labeling.element("add").is_displayed()
    labeling.press(Keys.ESCAPE, "/", "do")  # not the dog that Enter would take
    labeling.element("add").click()
    assert labeling.labels() == ["cat", "do", "", "", "", ""]


@needs_browser
def test_filters_show_and_count(labeling):
    labeling.press("1", "2", "s", "1")
    filters = {name: labeling.find(f"[data-filter={name}]") for name in ("all", "open", "labeled", "skipped")}
    assert [button.text for button in filters.values()] == ["All 6", "Open 2", "Labeled 3", "Skipped 1"]
    assert labeling.find("#classes li:first-child .count").text == "2"
    for name, shown in {"skipped": [2], "labeled": [0, 1, 3], "open": [4, 5], "all": [*range(6)]}.items():
        filters[name].click()
        assert labeling.shown() == shown
        assert filters[name].get_attribute("aria-pressed") == "true"
    labeling.find("#classes li:first-child .count").click()
    assert labeling.shown() == [0, 3]
    assert labeling.text("position") == "Pick 1 of 6"
    labeling.press("2")
    assert (labeling.shown(), labeling.text("position")) == ([3], "Pick 4 of 6")
    labeling.press("u")
    assert (labeling.shown(), labeling.text("position")) == ([0, 3], "Pick 1 of 6")
    labeling.element("class-filter").click()
    assert labeling.shown() == [*range(6)]


@needs_browser
def test_labels_outlive_a_reload_but_not_in_another_round(labeling, tmp_path, pictures):
    labeling.press("1", "s", "/", "lynx", Keys.ENTER, Keys.ENTER)
    assert "kept in this browser" in labeling.text("kept")
    labeling.open(tmp_path / "index.html")
    assert labeling.labels() == ["cat", "skip", "lynx", "", "", ""]
    assert labeling.text("position") == "Pick 4 of 6"
    labeling.press("u")
    assert labeling.labels() == ["cat", "skip", "", "", "", ""]
    cards = [card(f"{number}.png", pictures[0]) for number in range(7)]
    write_page(tmp_path / "other.html", "another round", CLASSES, cards)
    labeling.open(tmp_path / "other.html")
    assert labeling.labels() == [""] * 7
    assert not labeling.element("matched").is_displayed()


@needs_browser
def test_another_window_of_the_round_shows_the_same(labeling, tmp_path):
    with labeling.second_window(tmp_path / "index.html"):
        labeling.press("1", "2")
    labeling.wait_until(lambda: labeling.labels()[:3] == ["cat", "dog", ""])


@needs_browser
def test_page_works_where_nothing_may_be_kept(labeling, tmp_path):
    with labeling.without_storage():
        labeling.open(tmp_path / "index.html")
        labeling.press("1", "s", "u")
        assert labeling.labels() == ["cat", "", "", "", "", ""]
        assert "keeps no labels" in labeling.text("kept")
        assert labeling.downloaded()[1] == (
            "0.png",
            "cat",
        )  # after which the page may be left without a question


@needs_browser
def test_buttons_keep_their_keys_and_give_them_back_after_the_mouse(labeling):
    labeling.find("#strip button:nth-child(3)").click()
    labeling.press(Keys.ENTER)
    assert labeling.labels() == ["", "", "cat", "", "", ""]
    labeling.script("document.getElementById('skip').focus()")
    labeling.press(Keys.ENTER, "2", " ")
    assert labeling.labels() == ["", "", "cat", "skip", "dog", "skip"]
    labeling.find("#classes li:nth-child(3) .class").click()
    assert labeling.labels()[0] == "frog"


@needs_browser
def test_a_key_held_down_labels_one_pick(labeling):
    labeling.hold("1", 5)
    assert labeling.labels() == ["cat", "", "", "", "", ""]


@needs_browser
@pytest.mark.parametrize("width", [320, 700, 1200])
def test_nothing_is_cut_off(labeling, width):
    with labeling.width(width):
        assert labeling.script("return document.documentElement.scrollWidth") <= width


@needs_browser
def test_hostile_names_are_only_text(labeling, tmp_path, pictures):
    cards = [card(name, pictures[0], predicted=name) for name in HOSTILE]
    write_page(tmp_path / "hostile.html", HOSTILE[0], HOSTILE, cards)
    labeling.open(tmp_path / "hostile.html")
    labeling.press("/", "<b>new</b>", Keys.ENTER)
    assert labeling.text("add") == "Add new class <b>new</b>"
    labeling.press(Keys.ENTER, *[Keys.ENTER] * (len(HOSTILE) - 1))
    assert labeling.script("return document.title") == HOSTILE[0]
    assert labeling.script("return document.images.length") == len(HOSTILE) + 2
    assert labeling.script("return document.querySelectorAll('script, b').length") == 2
    rows = [("filepath", "label"), (HOSTILE[0], "<b>new</b>"), *((name, name) for name in HOSTILE[1:])]
    assert labeling.downloaded() == rows


odd_text = st.text(st.sampled_from([*"a,\"\r\n\t ;'\\", "\u2028", "\x85", "\ufeff", "é", "🐱"]), max_size=8)
any_path = st.one_of(odd_text, st.binary(max_size=12).map(os.fsdecode)).map(
    lambda text: text.replace("\0", "0")
)


@needs_browser
@examples(8)
@given(names=st.lists(any_path, min_size=30, max_size=60, unique=True))
def test_csv_is_what_python_reads(session, tmp_path_factory, pictures, names):
    page = tmp_path_factory.mktemp("names") / "index.html"
    write_page(page, "names", [names[0] or "cat"], [card(name, pictures[0]) for name in names])
    session.open(page)
    session.press("1")
    labels = [names[0] or "cat", *[""] * (len(names) - 1)]
    assert session.downloaded() == [("filepath", "label"), *zip(names, labels, strict=True)]
