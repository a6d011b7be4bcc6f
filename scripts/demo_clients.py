"""Those who ask the demo in `demo_speed.py`: a visitor, a crowd of them, and what they give."""

import base64
import importlib.util
import io
import json
import os
import queue
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av
import httpx
import numpy as np
from PIL import Image, ImageEnhance
from tqdm import tqdm

from helpers.app import RunningApp, running_app
from helpers.browser import CHROMIUM, chromium, write_camera

PHOTO = ROOT / "examples" / "astronaut.jpg"

VISITORS = 8

WIDTH, HEIGHT = 640, 480
"""Of the camera's frames and the video, in pixels."""

VIDEO_RATE = 25


@contextmanager
def demo(*options: str) -> Iterator[RunningApp]:
    """`python app.py OPTIONS`, ready to answer."""
    # a user's shell sets none of these; they would win over what OpenCV and --threads choose
    shell = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    with (
        tempfile.TemporaryDirectory() as folder,
        running_app(Path(folder), ("app.py", *options), model="", environment=shell) as app,
    ):
        yield app


class Visitor:
    """Asks as the page and gradio_client do: joins the queue, and reads the session's messages up to the answer.

    Args:
        picture: the photo that this visitor gives, again and again.
    """

    def __init__(self, url: str, picture: bytes | None = None):
        self._picture = picture or PHOTO.read_bytes()
        self._http = httpx.Client(base_url=f"{url}/gradio_api", trust_env=False, timeout=300)
        self._session = secrets.token_hex(8)
        self._config = self._http.get(f"{url}/config").json()

    def endpoint(self, name: str) -> int:
        """The number of what programs call by this name."""
        public = {
            event["api_name"]: event["id"]
            for event in self._config["dependencies"]
            if event["api_visibility"] == "public"
        }
        if name not in public:
            raise SystemExit(f"demo_speed.py: the demo offers programs no /{name}, only /{', /'.join(public)}.")
        return public[name]

    def camera(self) -> int:
        """The number of what the page calls with a frame of the camera."""
        component = next(part["id"] for part in self._config["components"] if part["props"].get("elem_id") == "camera")
        return next(event["id"] for event in self._config["dependencies"] if [component, "input"] in event["targets"])

    def upload(self, name: str, content: bytes) -> dict:
        answer = self._http.post("/upload", files={"files": (name, content)})
        return {"path": answer.raise_for_status().json()[0], "meta": {"_type": "gradio.FileData"}}

    def ask(self, function: int, data: list, event_data: dict | None = None) -> list:
        """The values that a function answers with, the last ones if it answers several times."""
        body = {"fn_index": function, "data": data, "event_data": event_data, "session_hash": self._session}
        self._http.post("/queue/join", json=body).raise_for_status()
        answer = None
        with self._http.stream("GET", "/queue/data", params={"session_hash": self._session}) as messages:
            for line in messages.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    answer = message
        if not answer or not answer["success"]:
            raise RuntimeError(f"The demo gave no answer: {answer}")
        return answer["output"]["data"]

    def fetch(self, file: dict) -> bytes:
        return self._http.get(f"/file={file['path']}").raise_for_status().content

    def photo(self) -> float:
        """Seconds from giving the photo until its answer and both pictures are here."""
        # another file each time, as visitors' are, of the same pixels: what follows a JPEG's end is not looked at
        content = self._picture + secrets.token_bytes(8)
        started = time.perf_counter()
        upload = self.upload(PHOTO.name, content)
        answer, boxed, overlay = self.ask(self.endpoint("predict"), [upload, False, None, True])
        for picture in (boxed, overlay):
            self.fetch(picture)
        seconds = time.perf_counter() - started
        if len(answer["faces"]) != 1:
            raise RuntimeError(f"The photo shows one face; the demo says: {answer['message']}")
        return seconds


class Crowd:
    """Visitors who all ask at once, each again as soon as it is answered.

    No two give the same picture: Gradio would write their answers to the same file, and one visitor would fetch what
    is being written for the other.
    """

    def __init__(self, url: str):
        self._free: queue.SimpleQueue[Visitor] = queue.SimpleQueue()
        for number in range(VISITORS):
            self._free.put(Visitor(url, darker(number)))

    def photos(self, count: int, bar: tqdm) -> list[float]:
        """Seconds of each of so many requests."""

        def one(_: int) -> float:
            visitor = self._free.get()
            try:
                return visitor.photo()
            finally:
                self._free.put(visitor)
                bar.update()

        with ThreadPoolExecutor(VISITORS) as pool:
            return list(pool.map(one, range(count)))


def darker(steps: int) -> bytes:
    """The photo, darker by so many steps of 3 %."""
    with Image.open(PHOTO) as opened:
        return jpeg(ImageEnhance.Brightness(opened.convert("RGB")).enhance(1 - 0.03 * steps), 95)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return content.getvalue()


def frames(count: int) -> Iterator[np.ndarray]:
    """RGB frames, uint8 (HEIGHT, WIDTH, 3), of what Chromium's camera shows."""
    with tempfile.TemporaryDirectory() as folder:
        video = write_camera(Path(folder) / "camera.y4m", count)
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")


def write_mp4(file: Path, seconds: int) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=VIDEO_RATE)
        stream.pix_fmt, stream.width, stream.height = "yuv420p", WIDTH, HEIGHT
        for frame in frames(VIDEO_RATE * seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file


def frames_over_http(url: str, count: int, maps: bool) -> dict:
    """As the page asks, without a page."""
    visitor = Visitor(url)
    function = visitor.camera()
    # as the page sends them
    pictures = [
        "data:image/jpeg;base64," + base64.b64encode(jpeg(Image.fromarray(frame), 80)).decode() for frame in frames(40)
    ]
    warm_up, seconds, faces = 3, [], 0
    for number in tqdm(range(warm_up + count), f"live, heat maps {'on' if maps else 'off'}"):
        event_data = {"frame": pictures[number % len(pictures)], "maps": maps, "first": number == 0}
        started = time.perf_counter()
        drawing = visitor.ask(function, [None, None], event_data)[0]
        seconds.append(time.perf_counter() - started)
        faces += bool(json.loads(drawing)["faces"])
    seconds = seconds[warm_up:]
    return {
        "heat_maps": maps,
        "frames": count,
        "with_a_face": round(faces / (warm_up + count), 3),
        "answers_a_second": round(count / sum(seconds), 2),
        **latency(seconds),
    }


def frames_in_browser(url: str, seconds: int) -> dict:
    """The page's own figure in headless Chromium."""
    if CHROMIUM is None:
        return {"skipped": "no chromium was found"}
    if importlib.util.find_spec("playwright") is None:
        return {"skipped": "playwright is not installed"}
    with (
        tempfile.TemporaryDirectory() as folder,
        chromium(Path(folder)) as browser,
        tqdm(total=2 * seconds, desc="live in Chromium") as bar,
    ):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(url)
        page.get_by_role("tab", name="Live", exact=True).click()
        rates = [rates_of_page(page, seconds, maps, bar) for maps in (False, True)]
        version = browser.version
    return {
        "what": "the rate that the page shows; Chromium, headless and without a GPU, shares the server's cores",
        "chromium": version,
        "seconds": seconds,
        "rates": rates,
    }


def rates_of_page(page, seconds: int, maps: bool, bar: tqdm) -> dict:
    """The median of what the page says once a second, from starting its camera to stopping it."""
    page.locator("#camera [data-do=maps]").set_checked(maps)
    page.locator("#camera [data-do=toggle]").click()
    page.wait_for_function("() => document.querySelector('#camera .fer-rate').textContent")
    page.wait_for_timeout(2000)  # the figure is of the last twelve answers, and the first are slow
    size = page.locator("#camera video").evaluate("video => [video.videoWidth, video.videoHeight]")
    if size != [WIDTH, HEIGHT]:
        raise RuntimeError(f"Chromium's camera is of another size: {size}")
    rates, faces = [], 0
    for _ in range(seconds):
        page.wait_for_timeout(1000)
        rates.append(float(page.locator("#camera .fer-rate").inner_text().split()[0]))
        faces += page.locator("#camera svg rect").count() > 0
        bar.update()
    page.locator("#camera [data-do=toggle]").click()
    return {
        "heat_maps": maps,
        "answers_a_second": round(statistics.median(rates), 2),
        "least_and_most": [min(rates), max(rates)],
        "with_a_face": round(faces / seconds, 3),
    }


def latency(seconds: list[float]) -> dict[str, float]:
    milliseconds = 1000 * np.array(seconds)
    return {
        "median_ms": round(float(np.median(milliseconds)), 1),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 1),
    }
