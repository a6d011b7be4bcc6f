"""Random changes of a batch: the geometry against torchvision, the ranges, and mixed images."""

import math
from dataclasses import replace

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as torchvision

from fer_model.configs import Augmentation
from fer_model.data.augment import affine_matrices, augment, draw_mix, erase, mix

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


def test_zoom_scales_about_the_middle():
    images = torch.ones(4, 1, 40, 40)
    smaller = augment(images, replace(STILL, shrink=0.5, enlarge=0.5))
    assert smaller[:, :, 12:28, 12:28].min() == 1
    assert smaller.mean().item() == pytest.approx(0.25, abs=0.03)
    torch.testing.assert_close(augment(images, replace(STILL, shrink=2.0, enlarge=2.0)), images)


def test_contrast_and_brightness_stay_in_bounds_and_differ_between_images():
    images = torch.rand(64, 1, 8, 8) * 0.2 + 0.4
    brighter = augment(images, replace(STILL, brightness=0.3))
    shift = (brighter - images).mean(dim=(1, 2, 3))
    assert shift.abs().max() <= 0.3 + 1e-5
    assert shift.std() > 0.1
    stretched = augment(images, replace(STILL, contrast=0.5))
    factor = stretched.std(dim=(1, 2, 3)) / images.std(dim=(1, 2, 3))
    assert factor.min() >= 0.5 - 1e-3
    assert factor.max() <= 1.5 + 1e-3
    assert factor.std() > 0.1
    extreme = augment(torch.rand(64, 1, 8, 8), replace(STILL, brightness=1.0, contrast=1.0))
    assert extreme.min() >= 0
    assert extreme.max() <= 1


def test_erasing_blackens_one_rectangle_of_the_chosen_images():
    images = torch.ones(2000, 1, 48, 48)
    erased = erase(images, 0.4)
    shares = (erased == 0).float().mean(dim=(1, 2, 3))
    assert (shares > 0).float().mean().item() == pytest.approx(0.4, abs=0.05)
    hit = shares[shares > 0]
    assert hit.max() <= 0.36
    assert hit.mean().item() == pytest.approx((0.02 + 0.33) / 2, abs=0.02)
    for image in erased[shares > 0][:100, 0]:
        rows, columns = (image == 0).any(dim=1).nonzero(), (image == 0).any(dim=0).nonzero()
        inside = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert inside.max() == 0, "what is black is a whole rectangle"


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixing_takes_as_much_of_the_label_as_of_the_picture(kind):
    torch.manual_seed(0)
    images = torch.arange(8.0)[:, None, None, None].expand(8, 1, 32, 32).clone()
    for _ in range(20):
        how = draw_mix(images, Augmentation(**{kind: 1.0}))
        mixed = mix(images, how)
        own, others = how.shares
        expected = own * images + others * images[how.partner]
        torch.testing.assert_close(mixed.mean(dim=(1, 2, 3)), expected.mean(dim=(1, 2, 3)), atol=1e-4, rtol=1e-4)
        assert sorted(how.partner.tolist()) == list(range(8))
    nothing = draw_mix(images, Augmentation())
    same = mix(images, nothing)
    assert same is images
    assert nothing is None


def test_options_that_are_off_leave_the_random_numbers_of_older_recipes_as_they_were():
    """Otherwise V1's and V2's histories could not be repeated."""
    torch.manual_seed(0)
    augment(torch.rand(4, 1, 8, 8), Augmentation())
    after = torch.rand(1)
    torch.manual_seed(0)
    torch.rand(4, 1, 8, 8)
    for _ in range(4):  # mirror, angle, two shifts
        torch.rand(4)
    assert torch.equal(after, torch.rand(1))
