"""The whole way from a picture to faces, probabilities and heat maps, with an untrained network."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model import FERModel, FERPipeline
from fer_model.errors import ImageError, ModelError
from fer_model.inference import detector
from fer_model.inference import pipeline as module
from fer_model.inference.pipeline import Face
from fer_model.labels import EMOTIONS, LABEL2ID
from fer_model.model.gradcam import grad_cam
from fer_model.model.preprocess import preprocess
from helpers import EXAMPLES

ASTRONAUT = EXAMPLES / "astronaut.jpg"


TWO_FACES = EXAMPLES / "two_faces.jpg"


@pytest.mark.parametrize("size", [(48, 48), (96, 96), (1, 1), (96, 30)])
def test_a_small_picture_is_taken_as_a_face_crop(pipeline, size):
    (face,) = pipeline(Image.new("RGB", size, "grey")).faces
    assert face.box == (0, 0, *size)
    assert face.score is None


def test_one_pixel_more_and_it_is_searched(pipeline):
    assert pipeline(Image.new("RGB", (detector.SMALL_IMAGE + 1, 90), "grey")).faces == ()


def test_a_visitor_may_say_that_the_picture_is_a_face(pipeline):
    result = pipeline(ASTRONAUT, whole_picture=True)
    assert [face.box for face in result.faces] == [(0, 0, 512, 512)]
    assert result.message.endswith("The whole picture was taken as the face.")


def test_channels_are_red_green_blue(pipeline):
    red = np.zeros((48, 48, 3), dtype=np.uint8)
    red[..., 0] = 255
    (face,) = pipeline(red).faces
    assert set(face.pixels.flatten().tolist()) == {76}  # 0.299 of 255; blue would be 29


def test_an_unreadable_picture_is_an_image_error(pipeline, tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"not a photo")
    with pytest.raises(ImageError):
        pipeline(tmp_path / "photo.jpg")


def test_probabilities_are_in_class_order_and_sum_to_one(two):
    for face in two.faces:
        assert tuple(face.probabilities) == EMOTIONS
        assert sum(face.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert face.probabilities[face.label] == max(face.probabilities.values())


def test_a_face_gets_what_the_network_gives_for_its_pixels(pipeline, two):
    face = two.faces[1]
    with torch.inference_mode():
        expected = pipeline.model(preprocess(torch.tensor(face.pixels)[None, None], 64)).softmax(dim=1)[0]
    assert list(face.probabilities.values()) == pytest.approx(expected.tolist(), abs=1e-5)


def test_the_heat_map_is_grad_cam_of_the_predicted_class(pipeline, two):
    for face in two.faces:
        inputs = preprocess(torch.tensor(face.pixels)[None, None], 64)
        expected = grad_cam(pipeline.model, inputs, LABEL2ID[face.label])[0].numpy()
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


def test_without_heat_maps_the_answer_is_the_same_and_asking_for_one_says_why(pipeline, two):
    bare = pipeline(TWO_FACES, heat_maps=False)
    for face, expected in zip(bare.faces, two.faces, strict=True):
        assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    with pytest.raises(ValueError, match="heat_maps=False"):
        _ = bare.faces[0].heat_map


def test_a_crowd_taken_in_parts_gives_the_same(pipeline, two, monkeypatch):
    monkeypatch.setattr(module, "_FACES_AT_ONCE", 1)
    again = pipeline(TWO_FACES)
    for face, expected in zip(again.faces, two.faces, strict=True):
        assert face.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
        np.testing.assert_allclose(face.heat_map, expected.heat_map, atol=1e-4)


def test_threads_that_share_a_pipeline_do_not_disturb_each_other(pipeline):
    rng = np.random.default_rng(1)
    pictures = [rng.integers(0, 255, (48, 48), dtype=np.uint8) for _ in range(6)]
    alone = [pipeline(picture).faces[0].heat_map for picture in pictures]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(4):
            together = [result.faces[0].heat_map for result in pool.map(pipeline, pictures)]
            for heat_map, expected in zip(together, alone, strict=True):
                np.testing.assert_allclose(heat_map, expected, atol=1e-4)


def test_a_training_network_is_put_into_evaluation_mode(pipeline):
    model = FERModel(version="v1", seed=0).train()
    (face,) = FERPipeline(model, device="cpu")(EXAMPLES / "drawn_anger.png").faces
    (expected,) = pipeline(EXAMPLES / "drawn_anger.png").faces
    assert face.probabilities == expected.probabilities
    assert not model.training


def test_the_sentence_says_whether_the_model_is_sure(two):
    def with_top(probability: float, unsure: bool) -> Face:
        rest = (1 - probability) / 5
        probabilities = dict.fromkeys(EMOTIONS, rest) | {"fear": probability}
        return replace(two.faces[0], probabilities=probabilities, unsure=unsure)

    assert with_top(0.8, unsure=False).sentence == "The expression looks like fear (80%)."
    assert with_top(0.4, unsure=True).sentence == "The model is unsure: its best guess is fear, at 40%."


FORKED: dict[str, FERPipeline] = {}  # what a forked process finds where it was


def answer(_) -> dict[str, float]:
    return FORKED["pipeline"](ASTRONAUT, heat_maps=False).faces[0].probabilities


@pytest.mark.slow
def test_a_pipeline_that_was_used_answers_in_forked_processes():
    pipeline = FORKED["pipeline"] = FERPipeline(FERModel(version="v1", seed=0), device="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)  # with one, nothing would wait for threads that a fork has not copied
    try:
        before = pipeline(ASTRONAUT, heat_maps=False).faces[0].probabilities
        with multiprocessing.get_context("fork").Pool(2) as pool:
            answers = pool.map_async(answer, range(3)).get(60)
    finally:
        torch.set_num_threads(threads)
    assert all(one == pytest.approx(before, abs=1e-4) for one in answers)


def test_a_pipeline_can_be_sent_to_other_processes(pipeline):
    expected = pipeline(ASTRONAUT, heat_maps=False).faces[0].probabilities
    for sent in (pickle.loads(pickle.dumps(pipeline)), copy.deepcopy(pipeline)):
        assert sent(ASTRONAUT, heat_maps=False).faces[0].probabilities == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("heat_maps", [False, True])
def test_a_model_of_other_precision_answers_nearly_the_same(pipeline, kind, heat_maps):
    other = FERPipeline(FERModel(version="v1", seed=0).to(kind), device="cpu")
    face, expected = (one(ASTRONAUT, heat_maps=heat_maps).faces[0] for one in (other, pipeline))
    assert face.probabilities == pytest.approx(expected.probabilities, abs=0.02)


def test_what_cannot_be_a_pipeline_is_refused_when_it_is_made():
    model = FERModel(version="v1", seed=0)
    for wrong in ("results/v3/models", torch.nn.DataParallel(model)):
        with pytest.raises(TypeError, match="from_pretrained.*module"):
            FERPipeline(wrong)
    with pytest.raises(ModelError, match="device 'nowhere'"):
        FERPipeline(model, device="nowhere")


def test_a_model_whose_answers_are_no_numbers_is_said_and_not_shown():
    model = FERModel(version="v1", seed=0)
    model.classifier[0].weight.data *= 1e38
    model.classifier[3].weight.data *= 1e38
    with pytest.raises(ModelError, match="no number"):
        FERPipeline(model, device="cpu")(ASTRONAUT)
