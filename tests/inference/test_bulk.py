"""The shell's `predict`: every face of many pictures and films, one row each."""

import csv
import io
import logging
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.inference import bulk
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from helpers import EXAMPLES, ROOT


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    FERModel(version="v1", seed=0).save_pretrained(folder)
    return folder


@pytest.fixture
def film(tmp_path) -> Path:
    """Two seconds at 10 frames a second: the astronaut, dark for the second half of the film."""
    picture = np.asarray(Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").resize((320, 320)))[:, :, ::-1]
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 320))
    for index in range(20):
        writer.write(picture if index < 10 else np.zeros_like(picture))
    writer.release()
    return path


def table(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_a_picture_and_a_glob_become_one_table(model, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, target in (
        ("two_faces.jpg", "in/a.jpg"),
        ("astronaut.jpg", "in/deep/b.JPG"),
        ("astronaut.jpg", "c1.jpg"),
    ):
        (tmp_path / target).write_bytes((EXAMPLES / name).read_bytes())
    Image.new("RGB", (200, 200), "white").save(tmp_path / "c2.png")
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out, maps = tmp_path / "out" / "table.csv", tmp_path / "maps"
    paths = [tmp_path / "in", tmp_path / "in" / "a.jpg", tmp_path / "c*"]
    main(["predict", *map(str, paths), "--model", str(model), "--csv", str(out), "--gradcam", str(maps)])
    rows = table(out)
    assert list(rows[0]) == list(bulk.COLUMNS)
    found = [(Path(row["file"]).name, row["face"]) for row in rows]
    assert sorted(found) == [("a.jpg", "1"), ("a.jpg", "2"), ("b.JPG", "1"), ("c1.jpg", "1"), ("c2.png", "")]
    expected = FERPipeline.from_pretrained(model)(tmp_path / "in" / "a.jpg").faces
    for row, face in zip((row for row in rows if row["file"].endswith("a.jpg")), expected, strict=True):
        assert tuple(int(row[side]) for side in ("left", "top", "right", "bottom")) == face.box
        assert row["label"] == face.label
        assert row["unsure"] == str(face.unsure)
        assert [float(row[name]) for name in EMOTIONS] == pytest.approx(list(face.probabilities.values()), abs=1e-5)
    assert sorted(path.name for path in maps.iterdir()) == [
        "00001-a-1.png",
        "00001-a-2.png",
        "00003-b-1.png",
        "00004-c1-1.png",
    ]


def test_a_film_is_sampled_by_time_and_a_dark_frame_has_no_face(model, film, tmp_path):
    main(["predict", str(film), "--model", str(model), "--csv", str(tmp_path / "out.csv"), "--every", "0.5"])
    rows = table(tmp_path / "out.csv")
    assert [(row["seconds"], row["face"]) for row in rows] == [
        ("0.000", "1"),
        ("0.500", "1"),
        ("1.000", ""),
        ("1.500", ""),
    ]


def test_every_frame_of_a_film_comes_unless_asked_otherwise(film):
    assert [item.seconds for item in bulk.film_frames(film, 0)] == pytest.approx([index / 10 for index in range(20)])


def test_a_film_is_read_as_it_is_asked_for(film, monkeypatch):
    """However long it is, one frame is in memory."""
    grabbed = []

    class Counting:
        def __init__(self, path):
            self._film = opened(path)

        def grab(self):
            grabbed.append(1)
            return self._film.grab()

        def __getattr__(self, name):
            return getattr(self._film, name)

    opened = cv2.VideoCapture
    monkeypatch.setattr(bulk.cv2, "VideoCapture", Counting)
    frames = bulk.film_frames(film, 0)
    next(frames)
    next(frames)
    assert len(grabbed) == 2


def test_the_frames_are_red_green_blue(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order is blue, green, red
    writer.release()
    frame = next(bulk.film_frames(tmp_path / "red.avi", 0)).image
    assert frame[32, 32, 0] > 200
    assert frame[32, 32, 2] < 60


def test_what_is_not_there_or_cannot_be_read_is_said(model, tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        bulk.find_files([str(tmp_path / "nowhere*")])
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ImageError, match="not a film"):
        list(bulk.film_frames(tmp_path / "film.mp4", 0))
    assert list(bulk.items([tmp_path / "film.mp4"], 0)) == [], "one bad film does not end the rest"
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="None of these"):
        main(["predict", str(tmp_path / "bad.jpg"), "--model", str(model)])


def test_a_film_of_frames_too_large_to_be_read_is_refused_before_one_is_decoded(film, monkeypatch):
    monkeypatch.setattr(bulk, "MAX_PIXELS", 320 * 320 - 1)
    with pytest.raises(ImageError, match="too large"):
        next(bulk.film_frames(film, 0))


@pytest.mark.parametrize("every", [0.0, 0.05, 0.1, 0.15, 0.25, 0.3, 0.5, 0.7, 1.9, 2.0, 60.0])
def test_a_film_s_frames_are_counted_as_they_come(film, every):
    assert bulk.count(film, every) == len(list(bulk.film_frames(film, every)))


# --- zip archives


def as_png(colour: str = "white", side: int = 200) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def patched(path: Path, member: str, field: int, kind: str, value: int) -> Path:
    """Write a number into the archive's directory, which states of each member its size, whether it is encrypted …"""
    content = bytearray(path.read_bytes())
    # a directory's entry has a header of 46 bytes, then the name
    start = content.rindex(member.encode()) - 46
    assert content[start : start + 4] == b"PK\x01\x02"
    struct.pack_into(kind, content, start + field, value)
    path.write_bytes(content)
    return path


def left_out(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out")]


@pytest.fixture(scope="module")
def pipeline(model) -> FERPipeline:
    return FERPipeline.from_pretrained(model)


def test_pictures_in_a_zip_are_rows_under_its_name_and_the_rest_of_it_is_passed_over(model, tmp_path):
    photo = (EXAMPLES / "two_faces.jpg").read_bytes()
    archive = zipped(
        tmp_path / "all.ZIP",
        {"a.jpg": photo, "deep/er/b.PNG": as_png(), "notes.txt": b"", "film.mp4": b""}
        | {"__MACOSX/._a.jpg": as_png(), "folder.png/": b""},
    )
    main(["predict", str(archive), "--model", str(model), "--csv", str(tmp_path / "out.csv")])
    rows = table(tmp_path / "out.csv")
    found = [(row["file"], row["face"]) for row in rows]
    assert found == [(f"{archive}/a.jpg", "1"), (f"{archive}/a.jpg", "2"), (f"{archive}/deep/er/b.PNG", "")]
    alone = FERPipeline.from_pretrained(model)(EXAMPLES / "two_faces.jpg").faces
    assert [row["label"] for row in rows[:2]] == [face.label for face in alone]
    assert [int(row["left"]) for row in rows[:2]] == [face.box[0] for face in alone]


def test_a_folder_is_searched_for_zips_too(tmp_path):
    (tmp_path / "deep").mkdir()
    archive = zipped(tmp_path / "deep" / "x.zip", {"a.png": as_png()})
    assert bulk.find_files([str(tmp_path)]) == [archive]


def test_each_picture_of_a_zip_is_unpacked_when_it_is_asked_for_and_none_to_disk(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "x.zip", {f"{index}.png": as_png() for index in range(3)})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    opened, real = [], zipfile.ZipFile.open
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *args: opened.append(args) or real(*args))
    pictures = bulk.items([archive])
    assert [next(pictures).image, len(opened)] == [as_png(), 1]
    assert [next(pictures).image, len(opened)] == [as_png(), 2]
    assert len(list(pictures)) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["elsewhere", "x.zip"]


def test_a_picture_that_cannot_be_unpacked_is_left_out_and_the_rest_goes_on(pipeline, tmp_path, caplog):
    good, bad = {"first.png": as_png("red"), "last.png": as_png("blue")}, {"bad.png": as_png()}
    encrypted = patched(zipped(tmp_path / "encrypted.zip", bad | good), "bad.png", 8, "<H", 1)
    damaged = zipped(tmp_path / "damaged.zip", bad | good, zipfile.ZIP_STORED)
    damaged.write_bytes(damaged.read_bytes().replace(b"IDAT", b"IDAX", 1))
    shorter = patched(zipped(tmp_path / "shorter.zip", bad | good), "bad.png", 24, "<I", 50)
    unknown = patched(zipped(tmp_path / "unknown.zip", bad | good), "bad.png", 10, "<H", 77)
    no_picture = zipped(tmp_path / "no_picture.zip", {"bad.png": b"no picture"} | good)
    files = [encrypted, damaged, shorter, unknown, no_picture]
    with caplog.at_level(logging.WARNING):
        rows = list(bulk.rows(pipeline, bulk.items(files)))
    assert [row["file"] for row in rows] == [f"{file}/{name}.png" for file in files for name in ("first", "last")]
    reasons = ("encrypted", "CRC", "CRC", "compression", "not a picture")
    for file, line, reason in zip(files, left_out(caplog), reasons, strict=True):
        assert line.startswith(f"left out {file}/bad.png: ")
        assert reason in line


@pytest.mark.parametrize(("stated", "reason"), [(None, "larger than"), (100, "CRC"), (2**31, "larger than")])
def test_a_picture_that_unfolds_to_more_than_is_allowed_never_is_in_memory_whatever_its_archive_says(
    pipeline, tmp_path, caplog, monkeypatch, stated, reason
):
    small = as_png()
    monkeypatch.setattr(bulk, "MAX_PICTURE_BYTES", len(small))
    archive = zipped(tmp_path / "x.zip", {"bomb.png": bytes(10_000_000), "good.png": small})
    if stated:
        patched(archive, "bomb.png", 24, "<I", stated)
    assert archive.stat().st_size < 20_000
    tracemalloc.start()
    list(bulk.items([archive]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000
    with caplog.at_level(logging.WARNING):
        rows = list(bulk.rows(pipeline, bulk.items([archive])))
    assert [row["file"] for row in rows] == [f"{archive}/good.png"]
    (line,) = left_out(caplog)
    assert line.startswith(f"left out {archive}/bomb.png: ")
    assert reason in line


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_unfold_all_at_once_are_not_unpacked(tmp_path, monkeypatch, compression):
    archive = zipped(tmp_path / "x.zip", {"bomb.png": bytes(1_000_000)}, compression)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", lambda *_: pytest.fail("it is being unpacked"))
    (item,) = bulk.items([archive])
    assert "deflate" in item.problem
    assert item.image == b""


def test_names_in_a_zip_lead_nowhere_else(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"/etc/a.png": as_png(), "../../b.png": as_png()})
    assert [str(item.file) for item in bulk.items([archive])] == [f"{archive}/etc/a.png", f"{archive}/../../b.png"]


def test_two_pictures_of_one_name_in_a_zip_are_two(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a.png": as_png("red")})
    with zipfile.ZipFile(archive, "a") as opened, pytest.warns(UserWarning, match="Duplicate name"):
        opened.writestr("a.png", as_png("blue"))
    assert [item.image for item in bulk.items([archive])] == [as_png("red"), as_png("blue")]


def broken_archives(folder: Path) -> list[Path]:
    whole = zipped(folder / "cut.zip", {"a.png": as_png(), "b.png": as_png()})
    whole.write_bytes(whole.read_bytes()[:-40])
    (folder / "no.zip").write_bytes(b"no archive")
    (folder / "empty.zip").write_bytes(b"")
    newer = patched(zipped(folder / "newer.zip", {"a.png": as_png()}), "a.png", 6, "<H", 100)
    # a name that is said to be UTF-8, and is not
    named = patched(zipped(folder / "named.zip", {"a.png": as_png()}), "a.png", 8, "<H", 0x800)
    named.write_bytes(named.read_bytes().replace(b"a.png", b"\xff.png"))
    return [whole, folder / "no.zip", folder / "empty.zip", newer, named]


def test_a_broken_archive_is_a_sentence_and_does_not_end_the_rest(model, tmp_path, caplog):
    broken = broken_archives(tmp_path)
    for archive in broken:
        with pytest.raises(ImageError, match=rf"^{archive.name} is not a zip archive that can be read\.$"):
            next(bulk.zipped_pictures(archive))
    good = zipped(tmp_path / "good.zip", {"a.png": as_png()})
    with caplog.at_level(logging.WARNING):
        assert [item.file for item in bulk.items([*broken, good])] == [good / "a.png"]
    assert [line.split(":")[0] for line in left_out(caplog)] == [f"left out {archive}" for archive in broken]
    with pytest.raises(ImageError, match="None of these"):
        main(["predict", str(broken[0]), "--model", str(model)])


def test_what_is_counted_is_what_comes(tmp_path):
    archive = zipped(
        tmp_path / "x.zip",
        {"a.png": as_png(), "deep/b.jpg": b"no picture", "notes.txt": b"", "__MACOSX/a.png": b"", "c.png/": b""},
    )
    empty = zipped(tmp_path / "none.zip", {"notes.txt": b""})
    files = [archive, empty, *broken_archives(tmp_path), EXAMPLES / "astronaut.jpg"]
    for file in files:
        assert bulk.count(file) == len(list(bulk.items([file])))
    assert sum(bulk.count(file) for file in files) == 3


def test_the_command_takes_a_zip(model, tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a.png": (EXAMPLES / "drawn_anger.png").read_bytes(), "bad.png": b""})
    command = [sys.executable, "-m", "fer_model", "predict", str(archive), "--whole-picture", "--model", str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (row,) = csv.DictReader(done.stdout.splitlines())
    assert (row["file"], row["face"]) == (f"{archive}/a.png", "1")
    assert f"left out {archive}/bad.png" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_prints_the_table_and_help_teaches(model):
    command = [sys.executable, "-m", "fer_model", "predict", "examples/drawn_anger.png", "--whole-picture"]
    done = subprocess.run([*command, "--model", str(model)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == ",".join(bulk.COLUMNS)
    assert len(done.stdout.splitlines()) == 2
    shown = subprocess.run(
        [sys.executable, "-m", "fer_model", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "predict photo.jpg" in shown.stdout


def test_the_table_of_six_classes_has_its_columns_and_that_of_seven_one_more(model, tmp_path):
    FERModel(version="v1", seed=0, classes=7).save_pretrained(tmp_path / "seven")
    heads, rows = [], []
    for name in (model, tmp_path / "seven"):
        out = tmp_path / f"{name.name}.csv"
        picture = str(EXAMPLES / "drawn_anger.png")
        main(["predict", picture, "--whole-picture", "--model", str(name), "--csv", str(out)])
        heads.append(out.read_text().splitlines()[0])
        rows += table(out)
    six = "file,seconds,face,left,top,right,bottom,score,label,unsure,happiness,surprise,sadness,anger,disgust,fear"
    assert heads == [six, f"{six},neutral"]
    for row, names in zip(rows, (EMOTIONS, (*EMOTIONS, "neutral")), strict=True):
        assert sum(float(row[name]) for name in names) == pytest.approx(1, abs=1e-5)
