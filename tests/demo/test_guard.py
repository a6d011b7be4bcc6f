"""Whatever visitors do wrong, they read one sentence, and the server goes on."""

import os
import struct
import zlib
from pathlib import Path

import gradio
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import app
from fer_model.demo import privacy
from fer_model.demo.guard import for_visitors
from fer_model.images import MAX_PIXELS
from fer_model.inference.pipeline import NO_FACE
from helpers import EXAMPLES
from helpers.visitors import ENDPOINTS, Visitor

PHOTO = EXAMPLES / "two_faces.jpg"


def complaint(client: Client, path: Path, *more, api_name: str = "/predict") -> str:
    """What a visitor reads when a request fails; it must be a sentence."""
    with pytest.raises(Exception) as caught:  # of which class is the client's affair
        client.predict(handle_file(path), *more, api_name=api_name)
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


def test_no_face_is_an_answer_and_not_an_error(client, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    answer, boxed, overlay = client.predict(handle_file(tmp_path / "blank.png"), api_name="/predict")
    assert answer["faces"] == []
    assert answer["message"] == NO_FACE
    assert Image.open(boxed).size == (300, 200)
    assert overlay is None
    assert NO_FACE in complaint(client, tmp_path / "blank.png", api_name="/heat_map")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "empty|not an image"),
        (b"hello", "not an image in a format"),
        ((EXAMPLES / "astronaut.jpg").read_bytes()[:9000], "damaged or cut off"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image in a format"),
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
    limit = int(app.MAX_FILE_SIZE.removesuffix("mb"))
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


def test_an_unforeseen_failure_in_the_middle_of_a_video_hides_its_cause_too(caplog):
    @for_visitors
    def broken():
        yield 1
        raise RuntimeError("secret/path")

    with pytest.raises(gradio.Error) as caught:
        list(broken())
    assert "secret" not in str(caught.value)
    assert "secret" in caplog.text


@pytest.mark.parametrize("endpoint", ["/predict", "/heat_map", "/film"])
@pytest.mark.parametrize("version", ["V9", "results/v1/models", 7, ["V1"]])
def test_a_version_that_is_not_there_is_answered_with_those_that_are(server, video, endpoint, version):
    visitor = Visitor(server.url)
    path = video if endpoint == "/film" else PHOTO
    upload = visitor.upload(path.read_bytes(), path.name)
    complaint = visitor.call(endpoint, **{ENDPOINTS[endpoint[1:]][0]: upload}, version=version).complaint
    assert complaint == f"There is no version {version!r} here; choose V1, V2."


@pytest.mark.parametrize("every", ["often", None, [1]])
def test_a_time_that_is_no_number_is_answered_with_a_sentence(server, video, every):
    visitor = Visitor(server.url)
    upload = visitor.upload(video.read_bytes(), video.name)
    assert "number of seconds" in visitor.call("/film", video=upload, every=every).complaint


def test_what_is_no_video_is_answered_with_a_sentence(client, tmp_path):
    (tmp_path / "video.mp4").write_bytes(b"no video")
    with pytest.raises(Exception, match="not a video") as caught:  # of which class is the client's affair
        client.predict(handle_file(tmp_path / "video.mp4"), api_name="/film")
    assert "Traceback" not in str(caught.value)
    assert str(tmp_path.parent) not in str(caught.value), "it tells where the server keeps its files"


def test_old_files_are_found_although_a_folder_is_deleted_meanwhile(tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "left.jpg").touch()
    scandir, found = os.scandir, []

    def deleted_meanwhile(path):
        if Path(path).name == "b":
            (tmp_path / "b" / "left.jpg").unlink()
            (tmp_path / "b").rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deleted_meanwhile)
    monkeypatch.setattr(privacy, "_own", [tmp_path])
    monkeypatch.setattr(privacy, "_delete", lambda path, wanted: found.append(path))
    privacy._delete_files_of(gradio.Blocks())
    assert sorted(found) == [tmp_path / "a" / "left.jpg", tmp_path / "c" / "left.jpg"]
