"""The shell's `predict`: every face of many pictures and videos, one row each."""

import csv
import logging
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.inference import bulk, shared, video
from fer_model.inference.files.find import kind
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from helpers import EXAMPLES, ROOT
from helpers.scripts import python


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
    assert list(rows[0]) == list(bulk.columns(EMOTIONS))
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


def test_a_video_is_sampled_by_time_and_a_dark_frame_has_no_face(model, video_file, tmp_path):
    main(["predict", str(video_file), "--model", str(model), "--csv", str(tmp_path / "out.csv"), "--every", "0.5"])
    rows = table(tmp_path / "out.csv")
    assert [(row["seconds"], row["face"]) for row in rows] == [
        ("0.000", "1"),
        ("0.500", "1"),
        ("1.000", ""),
        ("1.500", ""),
    ]


def test_what_is_not_there_or_cannot_be_read_is_said(model, tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        bulk.find_files([str(tmp_path / "nowhere*")])
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(ImageError, match="not a video"):
        list(video.frames(tmp_path / "bad.mp4", 0))
    assert list(bulk.items([tmp_path / "bad.mp4"], 0)) == [], "one bad video does not end the rest"
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="None of these"):
        main(["predict", str(tmp_path / "bad.jpg"), "--model", str(model)])


def test_the_command_prints_the_table_and_help_teaches(model):
    command = ["-m", "fer_model", "predict", "examples/drawn_anger.png", "--whole-picture", "--model", model]
    lines = python(*command).stdout.splitlines()
    assert lines[0] == ",".join(bulk.columns(EMOTIONS))
    assert len(lines) == 2
    assert "predict photo.jpg" in python("-m", "fer_model", "--help").stdout


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


def named(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out ")]


def test_every_file_is_told_by_its_content_or_named_once_with_the_reason(pipeline, video_file, tmp_path, caplog):
    image = (EXAMPLES / "drawn_anger.png").read_bytes()
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name, content in {
        "a.jpe": image,
        "a": image,
        "a.mp4": image,
        "film.jpg": video_file.read_bytes(),
        "b.HEIC": b"\0\0\0\x18ftypheic" + bytes(99),
        "c.HEIC": bytes(99),
        "notes.txt": b"text",
        "deep/empty.png": b"",
    }.items():
        (tmp_path / "in" / name).write_bytes(content)
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "in" / "pipe.jpg")
    with zipfile.ZipFile(tmp_path / "in" / "z.backup", "w") as archive:
        for name in ("x.jfif", "y.png", "readme", "__MACOSX/._y.png", "__MACOSX/._x.jfif"):
            archive.writestr(name, image if name[0] in "xy" else b"text")
    with caplog.at_level(logging.WARNING):
        rows = list(
            bulk.rows(pipeline, bulk.items(bulk.find_files([str(tmp_path / "in")]), every=9), whole_picture=True)
        )
    assert [Path(row["file"]).name for row in rows] == ["a", "a.jpe", "a.mp4", "film.jpg", "x.jfif", "y.png"]
    said = [line.removeprefix(f"left out {tmp_path}/in/") for line in named(caplog)]
    assert sorted(line.split(":")[0] for line in said) == sorted(
        ["b.HEIC", "c.HEIC", "deep/empty.png", "link", "notes.txt", "pipe.jpg", "z.backup/__MACOSX", "z.backup/readme"]
    )


def test_a_file_in_a_folder_that_may_not_be_entered_is_named_and_the_bar_does_not_end_the_command(monkeypatch):
    def locked(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", locked)
    photo = EXAMPLES / "astronaut.jpg"
    assert bulk.count(photo) == 0
    with pytest.raises(ImageError, match="It cannot be read .Permission denied"):
        kind(photo)


def test_one_file_that_breaks_everything_costs_its_own_rows_only(pipeline, tmp_path, caplog, monkeypatch):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes((EXAMPLES / "drawn_anger.png").read_bytes())
    search = pipeline.search
    calls = iter((None, MemoryError("of one image"), None))

    def broken(photo, **options):
        if error := next(calls):
            raise error
        return search(photo, **options)

    monkeypatch.setattr(pipeline, "search", broken)
    rows = list(bulk.rows(pipeline, bulk.items(bulk.find_files([str(tmp_path)]))))
    assert [Path(row["file"]).name for row in rows] == ["a.png", "c.png"]
    assert "MemoryError: of one image" in named(caplog)[0]


def test_names_that_are_no_utf8_or_long_or_hold_control_characters_are_rows(model, tmp_path):
    names = (b"M\xfcller.png", b"a\x1b[31m\n.png", "\u202f\u00e4.png".encode(), b"l" * 251 + b".png")
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes((EXAMPLES / "drawn_anger.png").read_bytes())
    out, maps = tmp_path / "out.csv", tmp_path / "maps"
    main(["predict", str(tmp_path / "in"), "--model", str(model), "--csv", str(out), "--gradcam", str(maps)])
    shown = {Path(row["file"]).name for row in table(out)}
    assert shown == {"M\\xfcller.png", "a\\x1b[31m\\x0a.png", "\u202f\u00e4.png", "l" * 251 + ".png"}
    assert len(list(maps.iterdir())) == len(names)


@pytest.mark.slow
def test_who_stops_reading_the_table_ends_the_command_without_a_traceback(model, tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.png").write_bytes((EXAMPLES / "drawn_anger.png").read_bytes())
    command = [sys.executable, "-u", "-m", "fer_model", "predict", str(tmp_path), "--model", str(model)]
    started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert started.stdout.readline().startswith(b"file,")
    started.stdout.close()
    assert b"Traceback" not in started.stderr.read()
    assert started.wait(60) == 141


def test_processes_that_see_no_common_disk_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda found: found)
    state = SimpleNamespace(is_main_process=True, process_index=0, num_processes=2, wait_for_everyone=lambda: None)
    with pytest.raises(ImageError, match="--output must be on a disk that all machines share"):
        shared.share_out([Path("1.jpg")], tmp_path / "t.csv", EMOTIONS, {}, lambda *_: pytest.fail("it works"), state)


@pytest.mark.parametrize("end", [lambda part: part.write_text(shared._END), lambda part: shutil.rmtree(part.parent)])
def test_a_process_that_has_done_its_share_waits_for_the_others_or_for_the_table(tmp_path, monkeypatch, end):
    monkeypatch.setattr("accelerate.utils.broadcast_object_list", lambda found: [([Path("1.jpg")], [0])])
    monkeypatch.setattr(shared, "_stop_with_the_others", lambda mine, everyone: None)
    parts = shared.parts_of(tmp_path / "t.csv")
    parts.mkdir()
    (parts / "0.jsonl").write_text("\n")
    state = SimpleNamespace(is_main_process=False, process_index=1, num_processes=2, wait_for_everyone=lambda: None)
    process = threading.Thread(target=shared.share_out, args=([], tmp_path / "t.csv", (), {}, None, state), daemon=True)
    process.start()
    process.join(0.5)
    assert process.is_alive(), "it has no file to work on, and the other one has not ended"
    end(parts / "0.jsonl")
    process.join(30)
    assert not process.is_alive()
