"""The fixed way from a picture to a stored face, and from there to the network's input."""

import numpy as np
import pytest
import torch
from PIL import Image

from fer_model.model.preprocess import normalise, preprocess, resize, to_face


def test_preprocessed_faces_are_three_equal_channels_in_minus_one_to_one():
    faces = torch.randint(0, 256, (5, 1, 48, 48), dtype=torch.uint8)
    out = preprocess(faces, 64)
    assert out.shape == (5, 3, 64, 64)
    assert out.dtype == torch.float32
    assert out.min() >= -1
    assert out.max() <= 1
    assert torch.equal(out[:, 0], out[:, 1])
    assert torch.equal(out[:, 0], out[:, 2])
    assert torch.equal(out, normalise(resize(faces, 64)))


def test_enlarging_interpolates_between_the_centres_of_pixels():
    ramp = (torch.arange(48) * 5).to(torch.uint8).expand(1, 1, 48, 48)
    seen_at = ((torch.arange(64) + 0.5) * 48 / 64 - 0.5).clamp(0, 47)
    torch.testing.assert_close(resize(ramp, 64), (seen_at * 5 / 255).expand(1, 1, 64, 64))


def test_shrinking_averages_what_is_too_fine_to_be_shown():
    board = ((torch.arange(48)[:, None] // 3 + torch.arange(48) // 3) % 2 * 255).to(torch.uint8).expand(1, 1, 48, 48)
    shrunk = resize(board, 16)[..., 2:-2, 2:-2]  # fields of one pixel each
    assert shrunk.std() < 0.75 * (board / 255).std()


@pytest.mark.parametrize(("grey", "value"), [(0, -1.0), (255, 1.0), (51, -0.6)])
def test_black_is_minus_one_and_white_is_one(grey, value):
    face = torch.full((1, 1, 48, 48), grey, dtype=torch.uint8)
    torch.testing.assert_close(preprocess(face, 64), torch.full((1, 3, 64, 64), value))


def test_a_grey_picture_of_the_stored_size_is_stored_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    for image in (Image.fromarray(pixels), Image.fromarray(pixels).convert("RGB")):
        face = to_face(image)
        assert face.dtype == torch.uint8
        assert face.shape == (1, 48, 48)
        assert np.array_equal(face[0].numpy(), pixels)


@pytest.mark.parametrize("size", [(1, 1), (17, 90), (640, 480)])
def test_a_picture_of_any_size_becomes_a_48_by_48_face_of_the_same_grey(size):
    assert torch.equal(to_face(Image.new("L", size, 77)), torch.full((1, 48, 48), 77, dtype=torch.uint8))
