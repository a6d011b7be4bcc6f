"""Many visitors at once: everybody gets their own answer, and the server neither grows nor keeps silent."""

import io
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_model import FERPipeline
from fer_model.demo.guard import MAX_LONG_WAITING, MAX_WAITING
from helpers import EXAMPLES
from helpers.app import running_app
from helpers.browser import write_video
from helpers.visitors import Visitor, as_png

pytestmark = pytest.mark.slow

VISITORS = 50


def pictures() -> list[Image.Image]:
    """One for each visitor: of a size of its own, small enough to be taken as a face, and full of coarse noise."""
    made = []
    for number in range(VISITORS):
        rng = np.random.default_rng(number)
        blocks = Image.fromarray(rng.integers(0, 255, (6, 6), dtype=np.uint8))
        made.append(blocks.resize((40 + number, 95 - number), Image.Resampling.NEAREST).convert("RGB"))
    return made


def memory(pid: int) -> float:
    """What a process holds, in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))


def all_at_once(task, *lists) -> list:
    """`task` for each item, each in a thread of its own; none begins before all are there."""
    start = threading.Barrier(len(lists[0]))

    def waiting(*items):
        start.wait(60)
        return task(*items)

    with ThreadPoolExecutor(len(lists[0])) as pool:
        return list(pool.map(waiting, *lists))


def test_fifty_visitors_at_once_get_each_their_own_answer_and_nothing_else(server, models):
    given = pictures()
    pipeline = FERPipeline.from_pretrained(models["V1"], device="cpu")
    expected = [pipeline(picture).faces[0].probabilities for picture in given]
    shares = np.array([list(one.values()) for one in expected])
    distances = np.abs(shares[:, None] - shares[None]).max(axis=2) + np.eye(VISITORS)
    assert distances.min() > 1e-4, "two pictures have one answer: this test shows nothing"

    def visit(visitor: Visitor, picture: Image.Image):
        answer = visitor.call("/predict", image=visitor.upload(as_png(picture), "face.png"))
        assert answer.complaint is None
        found, *made = answer.outputs
        boxed, overlay = (Image.open(io.BytesIO(visitor.http.get(one["url"]).content)) for one in made)
        return found, boxed.convert("RGB"), overlay.convert("L")

    answers = all_at_once(visit, [Visitor(server.url) for _ in given], given)
    for picture, probabilities, (found, boxed, overlay) in zip(given, expected, answers, strict=True):
        assert (found["width"], found["height"]) == picture.size
        (face,) = found["faces"]
        assert face["box"] == [0, 0, *picture.size]
        assert face["probabilities"] == pytest.approx(probabilities, abs=2e-5)
        assert boxed.size == picture.size
        inside = (6, picture.height // 2, picture.width - 6, picture.height - 6)  # without the box and its name
        alike = [
            np.abs(np.asarray(one.crop(inside)).astype(int) - np.asarray(boxed.crop(inside))).mean()
            for one in (picture, *(other.resize(picture.size) for other in given if other is not picture))
        ]
        assert alike[0] < 10 < min(alike[1:])
        assert overlay.size == (320, 320)


def test_visitors_who_give_the_same_file_at_once_all_get_an_answer(server):
    content = (EXAMPLES / "drawn_surprise.png").read_bytes() + b"the same for all"

    def visit(visitor: Visitor):
        answers = []
        for _ in range(3):
            answers.append(visitor.call("/predict", image=visitor.upload(content, "face.png")))
            for made in answers[-1].outputs[1:]:  # whole, although others are being given the same pictures
                Image.open(io.BytesIO(visitor.http.get(made["url"]).content)).load()
        return answers

    answers = list(itertools.chain(*all_at_once(visit, [Visitor(server.url) for _ in range(12)])))
    assert [answer.complaint for answer in answers] == [None] * 36
    assert all(answer.outputs[0] == answers[0].outputs[0] for answer in answers)


def test_memory_does_not_grow_with_the_requests(server):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize((400, 400))
    file = io.BytesIO()
    noise.save(file, "JPEG")
    numbers = itertools.count()

    def visit(visitor: Visitor) -> None:
        upload = visitor.upload(file.getvalue() + str(next(numbers)).encode(), "face.jpg")  # another one each time
        assert visitor.call("/predict", image=upload, whole_picture=True).outputs

    def visits(count: int) -> float:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(visit, [Visitor(server.url)] * count))
        return memory(server.pid)

    before = visits(40)  # after these, and those of the other tests, the caches are full
    after = visits(120)
    assert after - before < 30, "MB; had it kept every picture, 58 more"


def test_more_visitors_than_can_wait_are_told_so_at_once_and_videos_leave_room_for_photos(models, tmp_path):
    photo = Image.open(EXAMPLES / "astronaut.jpg").convert("RGB")
    content = write_video(tmp_path / "video.mp4", [photo] * 400, rate=25).read_bytes()
    with running_app(tmp_path, model=models["V1"]) as running:
        visitor = Visitor(running.url)
        video = visitor.upload(content, "video.mp4")
        joined = [visitor.ask("/film", video=video, every=0) for _ in range(30)]  # one at a time is worked on
        accepted = [answer.is_success for answer in joined]
        assert MAX_LONG_WAITING <= sum(accepted) < 30
        assert accepted == sorted(accepted, reverse=True), "who came first"
        refused = joined[sum(accepted) :]
        assert {answer.status_code for answer in refused} == {503}
        assert "videos and lists of pictures are waiting" in refused[0].json()["detail"]
        upload = visitor.upload(as_png(photo))
        assert visitor.call("/predict", image=upload).outputs
        joined = [visitor.ask("/predict", image=upload) for _ in range(2 * MAX_WAITING)]
        assert joined[0].is_success
        complaints = {answer.json()["detail"] for answer in joined if not answer.is_success}
        assert complaints == {f"Queue is full. Max size is {MAX_WAITING} and size is {MAX_WAITING}."}
