"""Finding faces, cutting them out, and levelling their eyes."""

import numpy as np
import pytest
from PIL import Image

from fer_model.errors import ModelError
from fer_model.inference import detector
from fer_model.inference.crop import CROP_MARGIN, crop_face
from fer_model.inference.pipeline import NO_FACE
from fer_model.model.engine import has_onnx_runtime
from helpers import EXAMPLES

ASTRONAUT = EXAMPLES / "astronaut.jpg"


def contains(box, point) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


def test_the_box_holds_eyes_and_mouth_of_the_astronaut_and_little_else(pipeline):
    (face,) = pipeline(ASTRONAUT).faces
    eyes_and_mouth = ((203, 100), (247, 102), (224, 144))  # read off the photo
    assert all(contains(face.box, point) for point in eyes_and_mouth)
    assert (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) < 150 * 150
    assert 0.7 < face.score <= 1


def test_several_faces_come_largest_first(two):
    assert len(two.faces) == 2
    assert contains(two.faces[0].box, (248, 175))
    assert contains(two.faces[1].box, (725, 216))
    assert two.message.startswith("2 faces were found. Largest face: ")


def test_a_picture_without_a_face_gives_no_faces_and_a_sentence(pipeline):
    rng = np.random.default_rng(0)
    result = pipeline(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    assert result.faces == ()
    assert result.message == NO_FACE


def test_a_face_that_fills_its_picture_is_found_inside_a_border():
    tight = Image.open(ASTRONAUT).crop((202, 58, 250, 178)).resize((480, 1200))  # ears and cheeks cut off
    shared = detector.shared_detector()
    assert shared._search(tight, 0.5) == [], "the example is too easy: choose a tighter one"
    (face,) = shared.detect(tight)
    left, top, right, bottom = face.box
    assert 0 <= left < right <= 480
    assert 0 <= top < bottom <= 1200
    assert (right - left) * (bottom - top) > 0.8 * 480 * 1200


def test_a_long_thin_picture_is_searched_in_little_memory(pipeline, monkeypatch):
    made = []
    new = Image.new
    monkeypatch.setattr(detector.Image, "new", lambda mode, size, *rest: made.append(size) or new(mode, size, *rest))
    assert pipeline(Image.fromarray(np.zeros((2, 20_000), dtype=np.uint8))).faces == ()
    assert made, "the picture was not searched with a border"
    assert max(width * height for width, height in made) < 4_000_000


def test_a_photo_turned_by_exif_gives_the_box_of_the_upright_one(pipeline, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    path = tmp_path / "turned.png"
    Image.open(ASTRONAUT).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    upright, turned = pipeline(ASTRONAUT), pipeline(path)
    assert turned.image.size == upright.image.size
    assert turned.faces[0].box == upright.faces[0].box


def test_boxes_are_in_pixels_of_the_photo_however_large_it_is(pipeline):
    photo = Image.open(ASTRONAUT)
    (small,), (large,) = pipeline(photo).faces, pipeline(photo.resize((2048, 2048))).faces
    assert np.abs(np.array(large.box) / 4 - np.array(small.box)).max() < 8


@pytest.fixture(scope="module")
def crowd() -> Image.Image:
    """Ten times two faces of 45 pixels in 3000 x 600, in rows and columns of 300 pixels."""
    person = Image.open(ASTRONAUT).convert("RGB").resize((250, 250))
    photo = Image.new("RGB", (3000, 600))
    for number in range(20):
        photo.paste(person, (number % 10 * 300, number // 10 * 300))
    return photo


def cells(faces) -> list[tuple[int, int]]:
    """In which column and row of `crowd` the middle of each face lies."""
    return sorted(((box[0] + box[2]) // 600, (box[1] + box[3]) // 600) for box in (face.box for face in faces))


@pytest.mark.parametrize("small_faces", [None, True])
def test_each_small_face_of_a_large_photo_is_found_once(crowd, small_faces, monkeypatch):
    shared = detector.shared_detector()
    assert len(shared.detect(crowd, small_faces=False)) < 15, "the example is too easy: choose smaller faces"
    if small_faces:
        monkeypatch.setattr(detector, "_TILE", 400)  # many borders, some through faces
    found = shared.detect(crowd, small_faces=small_faces)
    assert cells(found) == [(column, row) for column in range(10) for row in range(2)]
    for face in found:
        assert all(contains(face.box, eye) for eye in face.eyes)
        assert 30 < max(face.box[2] - face.box[0], face.box[3] - face.box[1]) < 80


@pytest.mark.parametrize("name", ["astronaut.jpg", "two_faces.jpg", "drawn_anger.png"])
def test_a_closer_look_at_large_faces_finds_them_only_and_no_part_of_them(name, monkeypatch):
    monkeypatch.setattr(detector, "_TILE", 400)  # its borders pass through the faces
    photo = Image.open(EXAMPLES / name).convert("RGB").resize((900, 900))
    shared = detector.shared_detector()
    assert shared.detect(photo, small_faces=True) == shared.detect(photo, small_faces=False) != []


def test_only_a_large_photo_that_hints_at_small_faces_is_searched_again(crowd, monkeypatch):
    shared, searched = detector.shared_detector(), []
    run = shared._run
    monkeypatch.setattr(shared, "_run", lambda canvas: searched.append(max(canvas.shape)) or run(canvas))
    photo = Image.open(ASTRONAUT).convert("RGB")
    for easy in (photo, photo.resize((3000, 3000)), crowd.resize((1500, 300))):
        shared.detect(easy, thorough=False)
    assert searched == [512, 640, 640]
    shared.detect(crowd)
    assert searched[3:] == [640, 1280]


@pytest.mark.parametrize("side", [1, 640, 1280, 1281, 2496, 2497, 9000])
def test_tiles_cover_a_side_and_overlap_by_a_small_face(side):
    starts = detector._starts(side)
    ends = [min(start + detector._TILE, side) for start in starts]
    assert (starts[0], ends[-1]) == (0, side)
    overlaps = [end - start for end, start in zip(ends, starts[1:], strict=False)]
    assert all(overlap >= detector._TILE_OVERLAP for overlap in overlaps)


def test_missing_detector_weights_are_an_error_that_names_the_file(monkeypatch, tmp_path):
    (tmp_path / "centerface.onnx").write_bytes(b"not the network")
    monkeypatch.setattr(detector, "WEIGHTS", tmp_path / "centerface.onnx")
    with pytest.raises(ModelError, match=r"centerface\.onnx.* missing or damaged"):
        detector.FaceDetector()


@pytest.mark.skipif(not has_onnx_runtime(), reason="onnx and onnxruntime are not installed")
def test_onnx_runtime_finds_the_boxes_that_opencv_finds():
    ours, opencv = detector.FaceDetector(onnx_runtime=True), detector.FaceDetector(onnx_runtime=False)
    found = 0
    for file in sorted(EXAMPLES.glob("*.[jp][pn]g")):
        photo = Image.open(file).convert("RGB")
        for face, expected in zip(ours.detect(photo), opencv.detect(photo), strict=True):
            assert np.abs(np.array(face.box) - expected.box).max() <= 1  # pixels: they are rounded
            assert face.score == pytest.approx(expected.score, abs=1e-4)
            assert np.abs(np.array(face.eyes) - expected.eyes).max() < 0.01 * photo.width
            found += 1
    assert found >= 3


def test_a_crop_is_a_square_around_the_middle_of_its_box(two):
    for face in two.faces:
        left, top, right, bottom = face.box
        longer = max(right - left, bottom - top)
        assert face.crop.width == face.crop.height == round(longer * CROP_MARGIN)
        cut = np.asarray(face.crop)[face.crop.height // 2, face.crop.width // 2].astype(int)
        centre = np.asarray(two.image.crop(face.box).resize((3, 3), Image.Resampling.BOX))[1, 1].astype(int)
        assert np.abs(cut - centre).max() < 60


def test_a_crop_at_the_edge_repeats_the_edge_and_stays_square():
    photo = Image.new("RGB", (40, 40), (200, 10, 10))
    photo.putpixel((0, 20), (0, 0, 255))
    crop = np.asarray(crop_face(photo, (0, 10, 10, 30)))
    assert crop.shape == (21, 21, 3)
    outside = crop[:, :5]  # five columns lie left of the photo
    assert (outside == crop[:, 5:6]).all()
    assert (crop[:, 0] == (0, 0, 255)).all(axis=1).sum() == 1


@pytest.mark.parametrize("turned", [-35, -15, 20, 40])
def test_a_turned_face_is_cut_out_upright(pipeline, turned):
    photo = Image.open(ASTRONAUT).convert("RGB")
    upright = np.asarray(pipeline(photo).faces[0].crop.convert("L").resize((48, 48)), dtype=float)
    tilted = photo.rotate(-turned, resample=Image.Resampling.BICUBIC, expand=True)  # clockwise
    (face,) = pipeline(tilted).faces
    assert face.tilt == pytest.approx(turned + 4, abs=9), "her head is turned by 4 degrees in the photo"
    level, as_it_is = (
        np.asarray(pipeline(tilted, level_eyes=level).faces[0].crop.convert("L").resize((48, 48)), dtype=float)
        for level in (True, False)
    )
    alike = [np.corrcoef(upright.flatten(), crop.flatten())[0, 1] for crop in (level, as_it_is)]
    assert alike[0] > 0.7
    assert alike[0] > alike[1]


def test_the_eyes_are_level_in_the_crop(pipeline):
    tilted = Image.open(ASTRONAUT).convert("RGB").rotate(-30, resample=Image.Resampling.BICUBIC, expand=True)
    (face,) = detector.shared_detector().detect(tilted)
    crop = crop_face(tilted, face.box, face.tilt)
    (again,) = detector.shared_detector().detect(crop.resize((240, 240)))
    assert abs(again.tilt) < 8


def test_a_tilted_crop_without_tilt_is_the_plain_one():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (80, 60, 3), dtype=np.uint8))
    for box in ((10, 10, 40, 50), (-5, 60, 20, 90)):  # also at the edge
        plain = np.asarray(crop_face(photo, box)).astype(int)
        nearly = np.asarray(crop_face(photo, box, tilt=1e-6)).astype(int)
        assert np.abs(plain - nearly).max() <= 1


def test_eyes_that_nearly_meet_tell_no_tilt():
    assert detector.Detection((0, 0, 100, 100), 0.9, ((45.0, 40.0), (55.0, 50.0))).tilt == 0
    assert detector.Detection((0, 0, 100, 100), 0.9, ((30.0, 30.0), (70.0, 70.0))).tilt == pytest.approx(45)
