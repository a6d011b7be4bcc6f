"""A stored face -> network input, the same in training, evaluation and the demo."""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fer_model.configs import DATA_SIZE, PIXEL_MEAN, PIXEL_STD


def to_face(image: Image.Image) -> Tensor:
    """A face crop as it is stored: grey uint8 (1, 48, 48), values in [0, 255].

    Grey, because FER2013 is: the network has never seen a colour.
    """
    grey = image.convert("L")
    if grey.size != (DATA_SIZE, DATA_SIZE):
        grey = grey.resize((DATA_SIZE, DATA_SIZE), Image.Resampling.BILINEAR)  # antialiased when shrinking
    return torch.frombuffer(bytearray(grey.tobytes()), dtype=torch.uint8).view(1, DATA_SIZE, DATA_SIZE)


def preprocess(faces: Tensor, size: int) -> Tensor:
    """Stored faces, uint8 (B, 1, 48, 48) -> network input, float32 (B, 3, size, size) in [-1, 1]."""
    return normalise(resize(faces, size))


def resize(faces: Tensor, size: int) -> Tensor:
    """uint8 (B, 1, 48, 48) -> float32 (B, 1, size, size) in [0, 1], bilinear, antialiased where it shrinks."""
    smaller = size < faces.shape[-1]
    return F.interpolate(
        faces.float() / 255, size=(size, size), mode="bilinear", align_corners=False, antialias=smaller
    )


def normalise(images: Tensor) -> Tensor:
    """Grey (B, 1, H, W) in [0, 1] -> three equal channels (B, 3, H, W) in [-1, 1]."""
    return ((images - PIXEL_MEAN) / PIXEL_STD).expand(-1, 3, -1, -1)
