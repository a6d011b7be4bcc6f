"""Many clients of the demo at once, of every kind. Each checks that the answers are its own."""

import base64
import contextlib
import csv
import io
import os
import statistics
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import httpx
import numpy as np
from PIL import Image
from tqdm import tqdm

from demo_clients import Visitor, jpeg, latency
from demo_speed import resident
from helpers.app import RunningApp, running_app

LONGEST = 600.0
"""Seconds that a client waits for one answer."""

STOP_WITHIN = 10.0
"""Seconds from SIGTERM to the end."""


class Refused(Exception):
    """The demo said in a sentence that it does not answer."""


class Client(Visitor):
    """One client with a picture of a size that no other has."""

    def __init__(self, url: str, number: int, films: "InFlight"):
        rng = np.random.default_rng(number)
        self.name, self.size = f"client_{number}", (100 + 2 * number, 120)
        noise = Image.fromarray(rng.integers(0, 255, (6, 6, 3), dtype=np.uint8))
        self.image = noise.resize(self.size, Image.Resampling.NEAREST)
        self.films, self.version, self.asked = films, None, 0
        super().__init__(url, jpeg(self.image, 90))
        # A server that is very busy closes idle connections just as they are used again; browsers then ask anew.
        once = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=f"{url}/gradio_api", trust_env=False, timeout=LONGEST, limits=once)

    def ask(self, function: int, data: list, event_data: dict | None = None) -> list:
        try:
            return super().ask(function, data, event_data)
        except httpx.HTTPStatusError as error:
            raise Refused(error.response.read() and error.response.json()["detail"]) from error

    def new_picture(self) -> bytes:
        """The same pixels, in a file that nobody has given before."""
        self.asked += 1
        return self._picture + f"{self.name} {self.asked}".encode()

    def event(self, element: str) -> int:
        """The number of the function that a click on a button of the page calls."""
        component = next(part["id"] for part in self._config["components"] if part["props"].get("elem_id") == element)
        return next(event["id"] for event in self._config["dependencies"] if [component, "click"] in event["targets"])

    def photo(self) -> None:
        self._photo(self.upload("face.jpg", self.new_picture()))

    def _photo(self, upload: dict) -> None:
        answer, boxed, _ = self.ask(self.endpoint("predict"), [upload, True, None, True])
        (face,) = answer["faces"]
        mine([answer["width"], answer["height"]] == [*self.size] and face["box"] == [0, 0, *self.size])
        mine(Image.open(io.BytesIO(self.fetch(boxed))).size == self.size)

    def live(self) -> None:
        frame = "data:image/jpeg;base64," + base64.b64encode(self._picture).decode()
        event = {"frame": frame, "maps": True, "first": True, "number": self.asked}
        drawing = self.ask(self.camera(), [None, None], event)[0]
        mine(f'"width": {self.size[0]}, "height": {self.size[1]}' in drawing)

    def video(self) -> None:
        file = io.BytesIO()
        with av.open(file, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=5)
            stream.pix_fmt, (stream.width, stream.height) = "yuv420p", self.size
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame.from_image(self.image)))
            container.mux(stream.encode(None))
        self.asked += 1
        upload = self.upload(f"{self.name}_{self.asked}.mp4", file.getvalue())
        with self.films:
            annotated, table = self.ask(self.endpoint("film"), [upload, 0.5, None])
        with av.open(io.BytesIO(self.fetch(annotated))) as container:
            mine((container.streams.video[0].width, container.streams.video[0].height) == self.size)
        mine(names_in(self.fetch(table)) == {f"{self.name}_{self.asked}.mp4"})

    def zip(self) -> None:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            archive.writestr("face.jpg", self.new_picture())
        upload = self.upload(f"{self.name}_{self.asked}.zip", content.getvalue())
        version = self.version = self.version or self.ask(self.endpoint("about"), [])[0]["default"]
        with self.films:
            table = self.ask(self.event("pictures-start"), [[upload], version, True])[2]
        mine(names_in(self.fetch(table["value"])) == {f"{self.name}_{self.asked}.zip/face.jpg"})

    def early(self) -> None:
        """Leave in the middle of an upload, and without waiting for an answer."""
        with httpx.Client(base_url=self._http.base_url, trust_env=False, timeout=LONGEST) as leaving:
            with contextlib.suppress(ConnectionResetError):
                leaving.post("/upload", content=broken_off(*self._form()), headers=self._headers())
            upload = self.upload("left.jpg", self.new_picture())
            body = {"fn_index": self.endpoint("predict"), "data": [upload, True, None, True], "session_hash": self.name}
            leaving.post("/queue/join", json=body).raise_for_status()
            with leaving.stream("GET", "/queue/data", params={"session_hash": self.name}):
                pass  # closed before a message is read

    def slow(self) -> None:
        """An upload over a slow line."""
        content = slowly(b"".join(self._form()))
        (path,) = self._http.post("/upload", content=content, headers=self._headers()).raise_for_status().json()
        self._photo({"path": path, "meta": {"_type": "gradio.FileData"}})

    def _headers(self) -> dict[str, str]:
        return {"Content-Type": "multipart/form-data; boundary=end-of-part"}

    def _form(self) -> tuple[bytes, bytes]:
        """The body of an upload, in two parts."""
        head = b'--end-of-part\r\nContent-Disposition: form-data; name="files"; filename="face.jpg"\r\n\r\n'
        content = self.new_picture()
        return head + content[:500], content[500:] + b"\r\n--end-of-part--\r\n"


KINDS: tuple[Callable[[Client], object], ...] = (
    *(Client.photo, Client.live, Client.video, Client.photo, Client.zip),
    *(Client.photo, Client.live, Client.early, Client.photo, Client.slow),
)
"""What ten clients do, in turn: four give photos, two live frames, and each of the others does one other thing."""


class InFlight:
    """How many ask for long work at this moment."""

    def __init__(self) -> None:
        self.count, self._lock = 0, threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.count += 1

    def __exit__(self, *_) -> None:
        with self._lock:
            self.count -= 1


def mine(true: bool) -> None:
    """Raises ValueError: what came back belongs to somebody else."""
    if not true:
        raise ValueError("an answer that belongs to another client")


def names_in(table: bytes) -> set[str]:
    return {row["file"] for row in csv.DictReader(io.StringIO(table.decode()))}


def broken_off(first: bytes, _: bytes) -> Iterator[bytes]:
    yield first
    raise ConnectionResetError


def slowly(content: bytes, parts: int = 20) -> Iterator[bytes]:
    size = len(content) // parts + 1
    for start in range(0, len(content), size):
        time.sleep(0.1)
        yield content[start : start + size]


def load(app: RunningApp, clients: int, seconds: float) -> dict:
    """All clients at once for that long, each again as soon as it is answered; counts of what came back."""
    films, counts, taken, lost = InFlight(), Counter(), {}, []
    beside_films, held = Counter(), []
    end = time.monotonic() + seconds

    def visit(number: int) -> None:
        client, kind = None, KINDS[number % len(KINDS)]
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                client = client or Client(app.url, number, films)
                kind(client)
            except Refused as error:
                counts[f"{kind.__name__}: {error}"] += 1
                time.sleep(1)
                continue
            except Exception as error:
                lost.append(f"{kind.__name__}: {error!r}"[:300])
                continue
            counts[kind.__name__] += 1
            taken.setdefault(kind.__name__, []).append(time.monotonic() - started)
            beside_films[kind.__name__] += films.count > 1  # one is worked on, others wait

    with ThreadPoolExecutor(clients) as pool, tqdm(total=seconds, desc="load", unit="s") as bar:
        asked = [pool.submit(visit, number) for number in range(clients)]
        while time.monotonic() < end:
            time.sleep(min(1.0, seconds / 20))
            held.append(resident(app.pid))
            bar.update(min(1.0, seconds / 20))
        for one in asked:
            one.result()
    quarter = len(held) // 4
    kinds = {kind.__name__ for kind in KINDS}
    return {
        "answered": {name: counts[name] for name in sorted(kinds)},
        "refused_with_a_sentence": {name: count for name, count in counts.items() if name not in kinds},
        "lost": len(lost),
        "lost_examples": lost[:5],
        "photos_answered_while_videos_waited": beside_films["photo"],
        "latency": {name: latency(seconds) for name, seconds in sorted(taken.items())},
        "mb_after_warm_up": round(statistics.median(held[quarter : 2 * quarter]), 1),
        "mb_at_the_end": round(statistics.median(held[-quarter:]), 1),
    }


def stopped(app: RunningApp, folder: Path, own: set[Path]) -> dict:
    """SIGTERM while a video is worked on and an upload lies there that nobody asked about."""
    client = Client(app.url, 0, InFlight())
    client.upload("left.jpg", client.new_picture())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.video)
        time.sleep(1)
        before = len(files_in(folder))
        seconds = app.stop()
        asked.exception(60)
    left = [path.relative_to(folder).as_posix() for path in files_in(folder) - own]
    return {"files_before_stop": before, "stopped_after_s": round(seconds, 1), "files_left": left}


def files_in(folder: Path) -> set[Path]:
    # rglob raises an error where a folder is deleted while it looks
    return {Path(parent) / name for parent, _, names in os.walk(folder) for name in names}


def crowd(clients: int, seconds: float) -> dict:
    shell = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        with running_app(folder, model="", environment=shell | {"TMPDIR": f"{folder}/tmp"}) as app:
            own = files_in(folder)  # its log, and what stands there before the first visitor
            found = load(app, clients, seconds) | stopped(app, folder, own)
            found["unforeseen_errors_in_log"] = app.output.count("Traceback")
    good = not found["lost"] and not found["files_left"] and found["stopped_after_s"] <= STOP_WITHIN
    return {"clients": clients, "seconds": seconds, "survived": good, **found}
