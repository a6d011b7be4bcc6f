"""The whole way from a picture to faces, probabilities, heat maps and drawings, with an untrained network."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.errors import ImageError, ModelError
from fer_model.inference import detector, pipeline
from fer_model.inference.drawing import draw_boxes, overlay
from fer_model.labels import EMOTIONS, LABEL2ID
from fer_model.model.gradcam import grad_cam
from fer_model.model.preprocess import preprocess
from helpers import EXAMPLES

ASTRONAUT = EXAMPLES / "astronaut.jpg"
TWO_FACES = EXAMPLES / "two_faces.jpg"


@pytest.fixture(scope="module")
def recognise() -> FERPipeline:
    return FERPipeline(FERModel(version="v1", seed=0), device="cpu")


@pytest.fixture(scope="module")
def two(recognise):
    return recognise(TWO_FACES)


def contains(box, point) -> bool:
    return box[0] <= point[0] <= box[2] and box[1] <= point[1] <= box[3]


# --- finding faces


def test_the_box_holds_eyes_and_mouth_of_the_astronaut_and_little_else(recognise):
    (face,) = recognise(ASTRONAUT).faces
    eyes_and_mouth = ((203, 100), (247, 102), (224, 144))  # read off the photo
    assert all(contains(face.box, point) for point in eyes_and_mouth)
    assert (face.box[2] - face.box[0]) * (face.box[3] - face.box[1]) < 150 * 150
    assert 0.7 < face.score <= 1


def test_several_faces_come_largest_first(two):
    assert len(two.faces) == 2
    assert contains(two.faces[0].box, (248, 175))
    assert contains(two.faces[1].box, (725, 216))
    assert two.message.startswith("2 faces were found. Largest face: ")


def test_a_picture_without_a_face_gives_no_faces_and_a_sentence(recognise):
    rng = np.random.default_rng(0)
    result = recognise(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8))
    assert result.faces == ()
    assert result.message == pipeline.NO_FACE


def test_a_face_that_fills_its_picture_is_found_inside_a_border():
    tight = Image.open(ASTRONAUT).crop((202, 58, 250, 178)).resize((480, 1200))  # ears and cheeks cut off
    shared = detector.shared_detector()
    assert shared._search(tight, 0.5) == [], "the example is too easy: choose a tighter one"
    (face,) = shared.detect(tight)
    left, top, right, bottom = face.box
    assert 0 <= left < right <= 480
    assert 0 <= top < bottom <= 1200
    assert (right - left) * (bottom - top) > 0.8 * 480 * 1200


def test_a_long_thin_picture_is_searched_in_little_memory(recognise, monkeypatch):
    made = []
    new = Image.new
    monkeypatch.setattr(detector.Image, "new", lambda mode, size, *rest: made.append(size) or new(mode, size, *rest))
    assert recognise(Image.fromarray(np.zeros((2, 20_000), dtype=np.uint8))).faces == ()
    assert made, "the picture was not searched with a border"
    assert max(width * height for width, height in made) < 4_000_000


def test_a_photo_turned_by_exif_gives_the_box_of_the_upright_one(recognise, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    path = tmp_path / "turned.png"
    Image.open(ASTRONAUT).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    upright, turned = recognise(ASTRONAUT), recognise(path)
    assert turned.image.size == upright.image.size
    assert turned.faces[0].box == upright.faces[0].box


def test_boxes_are_in_pixels_of_the_photo_however_large_it_is(recognise):
    photo = Image.open(ASTRONAUT)
    (small,), (large,) = recognise(photo).faces, recognise(photo.resize((2048, 2048))).faces
    assert np.abs(np.array(large.box) / 4 - np.array(small.box)).max() < 8


def test_missing_detector_weights_are_an_error_that_names_the_file(monkeypatch, tmp_path):
    (tmp_path / "centerface.onnx").write_bytes(b"not the network")
    monkeypatch.setattr(detector, "WEIGHTS", tmp_path / "centerface.onnx")
    with pytest.raises(ModelError, match=r"centerface\.onnx.* missing or damaged"):
        detector.FaceDetector()


# --- cutting them out


def test_a_crop_is_a_square_around_the_middle_of_its_box(two):
    for face in two.faces:
        left, top, right, bottom = face.box
        longer = max(right - left, bottom - top)
        assert face.crop.width == face.crop.height == round(longer * detector.CROP_MARGIN)
        cut = np.asarray(face.crop)[face.crop.height // 2, face.crop.width // 2].astype(int)
        centre = np.asarray(two.image.crop(face.box).resize((3, 3), Image.Resampling.BOX))[1, 1].astype(int)
        assert np.abs(cut - centre).max() < 60


def test_a_crop_at_the_edge_repeats_the_edge_and_stays_square():
    photo = Image.new("RGB", (40, 40), (200, 10, 10))
    photo.putpixel((0, 20), (0, 0, 255))
    crop = np.asarray(detector.crop_face(photo, (0, 10, 10, 30)))
    assert crop.shape == (21, 21, 3)
    outside = crop[:, :5]  # five columns lie left of the photo
    assert (outside == crop[:, 5:6]).all()
    assert (crop[:, 0] == (0, 0, 255)).all(axis=1).sum() == 1


@pytest.mark.parametrize("size", [(48, 48), (96, 96), (1, 1), (96, 30)])
def test_a_small_picture_is_taken_as_a_face_crop(recognise, size):
    (face,) = recognise(Image.new("RGB", size, "grey")).faces
    assert face.box == (0, 0, *size)
    assert face.score is None


def test_one_pixel_more_and_it_is_searched(recognise):
    assert recognise(Image.new("RGB", (detector.SMALL_PICTURE + 1, 90), "grey")).faces == ()


def test_a_visitor_may_say_that_the_picture_is_a_face(recognise):
    result = recognise(ASTRONAUT, whole_picture=True)
    assert [face.box for face in result.faces] == [(0, 0, 512, 512)]
    assert result.message.endswith("The whole picture was taken as the face.")


def test_channels_are_red_green_blue(recognise):
    red = np.zeros((48, 48, 3), dtype=np.uint8)
    red[..., 0] = 255
    (face,) = recognise(red).faces
    assert set(face.pixels.flatten().tolist()) == {76}  # 0.299 of 255; blue would be 29


def test_an_unreadable_picture_is_an_image_error(recognise, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"not a photo")
    with pytest.raises(ImageError):
        recognise(tmp_path / "photo.jpg")


# --- levelling the eyes


@pytest.mark.parametrize("turned", [-35, -15, 20, 40])
def test_a_turned_face_is_cut_out_upright(recognise, turned):
    photo = Image.open(ASTRONAUT).convert("RGB")
    upright = np.asarray(recognise(photo).faces[0].crop.convert("L").resize((48, 48)), dtype=float)
    tilted = photo.rotate(-turned, resample=Image.Resampling.BICUBIC, expand=True)  # clockwise
    (face,) = recognise(tilted).faces
    assert face.tilt == pytest.approx(turned + 4, abs=9), "her head is turned by 4 degrees in the photo"
    level, as_it_is = (
        np.asarray(recognise(tilted, level_eyes=level).faces[0].crop.convert("L").resize((48, 48)), dtype=float)
        for level in (True, False)
    )
    alike = [np.corrcoef(upright.flatten(), crop.flatten())[0, 1] for crop in (level, as_it_is)]
    assert alike[0] > 0.7
    assert alike[0] > alike[1]


def test_the_eyes_are_level_in_the_crop(recognise):
    tilted = Image.open(ASTRONAUT).convert("RGB").rotate(-30, resample=Image.Resampling.BICUBIC, expand=True)
    (face,) = detector.shared_detector().detect(tilted)
    crop = detector.crop_face(tilted, face.box, face.tilt)
    (again,) = detector.shared_detector().detect(crop.resize((240, 240)))
    assert abs(again.tilt) < 8


def test_a_tilted_crop_without_tilt_is_the_plain_one():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 255, (80, 60, 3), dtype=np.uint8))
    for box in ((10, 10, 40, 50), (-5, 60, 20, 90)):  # also at the edge
        plain = np.asarray(detector.crop_face(photo, box)).astype(int)
        nearly = np.asarray(detector.crop_face(photo, box, tilt=1e-6)).astype(int)
        assert np.abs(plain - nearly).max() <= 1


def test_eyes_that_nearly_meet_tell_no_tilt():
    assert detector.Detection((0, 0, 100, 100), 0.9, ((45.0, 40.0), (55.0, 50.0))).tilt == 0
    assert detector.Detection((0, 0, 100, 100), 0.9, ((30.0, 30.0), (70.0, 70.0))).tilt == pytest.approx(45)


# --- what the network says


def test_probabilities_are_in_class_order_and_sum_to_one(two):
    for face in two.faces:
        assert tuple(face.probabilities) == EMOTIONS
        assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.probabilities[face.label] == max(face.probabilities.values())


def test_a_face_gets_what_the_network_gives_for_its_pixels(recognise, two):
    face = two.faces[1]
    with torch.inference_mode():
        expected = recognise.model(preprocess(torch.tensor(face.pixels)[None, None], 64)).softmax(dim=1)[0]
    assert list(face.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_heat_map_is_grad_cam_of_the_predicted_class(recognise, two):
    for face in two.faces:
        inputs = preprocess(torch.tensor(face.pixels)[None, None], 64)
        expected = grad_cam(recognise.model, inputs, LABEL2ID[face.label])[0].numpy()
        assert face.heat_map.shape == (64, 64)
        np.testing.assert_allclose(face.heat_map, expected, atol=1e-4)
        np.testing.assert_array_equal(face.heat_map_of(face.label), face.heat_map)


def test_each_class_has_its_own_heat_map(two):
    maps = [two.faces[0].heat_map_of(emotion) for emotion in EMOTIONS]
    assert all(heat.min() >= 0 and heat.max() <= 1 for heat in maps)
    differences = [np.abs(maps[i] - maps[j]).max() for i in range(6) for j in range(i)]
    assert min(differences) > 0.05


def test_an_unknown_class_is_refused_by_name(two):
    with pytest.raises(ValueError, match=r"no class 'joy'; the classes are happiness"):
        two.faces[0].heat_map_of("joy")


def test_a_model_of_seven_classes_gives_seven_probabilities_and_a_map_of_neutral():
    model = FERModel(version="v1", seed=0, classes=7)
    with torch.no_grad():
        model.classifier[-1].bias[6] = 9.0
    face = FERPipeline(model, device="cpu")(ASTRONAUT).faces[0]
    assert tuple(face.probabilities) == (*EMOTIONS, "neutral")
    assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert face.label == "neutral"
    assert "looks like neutral" in face.sentence
    expected = grad_cam(model, preprocess(torch.tensor(face.pixels)[None, None], 64), 6)[0].numpy()
    np.testing.assert_allclose(face.heat_map_of("neutral"), expected, atol=1e-4)


def test_a_model_of_six_classes_has_no_map_of_neutral(two):
    with pytest.raises(ValueError, match="no class 'neutral'"):
        two.faces[0].heat_map_of("neutral")


def test_without_heat_maps_the_answer_is_the_same_and_asking_for_one_says_why(recognise, two):
    bare = recognise(TWO_FACES, heat_maps=False)
    for face, expected in zip(bare.faces, two.faces, strict=True):
        assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    with pytest.raises(ValueError, match="heat_maps=False"):
        _ = bare.faces[0].heat_map


def test_a_crowd_taken_in_parts_gives_the_same(recognise, two, monkeypatch):
    monkeypatch.setattr(pipeline, "_FACES_AT_ONCE", 1)
    again = recognise(TWO_FACES)
    for face, expected in zip(again.faces, two.faces, strict=True):
        assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        np.testing.assert_allclose(face.heat_map, expected.heat_map, atol=1e-4)


def test_threads_that_share_a_pipeline_do_not_disturb_each_other(recognise):
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (48, 48), dtype=np.uint8) for _ in range(6)]
    alone = [recognise(picture).faces[0].heat_map for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(4):
            together = [result.faces[0].heat_map for result in pool.map(recognise, pictures)]
            for heat_map, expected in zip(together, alone, strict=True):
                np.testing.assert_allclose(heat_map, expected, atol=1e-4)


def test_a_training_network_is_put_into_evaluation_mode(recognise):
    model = FERModel(version="v1", seed=0).train()
    (face,) = FERPipeline(model, device="cpu")(EXAMPLES / "drawn_anger.png").faces
    (expected,) = recognise(EXAMPLES / "drawn_anger.png").faces
    assert face.probabilities == expected.probabilities
    assert not model.training


def test_the_sentence_says_whether_the_model_is_sure(two):
    def with_top(probability: float, unsure: bool) -> pipeline.Face:
        rest = (1 - probability) / 5
        probabilities = dict.fromkeys(EMOTIONS, rest) | {"fear": probability}
        return replace(two.faces[0], probabilities=probabilities, unsure=unsure)

    assert with_top(0.8, unsure=False).sentence == "The expression looks like fear (80%)."
    assert with_top(0.4, unsure=True).sentence == "The model is unsure: its best guess is fear, at 40%."


# --- drawing


def test_boxes_are_drawn_on_a_copy_with_the_selected_one_in_orange(two):
    before = two.image.tobytes()
    for selected in (0, 1):
        drawn = draw_boxes(two, selected)
        colours = [drawn.getpixel((face.box[0], (face.box[1] + face.box[3]) // 2)) for face in two.faces]
        assert [colour == (255, 140, 0) for colour in colours] == [selected == 0, selected == 1]
    assert two.image.tobytes() == before


def test_a_box_around_the_whole_picture_is_drawn_inside_it(recognise):
    result = recognise(EXAMPLES / "drawn_happiness.png")
    drawn = draw_boxes(result)
    assert drawn.size == (96, 96)
    assert drawn.getpixel((95, 60)) == drawn.getpixel((60, 95)) == (255, 140, 0)


def test_the_overlay_is_red_where_the_map_is_high_and_blue_where_it_is_low():
    heat = np.zeros((64, 64), dtype=np.float32)
    heat[:, 32:] = 1
    drawn = overlay(Image.new("RGB", (50, 50), "grey"), heat, size=100)
    red, _, blue = np.asarray(drawn).astype(int).transpose(2, 0, 1)
    assert (red[:, 70:] > blue[:, 70:] + 40).all()
    assert (blue[:, :30] > red[:, :30] + 40).all()


def test_the_overlay_without_opacity_is_the_face_in_grey(two):
    shown = np.asarray(overlay(two.faces[0].crop, two.faces[0].heat_map, opacity=0.0))
    assert shown.shape == (320, 320, 3)
    assert (shown[..., 0] == shown[..., 1]).all()
    assert shown.std() > 20
