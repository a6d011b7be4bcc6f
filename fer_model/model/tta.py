"""Test-time augmentation: the network sees several views of a face, and the logits are averaged."""

from collections.abc import Callable

import torch
from torch import Tensor

from fer_model.model.preprocess import preprocess

VIEWS = {"plain": 1, "flip": 2, "ten-crop": 10}
"""How many views each kind has, and so how many passes through the network it takes."""

CROP = 44
"""Side, in pixels, of a crop of a stored face, which has 48. Crops are resized like whole faces."""


def views(faces: Tensor, kind: str) -> list[Tensor]:
    """Views of faces, uint8 (B, 1, 48, 48): "plain" as they are, "flip" also mirrored, "ten-crop" ten crops.

    The ten crops, (B, 1, 44, 44), are the four corners and the middle, and their mirror images.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "plain":
        return [faces]
    if kind == "flip":
        return [faces, faces.flip(-1)]
    if kind != "ten-crop":
        raise ValueError(f"There are no views {kind!r}; choose {', '.join(VIEWS)}.")
    far = faces.shape[-1] - CROP
    corners = [(0, 0), (0, far), (far, 0), (far, far), (far // 2, far // 2)]
    crops = [faces[..., top : top + CROP, left : left + CROP] for top, left in corners]
    return crops + [crop.flip(-1) for crop in crops]


def logits_over_views(
    model: Callable[[Tensor], Tensor],
    faces: Tensor,
    size: int,
    kind: str = "plain",
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Tensor:
    """Mean logits float32 (B, classes) over the views of stored faces, uint8 (B, 1, 48, 48), shown at `size` pixels.

    `model` is a network, or whatever gives its logits.
    """
    shown = (preprocess(view, size).contiguous(memory_format=memory_format) for view in views(faces, kind))
    return torch.stack([model(images).float() for images in shown]).mean(dim=0)
