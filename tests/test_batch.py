"""The shell's `predict`: every face of many pictures and films, one row each."""

import csv
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fer_model import batch
from fer_model.__main__ import main
from fer_model.errors import ImageError
from fer_model.labels import EMOTIONS
from fer_model.modeling import FERModel
from fer_model.pipeline import FERPipeline

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


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
    assert list(rows[0]) == list(batch.COLUMNS)
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
    assert [item.seconds for item in batch.film_frames(film, 0)] == pytest.approx([index / 10 for index in range(20)])


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
    monkeypatch.setattr(batch.cv2, "VideoCapture", Counting)
    frames = batch.film_frames(film, 0)
    next(frames)
    next(frames)
    assert len(grabbed) == 2


def test_the_frames_are_red_green_blue(tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "red.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 64))
    writer.write(np.full((64, 64, 3), (0, 0, 255), np.uint8))  # OpenCV's order is blue, green, red
    writer.release()
    frame = next(batch.film_frames(tmp_path / "red.avi", 0)).image
    assert frame[32, 32, 0] > 200
    assert frame[32, 32, 2] < 60


def test_what_is_not_there_or_cannot_be_read_is_said(model, tmp_path):
    with pytest.raises(ImageError, match="nowhere"):
        batch.find_files([str(tmp_path / "nowhere*")])
    (tmp_path / "film.mp4").write_bytes(b"no film")
    with pytest.raises(ImageError, match="not a film"):
        list(batch.film_frames(tmp_path / "film.mp4", 0))
    assert list(batch.items([tmp_path / "film.mp4"], 0)) == [], "one bad film does not end the rest"
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(ImageError, match="None of these"):
        main(["predict", str(tmp_path / "bad.jpg"), "--model", str(model)])


def test_the_command_prints_the_table_and_help_teaches(model):
    command = [sys.executable, "-m", "fer_model", "predict", "examples/drawn_anger.png", "--whole-picture"]
    done = subprocess.run([*command, "--model", str(model)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == ",".join(batch.COLUMNS)
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
