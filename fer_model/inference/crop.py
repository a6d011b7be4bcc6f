"""Cut faces out of a photo as FER2013 does."""

import math

import cv2
import numpy as np
from PIL import Image

from fer_model.inference.detector import Box

CROP_MARGIN = 1.06
"""Side of the square that is cut out, relative to the longer side of the box: as tight as in FER2013."""


def crop_face(image: Image.Image, box: Box, tilt: float = 0.0) -> Image.Image:
    """The square around a box. Outside the photo its edge pixels are repeated.

    Args:
        tilt: degrees by which the face is turned clockwise in the photo. In the crop it is upright.
    """
    left, top, right, bottom = box
    side = max(1, round(max(right - left, bottom - top) * CROP_MARGIN))
    x0, y0 = round((left + right - side) / 2), round((top + bottom - side) / 2)
    if tilt:
        return _turned(image, x0, y0, side, tilt)
    columns = np.clip(np.arange(x0, x0 + side), 0, image.width - 1)
    rows = np.clip(np.arange(y0, y0 + side), 0, image.height - 1)
    # only the square is converted, not a photo of many megapixels
    area = image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))
    return Image.fromarray(np.asarray(area)[np.ix_(rows - rows[0], columns - columns[0])])


def _turned(image: Image.Image, x0: int, y0: int, side: int, tilt: float) -> Image.Image:
    """The square turned clockwise about its centre."""
    reach = math.ceil(side * (math.sqrt(2) - 1) / 2) + 1  # how far a corner comes out of the upright square
    outer = (
        max(x0 - reach, 0),
        max(y0 - reach, 0),
        min(x0 + side + reach, image.width),
        min(y0 + side + reach, image.height),
    )
    area = np.asarray(image.crop(outer))
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    middle, x, y = (side - 1) / 2, x0 - outer[0] + (side - 1) / 2, y0 - outer[1] + (side - 1) / 2
    to_photo = np.array(((cos, -sin, x - middle * (cos - sin)), (sin, cos, y - middle * (sin + cos))))
    turned = cv2.warpAffine(
        area,
        to_photo,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return Image.fromarray(turned)
