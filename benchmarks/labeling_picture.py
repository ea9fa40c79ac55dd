"""Take the picture of a labeling page that the README shows: some of its picks labeled, as an oracle says.

    python3 benchmarks/labeling_picture.py round1/index.html --oracle labels.csv

Needs chromium and its driver. Writes images/labeling-page.png.
"""

import csv
import sys
import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image

from fisher_al.commands.parsing import Parser, index
from fisher_al.commands.scripts import run_script

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import open_browser
from selenium.webdriver.common.keys import Keys

DEFAULT_OUT = Path(__file__).parents[1] / "images" / "labeling-page.png"


def main(argv=None):
    parser = Parser(description=__doc__.partition("\n")[0])
    parser.add_argument("page", type=Path, help="the page of a round")
    parser.add_argument("--oracle", type=Path, required=True, help="CSV: filepath, label")
    parser.add_argument("--labeled", type=index, default=12, help="picks that are labeled")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="PNG")
    args = parser.parse_args(argv)
    with open(args.oracle, newline="", encoding="utf-8") as file:
        label_of = {row["filepath"]: row["label"] for row in csv.DictReader(file)}
    with tempfile.TemporaryDirectory() as downloads, open_browser(Path(downloads)) as session:
        session.open(args.page.resolve())
        for _ in range(args.labeled):
            session.press("/", label_of[session.text("filepath")], Keys.ENTER)
        with session.size(1200, 900):
            picture = Image.open(BytesIO(session.driver.get_screenshot_as_png()))
    picture.convert("RGB").quantize(256).save(args.out, optimize=True)


if __name__ == "__main__":
    run_script(main)
