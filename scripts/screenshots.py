"""Take the pictures of the demo in docs/images/, of every tab, with public-domain photos and a fake camera.

python scripts/screenshots.py                # starts the demo with the weights in results/, needs chromium
"""

import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from PIL import Image

from fer_model import cli
from helpers import EXAMPLES
from helpers.app import running_app
from helpers.browser import CHROMIUM, chromium, video_of

MOST_BYTES = 490_000

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def photo(page) -> None:
    page.set_input_files("#picture input[type=file]", str(EXAMPLES / "two_faces.jpg"))
    page.wait_for_selector("#maps .fer-map")
    page.locator("#compare input").check()
    page.wait_for_selector("#answers table")


def live(page) -> None:
    page.get_by_role("tab", name="Live").click()
    page.get_by_role("button", name="Start the camera").click()
    page.get_by_label("Heat map").check()
    page.wait_for_selector("#camera svg image", state="attached")
    page.wait_for_timeout(6000)  # for the lines to grow


def videos(page, folder: Path) -> None:
    page.get_by_role("tab", name="Videos").click()
    page.set_input_files("#film input[type=file]", str(video_of("two_faces.jpg", folder / "video.mp4", seconds=3)))
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    page.wait_for_selector("#film-out video", timeout=120_000)
    page.set_input_files("#pictures input[type=file]", [str(path) for path in sorted(EXAMPLES.glob("*.png"))])
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    page.wait_for_selector("#pictures-file a")


def about(page) -> None:
    page.get_by_role("tab", name="About").click()
    page.wait_for_selector("#figures img")
    page.evaluate(
        "Promise.all([...document.querySelectorAll('#figures img')].map((i) => (i.loading = 'eager', i.decode())))"
    )


def save(shot: bytes, path: Path) -> None:
    """Smaller where it would be a large file; a palette would draw steps into the heat maps."""
    with Image.open(io.BytesIO(shot)) as opened:
        picture = opened.convert("RGB")
    path.write_bytes(shot)
    width = picture.width
    while path.stat().st_size > MOST_BYTES:
        width -= 80
        smaller = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        smaller.save(path, optimize=True)


def main() -> None:
    parser = cli.parser("screenshots.py", __doc__)
    parser.add_argument(
        "--output", type=Path, default=ROOT / "docs" / "images", metavar="DIR", help="where the pictures go"
    )
    output = parser.parse_args().output
    if CHROMIUM is None:
        raise SystemExit("no chromium was found (Debian: apt install chromium)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with running_app(folder, model="") as app, chromium(folder) as browser:
            shots = {
                "demo_photo.png": (photo, "light", WIDE),
                "demo_live.png": (live, "light", WIDE),
                "demo_videos.png": (lambda page: videos(page, folder), "light", WIDE),
                "demo_about.png": (about, "light", WIDE),
                "demo_phone.png": (photo, "dark", PHONE),
            }
            for name, (prepare, theme, size) in shots.items():
                page = browser.new_page(viewport=size)
                page.set_default_timeout(60_000)
                page.goto(f"{app.url}/?__theme={theme}")
                page.wait_for_selector("#picture input[type=file]", state="attached")
                prepare(page)
                page.wait_for_timeout(1500)  # bars finish growing, progress displays fade out
                save(page.screenshot(full_page=True), output / name)
                page.close()
                print(output / name, flush=True)


if __name__ == "__main__":
    main()
