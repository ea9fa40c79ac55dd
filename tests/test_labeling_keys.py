"""The labeling page in a browser: pictures, keys of other keyboards, and leaving it."""

from base64 import b64decode
from io import BytesIO

import pytest
from browser import MISSING, is_installed
from cards import CLASSES, card
from PIL import Image
from selenium.webdriver.common.keys import Keys

from fisher_al.labeling.page import write_page

pytestmark = pytest.mark.skipif(not is_installed(), reason=MISSING)


def test_the_pictures_and_names_are_those_of_the_pick_and_its_match(labeling):
    labeling.press(Keys.ARROW_RIGHT)  # a green one, matched with a blue one
    at = ("#image", "#strip :nth-child(2) img", "#matched-image")
    urls = [labeling.find(selector).get_attribute("src") for selector in at]
    files = [BytesIO(b64decode(url.partition("base64,")[2])) for url in urls]
    pixels = [Image.open(file).getpixel((9, 9)) for file in files]
    assert [pixel.index(max(pixel)) for pixel in pixels] == [1, 1, 2]
    names = ("filepath", "predicted", "confidence", "matched-label", "matched-path")
    assert [labeling.text(name) for name in names] == ["1.png", "cat", "confidence 50%", "dog", "2.png"]


def asks(labeling):
    leaving = "new Event('beforeunload', {cancelable: true})"
    return labeling.script(f"return !window.dispatchEvent({leaving})")


def test_a_page_that_keeps_nothing_asks_before_it_is_left(labeling, tmp_path):
    assert not asks(labeling)
    with labeling.without_storage():
        labeling.open(tmp_path / "index.html")
        assert not asks(labeling)
        labeling.press("1")
        assert asks(labeling)
        labeling.downloaded()
        assert not asks(labeling)
        labeling.press("2")
        assert asks(labeling)
        labeling.downloaded()


@pytest.mark.parametrize(
    ("event", "label"),
    [
        ({"key": "1", "code": "Digit1"}, "cat"),
        ({"key": "&", "code": "Digit1"}, "cat"),
        ({"key": "1", "code": "Digit1", "ctrlKey": True}, ""),
        ({"key": "1", "code": "Digit1", "altKey": True}, ""),
        ({"key": "1", "code": "Digit1", "isComposing": True}, ""),
    ],
    ids=["plain", "digit", "ctrl", "alt", "composing"],
)
def test_keys_of_other_keyboards_and_of_the_browser(labeling, event, label):
    dispatch = "document.body.dispatchEvent(new KeyboardEvent('keydown', arguments[0]))"
    labeling.driver.execute_script(dispatch, {**event, "bubbles": True})
    assert labeling.labels()[0] == label


def test_up_moves_a_row(labeling):
    labeling.press(*[Keys.ARROW_RIGHT] * 3, Keys.ARROW_UP)
    assert labeling.text("position") == "Pick 1 of 6"


def test_a_filter_that_shows_the_pick_stays_at_it(labeling):
    labeling.press(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    labeling.find("[data-filter=open]").click()
    assert labeling.text("position") == "Pick 3 of 6"


def test_without_a_prediction_nothing_is_accepted(labeling, tmp_path, pictures):
    cards = [card("a", pictures[0], predicted=""), card("b", pictures[0])]
    write_page(tmp_path / "x.html", "none", CLASSES, cards)
    labeling.open(tmp_path / "x.html")
    assert not labeling.element("accept").is_displayed()
    labeling.press(Keys.ENTER)
    assert not labeling.element("undo").is_enabled()
    assert labeling.text("position") == "Pick 1 of 2"
