"""The shell's `predict`: every face of many pictures and videos, one row each, by one process or several."""

import csv
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.inference import bulk, shared, video
from fer_model.inference.pipeline import FERPipeline
from fer_model.labels import EMOTIONS
from fer_model.model.network import FERModel
from helpers import EXAMPLES
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


# several processes: parts that a kill may have cut off anywhere become one table

SETTINGS = {"model": "one"}


def rows_of(file: Path) -> list[dict]:
    """None, one or several for a file, told by its name."""
    return [{"file": str(file), "face": str(face)} for face in range(int(file.stem) % 3)]


def write_parts(parts: Path, files: list[Path], rng: np.random.Generator, *, cut: bool = False) -> set[Path]:
    """What three processes have finished of the files, in any order; a kill may have cut off last lines. Returns the
    files that count as finished."""
    parts.mkdir(parents=True)
    finished: set[Path] = set()
    for number, share in enumerate(np.array_split(rng.permutation(len(files)), 3)):
        lines = [json.dumps({"settings": SETTINGS})]
        lines += [json.dumps({"file": str(files[index]), "rows": rows_of(files[index])}) for index in share]
        text = "\n" + "\n".join(lines) + "\n"
        if cut:
            text = text[: rng.integers(2, len(text))]
        (parts / f"{number}.jsonl").write_text(text)
        finished |= {file for file in files if json.dumps({"file": str(file), "rows": rows_of(file)}) in text}
    return finished


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_any_order_become_the_table_in_the_order_of_the_files(seed, tmp_path):
    files = [Path(f"{number:02}.jpg") for number in range(20)]
    write_parts(tmp_path / "t.csv.parts", files, np.random.default_rng(seed))
    expected = [row for file in files for row in rows_of(file)]
    output = tmp_path / "t.csv"
    assert shared.join(files, shared.parts_of(output), output, EMOTIONS) == len(expected)
    with output.open(newline="") as table:
        written = list(csv.DictReader(table))
    assert [(row["file"], row["face"]) for row in written] == [(row["file"], row["face"]) for row in expected]
    assert list(written[0]) == list(bulk.columns(EMOTIONS))


@pytest.mark.parametrize("seed", range(20))
def test_a_file_is_unfinished_until_its_whole_line_is_there_and_a_later_one_replaces_half_of_it(seed, tmp_path):
    files = [Path(f"{number:02}.jpg") for number in range(20)]
    finished = write_parts(tmp_path / "parts", files, np.random.default_rng(seed), cut=True)
    left = shared.unfinished(files, tmp_path / "parts", SETTINGS)
    assert {files[number] for number in left} == set(files) - finished
    with (tmp_path / "parts" / "0.jsonl").open("a") as part:
        part.write("\n" + json.dumps({"settings": SETTINGS}) + "\n")
        part.writelines(json.dumps({"file": str(files[n]), "rows": rows_of(files[n])}) + "\n" for n in left)
    assert shared.unfinished(files, tmp_path / "parts", SETTINGS) == []
    assert shared.join(files, tmp_path / "parts", tmp_path / "t.csv", EMOTIONS) == sum(map(len, map(rows_of, files)))


def test_an_unfinished_run_with_other_options_is_not_mixed_in(tmp_path):
    write_parts(tmp_path / "parts", [Path("1.jpg"), Path("2.jpg"), Path("3.jpg")], np.random.default_rng(0))
    with pytest.raises(ImageError, match="another model or other options.*delete the folder"):
        shared.unfinished([Path("1.jpg")], tmp_path / "parts", {"model": "another"})


def test_a_process_without_a_sign_of_life_ends_the_others_unless_it_has_finished(tmp_path, monkeypatch, capsys):
    ended = threading.Event()

    def end(status: int) -> None:
        assert status == 2
        ended.set()
        raise FileNotFoundError  # which ends the watch

    monkeypatch.setattr(shared, "BEAT", 0.01)
    monkeypatch.setattr(shared, "SILENCE", 0.2)
    monkeypatch.setattr(shared.os, "_exit", end)
    monkeypatch.setattr(shared.signal, "signal", lambda *_: None)
    mine, other, finished = (tmp_path / f"{number}.jsonl" for number in range(3))
    for part in (mine, other, finished):
        part.write_text("\n")
    finished.write_text(shared._END)
    shared._stop_with_the_others(mine, [mine, finished])
    assert not ended.wait(1), "one that has finished needs no sign of life"
    shared._stop_with_the_others(mine, [mine, other, finished])
    assert ended.wait(5)
    assert f"what is finished is in {tmp_path}, and the same command goes on" in capsys.readouterr().err
    mine.unlink()  # ends the first watch


def test_several_processes_need_a_file_for_their_table(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ImageError, match="--output table.csv"):
        main(["predict", "examples"])
