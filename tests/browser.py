"""A browser for the tests of the labeling page: Debian's chromium, without a window, driven by selenium."""

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "needs a browser (on Debian: apt install chromium chromium-driver)"

NO_STORAGE = """
Object.defineProperty(window, "localStorage", {
  get() { throw new DOMException("forbidden", "SecurityError"); },
});
"""


def is_installed() -> bool:
    return CHROMIUM is not None and DRIVER is not None


@dataclass(frozen=True)
class Session:
    """What a person does with a labeling page, and sees on it.

    downloads : the folder for what is downloaded.
    """

    driver: webdriver.Chrome
    downloads: Path

    def open(self, page: Path) -> None:
        self.driver.get(page.as_uri())

    def press(self, *keys: str) -> None:
        """Type into whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(*keys)

    def hold(self, key: str, repeats: int) -> None:
        """Keep a key down for so long that the keyboard repeats it."""
        for number in range(repeats):
            event = {"type": "keyDown", "key": key, "text": key, "autoRepeat": number > 0}
            self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", "key": key})

    def script(self, text: str) -> Any:
        return self.driver.execute_script(text)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def element(self, name: str) -> WebElement:
        return self.driver.find_element(By.ID, name)

    def text(self, name: str) -> str:
        return self.element(name).text

    def labels(self) -> list[str]:
        """Label of each pick as the strip shows it, "" for open ones."""
        return self.script("return [...document.querySelectorAll('#strip span')].map((it) => it.textContent)")

    def shown(self) -> list[int]:
        """Positions of the picks that the strip shows."""
        thumbs = self.driver.find_elements(By.CSS_SELECTOR, "#strip button")
        return [position for position, thumb in enumerate(thumbs) if thumb.is_displayed()]

    def downloaded(self) -> list[tuple[str, ...]]:
        """Rows of the file that the download button saves."""
        path = self.downloads / "labels.csv"
        self.element("download").click()
        self.wait_until(path.is_file)
        with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = [tuple(row) for row in csv.reader(file)]
        path.unlink()
        return rows

    def wait_until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """What the console said since it was asked last: errors, and what the page's policy forbade."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    @contextmanager
    def second_window(self, page: Path) -> Iterator[Callable[[], None]]:
        """Work in another window with that page; what is yielded goes back to the first one."""
        first = self.driver.current_window_handle
        self.driver.switch_to.new_window("window")
        second = self.driver.current_window_handle
        self.open(page)
        yield lambda: self.driver.switch_to.window(first)
        self.driver.switch_to.window(second)
        self.driver.close()
        self.driver.switch_to.window(first)

    @contextmanager
    def without_storage(self) -> Iterator[None]:
        """Let pages that are opened keep nothing in the browser."""
        command = "Page.addScriptToEvaluateOnNewDocument"
        added = self.driver.execute_cdp_cmd(command, {"source": NO_STORAGE})
        yield
        self.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)

    @contextmanager
    def size(self, width: int, height: int) -> Iterator[None]:
        """Let the page be so large, in pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        yield
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@contextmanager
def open_browser(downloads: Path) -> Iterator[Session]:
    """A browser that reaches no network."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument("--window-size=1200,900")
    options.add_argument("--disable-dev-shm-usage")  # a container's is too small
    options.add_argument("--proxy-server=127.0.0.1:9")
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield Session(driver, downloads)
    finally:
        driver.quit()
