"""Random changes of training images, on whole mini-batches, and mixtures of two of them.

Training:                 normalise(mix(augment(resize(faces)), drawn))
Evaluation and the demo:  normalise(resize(faces)) = preprocess(faces)
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.configs import Augmentation


def augment(images: Tensor, settings: Augmentation) -> Tensor:
    """Change every image of (B, 1, H, W) in [0, 1] by its own random amounts; the result is in [0, 1] too.

    Mirror, zoom, rotation and shift are one bilinear sampling. Outside the image everything is black (0), as in
    torchvision's `RandomAffine`. Then come contrast and brightness, noise, and erasing. Numbers come from the default
    random generator of the images' device; changes that `settings` leave out draw none.
    """
    count, device = len(images), images.device

    def uniform(bound: float) -> Tensor:
        return (torch.rand(count, device=device) * 2 - 1) * bound

    mirror = torch.where(torch.rand(count, device=device) < settings.flip, -1.0, 1.0)
    angle = uniform(math.radians(settings.rotation))
    shift_x, shift_y = uniform(settings.translation), uniform(settings.translation)
    matrices = affine_matrices(mirror, angle, shift_x, shift_y)
    if settings.shrink != 1 or settings.enlarge != 1:
        middle, reach = (settings.enlarge + settings.shrink) / 2, (settings.enlarge - settings.shrink) / 2
        matrices = matrices / (middle + uniform(reach))[:, None, None]
    images = F.grid_sample(
        images,
        F.affine_grid(matrices, list(images.shape), align_corners=False),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    if settings.contrast or settings.brightness:
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        factor = 1 + uniform(settings.contrast)[:, None, None, None]
        images = ((images - mean) * factor + mean + uniform(settings.brightness)[:, None, None, None]).clamp(0, 1)
    if settings.noise:
        deviation = uniform(settings.noise).clamp(min=0)[:, None, None, None]
        images = (images + deviation * torch.randn_like(images)).clamp(0, 1)
    if settings.erasing:
        images = erase(images, settings.erasing)
    return images


def erase(images: Tensor, probability: float) -> Tensor:
    """Blacken one rectangle in some images: 2 to 33 % of the area, sides up to 1 : 3.3, at any place.

    Random Erasing, Zhong et al. 2020, https://arxiv.org/abs/1708.04896. (B, 1, H, W) -> (B, 1, H, W).
    """
    count, device = len(images), images.device
    height, width = images.shape[-2:]

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, device=device)

    area, aspect = uniform(0.02, 0.33), uniform(math.log(0.3), math.log(3.3)).exp()
    box_height = (area * aspect).sqrt().clamp(max=1) * height
    box_width = (area / aspect).sqrt().clamp(max=1) * width
    top, left = uniform(0, 1) * (height - box_height), uniform(0, 1) * (width - box_width)
    chosen = torch.rand(count, device=device) < probability
    rows = torch.arange(height, device=device)[None] + 0.5
    columns = torch.arange(width, device=device)[None] + 0.5
    in_rows = (rows >= top[:, None]) & (rows < (top + box_height)[:, None])  # (B, H)
    in_columns = (columns >= left[:, None]) & (columns < (left + box_width)[:, None])  # (B, W)
    inside = in_rows[:, :, None] & in_columns[:, None, :] & chosen[:, None, None]
    return images.masked_fill(inside[:, None], 0.0)


@dataclass(frozen=True)
class Mix:
    """How to mix a mini-batch: each image with image `partner[i]`, its label with that one's.

    All are tensors on the images' device, so that a recorded graph of the training step mixes anew each time.
    """

    partner: Tensor  # int64 (B,)
    pixels: Tensor  # float32 (1, 1, H, W): what a pixel keeps of its own image
    shares: Tensor  # float32 (2,): of the label itself, and of its partner's


def draw_mix(images: Tensor, settings: Augmentation) -> Mix | None:
    """How to mix a mini-batch (B, 1, H, W) by mixup or cutmix; None where `settings` ask for neither.

    With both set, each mini-batch draws one of them. One share, from Beta(a, a), holds for the whole mini-batch.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(settings, kind) > 0]
    if not kinds:
        return None
    kind = kinds[int(torch.randint(len(kinds), ()))]
    strength = torch.tensor(float(getattr(settings, kind)))
    share = float(torch.distributions.Beta(strength, strength).sample())
    partner = torch.randperm(len(images), device=images.device)
    height, width = images.shape[-2:]
    if kind == "mixup":
        return Mix(partner, images.new_full((1, 1, height, width), share), _shares(images, share))
    side = math.sqrt(1 - share)
    box_height, box_width = round(side * height), round(side * width)
    top = int(torch.randint(height - box_height + 1, ()))
    left = int(torch.randint(width - box_width + 1, ()))
    pixels = images.new_ones((1, 1, height, width))
    pixels[..., top : top + box_height, left : left + box_width] = 0
    return Mix(partner, pixels, _shares(images, 1 - box_height * box_width / (height * width)))


def _shares(images: Tensor, share: float) -> Tensor:
    """`share` and the rest, filled in on the images' device, since a copy to it would wait."""
    shares = images.new_full((2,), share)
    shares[1] = 1 - share
    return shares


def mix(images: Tensor, mixed: Mix | None) -> Tensor:
    """Images (B, 1, H, W), each mixed with its partner."""
    if mixed is None:
        return images
    return mixed.pixels * images + (1 - mixed.pixels) * images[mixed.partner]


def affine_matrices(mirror: Tensor, angle: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """Matrices (B, 2, 3) from each position in the output to where it comes from in the input.

    The image is mirrored (`mirror` is -1 or 1), then turned clockwise about its centre by `angle`
    radians, then shifted right and down by fractions of its side. All arguments have shape (B,).
    """
    cos, sin = angle.cos(), angle.sin()
    # grid coordinates span [-1, 1], so a fraction t of the side is 2 t; the inverse map shifts back first
    back_x, back_y = -2 * shift_x, -2 * shift_y
    row_x = torch.stack((mirror * cos, mirror * sin, mirror * (cos * back_x + sin * back_y)), dim=1)
    row_y = torch.stack((-sin, cos, cos * back_y - sin * back_x), dim=1)
    return torch.stack((row_x, row_y), dim=1)
