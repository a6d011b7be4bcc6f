"""Pictures in zip archives: each unpacked when it is asked for, none to disk, and none that unfolds to gigabytes."""

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

import pytest
from PIL import Image

from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.inference import bulk
from fer_model.inference.files import archives
from helpers import EXAMPLES, ROOT


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


def test_pictures_in_a_zip_are_rows_under_its_name_and_the_rest_of_it_is_passed_over(model, pipeline, tmp_path):
    photo = (EXAMPLES / "two_faces.jpg").read_bytes()
    archive = zipped(
        tmp_path / "all.ZIP",
        {"a.jpg": photo, "deep/er/b.PNG": as_png(), "notes.txt": b"", "film.mp4": b""}
        | {"__MACOSX/._a.jpg": as_png(), "folder.png/": b""},
    )
    main(["predict", str(archive), "--model", str(model), "--csv", str(tmp_path / "out.csv")])
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = [(row["file"], row["face"]) for row in rows]
    assert found == [(f"{archive}/a.jpg", "1"), (f"{archive}/a.jpg", "2"), (f"{archive}/deep/er/b.PNG", "")]
    alone = pipeline(EXAMPLES / "two_faces.jpg").faces
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
    reasons = ("encrypted", "CRC", "CRC", "compression", "not an image")
    for file, line, reason in zip(files, left_out(caplog), reasons, strict=True):
        assert line.startswith(f"left out {file}/bad.png: ")
        assert reason in line


@pytest.mark.parametrize(("stated", "reason"), [(None, "larger than"), (100, "CRC"), (2**31, "larger than")])
def test_a_picture_that_unfolds_to_more_than_is_allowed_never_is_in_memory_whatever_its_archive_says(
    pipeline, tmp_path, caplog, monkeypatch, stated, reason
):
    small = as_png()
    monkeypatch.setattr(archives, "MAX_IMAGE_BYTES", len(small))
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
            next(bulk.zipped_images(archive))
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
