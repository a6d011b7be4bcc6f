"""The geometry against torchvision, the random ranges, and the fixed way from face to network input.

pytest tests/test_augment.py
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from fer_model.configs import Augmentation
from fer_model.data.augment import affine_matrices, augment
from fer_model.model.preprocess import normalise, preprocess, resize, to_face

STILL = Augmentation(flip=0.0, rotation=0.0, translation=0.0)


@pytest.fixture
def images():
    """Noise, float32 (8, 1, 64, 64) in [0, 1]."""
    return torch.rand(8, 1, 64, 64, generator=torch.Generator().manual_seed(0))


def moved(images, mirror=1.0, degrees=0.0, right=0.0, down=0.0):
    """All images changed alike by `affine_matrices`; shifts in pixels."""
    count, side = len(images), images.shape[-1]
    matrices = affine_matrices(
        torch.full((count,), mirror),
        torch.full((count,), math.radians(degrees)),
        torch.full((count,), right / side),
        torch.full((count,), down / side),
    )
    grid = torch.nn.functional.affine_grid(matrices, list(images.shape), align_corners=False)
    return torch.nn.functional.grid_sample(images, grid, align_corners=False)


# The geometry


@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("degrees", [-15.0, -4.0, 0.0, 11.0])
@pytest.mark.parametrize(("right", "down"), [(0, 0), (6, 0), (0, -6), (-3, 5)])
def test_mirror_turn_and_shift_are_those_of_torchvision(images, mirror, degrees, right, down):
    expected = torchvision.affine(
        images if mirror == 1 else torchvision.hflip(images),
        angle=degrees,
        translate=[right, down],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    inner = (..., slice(14, -14), slice(14, -14))  # at the border, torchvision blends its fill differently
    torch.testing.assert_close(moved(images, mirror, degrees, right, down)[inner], expected[inner], atol=1e-5, rtol=0)


def test_no_change_leaves_the_image_as_it_is(images):
    torch.testing.assert_close(moved(images), images, atol=1e-5, rtol=0)


def test_mirroring_swaps_left_and_right(images):
    torch.testing.assert_close(moved(images, mirror=-1.0), images.flip(-1), atol=1e-5, rtol=0)


def test_a_shift_goes_right_and_down_and_brings_in_black(images):
    shifted = moved(images, right=5, down=3)
    torch.testing.assert_close(shifted[..., 3:, 5:], images[..., :-3, :-5], atol=1e-5, rtol=0)
    assert shifted[..., :3, :].abs().max() < 1e-5
    assert shifted[..., :5].abs().max() < 1e-5


# The random part


def test_augmented_images_keep_shape_and_range(images):
    out = augment(images, Augmentation())
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 1


@pytest.mark.parametrize("change", [{"translation": 0.1}, {"rotation": 15.0}])
def test_what_comes_in_from_outside_is_black(change):
    torch.manual_seed(0)
    out = augment(torch.ones(8, 1, 64, 64), replace(STILL, **change))
    assert out.amin(dim=(1, 2, 3)).max() < 0.9  # a small turn uncovers part of the corner pixels only
    assert out.amin(dim=(1, 2, 3)).median() == 0


def test_every_image_of_a_batch_is_changed_in_its_own_way(images):
    out = augment(images[:1].expand(16, -1, -1, -1), Augmentation())
    distances = torch.cdist(out.flatten(1), out.flatten(1))
    assert distances[~torch.eye(16, dtype=torch.bool)].min() > 0.1


def test_the_same_seed_repeats_an_augmentation_and_the_next_draw_differs(images):
    torch.manual_seed(3)
    first, second = augment(images, Augmentation()), augment(images, Augmentation())
    torch.manual_seed(3)
    assert torch.equal(augment(images, Augmentation()), first)
    assert not torch.equal(first, second)


def test_with_every_change_set_to_zero_the_mean_of_many_augmentations_is_the_image(images):
    mean = torch.stack([augment(images, STILL) for _ in range(50)]).mean(dim=0)
    torch.testing.assert_close(mean, images, atol=1e-5, rtol=0)


@pytest.mark.parametrize("flip", [0.25, 1.0])
def test_images_are_mirrored_as_often_as_set(images, flip):
    torch.manual_seed(0)
    out = augment(images[:1].expand(400, -1, -1, -1), replace(STILL, flip=flip))
    mirrored = (out - images[:1].flip(-1)).abs().amax(dim=(1, 2, 3)) < 1e-4
    plain = (out - images[:1]).abs().amax(dim=(1, 2, 3)) < 1e-4
    assert (mirrored ^ plain).all()
    assert abs(mirrored.float().mean() - flip) < 0.07  # three standard deviations


def spot_positions(out):
    """Centre of brightness of every image, in pixels right and down of the middle."""
    steps = torch.arange(64) - 31.5
    total = out.sum(dim=(1, 2, 3))
    return (out.sum(dim=(1, 2)) * steps).sum(dim=1) / total, (out.sum(dim=(1, 3)) * steps).sum(dim=1) / total


def test_shifts_fill_their_range_in_every_direction():
    spots = torch.zeros(400, 1, 64, 64)
    spots[..., 31:33, 31:33] = 1
    torch.manual_seed(0)
    shifts = spot_positions(augment(spots, replace(STILL, translation=0.1)))
    assert abs(torch.corrcoef(torch.stack(shifts))[0, 1]) < 0.15  # right and down are drawn apart
    for shift in shifts:
        assert shift.abs().max() <= 6.4 + 0.1
        assert shift.min() < -6
        assert shift.max() > 6
        assert abs(shift.mean()) < 0.6  # three standard deviations


def test_turns_fill_their_range_in_both_directions():
    spots = torch.zeros(400, 1, 64, 64)
    spots[..., 31:33, 55:57] = 1
    torch.manual_seed(0)
    right, down = spot_positions(augment(spots, replace(STILL, rotation=15.0)))
    degrees = torch.rad2deg(torch.atan2(down, right))
    assert degrees.abs().max() <= 15.5
    assert degrees.min() < -14
    assert degrees.max() > 14
    assert abs(degrees.mean()) < 1.3  # three standard deviations


# The deterministic part


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
