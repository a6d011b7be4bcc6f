"""From stored faces to network input, on whole batches: the deterministic way and the random one.

Training:    normalise(augment(enlarge(faces)))
Evaluation and the app:  preprocess(faces) = normalise(enlarge(faces))
"""

import math

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fer_model.configs import DATA_SIZE, INPUT_SIZE, PIXEL_MEAN, PIXEL_STD, Augmentation


def to_face(image: Image.Image) -> Tensor:
    """A face crop as it is stored: grey uint8 (1, 48, 48), values in [0, 255].

    Grey because FER2013 is: the network has never seen a colour.
    """
    grey = image.convert("L")
    if grey.size != (DATA_SIZE, DATA_SIZE):
        # `reducing_gap` would trade exactness for speed; faces are small, so neither matters
        grey = grey.resize((DATA_SIZE, DATA_SIZE), Image.Resampling.BILINEAR)  # antialiased when shrinking
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(1, DATA_SIZE, DATA_SIZE)


def preprocess(faces: Tensor) -> Tensor:
    """Stored faces, uint8 (B, 1, 48, 48) -> network input, float32 (B, 3, 64, 64) in [-1, 1]."""
    return normalise(enlarge(faces))


def enlarge(faces: Tensor) -> Tensor:
    """uint8 (B, 1, 48, 48) -> float32 (B, 1, 64, 64) in [0, 1], bilinear."""
    return F.interpolate(faces.float() / 255, size=(INPUT_SIZE, INPUT_SIZE), mode="bilinear", align_corners=False)


def normalise(images: Tensor) -> Tensor:
    """Grey (B, 1, H, W) in [0, 1] -> three equal channels (B, 3, H, W) in [-1, 1]."""
    return ((images - PIXEL_MEAN) / PIXEL_STD).expand(-1, 3, -1, -1)


def augment(images: Tensor, settings: Augmentation) -> Tensor:
    """Mirror, rotate and shift every image of (B, 1, H, W) in [0, 1] by its own random amounts.

    One bilinear sampling for all three; what comes in from outside the image is black (0), as in
    torchvision's `RandomAffine`. Uses the default random generator of the images' device.
    """
    count, device = len(images), images.device

    def uniform(bound: float) -> Tensor:
        return (torch.rand(count, device=device) * 2 - 1) * bound

    mirror = torch.where(torch.rand(count, device=device) < settings.flip, -1.0, 1.0)
    angle = uniform(math.radians(settings.rotation))
    shift_x, shift_y = uniform(settings.translation), uniform(settings.translation)
    return F.grid_sample(
        images,
        F.affine_grid(affine_matrices(mirror, angle, shift_x, shift_y), list(images.shape), align_corners=False),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )


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
