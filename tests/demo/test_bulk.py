"""What the demo's tab does with films and many pictures, without a browser."""

import csv
import io
import re
import struct
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import gradio as gr
import pandas as pd
import pytest
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.demo.gpu import Network
from fer_model.demo.jobs import Clips
from fer_model.demo.tabs import bulk as module
from fer_model.demo.tabs.bulk import _as_shown, _over_time, clips_tab
from fer_model.demo.versions import Versions
from fer_model.errors import ImageError
from fer_model.inference import bulk
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES

FILM_SIZE = (460, 280)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    FERModel(version="v1", seed=0).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def network(model) -> Network:
    return Network(Versions([str(model)]))


@pytest.fixture(scope="module")
def clips(network) -> Clips:
    return Clips(network)


@pytest.fixture(scope="module")
def page(network, clips) -> gr.Blocks:
    with gr.Blocks(analytics_enabled=False) as page:
        clips_tab(network, clips)
    return page


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary files go; `tmp_path` is where uploads come from."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def content_of_film(tmp_path_factory) -> bytes:
    """A second at 10 frames a second: two faces, and none for its second half."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    photo = Image.open(EXAMPLES / "two_faces.jpg").convert("RGB").resize(FILM_SIZE)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = *FILM_SIZE, "yuv420p"
        for index in range(10):
            picture = photo if index < 5 else Image.new("RGB", FILM_SIZE, "grey")
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path.read_bytes()


@pytest.fixture
def film(content_of_film, tmp_path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(content_of_film)
    return path


@pytest.fixture
def face(tmp_path) -> Path:
    path = tmp_path / "face.jpg"
    path.write_bytes((EXAMPLES / "astronaut.jpg").read_bytes())
    return path


def as_png(colour: str = "white") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (200, 200), colour).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def table(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def behind(page: gr.Blocks, name: str) -> Callable:
    """The function behind a button."""
    return next(function.fn for function in page.fns.values() if getattr(function.fn, "__name__", "") == name)


def upload(path: Path) -> dict:
    """What the page sends for a file."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


# --- films


def test_a_film_s_table_has_a_row_for_each_face_and_time(clips, film, tmp_path):
    progress = list(clips.film(film, None, 0.2, tmp_path))
    assert [number for number, _ in progress] == [1, 2, 3, 4, 5]
    assert [seconds for _, seconds in progress] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    rows = table(tmp_path / "faces.csv")
    assert list(rows[0]) == list(bulk.COLUMNS)
    assert [(row["seconds"], row["face"]) for row in rows] == [
        ("0.000", "1"),
        ("0.000", "2"),
        ("0.200", "1"),
        ("0.200", "2"),
        ("0.400", "1"),
        ("0.400", "2"),
        ("0.600", ""),
        ("0.800", ""),
    ]
    assert {row["file"] for row in rows} == {"film.mp4"}
    for row in rows[:6]:
        left, top, right, bottom = (int(row[side]) for side in ("left", "top", "right", "bottom"))
        assert 0 <= left < right <= FILM_SIZE[0]
        assert 0 <= top < bottom <= FILM_SIZE[1]
        shares = {name: float(row[name]) for name in EMOTIONS}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(shares, key=shares.get)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        assert len(list(container.decode(video=0))) == 10


def test_a_film_may_be_deleted_as_soon_as_it_is_open(clips, film, tmp_path):
    progress = clips.film(film, None, 0.2, tmp_path)
    next(progress)
    film.unlink()
    assert len(list(progress)) == 4


def test_a_long_film_is_cut(clips, film, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_SECONDS", 0.35)
    assert [round(seconds, 3) for _, seconds in clips.film(film, None, 0, tmp_path)] == [0, 0.1, 0.2, 0.3]
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        assert len(list(container.decode(video=0))) == 4


# --- pictures


def test_pictures_become_one_table_in_which_each_can_be_told(clips, model, face, film, tmp_path):
    two = EXAMPLES / "two_faces.jpg"
    archive = zipped(
        tmp_path / "all.zip",
        {"a/x.jpg": two.read_bytes(), "b/x.jpg": as_png(), "bad.jpg": b"no picture", "locked.png": as_png()},
    )
    content = bytearray(archive.read_bytes())
    struct.pack_into("<H", content, content.rindex(b"locked.png") - 46 + 8, 1)  # says that it is encrypted
    archive.write_bytes(content)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    paths = [face, archive, tmp_path / "bad.png", tmp_path / "broken.zip", film]
    yielded = list(clips.pictures(iter(paths), None, True, tmp_path / "faces.csv"))
    rows = table(tmp_path / "faces.csv")
    assert list(rows[0]) == list(bulk.COLUMNS)
    assert [(row["file"], row["face"]) for row in rows] == [
        ("face.jpg", "1"),
        ("all.zip/a/x.jpg", "1"),
        ("all.zip/a/x.jpg", "2"),
        ("all.zip/b/x.jpg", ""),
        ("all.zip/bad.jpg", ""),
        ("all.zip/locked.png", ""),
        ("bad.png", ""),
        ("broken.zip", ""),
        ("film.mp4", ""),
    ]
    for row, reason in zip(
        rows[3:], ("no face", "not a picture", "encrypted", "not a picture", "not a zip", "not a picture"), strict=True
    ):
        assert reason in row["label"]
        assert str(tmp_path) not in row["label"], "no folder of the server's is told"
    assert [[row["file"] for row in some] for some in yielded][:2] == [["face.jpg"], ["all.zip/a/x.jpg"] * 2]
    assert sum(map(len, yielded)) == len(rows)
    for row, found in zip(rows[1:3], FERPipeline.from_pretrained(model)(two).faces, strict=True):
        assert row["label"] == found.label
        assert [int(row[side]) for side in ("left", "top", "right", "bottom")] == list(found.box)


def test_eyes_are_levelled_if_asked(clips, face, tmp_path):
    Image.open(face).rotate(25).save(face)
    told = []
    for level in (True, False):
        list(clips.pictures([face], None, level, tmp_path / "faces.csv"))
        told.append([row["happiness"] for row in table(tmp_path / "faces.csv")])
    assert told[0] != told[1]


def test_rows_are_yielded_one_picture_after_another_as_they_are_written(clips, tmp_path):
    archive = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png()})
    yielded = clips.pictures([archive], None, True, tmp_path / "faces.csv")
    assert [row["file"] for row in next(yielded)] == ["x.zip/1.png"]
    yielded.close()
    assert [row["file"] for row in table(tmp_path / "faces.csv")] == ["x.zip/1.png"]


def test_more_pictures_than_are_taken_at_a_time_are_a_sentence_before_any_is_looked_at(
    clips, face, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "MAX_PICTURES", 3)
    archive = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png(), "notes.txt": b""})
    with pytest.raises(ImageError, match=r"These are 4 pictures; at most 3"):
        next(clips.pictures([face, archive, face], None, True, tmp_path / "faces.csv"))
    assert not (tmp_path / "faces.csv").exists()
    assert len(list(clips.pictures([face, archive], None, True, tmp_path / "faces.csv"))) == 3


# --- what the page shows of them


def test_the_chart_is_of_the_face_that_is_seen_most_often():
    shares = {name: index / 10 for index, name in enumerate(EMOTIONS)}
    rows = [{"seconds": 0.0, "face": 1, **shares}, {"seconds": 0.0, "face": 2, **shares}]
    rows += [{"seconds": 0.1, "face": 2, **shares, "happiness": 0.9}, {"seconds": 0.2, "face": None}]
    chart = _over_time(pd.DataFrame(rows))
    assert list(chart) == ["seconds", "expression", "probability"]
    assert len(chart) == 2 * len(EMOTIONS)
    happy = chart[chart["expression"] == "happiness"]
    assert list(zip(happy["seconds"], happy["probability"], strict=True)) == [(0.0, 0.0), (0.1, 0.9)]


def test_the_chart_of_a_film_without_faces_is_empty():
    chart = _over_time(pd.DataFrame([{"seconds": 0.0, "face": None, **dict.fromkeys(EMOTIONS)}]))
    assert list(chart) == ["seconds", "expression", "probability"]
    assert len(chart) == 0


def test_the_table_shows_whole_per_cents_and_nothing_where_there_is_no_face():
    shares = {name: f"{share:.6f}" for name, share in zip(EMOTIONS, (0.504, 0.306, 0.1, 0.05, 0.04, 0), strict=True)}
    per_cent = dict(zip(EMOTIONS, ("50 %", "31 %", "10 %", "5 %", "4 %", "0 %"), strict=True))
    rows = [
        {"file": "a.jpg", "face": 1, "left": 0, "label": "happiness", "unsure": True, **shares},
        {"file": "a.jpg", "face": 12, "left": 0, "label": "happiness", "unsure": False, **shares},
        {"file": "b.jpg", "label": "no face found"},
    ]
    shown = [
        {"file": "a.jpg", "face": number, "label": "happiness", "unsure": doubt} | per_cent
        for number, doubt in (("1", "yes"), ("12", ""))
    ]
    nothing = {"file": "b.jpg", "face": "", "label": "no face found", "unsure": ""} | dict.fromkeys(EMOTIONS, "")
    assert _as_shown(rows).to_dict("records") == [*shown, nothing]
    assert _as_shown(rows[:2]).to_dict("records") == shown
    assert _as_shown(rows[2:]).to_dict("records") == [nothing]


# --- the functions behind the buttons


def in_words(message: str) -> str:
    """The page's message without its bar."""
    return re.sub(r"<[^>]+>", "", message).strip()


def share(message: str) -> float | None:
    """How far the message's bar has come; None without one."""
    found = re.search(r'<progress value="([\d.]+)"', message)
    return float(found[1]) if found else None


def test_the_page_gets_the_film_its_table_and_its_chart(page, film, temporary, monkeypatch):
    monkeypatch.setattr(module, "SAY_EVERY", 3600)  # on a slow machine, too, only the answer comes
    answers = behind(page, "film")(upload(film), 0.2, "V1")
    words, *results = next(answers)
    assert in_words(words) == "Looking for faces …"
    assert all(result["value"] is None and not result["visible"] for result in results), "those of the last film"
    message, *results = next(answers)
    assert all(result["visible"] for result in results)
    annotated, faces, chart = (result["value"] for result in results)
    assert in_words(message) == "2 faces followed in 5 of the film's frames."
    assert Path(annotated).read_bytes()[4:8] == b"ftyp"
    assert len(table(Path(faces))) == 8
    assert len(chart) == 3 * len(EMOTIONS)
    assert list(answers) == []


def test_the_page_is_told_how_far_it_is(page, film, face, temporary, monkeypatch):
    monkeypatch.setattr(module, "SAY_EVERY", 0)
    messages = [answer[0] for answer in behind(page, "film")(upload(film), 0.0, "V1")]
    assert list(map(in_words, messages))[1:-1] == [f"{round(index / 10)} of 1 seconds done." for index in range(10)]
    assert list(map(share, messages)) == pytest.approx([0, *(index / 10 for index in range(10)), None])
    messages = [answer[0] for answer in behind(page, "pictures")([upload(face)] * 3, "V1", True)]
    assert list(map(share, messages)) == pytest.approx([0, 1 / 3, 2 / 3, 1, None], abs=0.001)
    assert list(map(in_words, messages)) == [f"{done} of 3 pictures done." for done in range(4)] + [
        "3 faces in 3 pictures."
    ]


def test_the_page_says_that_a_film_was_cut(page, film, temporary, monkeypatch):
    monkeypatch.setattr(module, "MAX_SECONDS", 1)
    *_, (message, *_) = behind(page, "film")(upload(film), 0.5, "V1")
    assert "Only" not in message
    monkeypatch.setattr(module, "MAX_SECONDS", 0.5)
    *_, (message, *_) = behind(page, "film")(upload(film), 0.5, "V1")
    assert in_words(message) == "2 faces followed in 1 of the film's frames. Only its first 0.5 seconds were taken."


def test_the_page_shows_the_first_rows_and_the_file_has_all(page, face, tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(module, "ROWS_SHOWN", 2)
    monkeypatch.setattr(module, "SAY_EVERY", 3600)
    empty = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png()})
    answers = behind(page, "pictures")([upload(face), upload(empty)], "V1", True)
    words, *results = next(answers)
    assert in_words(words) == "0 of 3 pictures done."
    assert all(result["value"] is None and not result["visible"] for result in results)
    message, *results = next(answers)
    shown, file = (result["value"] for result in results)
    assert in_words(message) == "1 face in 3 pictures. The first 2 rows are shown; the file has all."
    assert list(shown["file"]) == ["face.jpg", "x.zip/1.png"]
    assert len(table(Path(file))) == 3


def test_what_fails_is_a_sentence_and_leaves_nothing(page, tmp_path, temporary):
    (tmp_path / "a.mp4").write_bytes(b"no film")
    empty = zipped(tmp_path / "a.zip", {"notes.txt": b""})
    for answers, sentence in (
        (behind(page, "film")(upload(tmp_path / "a.mp4"), 0.1, "V1"), "a.mp4 is not a film that can be read."),
        (behind(page, "pictures")([upload(empty)], "V1", True), "There is no picture in what you gave."),
        (behind(page, "pictures")([], "V1", True), "Please give pictures, a folder of them, or a zip archive."),
    ):
        with pytest.raises(gr.Error) as caught:
            list(answers)
        assert caught.value.message == sentence
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["film", "pictures"])
@pytest.mark.parametrize("answers", [1, 3, None])
def test_nothing_is_left_when_the_work_ends_and_when_it_is_cancelled_half_way(
    page, film, face, temporary, monkeypatch, name, answers
):
    """Cancel closes the generator after one of its answers; None: it is not pressed."""
    monkeypatch.setattr(module, "SAY_EVERY", 0)
    forgotten = []
    monkeypatch.setattr(module, "forget", forgotten.extend)
    path = film if name == "film" else face
    given = (upload(film), 0.1, "V1") if name == "film" else ([upload(face)] * 3, "V1", True)
    running = behind(page, name)(*given)
    for number, _ in enumerate(running, 1):
        assert number == 1 or list(temporary.iterdir())
        assert not forgotten
        if number == answers:
            break
    running.close()
    assert list(temporary.iterdir()) == []
    assert set(forgotten) == {path}
