"""The demo from outside: its command line, its endpoints through gradio_client, and what becomes of the pictures."""

import base64
import itertools
import json
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import av
import gradio
import numpy as np
import pytest
from gradio.state_holder import StateHolder
from gradio_client import Client, handle_file
from PIL import Image

import app as demo
from fer_model import FERModel
from fer_model.demo import privacy
from fer_model.demo.guard import GONE, for_visitors
from fer_model.errors import ModelError
from fer_model.images import MAX_PIXELS
from fer_model.inference.pipeline import NO_FACE
from fer_model.labels import EMOTIONS
from fer_model.runs import default_model
from helpers import EXAMPLES, ROOT
from helpers.app import running_app
from helpers.visitors import Answer, Visitor, call_tool


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_app(tmp_path_factory.mktemp("app")) as running:
        yield running
        # gradio logs a file that it refuses to hand out; nothing else may have gone wrong
        assert running.output.count("Traceback") == running.output.count("InvalidPathError: "), running.output


@pytest.fixture(scope="module")
def client(server) -> Client:
    return Client(server.url, verbose=False)


def predict(client: Client, path: Path, *more, api_name: str = "/predict"):
    return client.predict(handle_file(str(path)), *more, api_name=api_name)


def complaint(client: Client, path: Path, *more, api_name: str = "/predict") -> str:
    """What a visitor reads when a request fails; it must be a sentence."""
    with pytest.raises(Exception) as caught:  # of which class is the client's affair
        predict(client, path, *more, api_name=api_name)
    text = str(caught.value)
    assert "Traceback" not in text
    assert "\n" not in text.strip()
    return text


def png_of_zeros(path: Path, side: int) -> Path:
    """A black PNG of side x side pixels, 8-bit grey, written without ever holding its pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj()
    row = bytes(1 + side)
    pixels = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def peak_memory(pid: int) -> int:
    """The most memory a process has ever held, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


# --- the command line


def test_the_help_shows_the_commands_and_every_option(capsys):
    with pytest.raises(SystemExit) as leaving:
        demo.parse_args(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    wanted = ("python app.py", "--model", "--host", "--port", "--workers", "--threads", "FER_MODEL", "/gradio_api/mcp/")
    assert all(option in text for option in wanted)


def test_a_wrong_model_is_one_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "app.py", "--model", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "has no config.json" in done.stderr


def model_of(server) -> str:
    """What the server says it has loaded."""
    return server.output.split("Model: V1, ")[1].splitlines()[0]


def test_a_port_that_cannot_be_is_one_sentence(server):
    with pytest.raises(ModelError, match="another --host or --port"):
        demo.main(demo.parse_args(["--model", model_of(server), "--host", "127.0.0.1", "--port", "70000"]))


def test_a_taken_port_is_an_error_that_names_the_fix(server):
    port = server.url.rsplit(":", 1)[1]
    with pytest.raises(ModelError, match="another --host or --port"):
        demo.main(demo.parse_args(["--model", model_of(server), "--host", "127.0.0.1", "--port", port]))


def test_the_newest_version_with_weights_is_taken(tmp_path):
    for name in ("v2", "v9", "v10", "vfinal"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "model.safetensors").touch()
    (tmp_path / "v11" / "models").mkdir(parents=True)  # a run that has not finished
    assert default_model(tmp_path) == str(tmp_path / "v10" / "models")


def test_without_weights_the_environment_names_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODEL", "user/name")
    assert default_model(tmp_path) == "user/name"


def test_without_any_model_the_error_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"no weights under .*--model .*FER_MODEL"):
        default_model(tmp_path)


# --- the endpoints


def test_predict_gives_each_face_with_its_six_probabilities(client):
    answer, boxed, overlay = predict(client, EXAMPLES / "two_faces.jpg")
    assert (answer["width"], answer["height"]) == (920, 560)
    assert len(answer["faces"]) == 2
    for face in answer["faces"]:
        left, top, right, bottom = face["box"]
        assert 0 <= left < right <= 920
        assert 0 <= top < bottom <= 560
        assert 0 < face["score"] <= 1
        assert set(face["probabilities"]) == set(EMOTIONS)
        assert sum(face["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert face["probabilities"][face["label"]] == max(face["probabilities"].values())
    assert answer["message"].startswith("2 faces were found")
    assert Image.open(boxed).size == (920, 560)
    assert Image.open(overlay).size == (320, 320)


def test_a_large_photo_is_shown_small_and_answered_in_its_own_pixels(client, tmp_path):
    Image.open(EXAMPLES / "astronaut.jpg").resize((2560, 2560)).save(tmp_path / "large.jpg")
    answer, boxed, _ = predict(client, tmp_path / "large.jpg")
    assert answer["width"] == 2560
    assert answer["faces"][0]["box"][2] > 1280
    assert Image.open(boxed).size == (1280, 1280)


def test_the_whole_picture_can_be_declared_a_face(client):
    answer, _, _ = predict(client, EXAMPLES / "astronaut.jpg", True)
    assert [face["box"] for face in answer["faces"]] == [[0, 0, 512, 512]]
    assert answer["faces"][0]["score"] is None


def test_the_heat_map_follows_class_and_face(client):
    def pixels(*more) -> np.ndarray:
        picture = predict(client, EXAMPLES / "two_faces.jpg", *more, api_name="/heat_map")
        return np.asarray(Image.open(picture).convert("RGB")).astype(int)

    predicted = predict(client, EXAMPLES / "two_faces.jpg")[0]["faces"][0]["label"]
    other = next(name for name in EMOTIONS if name != predicted)
    assert np.abs(pixels() - pixels(predicted)).mean() < 1  # pictures travel as lossy WebP
    assert np.abs(pixels() - pixels(other)).mean() > 3
    assert np.abs(pixels(predicted, 1) - pixels(predicted, 2)).mean() > 3


def test_visitors_at_the_same_time_get_their_own_answers(server, client):
    pictures = [EXAMPLES / name for name in demo.EXAMPLES]
    alone = [predict(client, picture)[0] for picture in pictures]
    clients = [Client(server.url, verbose=False) for _ in pictures]
    with ThreadPoolExecutor(len(pictures)) as pool:
        together = [answer for answer, _, _ in pool.map(predict, clients, pictures)]
    for answer, expected in zip(together, alone, strict=True):
        assert [face["box"] for face in answer["faces"]] == [face["box"] for face in expected["faces"]]
        for face, other in zip(answer["faces"], expected["faces"], strict=True):
            assert face["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


# --- what visitors do wrong


def test_no_face_is_an_answer_and_not_an_error(client, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    answer, boxed, overlay = predict(client, tmp_path / "blank.png")
    assert answer["faces"] == []
    assert answer["message"] == NO_FACE
    assert Image.open(boxed).size == (300, 200)
    assert overlay is None
    assert NO_FACE in complaint(client, tmp_path / "blank.png", api_name="/heat_map")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty|not a picture"),
        (b"hello", "not a picture in a format"),
        ((EXAMPLES / "astronaut.jpg").read_bytes()[:9000], "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a format"),
    ],
    ids=["empty", "text", "cut off", "svg"],
)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.svg"])
def test_a_file_that_is_no_picture_is_answered_with_a_sentence(client, tmp_path, content, sentence, name):
    (tmp_path / name).write_bytes(content)
    text = complaint(client, tmp_path / name)
    assert any(part in text for part in sentence.split("|")), text
    assert "gradio" not in text, "the sentence tells where the server keeps its files"


@pytest.mark.parametrize("side", [20_000, 8_000], ids=["above Pillow's limit", "below Pillow's limit"])
def test_a_pixel_bomb_is_refused_before_it_is_unpacked(server, client, tmp_path, side):
    assert side**2 > MAX_PIXELS
    bomb = png_of_zeros(tmp_path / "bomb.png", side)
    assert bomb.stat().st_size < 2_000_000
    before = peak_memory(server.pid)
    assert f"at most {MAX_PIXELS:,}" in complaint(client, bomb)
    assert peak_memory(server.pid) - before < 50  # unpacked it would be 64 MB or more, as RGB three times that


def test_too_large_a_file_is_refused_with_its_limit(client, tmp_path):
    limit = int(demo.MAX_FILE_SIZE.removesuffix("mb"))
    (tmp_path / "huge.jpg").write_bytes(bytes((limit + 1) * 2**20))
    assert "maximum" in complaint(client, tmp_path / "huge.jpg")


@pytest.mark.parametrize("more", [("joy", 1), ("fear", 3), ("fear", 0), ("fear", "one")])
def test_a_class_or_face_that_does_not_exist_is_named(client, more):
    text = complaint(client, EXAMPLES / "two_faces.jpg", *more, api_name="/heat_map")
    assert "happiness" in text or "numbered from 1 to 2" in text


def test_a_picture_is_asked_for_where_there_is_none(server):
    assert Visitor(server.url).call("/predict", image=None).complaint == "Please give a picture."


def test_an_unforeseen_failure_hides_its_cause_from_visitors(caplog):
    @for_visitors
    def broken():
        raise RuntimeError("secret/path")

    with pytest.raises(gradio.Error) as caught:
        broken()
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


def test_an_unforeseen_failure_in_the_middle_of_a_film_hides_its_cause_too(caplog):
    @for_visitors
    def broken():
        yield 1
        raise RuntimeError("secret/path")

    with pytest.raises(gradio.Error) as caught:
        list(broken())
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


# --- what becomes of the pictures

FORGET_AFTER, KEEP_SECONDS = 3, 14

HURRY = f"""
import fer_model.demo.privacy as visitors
privacy.FORGET_AFTER, privacy.KEEP_SECONDS, privacy.DELETE_EVERY = {FORGET_AFTER}, {KEEP_SECONDS}, 1
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
        self.examples = {path for path in self.files() if path.name in demo.EXAMPLES}

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


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> bytes:
    """Half a second of the astronaut."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    picture = np.asarray(Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").resize((256, 256)))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 256
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path.read_bytes()


def wait_until(true: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it becomes true in that time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


_number = itertools.count()


def another(content: bytes) -> bytes:
    """The same picture or film in a file that nobody has given before: Gradio names files by their content."""
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


def test_every_endpoint_and_every_event_of_the_page_forgets_what_it_was_given(hurried, film):
    visitor, current, given = hurried.visitor, [], {}
    good, bad = {"image": TWO_FACES, "video": film}, {"image": b"hello", "video": b"hello"}

    def upload(kind: str, content: dict[str, bytes]) -> dict:
        sent = visitor.upload(another(content[kind]), {"image": "photo.jpg", "video": "film.mp4"}[kind])
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
    assert len(events) >= 4, "a photo, the same with other settings, a film, many pictures"
    for number, data in events:
        for content in (good, bad):

            def press(number=number, data=data, content=content) -> Answer:
                return visitor.press(number, data(partial(upload, content=content)))

            assert ask(f"event {number}, {'good' if content is good else 'bad'}", press) or content is bad
    assert wait_until(lambda: not any(path.exists() for _, paths in given.values() for path in paths))
    done.set()
    watcher.join()
    assert late == {}


def test_what_mcp_clients_give_is_forgotten_too(hurried):
    for content in (TWO_FACES, b"hello"):
        content = another(content)
        address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
        assert call_tool(hurried.url, "predict", {"image": address}).content
        copies = {path for path in hurried.files() if path.read_bytes() == content}
        assert copies, "Gradio keeps no copy any more: look again"
        assert wait_until(lambda copies=copies: not any(path.exists() for path in copies), FORGET_AFTER + 5)


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
    time.sleep(2)  # the others were due within a second
    assert again.is_file()
    assert example.is_file()
    assert visitor.call("/predict", image=uploads[0]).outputs
    assert wait_until(lambda: not again.exists())


def test_no_file_of_the_server_itself_is_read_or_deleted(hurried, tmp_path):
    private = tmp_path / "private.jpg"
    private.write_bytes(TWO_FACES)
    (hurried.cache / "link.jpg").symlink_to(private)
    way_round = str(hurried.cache / ".." / hurried.figure.relative_to(hurried.cache.parent))
    paths = (str(private), str(hurried.figure), str(hurried.cache / "link.jpg"), way_round)
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
    time.sleep(FORGET_AFTER + 2)
    assert private.is_file()
    assert hurried.figure.is_file()


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


def test_the_page_keeps_no_history_flags_nothing_and_reports_to_nobody(server, client):
    predict(client, EXAMPLES / "drawn_anger.png")
    visitor = Visitor(server.url)
    config = visitor.config()
    assert not config.get("analytics_enabled")
    assert config["run_history"] is False
    assert not [event for event in config["dependencies"] if "flag" in event["api_name"]]
    assert "not enabled" in visitor.http.get(f"{server.url}/monitoring/summary").text, "it tells who asked for what"


def test_what_gradio_remembers_of_a_visitor_is_dropped_soon_after_they_have_left():
    page, holder = gradio.Blocks(), StateHolder()
    page.state_session_capacity = 100
    holder.set_blocks(page)
    idle = {"here": 0, "pausing": privacy.KEEP_SECONDS - 5, "asleep": privacy.KEEP_SECONDS + 5}
    idle |= {"just left": privacy.FORGET_AFTER - 5, "gone": privacy.FORGET_AFTER + 5}
    for name, seconds in idle.items():
        holder[name].is_closed = name in ("just left", "gone")
        holder.time_last_used[name] = datetime.now() - timedelta(seconds=seconds)
    privacy._forget_sessions_of(page)
    assert set(holder.session_data) == set(holder.time_last_used) == {"here", "pausing", "just left"}
