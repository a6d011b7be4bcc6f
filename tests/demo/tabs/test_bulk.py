"""The tab for videos and many pictures: its functions, and then the page in headless Chromium."""

import re
import tempfile
import wave
import zipfile
from pathlib import Path

import gradio as gr
import pandas as pd
import pytest

from fer_model.demo import jobs as jobs_module
from fer_model.demo.guard import for_visitors
from fer_model.demo.tabs import bulk as module
from fer_model.demo.tabs.bulk import Bulk, _as_shown, _over_time
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES
from helpers.browser import SLOW, expect, video_of
from helpers.visitors import as_png, rows_of, zipped


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """Where temporary files go; `tmp_path` is where uploads come from."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def tab(network, jobs) -> Bulk:
    return Bulk(network, jobs)


def upload(path: Path) -> dict:
    """What the page sends for a file."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def test_the_chart_is_of_the_face_that_is_seen_most_often():
    shares = {name: index / 10 for index, name in enumerate(EMOTIONS)}
    rows = [{"seconds": 0.0, "face": 1, **shares}, {"seconds": 0.0, "face": 2, **shares}]
    rows += [{"seconds": 0.1, "face": 2, **shares, "happiness": 0.9}, {"seconds": 0.2, "face": None}]
    chart = _over_time(pd.DataFrame(rows), EMOTIONS)
    assert list(chart) == ["seconds", "expression", "probability"]
    assert len(chart) == 2 * len(EMOTIONS)
    happy = chart[chart["expression"] == "happiness"]
    assert list(zip(happy["seconds"], happy["probability"], strict=True)) == [(0.0, 0.0), (0.1, 0.9)]


def test_the_chart_of_a_video_without_faces_is_empty():
    chart = _over_time(pd.DataFrame([{"seconds": 0.0, "face": None, **dict.fromkeys(EMOTIONS)}]), EMOTIONS)
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
    assert _as_shown(rows, EMOTIONS).to_dict("records") == [*shown, nothing]
    assert _as_shown(rows[:2], EMOTIONS).to_dict("records") == shown
    assert _as_shown(rows[2:], EMOTIONS).to_dict("records") == [nothing]


def in_words(message: str) -> str:
    """The page's message without its bar."""
    return re.sub(r"<[^>]+>", "", message).strip()


def share(message: str) -> float | None:
    """How far the message's bar has come; None without one."""
    found = re.search(r'<progress value="([\d.]+)"', message)
    return float(found[1]) if found else None


def test_the_page_gets_the_video_its_table_and_its_chart(tab, clip, temporary, monkeypatch):
    monkeypatch.setattr(module, "SAY_EVERY", 3600)  # on a slow machine, too, only the answer comes
    answers = tab.video(upload(clip), 0.2, "V1")
    words, *results = next(answers)
    assert in_words(words) == "Looking for faces …"
    assert all(result["value"] is None and not result["visible"] for result in results), "those of the last video"
    message, *results = next(answers)
    assert all(result["visible"] for result in results)
    annotated, faces, chart, _ = (result["value"] for result in results)
    assert in_words(message) == "2 faces followed in 5 of the video's frames."
    assert Path(annotated).read_bytes()[4:8] == b"ftyp"
    assert len(rows_of(Path(faces))) == 8
    assert len(chart) == 3 * len(EMOTIONS)
    assert list(answers) == []


def test_the_page_is_told_how_far_it_is(tab, clip, face, temporary, monkeypatch):
    monkeypatch.setattr(module, "SAY_EVERY", 0)
    messages = [answer[0] for answer in tab.video(upload(clip), 0.0, "V1")]
    assert list(map(in_words, messages))[1:-1] == [f"{round(index / 10)} of 1 seconds done." for index in range(10)]
    assert list(map(share, messages)) == pytest.approx([0, *(index / 10 for index in range(10)), None])
    messages = [answer[0] for answer in tab.pictures([upload(face)] * 3, "V1", True)]
    assert list(map(share, messages)) == pytest.approx([0, 1 / 3, 2 / 3, 1, None], abs=0.001)
    assert list(map(in_words, messages)) == [f"{done} of 3 pictures done." for done in range(4)] + [
        "3 faces in 3 pictures."
    ]


def test_the_page_says_that_a_video_was_cut(tab, clip, temporary, monkeypatch):
    for place in (module, jobs_module):
        monkeypatch.setattr(place, "MAX_SECONDS", 1)
    *_, (message, *_) = tab.video(upload(clip), 0.5, "V1")
    assert "left out" not in message
    for place in (module, jobs_module):
        monkeypatch.setattr(place, "MAX_SECONDS", 0.5)
    *_, (message, *_) = tab.video(upload(clip), 0.5, "V1")
    assert in_words(message) == (
        "2 faces followed in 1 of the video's frames. What comes after its first 0.5 seconds was left out."
    )


def test_the_page_shows_the_first_rows_and_the_file_has_all(tab, face, tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(module, "ROWS_SHOWN", 2)
    monkeypatch.setattr(module, "SAY_EVERY", 3600)
    empty = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png()})
    answers = tab.pictures([upload(face), upload(empty)], "V1", True)
    words, *results = next(answers)
    assert in_words(words) == "0 of 3 pictures done."
    assert all(result["value"] is None and not result["visible"] for result in results)
    message, *results = next(answers)
    shown, file = (result["value"] for result in results)
    assert in_words(message) == "1 face in 3 pictures. The first 2 rows are shown; the file has all."
    assert list(shown["file"]) == ["face.jpg", "x.zip/1.png"]
    assert len(rows_of(Path(file))) == 3


def test_the_page_names_what_is_no_picture_and_shortens_long_names(tab, tmp_path, temporary):
    only = zipped(tmp_path / "x.zip", {"notes.txt": b"", f"first{'x' * 60_000}last": b""})
    *_, (message, table, _) = tab.pictures([upload(only)], "V1", True)
    assert in_words(message) == "0 faces in 0 pictures. 2 other files passed over; the table says why."
    names, reasons = table["value"]["file"], table["value"]["label"]
    assert names[0] == "x.zip/notes.txt"
    assert names[1].startswith("x.zip/firstxx")
    assert names[1].endswith("xxlast")
    assert names.map(len).max() < 130
    assert all("no image in a format that can be read" in reason for reason in reasons)


def test_what_fails_is_a_sentence_and_leaves_nothing(tab, tmp_path, temporary):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    empty = zipped(tmp_path / "a.zip", {})
    video, pictures = for_visitors(tab.video), for_visitors(tab.pictures)
    for answers, sentence in (
        (video(upload(tmp_path / "a.mp4"), 0.1, "V1"), "a.mp4 is not a video that can be read."),
        (pictures([upload(empty)], "V1", True), "There is no picture in what you gave."),
        (pictures([], "V1", True), "Please give pictures, a folder of them, or a zip archive."),
    ):
        with pytest.raises(gr.Error) as caught:
            list(answers)
        assert caught.value.message == sentence
        assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["video", "pictures"])
@pytest.mark.parametrize("answers", [1, 3, None])
def test_nothing_is_left_when_the_work_ends_and_when_it_is_cancelled_half_way(
    tab, clip, face, temporary, monkeypatch, name, answers
):
    """Cancel closes the generator after one of its answers; None: it is not pressed."""
    monkeypatch.setattr(module, "SAY_EVERY", 0)
    forgotten = []
    monkeypatch.setattr(module, "forget", forgotten.extend)
    path = clip if name == "video" else face
    given = (upload(clip), 0.1, "V1") if name == "video" else ([upload(face)] * 3, "V1", True)
    running = getattr(tab, name)(*given)
    for number, _ in enumerate(running, 1):
        assert number == 1 or list(temporary.iterdir())
        assert not forgotten
        if number == answers:
            break
    running.close()
    assert list(temporary.iterdir()) == []
    assert set(forgotten) == {path}


def test_a_video_comes_back_with_boxes_a_table_and_a_chart(visit, tmp_path):
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("Videos and many pictures")
    page = visitor.page
    visitor.upload(video_of("two_faces.jpg", tmp_path / "video.mp4", seconds=1.0), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    visitor.expect_text("#film-message", re.compile(r"2 faces followed in 10 of the video's frames"))
    page.wait_for_function("() => document.querySelector('#film-out video')?.duration > 0.9")
    page.wait_for_selector("#film-chart svg, #film-chart canvas")
    with page.expect_download() as download:
        page.locator("#film-table a").first.click()
    rows = download.value.path().read_text().splitlines()
    assert len(rows) == 1 + 10 * 2
    assert visitor.complaints == []


@pytest.mark.slow
def test_a_video_can_be_cancelled(visit, tmp_path):
    visitor = visit()
    visitor.open_tab("Videos and many pictures")
    page = visitor.page
    visitor.upload(video_of("two_faces.jpg", tmp_path / "video.mp4", seconds=12.0), "#film")
    page.wait_for_selector("#film video")
    page.locator("#film-start").click()
    page.wait_for_selector("#film-message progress[value]")
    visitor.expect_text("#film-message", re.compile(r"\d+ of 12 seconds done"))
    page.locator("#film-cancel").click()
    visitor.expect_text("#film-message", "Cancelled.")
    visitor.upload(EXAMPLES / "two_faces.jpg", "#pictures")  # whose turn comes only if the video has really ended
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "2 faces in 1 picture.")


def test_pictures_and_a_zip_become_one_table(visit, tmp_path):
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.write(EXAMPLES / "two_faces.jpg", "deep/two.jpg")
        archive.writestr("deep/broken.jpg", b"no picture")
        archive.writestr("notes.txt", "no picture either")
    visitor = visit(viewport={"width": 1440, "height": 1000})
    visitor.open_tab("Videos and many pictures")
    page = visitor.page
    files = [str(tmp_path / "holiday.zip"), str(EXAMPLES / "astronaut.jpg")]
    page.set_input_files("#pictures input[type=file]", files)
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "3 faces in 3 pictures. 1 other file passed over; the table says why.")
    visitor.expect_text("#pictures-table", "astronaut.jpg")
    with page.expect_download() as download:
        page.locator("#pictures-file a").first.click()
    rows = download.value.path().read_text().splitlines()
    assert len(rows) == 1 + 2 + 1 + 1 + 1, "two faces, a picture that cannot be read, the astronaut, and the notes"
    assert visitor.complaints == []


def test_a_folder_becomes_a_table(visit, tmp_path):
    (tmp_path / "holiday" / "deep").mkdir(parents=True)
    for name in ("holiday/two.jpg", "holiday/deep/again.jpg"):
        (tmp_path / name).write_bytes((EXAMPLES / "two_faces.jpg").read_bytes())
    visitor = visit()
    visitor.open_tab("Videos and many pictures")
    page = visitor.page
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a folder").click()
    chooser.value.set_files(str(tmp_path / "holiday"))
    page.wait_for_selector("#pictures .file-preview")
    page.locator("#pictures-start").click()
    visitor.expect_text("#pictures-message", "4 faces in 2 pictures")
    assert visitor.complaints == []


@pytest.mark.slow
def test_what_is_no_video_is_a_sentence(visit, tmp_path):
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(8000))
    (tmp_path / "sound.wav").rename(tmp_path / "video.mp4")
    visitor = visit()
    visitor.open_tab("Videos and many pictures")
    visitor.upload(tmp_path / "video.mp4", "#film")
    visitor.page.wait_for_selector("#film video")
    visitor.page.locator("#film-start").click()
    expect(visitor.page.get_by_text("not a video that can be read")).to_be_visible(timeout=SLOW)
