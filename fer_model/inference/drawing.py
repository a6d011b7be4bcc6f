"""Results drawn on images: boxes around faces, and heat maps over them."""

from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fer_model.inference.detector import Box
from fer_model.inference.pipeline import Face, Result
from fer_model.inference.tracking import Followed

_SELECTED, _OTHER = (255, 140, 0), (70, 160, 255)


def draw_boxes(result: Result, selected: int = 0) -> Image.Image:
    """A copy of the photo with every face boxed, numbered from 1 and named. The selected one is orange."""
    photo = result.image.copy()
    # the selected one last, so that no other box covers it
    for index in sorted(range(len(result.faces)), key=lambda i: i == selected):
        _draw(photo, result.faces[index], index + 1, _SELECTED if index == selected else _OTHER)
    return photo


def draw_followed(frame: Image.Image, followed: Iterable[Followed]) -> Image.Image:
    """A copy of a video's frame with every face boxed and named. A face keeps its number through the video."""
    frame = frame.copy()
    for one in followed:
        _draw(frame, one.face, one.number, _SELECTED)
    return frame


def _draw(photo: Image.Image, face: Face, number: int, colour: tuple[int, int, int]) -> None:
    draw = ImageDraw.Draw(photo)
    line = max(2, round(min(photo.size) / 150))
    font = ImageFont.load_default(size=max(12, round(min(photo.size) / 28)))
    draw.rectangle(_inside(face.box, photo), outline=colour, width=line)
    text = f"{number} {face.label}{'?' if face.unsure else ''}"
    width, height = draw.textbbox((0, 0), text, font=font)[2:]
    x = min(max(face.box[0], 0), max(photo.width - width - 2 * line, 0))
    y = face.box[1] - height - 2 * line
    if y < 0:
        y = face.box[1] + line
    draw.rectangle((x, y, x + width + 2 * line, y + height + 2 * line), fill=colour)
    draw.text((x + line, y), text, fill="black", font=font)


def overlay(crop: Image.Image, heat_map: np.ndarray, opacity: float = 0.45, size: int = 320) -> Image.Image:
    """A heat map laid on a face crop, both enlarged to `size` x `size` pixels. Red is high, blue is low.

    Args:
        heat_map: (H, W), values in [0, 1].
        opacity: of the map, 0 to 1.
    """
    face = np.asarray(crop.convert("L").convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
    return Image.fromarray(((1 - opacity) * face + opacity * coloured(heat_map, size)).round().astype(np.uint8))


def coloured(heat_map: np.ndarray, size: int) -> np.ndarray:
    """A heat map (H, W) in [0, 1] as colours, RGB uint8 (size, size, 3): blue for none, red for much."""
    heat = cv2.resize(heat_map.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.applyColorMap((heat.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]


def _inside(box: Box, photo: Image.Image) -> Box:
    left, top, right, bottom = box
    right, bottom = min(right, photo.width) - 1, min(bottom, photo.height) - 1
    return left, top, max(right, left), max(bottom, top)
