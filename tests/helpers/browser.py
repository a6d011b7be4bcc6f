"""Headless Chromium with a fake camera, a visit to the demo in it, and videos to give."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image

try:
    from playwright.sync_api import expect, sync_playwright
except ImportError:  # the tests that need it are skipped
    expect = sync_playwright = None

from helpers import EXAMPLES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
)


SLOW = 60_000  # milliseconds; a busy machine may take long, but not for ever


@contextmanager
def chromium(folder: Path) -> Iterator:
    """A started browser of Playwright's, whose camera shows the astronaut, swaying; its video is made in `folder`."""
    camera = write_camera(folder / "camera.y4m")
    with sync_playwright() as playwright:
        flags = [*FLAGS.split(), f"--use-file-for-fake-video-capture={camera}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def write_camera(path: Path, frames: int = 40) -> Path:
    """A video of 640 x 480 pixels and 20 frames a second, as Chromium takes it for a camera."""
    with Image.open(EXAMPLES / "astronaut.jpg") as photo:
        still = np.asarray(photo.convert("RGB").crop((60, 0, 420, 270)).resize((640, 480)))
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W640 H480 F20:1 Ip A1:1 C420jpeg\n")
        for index in range(frames):
            shift = round(25 * np.sin(2 * np.pi * index / frames))
            luma, blue, red = Image.fromarray(np.roll(still, shift, axis=1)).convert("YCbCr").split()
            planes = (luma, blue.resize((320, 240)), red.resize((320, 240)))
            file.write(b"FRAME\n" + b"".join(plane.tobytes() for plane in planes))
    return path


def video_of(example: str, path: Path, seconds: float, rate: int = 20) -> Path:
    """A video that shows one of the examples, standing still, 640 pixels wide."""
    with Image.open(EXAMPLES / example) as photo:
        still = photo.convert("RGB").resize((640, 2 * round(320 * photo.height / photo.width)))
    return write_video(path, [still] * round(seconds * rate), rate)


def write_video(path: Path, pictures: list[Image.Image], rate: int = 10) -> Path:
    """A video (H.264) of these pictures, which are all of one size."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        (stream.width, stream.height), stream.pix_fmt = pictures[0].size, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


class Visit:
    """A page, every address it asked for, and every complaint in its console."""

    def __init__(self, browser, address: str, script: str = "", **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SLOW)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        # the context's events, so that requests of workers and new pages count too
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("websocket", lambda socket: self.requests.append(socket.url))
        self.page.on("console", lambda line: line.type == "error" and self.complaints.append(line.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        if script:
            self.page.add_init_script(script)
        self.page.goto(address)
        self.page.wait_for_selector("#picture input[type=file]", state="attached")

    def upload(self, path: Path, into: str = "#picture") -> None:
        self.page.set_input_files(f"{into} input[type=file]", str(path))

    def expect_text(self, query: str, text: str | re.Pattern) -> None:
        expect(self.page.locator(query)).to_contain_text(text, timeout=SLOW)

    def expect_message(self, text: str | re.Pattern) -> None:
        self.expect_text("#message", text)

    def recognise(self, path: Path, message: str | re.Pattern) -> None:
        self.upload(path)
        self.expect_message(message)
        self.page.wait_for_selector("#maps .fer-map")

    def open_tab(self, name: str) -> None:
        tab = self.page.get_by_role("tab", name=name).first
        if not tab.is_visible():  # a narrow page keeps some in a menu
            self.page.locator(".overflow-menu > button").click()
            tab = self.page.locator(".overflow-dropdown button", has_text=name)
        tab.click()

    def maps(self) -> list[str]:
        """The addresses of the six heat maps that are shown: another map has another."""
        return self.page.eval_on_selector_all("#maps img", "images => images.map((image) => image.src)")

    def expect_other_maps(self, than: list[str]) -> None:
        expect(self.page.locator("#maps img").first).not_to_have_attribute("src", than[0], timeout=SLOW)

    def start_camera(self) -> None:
        self.open_tab("Live")
        self.page.get_by_role("button", name="Start the camera").click()

    def probabilities(self, inside: str = "#face") -> dict[str, str]:
        rows = self.page.locator(f"{inside} .fer-bars li").all_inner_texts()
        return dict(row.split("\n") for row in rows)
