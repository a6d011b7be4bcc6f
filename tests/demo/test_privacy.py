"""What becomes of the pictures: nothing of a visitor stays, and nobody reads a file of the server's."""

import base64
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import gradio
import pytest
from gradio.state_holder import StateHolder
from PIL import Image

import app
from fer_model import FERModel
from fer_model.demo import privacy
from fer_model.demo.guard import GONE, NO_ADDRESS
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES
from helpers.app import running_app, wait_until
from helpers.visitors import Answer, Visitor, call_tool

FORGET_AFTER, KEEP_SECONDS = 2, 7

HURRY = f"""
import safehttpx
safehttpx.is_public_ip = lambda address: True  # so that Gradio would fetch from this machine, too
from fer_model.demo import privacy
privacy.FORGET_AFTER, privacy.KEEP_SECONDS, privacy.DELETE_EVERY = {FORGET_AFTER}, {KEEP_SECONDS}, 0.3
import app
app.main(app.parse_args())
"""


class Hurried:
    """A demo that forgets in seconds, a visitor of it, and what lies in its folders."""

    def __init__(self, url: str, folder: Path):
        self.url = url
        self.figure = folder / "v1" / "visualizations" / "confusion_matrix.png"
        self.cache = folder / "cache"
        self.visitor = Visitor(url)
        self.examples = {path for path in self.files() if path.name in app.EXAMPLES}

    def files(self) -> set[Path]:
        return {path for path in self.cache.rglob("*") if path.is_file()}

    def page_events(self) -> list[tuple[int, Callable[[bytes, bytes], list]]]:
        """Every event of the page that takes what a visitor has uploaded: its number, and what makes its data.

        Found by their inputs, so that those that are added one day are among them.
        """
        config = self.visitor.config()
        components = {component["id"]: component for component in config["components"]}
        events = []
        for event in config["dependencies"]:
            inputs = [components[number] for number in event["inputs"]]
            if {part["type"] for part in inputs} & {"image", "video", "file"} and event["api_visibility"] == "private":
                events.append((event["id"], lambda given, inputs=inputs: [self._data(part, given) for part in inputs]))
        return events

    def _data(self, component: dict, given: Callable[[str], dict]):
        match component["type"]:
            case "image" | "video":
                return given(component["type"])
            case "file":
                return [given("image"), given("image")]
            case "state":
                return None
            case _:
                return component["props"].get("value")


@pytest.fixture(scope="module")
def hurried(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hurried")
    FERModel(version="v1", seed=0).save_pretrained(folder / "v1" / "models")
    (folder / "v1" / "visualizations").mkdir()
    Image.open(EXAMPLES / "astronaut.jpg").save(folder / "v1" / "visualizations" / "confusion_matrix.png")
    with running_app(folder, ("-c", HURRY), str(folder / "v1" / "models")) as running:
        yield Hurried(running.url, folder)


_number = itertools.count()


def another(content: bytes) -> bytes:
    """The same picture or video in a file that nobody has given before: Gradio names files by their content."""
    return content + f"given for the {next(_number)}th time".encode()


TWO_FACES = (EXAMPLES / "two_faces.jpg").read_bytes()


def test_an_upload_is_deleted_soon_after_the_answer_what_was_made_of_it_later_and_asking_again_says_so(hurried):
    upload = hurried.visitor.upload(another(TWO_FACES))
    answer = hurried.visitor.call("/predict", image=upload)
    assert len(answer.outputs[0]["faces"]) == 2
    given, made = Path(upload["path"]), [Path(picture["path"]) for picture in answer.outputs[1:]]
    assert given.is_file(), "the page still fetches its preview"
    assert wait_until(lambda: not given.exists())
    assert all(path.is_file() for path in made), "visitors still look at these"
    assert hurried.visitor.call("/predict", image=upload).complaint == GONE
    assert wait_until(lambda: not any(path.exists() for path in made))
    assert not given.parent.exists(), "empty folders add up"
    assert hurried.files() >= hurried.examples


def test_every_endpoint_and_every_event_of_the_page_forgets_what_it_was_given(hurried, two_then_none):
    visitor, current, given = hurried.visitor, [], {}
    good, bad = {"image": TWO_FACES, "video": two_then_none}, {"image": b"hello", "video": b"hello"}

    def upload(kind: str, content: dict[str, bytes]) -> dict:
        sent = visitor.upload(another(content[kind]), {"image": "photo.jpg", "video": "video.mp4"}[kind])
        current.append(Path(sent["path"]))
        return sent

    def ask(what: str, task: Callable[[], Answer]) -> bool:
        """Whether there is an answer; from now on its files have little time left."""
        current.clear()
        answer = task()
        given[what] = (time.monotonic(), list(current))
        return answer.outputs is not None

    def call(name: str, content: dict[str, bytes], **more) -> bool:
        parameter, kind = ("video", "video") if name == "/film" else ("image", "image")
        what = f"{name} {more}, {'good' if content is good else 'bad'}"
        return ask(what, lambda: visitor.call(name, **{parameter: upload(kind, content)}, **more))

    late, done = {}, threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            for what, (answered, paths) in list(given.items()):
                if time.monotonic() - answered > FORGET_AFTER + 4 and any(path.exists() for path in paths):
                    late[what] = paths

    watcher = threading.Thread(target=watch)
    watcher.start()
    for name in ("/predict", "/heat_map", "/compare", "/film"):
        assert call(name, good)
        assert not call(name, bad)
    for name, more in (
        ("/predict", {"version": "V77"}),
        ("/heat_map", {"version": "V77"}),
        ("/heat_map", {"emotion": "joy"}),
        ("/heat_map", {"face": 7}),
        ("/film", {"version": "V77"}),
        ("/film", {"every": "often"}),
    ):
        assert not call(name, good, **more)
    events = hurried.page_events()
    assert len(events) >= 4, "a photo, the same with other settings, a video, many pictures"
    for number, data in events:
        for content in (good, bad):

            def press(number=number, data=data, content=content) -> Answer:
                return visitor.press(number, data(partial(upload, content=content)))

            assert ask(f"event {number}, {'good' if content is good else 'bad'}", press) or content is bad
    assert wait_until(lambda: not any(path.exists() for _, paths in given.values() for path in paths))
    done.set()
    watcher.join()
    assert late == {}


@pytest.mark.slow
def test_what_mcp_clients_give_is_forgotten_too(hurried):
    for content in (TWO_FACES, b"hello"):
        content = another(content)
        address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        assert call_tool(hurried.url, "predict", {"image": address}).content
        copies = {path for path in hurried.files() if path.read_bytes() == content}
        assert copies, "Gradio keeps no copy any more: look again"
        assert wait_until(lambda copies=copies: not any(path.exists() for path in copies), FORGET_AFTER + 5)


@pytest.mark.slow
def test_who_gives_a_file_again_keeps_it_and_an_example_stays_whoever_gives_it(hurried):
    visitor, example = hurried.visitor, next(path for path in hurried.examples if path.name == "astronaut.jpg")
    content = another(TWO_FACES)
    uploads = [
        visitor.upload(content),
        visitor.upload(another(TWO_FACES)),
        visitor.upload(example.read_bytes(), example.name),
    ]
    again, other, own = (Path(upload["path"]) for upload in uploads)
    assert own == example, "Gradio names files in another way: look again"
    for upload in reversed(uploads):
        assert visitor.call("/predict", image=upload, whole_picture=True).outputs
    assert visitor.upload(content) == uploads[0]
    assert wait_until(lambda: not other.exists())
    time.sleep(1)  # the others were due within a second
    assert again.is_file()
    assert example.is_file()
    assert visitor.call("/predict", image=uploads[0]).outputs
    assert wait_until(lambda: not again.exists())


@pytest.mark.slow
def test_no_file_of_the_server_itself_is_read_or_deleted(hurried, tmp_path):
    private = tmp_path / "private.jpg"
    private.write_bytes(TWO_FACES)
    uploads = next(iter(hurried.examples)).parents[1]
    (uploads / "link.jpg").symlink_to(private)
    way_round = f"{uploads}/../../../{hurried.figure.relative_to(hurried.cache.parent)}"
    assert Path(way_round).samefile(hurried.figure)
    paths = (str(private), str(hurried.figure), str(uploads / "link.jpg"), way_round)
    meta = {"meta": {"_type": "gradio.FileData"}}
    forged = [
        {"path": path, **more}
        for path in paths
        for more in ({}, meta, {**meta, "url": f"{hurried.url}/gradio_api/file={path}"})
    ]
    forged += [{"path": f"{hurried.url}/gradio_api/file={file['path']}", **meta} for file in forged]
    answers = [hurried.visitor.call("/predict", image=file, whole_picture=True) for file in forged]
    answers += [hurried.visitor.call("/film", video=file) for file in forged]
    for number, data in hurried.page_events():
        answers += [hurried.visitor.press(number, data(lambda kind, file=file: file)) for file in forged]
    assert not [answer for answer in answers if any(emotion in json.dumps(answer.outputs) for emotion in EMOTIONS)]
    time.sleep(FORGET_AFTER + 1)
    assert private.is_file()
    assert hurried.figure.is_file()


def test_no_address_is_ever_fetched(hurried):
    meta = {"meta": {"_type": "gradio.FileData"}}
    upload = hurried.visitor.upload(another(TWO_FACES))
    came = []

    def listen(server: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                came.append(server.accept()[0].close())

    with socket.create_server(("127.0.0.1", 0)) as inside:
        threading.Thread(target=listen, args=[inside], daemon=True).start()
        address = f"http://127.0.0.1:{inside.getsockname()[1]}/photo.png"
        forms = [{"path": address, **meta}, {"url": address, **meta}, {"path": address}, address, [address]]
        forms += [{**upload, "url": address}, {"path": address, "url": address, "is_stream": True, **meta}]
        hurried.visitor.http.get(f"/file={address}")
        answers = [hurried.visitor.call("/predict", image=form) for form in forms]
        answers += [hurried.visitor.call("/film", video=form) for form in forms]
        for number, data in hurried.page_events():
            answers += [hurried.visitor.press(number, data(lambda kind, form=form: form)) for form in forms]
        assert NO_ADDRESS in call_tool(hurried.url, "predict", {"image": address}).content[0].text
        assert not came
        assert NO_ADDRESS in {answer.complaint for answer in answers}
        assert all(answer.outputs or answer.complaint.endswith(".") for answer in answers)


@pytest.mark.slow
def test_old_files_are_deleted_however_many_visitors_come_meanwhile(hurried):
    assert hurried.visitor.call("/predict", image=hurried.visitor.upload(another(TWO_FACES))).outputs

    def crowd(_) -> None:
        visitor, end = Visitor(hurried.url), time.monotonic() + 3
        many = [("files", ("left.jpg", another(b"left behind"))) for _ in range(400)]
        assert visitor.http.post("/upload", files=many).is_success
        while time.monotonic() < end:
            visitor.upload(another(b"left behind"), "left.jpg")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(crowd, range(4)))
    left = {path for path in hurried.files() if path.name == "left.jpg"}
    assert len(left) > 1600
    assert wait_until(lambda: not any(path.exists() for path in left), KEEP_SECONDS + 15)


def test_the_page_keeps_no_history_flags_nothing_and_reports_to_nobody(hurried):
    visitor = hurried.visitor
    assert visitor.call("/predict", image=visitor.upload(TWO_FACES)).outputs
    config = visitor.config()
    assert not config.get("analytics_enabled")
    assert config["run_history"] is False
    assert not [event for event in config["dependencies"] if "flag" in event["api_name"]]
    assert "not enabled" in visitor.http.get(f"{hurried.url}/monitoring/summary").text, "it tells who asked for what"


def test_what_gradio_remembers_of_a_visitor_is_dropped_soon_after_they_have_left(monkeypatch):
    page, holder = gradio.Blocks(), StateHolder()
    page.state_session_capacity = 100
    holder.set_blocks(page)
    idle = {"here": 0, "pausing": privacy.KEEP_SECONDS - 5, "asleep": privacy.KEEP_SECONDS + 5}
    idle |= {"just left": privacy.FORGET_AFTER - 5, "gone": privacy.FORGET_AFTER + 5}
    for name, seconds in idle.items():
        holder[name].is_closed = name in ("just left", "gone")
        holder.time_last_used[name] = datetime.now() - timedelta(seconds=seconds)
    monkeypatch.setitem(privacy._unread_since, "gone", time.monotonic() - privacy.KEEP_SECONDS - 5)
    page._queue.pending_messages_per_session |= {"gone": "answers that nobody fetched", "here": "those of a moment ago"}
    privacy._forget_sessions_of(page)
    assert set(page._queue.pending_messages_per_session) == {"here"}
    assert set(holder.session_data) == set(holder.time_last_used) == {"here", "pausing", "just left"}
