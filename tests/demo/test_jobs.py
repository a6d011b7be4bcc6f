"""Long work without a page: a video, and many pictures."""

import struct

import av
import pytest
from PIL import Image

from fer_model.demo import jobs as module
from fer_model.demo.jobs import how_many
from fer_model.errors import ImageError
from fer_model.inference import bulk
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES
from helpers.videos import late_video, odd_videos
from helpers.visitors import as_png, rows_of, zipped


def test_a_video_s_table_has_a_row_for_each_face_and_time(jobs, clip, tmp_path):
    progress = list(jobs.video(clip, None, 0.2, tmp_path))
    assert [number for number, _ in progress] == [1, 2, 3, 4, 5]
    assert [seconds for _, seconds in progress] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    rows = rows_of(tmp_path / "faces.csv")
    assert list(rows[0]) == list(bulk.columns(EMOTIONS))
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
    assert {row["file"] for row in rows} == {"clip.mp4"}
    for row in rows[:6]:
        left, top, right, bottom = (int(row[side]) for side in ("left", "top", "right", "bottom"))
        assert 0 <= left < right <= 460
        assert 0 <= top < bottom <= 280
        shares = {name: float(row[name]) for name in EMOTIONS}
        assert sum(shares.values()) == pytest.approx(1, abs=1e-5)
        assert row["label"] == max(shares, key=shares.get)
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        assert len(list(container.decode(video=0))) == 10


def test_a_video_may_be_deleted_as_soon_as_it_is_open(jobs, clip, tmp_path):
    progress = jobs.video(clip, None, 0.2, tmp_path)
    next(progress)
    clip.unlink()
    assert len(list(progress)) == 4


def test_a_long_video_is_cut(jobs, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_SECONDS", 0.35)
    assert [round(seconds, 3) for _, seconds in jobs.video(clip, None, 0, tmp_path)] == [0, 0.1, 0.2, 0.3]
    with av.open(str(tmp_path / "annotated.mp4")) as container:
        assert len(list(container.decode(video=0))) == 4


def test_odd_videos_are_taken_for_what_they_hold_in_the_first_minute(jobs, tmp_path):
    for number, (path, times) in enumerate(odd_videos(tmp_path).items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        progress = list(jobs.video(path, None, 0, folder))
        assert [seconds for _, seconds in progress] == [seconds for seconds in times if seconds < 60]
        with av.open(str(folder / "annotated.mp4")) as container:
            frames = list(container.decode(video=0))
        assert len(frames) == len(progress)
        assert max(frames[0].width, frames[0].height) <= 1280
        assert b"<script>" not in (folder / "annotated.mp4").read_bytes()


def test_a_video_that_shows_nothing_in_the_first_minute_is_a_sentence(jobs, tmp_path):
    with pytest.raises(ImageError, match=r"^late\.mkv shows nothing in its first 60 seconds\.$"):
        list(jobs.video(late_video(tmp_path / "late.mkv"), None, 0.1, tmp_path))


def test_what_is_a_video_and_a_zip_is_taken_for_what_its_name_says(jobs, tmp_path):
    both = next(path for path in odd_videos(tmp_path) if path.name == "both.mp4")
    paths = [both, both.with_suffix(".zip")]
    paths[1].write_bytes(both.read_bytes())
    list(jobs.pictures(paths, None, True, tmp_path / "faces.csv"))
    told = {row["file"]: row["label"] for row in rows_of(tmp_path / "faces.csv")}
    assert told["both.zip/photo.png"] == "no face found"
    assert "not an image" in told["both.mp4"]


def test_pictures_become_one_table_in_which_each_can_be_told(jobs, network, face, clip, tmp_path):
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
    (tmp_path / "=1+1.png").write_bytes(b"a formula, to a spreadsheet")
    paths = [face, archive, tmp_path / "bad.png", tmp_path / "broken.zip", clip, tmp_path / "=1+1.png"]
    yielded = list(jobs.pictures(iter(paths), None, True, tmp_path / "faces.csv"))
    rows = rows_of(tmp_path / "faces.csv")
    assert list(rows[0]) == list(bulk.columns(EMOTIONS))
    assert [(row["file"], row["face"]) for row in rows] == [
        ("face.jpg", "1"),
        ("all.zip/a/x.jpg", "1"),
        ("all.zip/a/x.jpg", "2"),
        ("all.zip/b/x.jpg", ""),
        ("all.zip/bad.jpg", ""),
        ("all.zip/locked.png", ""),
        ("bad.png", ""),
        ("broken.zip", ""),
        ("clip.mp4", ""),
        ("./=1+1.png", ""),
    ]
    for row, reason in zip(
        rows[3:],
        ("no face", "not an image", "encrypted", "not an image", "not a zip", "not an image", "not an image"),
        strict=True,
    ):
        assert reason in row["label"]
        assert str(tmp_path) not in row["label"], "no folder of the server's is told"
    assert [[row["file"] for row in some] for some in yielded][:2] == [["face.jpg"], ["all.zip/a/x.jpg"] * 2]
    assert sum(map(len, yielded)) == len(rows)
    for row, found in zip(rows[1:3], network.versions["V1"](two).faces, strict=True):
        assert row["label"] == found.label
        assert [int(row[side]) for side in ("left", "top", "right", "bottom")] == list(found.box)


def test_eyes_are_levelled_if_asked(jobs, face, tmp_path):
    Image.open(face).rotate(25).save(face)
    told = []
    for level in (True, False):
        list(jobs.pictures([face], None, level, tmp_path / "faces.csv"))
        told.append([row["happiness"] for row in rows_of(tmp_path / "faces.csv")])
    assert told[0] != told[1]


def test_rows_are_yielded_one_picture_after_another_as_they_are_written(jobs, tmp_path):
    archive = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png()})
    yielded = jobs.pictures([archive], None, True, tmp_path / "faces.csv")
    assert [row["file"] for row in next(yielded)] == ["x.zip/1.png"]
    yielded.close()
    assert [row["file"] for row in rows_of(tmp_path / "faces.csv")] == ["x.zip/1.png"]


def test_more_pictures_than_are_taken_at_a_time_are_a_sentence_before_any_is_looked_at(
    jobs, face, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "MAX_PICTURES", 3)
    archive = zipped(tmp_path / "x.zip", {"1.png": as_png(), "2.png": as_png(), "notes.txt": b""})
    with pytest.raises(ImageError, match=r"These are 4 pictures; at most 3"):
        next(jobs.pictures([face, archive, face], None, True, tmp_path / "faces.csv"))
    assert not (tmp_path / "faces.csv").exists()
    yielded = list(jobs.pictures([face, archive], None, True, tmp_path / "faces.csv"))
    assert [row["file"] for rows in yielded for row in rows] == [
        "face.jpg",
        "x.zip/1.png",
        "x.zip/2.png",
        "x.zip/notes.txt",
    ]


def test_every_other_file_in_an_archive_is_named_once_with_the_reason_that_the_command_gives(jobs, tmp_path, caplog):
    nested = zipped(tmp_path / "nested.zip", {"1.png": as_png()})
    first = zipped(
        tmp_path / "a.zip",
        {"notes.txt": b"", "1.png": as_png(), "nested.zip": nested.read_bytes(), "2.png": b"damaged", "folder/": b""}
        | {"__MACOSX/._1.png": b"", "__MACOSX/._2.png": b"", "=\x1b\n": b"", "x" * 60_000: b""},
    )
    second = zipped(tmp_path / "=b.zip", {"notes.txt": b""})
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    paths = [first, second, tmp_path / "broken.zip"]
    list(jobs.pictures(paths, None, True, tmp_path / "faces.csv"))
    told = {row["file"]: row["label"] for row in rows_of(tmp_path / "faces.csv")}
    assert list(told) == [
        *("a.zip/1.png", "a.zip/2.png", "broken.zip", "a.zip/notes.txt", "a.zip/nested.zip", "a.zip/=\\x1b\\x0a"),
        *(f"a.zip/{'x' * 60_000}", "a.zip/__MACOSX", "./=b.zip/notes.txt"),
    ]
    assert how_many(paths) == 3
    with caplog.at_level("WARNING"):
        list(bulk.rows(jobs.network.versions["V1"], bulk.items([first, second])))
    lines = {line for line in caplog.messages if line.startswith("left out")}
    del told["a.zip/1.png"], told["broken.zip"]
    assert lines == {f"left out {tmp_path}/{name.removeprefix('./')}: {why}" for name, why in told.items()}


def test_archives_of_many_files_are_refused_before_they_are_looked_into(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ARCHIVED", 3)
    archives = [zipped(tmp_path / f"{name}.zip", {"1.txt": b"", "2.txt": b""}) for name in "ab"]
    assert how_many(archives[:1]) == 0
    with pytest.raises(ImageError, match="These archives hold more than 3 files"):
        next(jobs.pictures(archives, None, True, tmp_path / "faces.csv"))
