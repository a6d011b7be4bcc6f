"""The demo from outside: its command line, and its endpoints through gradio_client."""

import json
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import app as demo
from app_fixture import EXAMPLES, ROOT, running_app
from fer_model.errors import ModelError
from fer_model.images import MAX_PIXELS
from fer_model.labels import EMOTIONS
from fer_model.pipeline import NO_FACE


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


def call(url: str, endpoint: str, data: list) -> str:
    """What the server answers to a request that no well-behaved client would send."""
    address = f"{url}/gradio_api/call{endpoint}"
    event = httpx.post(address, json={"data": data}, trust_env=False).json()["event_id"]
    return httpx.get(f"{address}/{event}", timeout=60, trust_env=False).text


# --- the command line


def test_the_help_shows_the_commands_and_every_option(capsys):
    with pytest.raises(SystemExit) as leaving:
        demo.parse_args(["--help"])
    assert leaving.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("python app.py", "--model", "--host", "--port", "FER_MODEL"))


def test_a_wrong_model_is_one_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "app.py", "--model", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "has no config.json" in done.stderr


def test_a_port_that_cannot_be_is_one_sentence(server):
    model = server.output.split("Model: ")[1].splitlines()[0]
    with pytest.raises(ModelError, match="another --host or --port"):
        demo.main(demo.parse_args(["--model", model, "--host", "127.0.0.1", "--port", "70000"]))


def test_a_taken_port_is_an_error_that_names_the_fix(server):
    port = server.url.rsplit(":", 1)[1]
    model = Path(server.output.split("Model: ")[1].splitlines()[0])
    with pytest.raises(ModelError, match="another --host or --port"):
        demo.main(demo.parse_args(["--model", str(model), "--host", "127.0.0.1", "--port", port]))


def test_the_newest_version_with_weights_is_taken(tmp_path):
    for name in ("v2", "v9", "v10", "vfinal"):
        (tmp_path / name / "models").mkdir(parents=True)
        (tmp_path / name / "models" / "model.safetensors").touch()
    (tmp_path / "v11" / "models").mkdir(parents=True)  # a run that has not finished
    assert demo.default_model(tmp_path) == str(tmp_path / "v10" / "models")


def test_without_weights_the_environment_names_the_model(tmp_path, monkeypatch):
    monkeypatch.setenv("FER_MODEL", "user/name")
    assert demo.default_model(tmp_path) == "user/name"


def test_without_any_model_the_error_names_the_fix(tmp_path, monkeypatch):
    monkeypatch.delenv("FER_MODEL", raising=False)
    with pytest.raises(ModelError, match=r"no weights under .*--model .*FER_MODEL"):
        demo.default_model(tmp_path)


# --- the endpoints


def test_two_endpoints_are_public_and_documented(client):
    described = client.view_api(return_format="dict", print_info=False)
    assert set(described["named_endpoints"]) == {"/predict", "/heat_map"}
    assert not described["unnamed_endpoints"]
    for endpoint, names in (
        ("/predict", ["image", "whole_picture"]),
        ("/heat_map", ["image", "emotion", "face", "whole_picture"]),
    ):
        information = described["named_endpoints"][endpoint]
        assert [parameter["parameter_name"] for parameter in information["parameters"]] == names
        assert all(f"{name}" in information["description"] for name in names)


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
    (tmp_path / "huge.jpg").write_bytes(bytes(21 * 2**20))
    assert "maximum" in complaint(client, tmp_path / "huge.jpg")


@pytest.mark.parametrize("more", [("joy", 1), ("fear", 3), ("fear", 0), ("fear", "one")])
def test_a_class_or_face_that_does_not_exist_is_named(client, more):
    text = complaint(client, EXAMPLES / "two_faces.jpg", *more, api_name="/heat_map")
    assert "happiness" in text or "numbered from 1 to 2" in text


def test_a_picture_is_asked_for_where_there_is_none(server):
    assert "Please give a picture." in call(server.url, "/predict", [None, False])


def test_a_file_of_the_server_itself_is_not_read(server):
    stolen = {"path": str(EXAMPLES / "astronaut.jpg"), "meta": {"_type": "gradio.FileData"}}
    answer = call(server.url, "/predict", [stolen, False])
    assert "event: error" in answer
    assert "probabilities" not in answer


def test_an_unforeseen_failure_hides_its_cause_from_visitors(caplog):
    @demo.for_visitors
    def broken():
        raise RuntimeError("secret/path")

    with pytest.raises(demo.gr.Error) as caught:
        broken()
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


# --- what becomes of the pictures


def test_uploads_and_results_are_deleted_and_asking_again_says_so(tmp_path):
    start = "import app; app.KEEP_SECONDS, app.DELETE_EVERY = 5, 1; app.main(app.parse_args())"
    with running_app(tmp_path, ("-c", start)) as running:
        client = Client(running.url, verbose=False)
        upload = {"path": _upload(running.url, EXAMPLES / "two_faces.jpg"), "meta": {"_type": "gradio.FileData"}}
        assert "probabilities" in call(running.url, "/predict", [upload, False])
        names = {path.name for path in _wait_for_files(tmp_path / "cache", len(demo.EXAMPLES))}
        assert names == set(demo.EXAMPLES), "only the examples stay"
        assert demo.GONE in call(running.url, "/predict", [upload, False])
        client.close()


def _upload(url: str, path: Path) -> str:
    # not among the examples: gradio names files by their content
    content = path.read_bytes() + b"mine"
    files = {"files": ("mine.jpg", content, "image/jpeg")}
    return httpx.post(f"{url}/gradio_api/upload", files=files, trust_env=False).json()[0]


def _wait_for_files(folder: Path, count: int, seconds: float = 30) -> list[Path]:
    """The files of a folder, as soon as there are no more than `count`."""
    deadline = time.monotonic() + seconds
    while True:
        files = [path for path in folder.rglob("*") if path.is_file()]
        if len(files) <= count or time.monotonic() > deadline:
            return files
        time.sleep(0.2)


def test_the_page_keeps_no_history_and_reports_to_nobody(server):
    config = httpx.get(f"{server.url}/config", trust_env=False).json()
    assert not config.get("analytics_enabled")
    assert not config.get("run_history")
    assert "run_history" in json.dumps(config), "gradio has renamed the setting: look again"
