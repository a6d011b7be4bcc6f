"""From stored faces to network input, on whole batches: the deterministic way and the random one.

Training:    normalise(mix(augment(resize(faces))))
Evaluation and the app:  preprocess(faces) = normalise(resize(faces))
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fer_model.configs import Augmentation


def augment(images: Tensor, settings: Augmentation) -> Tensor:
    """Change every image of (B, 1, H, W) in [0, 1] by its own random amounts; the result is in [0, 1] too.

    Mirror, zoom, rotation and shift are one bilinear sampling; what comes in from outside the image is
    black (0), as in torchvision's `RandomAffine`. Then contrast and brightness, then erasing. Uses the
    default random generator of the images' device, and none of it for what `settings` leave out.
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
    if settings.erasing:
        images = erase(images, settings.erasing)
    return images


def erase(images: Tensor, probability: float) -> Tensor:
    """Blacken one rectangle in some images: 2 to 33 % of the area, sides up to 1 : 3.3, anywhere in the image.

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
    """How a batch was mixed: image i holds `share` of itself and the rest of image `partner[i]`."""

    partner: Tensor  # int64 (B,)
    share: float


def mix(images: Tensor, settings: Augmentation) -> tuple[Tensor, Mix | None]:
    """Mix each image of (B, 1, H, W) with another of its batch, by mixup or cutmix; with both set, by turns at random.

    One share for the whole batch, from Beta(a, a). None where `settings` ask for neither.
    """
    kinds = [kind for kind in ("mixup", "cutmix") if getattr(settings, kind) > 0]
    if not kinds:
        return images, None
    kind = kinds[int(torch.randint(len(kinds), ()))]
    strength = torch.tensor(float(getattr(settings, kind)))
    share = float(torch.distributions.Beta(strength, strength).sample())
    partner = torch.randperm(len(images)).to(images.device)
    if kind == "mixup":
        return share * images + (1 - share) * images[partner], Mix(partner, share)
    height, width = images.shape[-2:]
    side = math.sqrt(1 - share)
    box_height, box_width = round(side * height), round(side * width)
    top = int(torch.randint(height - box_height + 1, ()))
    left = int(torch.randint(width - box_width + 1, ()))
    mixed = images.clone()
    box = (..., slice(top, top + box_height), slice(left, left + box_width))
    mixed[box] = images[partner][box]
    return mixed, Mix(partner, 1 - box_height * box_width / (height * width))


def affine_matrices(mirror: Tensor, angle: Tensor, shift_x: Tensor, shift_y: Tensor) -> Tensor:
    """Matrices (B, 2, 3) that look up, for each output position, where in the input it comes from.

    The image is mirrored (`mirror` is -1 or 1), then turned clockwise about its centre by `angle`
    radians, then shifted right and down by fractions of its side. All arguments have shape (B,).
    """
    cos, sin = angle.cos(), angle.sin()
    # grid coordinates span [-1, 1], so a fraction t of the side is 2 t; the inverse map shifts back first
    back_x, back_y = -2 * shift_x, -2 * shift_y
    row_x = torch.stack((mirror * cos, mirror * sin, mirror * (cos * back_x + sin * back_y)), dim=1)
    row_y = torch.stack((-sin, cos, cos * back_y - sin * back_x), dim=1)
    return torch.stack((row_x, row_y), dim=1)
