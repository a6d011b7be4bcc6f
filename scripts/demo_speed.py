"""How fast the demo is and how much memory it takes, asked over HTTP on 127.0.0.1; writes results/demo.json.

    python scripts/demo_speed.py                        # all parts, about ten minutes on two quiet cores
    python scripts/demo_speed.py --only load,film       # these parts anew; the other parts' figures stay
    python scripts/demo_speed.py --quick                # few requests: a try, only printed

Parts: photo (one visitor), load (eight at once, for each choice of --workers and --threads), live (frames of a
webcam, over HTTP and in headless Chromium), memory (over many photos), film. Each starts `python app.py` anew, with
the weights in results/. Needs requirements-dev.txt; whoever asks shares the cores with the server, so nothing else
should run here meanwhile.
"""

import argparse
import base64
import importlib.util
import io
import itertools
import json
import os
import queue
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import av
import httpx
import numpy as np
import torch
from PIL import Image, ImageEnhance
from tqdm import tqdm

from fer_model.demo.versions import Versions
from fer_model.machine import environment
from helpers.app import RunningApp, running_app
from helpers.browser import CHROMIUM, chromium, write_camera

PHOTO = ROOT / "examples" / "astronaut.jpg"

VISITORS = 8

CHOICES = ((1, 1), (1, 2), (2, 1), (2, 2))
"""--workers and --threads of the servers that are compared."""

WIDTH, HEIGHT = 640, 480
"""Of the camera's frames and the film, in pixels."""

FILM_RATE = 25

BUSY = 0.5
"""Load average above which figures would be those of other programs, too."""


@dataclass(frozen=True)
class Amounts:
    """How much is asked of each part."""

    photos: int = 50
    rounds: int = len(CHOICES)  # so that each is the first once
    photos_a_round: int = 60
    frames: int = 150
    seconds_in_browser: int = 20
    photos_for_memory: int = 1000
    warm_up_for_memory: int = 100
    films: int = 3
    seconds_of_film: int = 5


QUICK = Amounts(
    photos=5,
    rounds=1,
    photos_a_round=VISITORS,
    frames=10,
    seconds_in_browser=4,
    photos_for_memory=24,
    warm_up_for_memory=8,
    films=1,
    seconds_of_film=1,
)


# --- the server and those who ask it


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


def latency(seconds: list[float]) -> dict[str, float]:
    milliseconds = 1000 * np.array(seconds)
    return {
        "median_ms": round(float(np.median(milliseconds)), 1),
        "p95_ms": round(float(np.percentile(milliseconds, 95)), 1),
    }


# --- what the camera sees: the photo, swaying


def frames(count: int) -> Iterator[np.ndarray]:
    """RGB frames, uint8 (HEIGHT, WIDTH, 3), of what Chromium's camera shows."""
    with tempfile.TemporaryDirectory() as folder:
        film = write_camera(Path(folder) / "camera.y4m", count)
        with av.open(str(film)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")


def write_mp4(file: Path, seconds: int) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("libx264", rate=FILM_RATE)
        stream.pix_fmt, stream.width, stream.height = "yuv420p", WIDTH, HEIGHT
        for frame in frames(FILM_RATE * seconds):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return file


# --- the parts


def photo(amounts: Amounts) -> dict:
    with demo() as app:
        visitor = Visitor(app.url)
        for _ in range(3):
            visitor.photo()
        seconds = [visitor.photo() for _ in tqdm(range(amounts.photos), "photo")]
    return {
        "what": "examples/astronaut.jpg to /predict by one visitor, from the upload to the answer and both pictures",
        "requests": len(seconds),
        **defaults(),
        **latency(seconds),
    }


def load(amounts: Amounts) -> dict:
    """All servers stand ready and are asked in turn, so that what disturbs the machine for a while disturbs all."""
    with ExitStack() as stack:
        crowds = {}
        for workers, threads in CHOICES:
            app = stack.enter_context(demo("--workers", str(workers), "--threads", str(threads)))
            crowds[workers, threads] = Crowd(app.url)
        total = (amounts.rounds * amounts.photos_a_round + VISITORS) * len(CHOICES)
        bar = stack.enter_context(tqdm(total=total, desc="load"))
        for crowd in crowds.values():
            crowd.photos(VISITORS, bar)
        seconds = {choice: [] for choice in CHOICES}
        rates = {choice: [] for choice in CHOICES}
        for number in range(amounts.rounds):
            first = number % len(CHOICES)
            for choice in CHOICES[first:] + CHOICES[:first]:
                started = time.perf_counter()
                seconds[choice] += crowds[choice].photos(amounts.photos_a_round, bar)
                rates[choice].append(amounts.photos_a_round / (time.perf_counter() - started))
    default = tuple(defaults().values())
    return {
        "what": f"photos to /predict by {VISITORS} visitors at once, each asking again when answered; same cores",
        "visitors": VISITORS,
        "rounds": amounts.rounds,
        "choices": [
            {
                "workers": choice[0],
                "threads": choice[1],
                "default": choice == default,
                "requests": len(seconds[choice]),
                # rounds are equally long in photos, so what counts is the mean of their durations
                "answers_a_second": round(statistics.harmonic_mean(rates[choice]), 2),
                "slowest_and_fastest_round": [round(min(rates[choice]), 2), round(max(rates[choice]), 2)],
                **latency(seconds[choice]),
            }
            for choice in CHOICES
        ],
    }


def live(amounts: Amounts) -> dict:
    with demo() as app:
        over_http = [frames_over_http(app.url, amounts.frames, maps) for maps in (False, True)]
        in_browser = frames_in_browser(app.url, amounts.seconds_in_browser)
    return {
        "what": f"frames of {WIDTH} x {HEIGHT}, the next one sent when the last answer has come",
        **defaults(),
        "over_http": over_http,
        "in_browser": in_browser,
    }


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


def memory(amounts: Amounts) -> dict:
    total, start = amounts.photos_for_memory, amounts.warm_up_for_memory
    marks = (start, (start + total) // 2, total)
    if not Path("/proc/self/status").is_file():
        return {"skipped": "it is read from Linux's /proc"}
    held = []
    with demo() as app, tqdm(total=total, desc="memory") as bar:
        crowd = Crowd(app.url)
        for before, mark in itertools.pairwise((0, *marks)):
            crowd.photos(mark - before, bar)
            held.append(resident(app.pid))
    return {
        "what": f"the server's resident memory after so many photos by {VISITORS} visitors at once, warm-up included",
        **defaults(),
        "requests": list(marks),
        "mb": [round(size, 1) for size in held],
        "growth_mb_per_1000": round(1000 * (held[2] - held[0]) / (marks[2] - marks[0]), 1),
        # what is remembered of each upload for a minute still grows in the first half
        "growth_mb_per_1000_second_half": round(1000 * (held[2] - held[1]) / (marks[2] - marks[1]), 1),
    }


def resident(pid: int) -> float:
    """The memory that a process holds now, in MB (10^6 bytes)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS"))


def film(amounts: Amounts) -> dict:
    length, taken = amounts.seconds_of_film, []
    with demo() as app, tempfile.TemporaryDirectory() as folder:
        content = write_mp4(Path(folder) / "film.mp4", length).read_bytes()
        visitor = Visitor(app.url)
        visitor.photo()  # loads what is loaded once
        for _ in tqdm(range(amounts.films), "film"):
            started = time.perf_counter()
            annotated, table = visitor.ask(visitor.endpoint("film"), [visitor.upload("film.mp4", content), 0.1, None])
            files = [visitor.fetch(file) for file in (annotated, table)]
            taken.append(time.perf_counter() - started)
    return {
        "what": f"a film of {WIDTH} x {HEIGHT}, {FILM_RATE} frames a second, to /film, from the upload to both files",
        **defaults(),
        "films": amounts.films,
        "seconds_of_film": length,
        "searches_a_second_of_film": 10,
        "seconds_per_second_of_film": round(statistics.median(taken) / length, 3),
        "slowest": round(max(taken) / length, 3),
        "rows_in_table": files[1].decode().count("\n") - 1,
    }


PARTS: dict[str, Callable[[Amounts], dict]] = {
    "photo": photo,
    "load": load,
    "live": live,
    "memory": memory,
    "film": film,
}


# --- the command line


def defaults() -> dict[str, int]:
    """What the demo chooses here without --workers and --threads."""
    from app import parse_args  # imports gradio, for which --help need not wait

    args = parse_args([])
    return {"workers": args.workers, "threads": args.threads}


def described(name: str, figures: dict, quick: bool) -> dict:
    """A part's figures, with what is needed to compare them."""
    machine = environment(torch.device("cpu"))
    del machine["threads"]  # of this process; the servers' stand beside the figures
    command = f"python scripts/demo_speed.py --only {name}{' --quick' if quick else ''}"
    version = Versions.among(ROOT / "results").default
    return {"command": command, "version": version, "cores": os.cpu_count(), "environment": machine, **figures}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PART,PART", help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="few requests; nothing is written without --output")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: results/demo.json")
    args = parser.parse_args()
    args.parts = args.only.split(",") if args.only else list(PARTS)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose of {', '.join(PARTS)}")
    if args.output is None and not args.quick:
        args.output = ROOT / "results" / "demo.json"
    return args


def warn_if_busy() -> None:
    load = os.getloadavg()[0]
    if load > BUSY:
        print(
            f"Warning: this machine is busy (load average {load:.1f}); the figures will be worse than they should.",
            file=sys.stderr,
        )


def write(file: Path, measured: dict) -> None:
    """Replace the measured parts in `file` and keep the others, all in the order of PARTS."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    merged = kept | measured
    ordered = {name: merged[name] for name in PARTS if name in merged}
    file.write_text(json.dumps(ordered, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    args = parse_args()
    warn_if_busy()
    for name in args.parts:
        figures = described(name, PARTS[name](QUICK if args.quick else Amounts()), args.quick)
        print(json.dumps({name: figures}, indent=2), flush=True)
        if args.output:
            write(args.output, {name: figures})  # at once: a break keeps what is done


if __name__ == "__main__":
    main()
