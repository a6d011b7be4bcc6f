"""The five endpoints over HTTP and gradio_client, and what their answers hold."""

import csv
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from gradio_client import Client, handle_file
from PIL import Image

import app
from fer_model import FERPipeline
from fer_model.inference import bulk
from fer_model.labels import EMOTIONS
from helpers import EXAMPLES, ROOT
from helpers.visitors import Visitor

PHOTO = EXAMPLES / "two_faces.jpg"


def predict(client: Client, path: Path, *more, api_name: str = "/predict"):
    return client.predict(handle_file(str(path)), *more, api_name=api_name)


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
    pictures = [EXAMPLES / name for name in app.EXAMPLES]
    alone = [predict(client, picture)[0] for picture in pictures]
    clients = [Client(server.url, verbose=False) for _ in pictures]
    with ThreadPoolExecutor(len(pictures)) as pool:
        together = [answer for answer, _, _ in pool.map(predict, clients, pictures)]
    for answer, expected in zip(together, alone, strict=True):
        assert [face["box"] for face in answer["faces"]] == [face["box"] for face in expected["faces"]]
        for face, other in zip(answer["faces"], expected["faces"], strict=True):
            assert face["probabilities"] == pytest.approx(other["probabilities"], abs=1e-4)


def test_about_lists_the_versions_the_first_of_them_the_default(client, models):
    answer = client.predict(api_name="/about")
    assert answer["default"] == "V1"
    assert answer["versions"] == dict.fromkeys(models)  # nothing was measured
    assert answer["classes"] == list(EMOTIONS)
    assert "Neutral" in answer["limits"]


def test_what_is_not_given_has_its_default_and_null_is_the_default_version(server, client):
    visitor = Visitor(server.url)
    upload = visitor.upload(PHOTO.read_bytes())
    least = visitor.call("/predict", image=upload).outputs[0]
    assert least["version"] == "V1"
    assert abs(least["faces"][0]["tilt"]) > 1, "the eyes are levelled"
    given = {"whole_picture": False, "version": None, "level_eyes": True}
    assert visitor.call("/predict", image=upload, **given).outputs[0] == least
    assert client.predict(handle_file(PHOTO), api_name="/predict")[0] == least
    assert client.predict(handle_file(PHOTO), version=None, api_name="/predict")[0] == least
    assert client.predict(handle_file(PHOTO), version="", api_name="/predict")[0] == least


def test_each_version_answers_by_its_own_weights_and_comparing_agrees_with_asking_each(client, models):
    compared = client.predict(handle_file(PHOTO), api_name="/compare")
    assert list(compared["versions"]) == list(models)
    for version, source in models.items():
        answer = client.predict(handle_file(PHOTO), version=version, api_name="/predict")[0]
        face = answer["faces"][0]
        assert answer["version"] == version
        expected = FERPipeline.from_pretrained(source, device="cpu")(PHOTO).faces[0]
        assert face["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
        said = compared["versions"][version]
        assert said["probabilities"] == pytest.approx(face["probabilities"], abs=1e-5)
        assert (said["label"], said["unsure"]) == (face["label"], face["unsure"])
    one, other = (said["probabilities"]["fear"] for said in compared["versions"].values())
    assert abs(one - other) > 1e-4, "the two say the same of everything: this test shows nothing"


def test_comparing_where_there_is_no_face_is_an_answer(client, tmp_path):
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    answer = client.predict(handle_file(tmp_path / "blank.png"), api_name="/compare")
    assert answer["versions"] == {}
    assert "No face was found" in answer["message"]
    whole = client.predict(handle_file(tmp_path / "blank.png"), whole_picture=True, api_name="/compare")
    assert len(whole["versions"]) == 2


def test_levelling_the_eyes_can_be_left_out(client, tmp_path):
    Image.open(EXAMPLES / "astronaut.jpg").convert("RGB").rotate(-25, expand=True).save(tmp_path / "tilted.png")
    photo = handle_file(tmp_path / "tilted.png")
    level = client.predict(photo, api_name="/predict")[0]["faces"][0]
    as_it_is = client.predict(photo, level_eyes=False, api_name="/predict")[0]["faces"][0]
    assert level["tilt"] == pytest.approx(29, abs=9)
    assert as_it_is["tilt"] == 0
    assert level["box"] == as_it_is["box"]
    assert level["probabilities"] != pytest.approx(as_it_is["probabilities"], abs=1e-5)
    compared = [client.predict(photo, level_eyes=eyes, api_name="/compare")["versions"]["V1"] for eyes in (True, False)]
    for said, face in zip(compared, (level, as_it_is), strict=True):
        assert said["probabilities"] == pytest.approx(face["probabilities"], abs=1e-5)


def test_a_video_comes_back_as_a_video_that_plays_and_a_table(client, video):
    annotated, table = client.predict(handle_file(video), api_name="/film")
    with av.open(annotated) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 10)
    with av.open(str(video)) as container:
        original = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in frames] == [(320, 320, 3)] * 10
    changed = [np.abs(one.astype(int) - other).max() for one, other in zip(frames, original, strict=True)]
    assert min(changed) > 60, "a frame has no box"
    with Path(table).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(bulk.columns(EMOTIONS))
    assert {row["face"] for row in rows} == {"1"}
    assert [float(row["seconds"]) for row in rows] == pytest.approx([index / 10 for index in range(10)])
    assert int(rows[-1]["left"]) > int(rows[0]["left"]) + 20, "she moves by 36 pixels"
    for row in rows:
        assert sum(float(row[name]) for name in EMOTIONS) == pytest.approx(1, abs=1e-3)


def test_a_video_is_searched_as_often_as_asked_and_by_the_version_asked(client, video):
    def table(**more) -> list[dict]:
        with Path(client.predict(handle_file(video), **more, api_name="/film")[1]).open() as file:
            return list(csv.DictReader(file))

    seldom = table(every=0.5)
    assert [row["seconds"] for row in seldom] == ["0.000", "0.500"]
    assert table(every=0.5, version="V2")[0]["fear"] != seldom[0]["fear"]


def test_the_program_in_the_documentation_runs_word_for_word(server, tmp_path):
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    blocks = re.findall(r"```python\n(.*?)```", "\n".join(pages), re.DOTALL)
    found = [block for block in blocks if "gradio_client" in block]
    assert found
    for block in found:
        assert "http://127.0.0.1:7860" in block, "the address at which app.py listens"
        for name in re.findall(r"handle_file\(\s*[\"']([^\"']+\.(?:jpe?g|png))[\"']", block):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(PHOTO.read_bytes())
        code = block.replace("http://127.0.0.1:7860", server.url)  # the only word that cannot be the same
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        assert any(emotion in done.stdout for emotion in EMOTIONS), "it prints no answer"
