"""The labeling page in a browser: keys, filters, what is kept, and the file that is downloaded."""

import json
import os
from urllib.parse import unquote

import pytest
from browser import MISSING, is_installed
from cards import CLASSES, HOSTILE, card
from hostile import examples
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from selenium.webdriver.common.keys import Keys

from fisher_al.labeling.page import write_page

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


def test_all_picks_labeled_by_keyboard(labeling):
    labeling.press("2", Keys.ENTER, "s", "w", " ", "9")
    expected = ["dog", "cat", "skip", "swan", "cat", "toad"]
    assert labeling.downloaded() == [
        ("filepath", "label"),
        *((f"{n}.png", x) for n, x in enumerate(expected)),
    ]
    assert labeling.text("progress") == "5 labeled, 1 skipped, 0 open"
    assert "download labels.csv" in labeling.text("status")


def test_keys_of_classes_are_distinct_and_no_commands(labeling):
    keys = labeling.script("return [...keysOfClasses()]")
    assert [key for _, key in keys] == ["s", *"123456789", "w", "a", "b", "c"]
    assert [name for name, _ in keys] == ["skip", *CLASSES]


@pytest.mark.parametrize("undo", [("u",), (Keys.BACKSPACE,), (Keys.CONTROL, "z", Keys.NULL)])
def test_undo_goes_back_to_the_pick(labeling, undo):
    labeling.press("2", "3", "s", *undo)
    assert labeling.labels() == ["dog", "frog", "", "", "", ""]
    assert labeling.text("position") == "Pick 3 of 6"
    labeling.press(*undo, *undo, *undo)
    assert labeling.labels() == [""] * 6
    assert labeling.text("position") == "Pick 1 of 6"


def test_moving_and_correcting(labeling):
    labeling.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, "1", Keys.ARROW_LEFT, Keys.ARROW_LEFT, "2", "3")
    assert labeling.labels() == ["", "dog", "cat", "frog", "", ""]
    assert labeling.text("position") == "Pick 5 of 6"
    labeling.press("1", "1")
    assert labeling.text("position") == "Pick 1 of 6"  # the open one that was passed over
    labeling.press(Keys.ARROW_RIGHT, Keys.DELETE)
    assert labeling.labels() == ["", "", "cat", "frog", "cat", "cat"]
    assert labeling.text("position") == "Pick 2 of 6"
    labeling.press(Keys.ARROW_DOWN)
    assert labeling.text("position") == "Pick 6 of 6"
    labeling.press("n")
    assert labeling.text("position") == "Pick 1 of 6"


def test_search_takes_the_first_class_found(labeling):
    labeling.press("/", "cat", Keys.ENTER, "/", "attl", Keys.ENTER, "/", "NEWT", Keys.ENTER)
    labeling.press("/", "owl", Keys.ESCAPE, "/", Keys.ENTER, "/", "ski", Keys.ENTER, "4")
    labeling.press("/", "t", Keys.ENTER)  # which other names before it hold too
    assert labeling.labels() == ["cat", "cattle", "newt", "skip", "newt", "toad"]


def test_new_class_is_added_when_confirmed(labeling):
    labeling.press("/", "no such", Keys.ENTER)
    assert labeling.labels() == [""] * 6
    assert labeling.text("add") == "Add new class “no such”"
    labeling.press(Keys.ENTER, "d")
    assert labeling.labels() == ["no such", "", "", "", "", ""]  # "d" is no key of a class
    labeling.press("o", Keys.ARROW_LEFT, "u", "u", "/", "no such")
    assert labeling.labels() == [""] * 6
    assert labeling.script("return state.added") == []  # undone with its first label
    labeling.press(Keys.ESCAPE, "/", "owls", Keys.ENTER, Keys.ESCAPE, "1")
    assert labeling.labels() == ["cat", "", "", "", "", ""]
    for known in ("skip", "Skip", "OWL"):  # in capitals, a slip
        labeling.press("/", known)
        assert not labeling.element("add").is_displayed()
        labeling.press(Keys.ESCAPE)
    labeling.press("/", "ow")
    assert labeling.element("add").is_displayed()
    labeling.press(Keys.ESCAPE, "/", "do")  # not the dog that Enter would take
    labeling.element("add").click()
    assert labeling.labels() == ["cat", "do", "", "", "", ""]


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
    filters["labeled"].click()
    labeling.press("u")  # to a pick that is open then, which this filter hides
    assert (labeling.shown(), labeling.text("position")) == ([*range(6)], "Pick 4 of 6")


def test_labels_outlive_a_reload_but_not_in_another_round(labeling, tmp_path, pictures):
    labeling.press("1", "s", "/", "lynx", Keys.ENTER, Keys.ENTER)
    assert labeling.labels() == ["cat", "skip", "lynx", "", "", ""]
    assert "kept in this browser" in labeling.text("kept")

    def is_there_again() -> bool:  # the browser writes a moment after the page has told it to
        labeling.open(tmp_path / "index.html")
        return labeling.labels() == ["cat", "skip", "lynx", "", "", ""]

    labeling.wait_until(is_there_again)
    assert labeling.text("position") == "Pick 4 of 6"
    labeling.press("u")
    assert labeling.labels() == ["cat", "skip", "", "", "", ""]
    cards = [card(f"{number}.png", pictures[0]) for number in range(7)]
    write_page(tmp_path / "other.html", "another round", CLASSES, cards)
    labeling.open(tmp_path / "other.html")
    assert labeling.labels() == [""] * 7


@pytest.mark.parametrize(
    "change",
    [{"at": 999}, {"labels": [5] * 6}, {"labels": ["cat"]}, {"added": None}, {"history": [{"index": -1}]}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_kept_damaged_is_left_out(labeling, tmp_path, change):
    kept = {"labels": ["dog"] * 6, "added": [], "history": [], "at": 1}
    keep = "localStorage.setItem(storageKey, arguments[0])"
    for content, label in ((kept, "dog"), (kept | change, "")):
        written = json.dumps(content)

        def is_there(written: str = written) -> bool:  # the browser writes a moment after it has been told to
            labeling.driver.execute_script(keep, written)
            labeling.open(tmp_path / "index.html")
            return labeling.script("return localStorage.getItem(storageKey)") == written

        labeling.wait_until(is_there)
        assert labeling.labels() == [label] * 6
    labeling.press("1")
    assert labeling.labels() == ["cat", *[""] * 5]


def test_another_window_of_the_round_shows_the_same(labeling, tmp_path):
    with labeling.second_window(tmp_path / "index.html") as go_back:
        labeling.press("1", "2")
        assert labeling.labels()[:3] == ["cat", "dog", ""]
        go_back()

        def has_taken_over() -> bool:  # as one comes back to a window
            labeling.script("window.dispatchEvent(new Event('focus'))")
            return labeling.labels()[:3] == ["cat", "dog", ""]

        labeling.wait_until(has_taken_over)


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


def test_labels_that_no_longer_fit_in_the_storage_stay_on_the_page(labeling):
    labeling.press("1", "2")
    labeling.script("Storage.prototype.setItem = () => { throw new Error('full') }")
    labeling.press("3")
    labeling.script("window.dispatchEvent(new Event('focus'))")
    assert labeling.labels()[:4] == ["cat", "dog", "frog", ""]
    assert "keeps no labels" in labeling.text("kept")


def test_buttons_keep_their_keys_and_give_them_back_after_the_mouse(labeling):
    labeling.find("#strip button:nth-child(3)").click()
    labeling.press(Keys.ENTER)
    assert labeling.labels() == ["", "", "cat", "", "", ""]
    labeling.script("document.getElementById('skip').focus()")
    labeling.press(Keys.ENTER, "2", " ")
    assert labeling.labels() == ["", "", "cat", "skip", "dog", "skip"]
    labeling.find("#classes li:nth-child(3) .class").click()
    assert labeling.labels()[0] == "frog"


def test_a_key_held_down_labels_one_pick(labeling):
    labeling.hold("1", 5)
    assert labeling.labels() == ["cat", "", "", "", "", ""]


@pytest.mark.parametrize("width", [320, 700, 1200])
def test_nothing_is_cut_off(labeling, width, tmp_path, pictures):
    long = "very long name " * 9 + "x" * 99
    write_page(tmp_path / "index.html", long, [long, *CLASSES], [card(long, *pictures[:2], predicted=long)])
    labeling.open(tmp_path / "index.html")
    labeling.press("1", "/", long, Keys.ESCAPE)
    with labeling.size(width, 800):
        assert labeling.script("return document.documentElement.scrollWidth") <= width


def test_a_picture_opens_its_file_in_full_size(labeling, tmp_path):
    photo, matched = tmp_path / "pool" / "é #1 50%?.png", tmp_path / "javascript:alert(1).png"
    photo.parent.mkdir()
    Image.new("RGB", (900, 600)).save(photo)
    Image.new("RGB", (40, 40)).save(matched)
    (tmp_path / "round").mkdir()
    write_page(tmp_path / "round" / "index.html", "large", CLASSES, [card("x.png", photo, matched)] * 2)
    labeling.open(tmp_path / "round" / "index.html")
    page = labeling.driver.current_window_handle
    for shown, file, width in (("image", photo, 900), ("matched-image", matched, 40)):
        labeling.element(shown).click()
        [opened] = {*labeling.driver.window_handles} - {page}
        labeling.driver.switch_to.window(opened)
        assert unquote(labeling.driver.current_url) == f"file://{file}"
        assert labeling.script("return document.images[0].naturalWidth") == width
        labeling.driver.close()
        labeling.driver.switch_to.window(page)
    labeling.press(Keys.ENTER)  # labels, and opens nothing
    assert labeling.labels() == ["cat", ""]
    assert len(labeling.driver.window_handles) == 1


def test_a_round_without_picks_says_so(labeling, tmp_path):
    write_page(tmp_path / "empty.html", "none left", CLASSES, [])
    labeling.open(tmp_path / "empty.html")
    labeling.press("1", Keys.ENTER, "/", "s", "u")
    assert labeling.find("body").text.split("\n") == [
        "none left",
        "This round has no picks, so there is nothing to label.",
    ]


def test_hostile_names_are_only_text(labeling, tmp_path, pictures):
    cards = [card(name, pictures[0], predicted=name) for name in HOSTILE]
    write_page(tmp_path / "hostile.html", HOSTILE[0], HOSTILE, cards)
    labeling.open(tmp_path / "hostile.html")
    labeling.press("/", "<b>new</b>", Keys.ENTER)
    assert labeling.text("add") == "Add new class “<b>new</b>”"
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


@examples(8, "labels on the page")
@given(names=st.lists(any_path, min_size=30, max_size=60, unique=True))
def test_csv_is_what_python_reads(session, tmp_path_factory, pictures, names):
    page = tmp_path_factory.mktemp("names") / "index.html"
    write_page(page, "names", [names[0] or "cat"], [card(name, pictures[0]) for name in names])
    session.open(page)
    session.press("1")
    labels = [names[0] or "cat", *[""] * (len(names) - 1)]
    assert session.downloaded() == [("filepath", "label"), *zip(names, labels, strict=True)]
