"""Take the README's screenshot of the demo, with a public-domain photo.

python app.py --port 7860 &
python docs/screenshot.py http://127.0.0.1:7860 docs/demo.png
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

PHOTO = Path(__file__).resolve().parent.parent / "examples" / "astronaut.jpg"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")


def main(address: str, file: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.wait_for_selector("#picture input[type=file]", state="attached")
        page.set_input_files("#picture input[type=file]", str(PHOTO))
        for picture in ("#boxed img", "#overlay img"):
            page.wait_for_selector(picture)
            page.wait_for_function("query => document.querySelector(query).naturalWidth > 0", arg=picture)
        page.wait_for_timeout(1500)  # for the bars to finish growing
        page.screenshot(path=file)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
