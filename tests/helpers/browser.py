"""Headless Chromium with a fake camera: what the browser's tests and the screenshots share."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from PIL import Image

from helpers import EXAMPLES

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-ui-for-media-stream --use-fake-device-for-media-stream"
)


@contextmanager
def chromium(folder: Path) -> Iterator:
    """A started browser of Playwright's, whose camera shows the astronaut, swaying; its film is made in `folder`."""
    from playwright.sync_api import sync_playwright

    camera = write_camera(folder / "camera.y4m")
    with sync_playwright() as playwright:
        flags = [*FLAGS.split(), f"--use-file-for-fake-video-capture={camera}"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def write_camera(path: Path, frames: int = 40) -> Path:
    """A film of 640 x 480 pixels and 20 frames a second, as Chromium takes it for a camera."""
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


def film_of(example: str, path: Path, seconds: float, rate: int = 20) -> Path:
    """A film that shows one of the examples, standing still, 640 pixels wide."""
    with Image.open(EXAMPLES / example) as photo:
        still = np.asarray(photo.convert("RGB").resize((640, 2 * round(320 * photo.height / photo.width))))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = still.shape[1], still.shape[0], "yuv420p"
        for _ in range(round(seconds * rate)):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")))
        container.mux(stream.encode(None))
    return path
