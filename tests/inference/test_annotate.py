"""A film in, the same film with boxes out: who is seen when, and a file that every browser plays."""

import itertools
import os
import subprocess
import sys
import weakref
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from fer_model.errors import ImageError
from fer_model.inference import tracking, video
from fer_model.inference.annotate import annotate
from fer_model.inference.pipeline import Face
from fer_model.inference.tracking import Followed, Tracker, overlap
from fer_model.labels import EMOTIONS
from helpers import ROOT

ORANGE = (255, 140, 0)


@pytest.fixture(scope="module")
def follow(pipeline):
    return lambda tracker, frame, seconds: tracking.follow(tracker, pipeline, frame, seconds)


def write(path: Path, pictures: Iterable[Image.Image], rate: float = 10) -> Path:
    """A film of frames of any size, odd ones too, without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(rate).limit_denominator(1001))
        stream.pix_fmt = "bgr0"
        for picture in pictures:
            if not stream.codec_context.is_open:
                stream.width, stream.height = picture.size
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


def grey(size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, "grey")


def moved(photo: Image.Image, right: int) -> Image.Image:
    canvas = grey(photo.size)
    canvas.paste(photo, (right, 0))
    return canvas


def everything(tracker: Tracker, frame: Image.Image, seconds: float) -> Tracker:
    """Follows one face, which fills every frame."""
    face = Face((0, 0, *frame.size), 1.0, dict.fromkeys(EMOTIONS, 1 / 6), frame, np.zeros((48, 48), np.uint8))
    return Tracker((Followed(1, face, seconds),), 1, seconds)


def nobody(tracker: Tracker, frame: Image.Image, seconds: float) -> Tracker:
    return Tracker(seconds=seconds)


def decoded(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def pixels(path: Path) -> list[np.ndarray]:
    return [frame.to_ndarray(format="rgb24").astype(int) for frame in decoded(path)]


def is_orange(pixel: np.ndarray) -> bool:
    return np.abs(pixel - ORANGE).max() < 60  # H.264 keeps colours at half the resolution


# --- who is seen when


def test_faces_come_with_their_times_their_numbers_and_their_places(follow, pipeline, photo, tmp_path):
    frames = [moved(photo, 8 * index) for index in range(6)]
    seen = list(annotate(write(tmp_path / "in.avi", frames), tmp_path / "out.mp4", follow, every=0))
    assert [seconds for seconds, _ in seen] == pytest.approx([index / 10 for index in range(6)])
    assert [[one.number for one in faces] for _, faces in seen] == [[1, 2]] * 6
    for frame, (_, faces) in zip(frames, seen, strict=True):
        for found, one in zip(pipeline(frame).faces, faces, strict=True):
            assert overlap(found.box, one.face.box) > 0.7


@pytest.mark.parametrize("size", [(920, 560), (921, 561), (1841, 1121)])
def test_boxes_are_where_the_faces_are_in_a_film_of_any_size(follow, pipeline, photo, tmp_path, size):
    large = photo.resize(size)
    ((_, faces),) = annotate(write(tmp_path / "in.avi", [large]), tmp_path / "out.mp4", follow)
    for found, one in zip(pipeline(large).faces, faces, strict=True):
        assert overlap(found.box, one.face.box) > 0.8


@pytest.mark.parametrize("size", [(64, 48), (101, 203), (643, 365), (1282, 31), (1283, 1281), (2001, 1501), (33, 2500)])
def test_a_box_around_the_whole_frame_is_one_around_the_whole_film(tmp_path, size):
    ((_, (one,)),) = annotate(write(tmp_path / "in.avi", [grey(size)]), tmp_path / "out.mp4", everything)
    assert one.face.box == (0, 0, *size)


def test_a_film_without_faces_comes_back_as_it_was(follow, tmp_path):
    seen = list(annotate(write(tmp_path / "in.avi", [grey()] * 5), tmp_path / "out.mp4", follow, every=0))
    assert [faces for _, faces in seen] == [()] * 5
    frames = pixels(tmp_path / "out.mp4")
    assert len(frames) == 5
    assert all(np.abs(frame - 128).max() < 8 for frame in frames)


def test_faces_that_come_later_are_seen_from_then_on(follow, photo, tmp_path):
    frames = [grey(photo.size)] * 4 + [photo] * 2
    seen = list(annotate(write(tmp_path / "in.avi", frames), tmp_path / "out.mp4", follow, every=0))
    assert [[one.number for one in faces] for _, faces in seen] == [[]] * 4 + [[1, 2]] * 2


# --- the film that is written


@pytest.mark.parametrize(
    ("rate", "size", "written"),
    [(10, (64, 48), (64, 48)), (24, (101, 203), (100, 204)), (30000 / 1001, (1921, 1081), (1280, 720))],
)
def test_the_film_is_one_that_every_browser_plays_as_long_and_as_fast_as_the_first(tmp_path, rate, size, written):
    film, out = write(tmp_path / "in.avi", [grey(size)] * 7, rate), tmp_path / "out.mp4"
    list(annotate(film, out, nobody))
    with av.open(str(out)) as container:
        assert "mp4" in container.format.name
        (stream,) = container.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == written
        assert float(stream.average_rate) == pytest.approx(rate)
        assert [frame.time for frame in container.decode(video=0)] == pytest.approx([i / rate for i in range(7)])
    content = out.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat"), "it can be played before all of it is there"


def test_a_film_whose_frames_come_at_no_constant_rate_keeps_their_times(tmp_path):
    """What a browser records: times in milliseconds, a rate of 1000, and no length."""
    times = [0.0, 0.033, 0.067, 0.2, 0.233, 0.7, 0.733]
    with av.open(str(tmp_path / "in.webm"), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=1000)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seconds in times:
            frame = av.VideoFrame.from_ndarray(np.asarray(grey()), format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    seen = list(annotate(tmp_path / "in.webm", tmp_path / "out.mp4", nobody, every=0))
    assert [seconds for seconds, _ in seen] == pytest.approx(times)
    assert [frame.time for frame in decoded(tmp_path / "out.mp4")] == pytest.approx(times)
    assert video.duration(tmp_path / "in.webm") == 0, "unknown"


def test_the_duration_is_that_of_the_header(tmp_path):
    assert video.duration(write(tmp_path / "in.avi", [grey()] * 12, 8)) == pytest.approx(1.5)
    (tmp_path / "bad.avi").write_bytes(b"no film")
    assert video.duration(tmp_path / "bad.avi") == 0


def test_boxes_are_drawn_around_the_faces_and_nothing_else_changes(follow, photo, tmp_path):
    ((_, faces),) = annotate(write(tmp_path / "in.avi", [photo]), tmp_path / "out.mp4", follow)
    (frame,) = pixels(tmp_path / "out.mp4")
    for one in faces:
        left, top, right, bottom = one.face.box
        middle_x, middle_y = (left + right) // 2, (top + bottom) // 2
        border = [(left + 1, middle_y), (right - 2, middle_y), (middle_x, bottom - 2), (middle_x, top + 1)]
        assert all(is_orange(frame[y, x]) for x, y in border)
        inside = np.s_[top + 12 : bottom - 12, left + 12 : right - 12]
        assert np.abs(frame[inside] - np.asarray(photo)[inside]).mean() < 6
        assert is_orange(frame[top - 3, left + 3]), "its name stands above it"


def test_boxes_stay_where_they_are_between_two_searches(tmp_path):
    film = write(tmp_path / "in.avi", [grey()] * 6)
    seen = list(annotate(film, tmp_path / "out.mp4", everything, every=0.5))
    assert [seconds for seconds, _ in seen] == pytest.approx([0, 0.5])
    assert all(is_orange(frame[40, 1]) for frame in pixels(tmp_path / "out.mp4"))


# --- how often, how much


@pytest.mark.parametrize(
    ("rate", "every", "searches"), [(25, 0.1, 20), (30, 0.1, 20), (25, 0.5, 4), (25, 0.0, 50), (8, 0.1, 16), (8, 9, 1)]
)
def test_faces_are_searched_as_often_as_asked_on_average(tmp_path, rate, every, searches):
    film = write(tmp_path / "in.avi", [grey()] * (2 * rate), rate)
    assert len(list(annotate(film, tmp_path / "out.mp4", nobody, every=every))) == searches
    assert len(decoded(tmp_path / "out.mp4")) == 2 * rate


def test_what_comes_after_the_first_seconds_is_left_out(tmp_path):
    film = write(tmp_path / "in.avi", [grey()] * 30)
    seen = list(annotate(film, tmp_path / "out.mp4", nobody, every=0.5, at_most=1.2))
    assert [seconds for seconds, _ in seen] == pytest.approx([0, 0.5, 1.0])
    assert len(decoded(tmp_path / "out.mp4")) == 12


# --- memory


def test_frames_are_read_as_they_are_asked_for_and_let_go(tmp_path):
    alive, most = weakref.WeakSet(), []

    class Watched:  # a PIL image cannot be kept in a WeakSet, because two alike are equal
        pass

    def watch(tracker: Tracker, frame: Image.Image, seconds: float) -> Tracker:
        frame.watched = Watched()
        alive.add(frame.watched)
        most.append(len(alive))
        return Tracker(seconds=seconds)

    film = write(tmp_path / "in.avi", [grey()] * 20)
    seen = annotate(film, tmp_path / "out.mp4", watch, every=0)
    list(itertools.islice(seen, 3))
    assert len(most) == 3, "no frame is searched before it is asked for"
    list(seen)
    assert len(most) == 20
    assert max(most) <= 2, "the frame at hand, and at most the one before it"


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path):
    size, script = (
        (640, 480),
        "import sys; sys.path[:0] = ['tests', 'tests/inference']; import test_annotate as t; t.print_peaks()",
    )
    write(tmp_path / "short.avi", [grey(size)] * 20)
    write(tmp_path / "long.avi", [grey(size)] * 120)
    environment = os.environ | {"FILMS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, check=True)
    short, long = map(int, done.stdout.split())
    assert long - short < 30, "MB; the other 100 frames are 88"


def print_peaks() -> None:
    """Run in a process of its own: the most memory held so far, in MB, after a short and after a long film."""
    folder = Path(os.environ["FILMS"])
    for name in ("short", "long"):
        for _ in annotate(folder / f"{name}.avi", folder / "out.mp4", nobody):
            pass
        status = Path("/proc/self/status").read_text()
        print(next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")))


def test_one_who_leaves_half_way_leaves_no_file_open(tmp_path):
    film, out = write(tmp_path / "in.avi", [grey()] * 20), tmp_path / "out.mp4"
    seen = annotate(film, out, nobody, every=0)
    list(itertools.islice(seen, 16))  # the encoder looks some frames ahead before it writes
    assert open_files() >= {film, out}
    seen.close()
    assert not open_files() & {film, out}


def open_files() -> set[Path]:
    return {link.resolve() for link in Path("/proc/self/fd").iterdir()}


# --- what is no film


@pytest.mark.parametrize("content", [b"", b"no film", b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00"])
def test_what_is_no_film_is_a_sentence_that_names_it_but_not_its_folder(tmp_path, content):
    (tmp_path / "in.mp4").write_bytes(content)
    with pytest.raises(ImageError, match=r"^in\.mp4 is not a video that can be read\.$"):
        next(annotate(tmp_path / "in.mp4", tmp_path / "out.mp4", nobody))
    assert not (tmp_path / "out.mp4").exists()


def test_work_that_takes_too_long_ends_with_a_sentence(follow, photo, tmp_path):
    file = write(tmp_path / "film.mkv", [photo] * 3)
    with pytest.raises(ImageError, match="takes longer than 0 minutes"):
        list(annotate(file, tmp_path / "out.mp4", follow, patience=0))
