"""Any image that a person or a dataset may hold -> an upright 8-bit RGB `PIL.Image`."""

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from fer_model.errors import ImageError

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: a file of 76 KB can unpack to gigabytes."""

# the formats of people's pictures; Pillow reads more, but for EPS it would start another program
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "PPM", "AVIF")


ImageSource = str | Path | bytes | Image.Image | np.ndarray
"""What `open_image` takes."""


def open_image(source: ImageSource) -> Image.Image:
    """Decode one image, turn it upright (EXIF), put transparency on white, and convert it to RGB.

    Args:
        source: a path, the bytes of a file, a PIL image, or an array of shape (H, W), (H, W, 3) or (H, W, 4): uint8 in
            [0, 255], or float in [0, 1]. Three channels are red, green, blue. Of an animation the first frame is
            taken.

    Raises:
        ImageError: the image is empty, unreadable, cut off, or larger than `MAX_PIXELS`.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    try:
        if isinstance(source, Image.Image):
            return _to_rgb(source)  # may fail too: Pillow may not have decoded it yet
        if source == b"":
            raise ImageError("The image is an empty file.")
        if not isinstance(source, bytes) and not Path(source).is_file():
            raise ImageError(f"There is no file {str(source)!r}.")
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=_readable_formats()) as image:
            return _to_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError("The file is not an image in a format that can be read (JPEG, PNG, WebP, …).") from error
    except Image.DecompressionBombError as error:  # Pillow's own guard, at about 179 million pixels
        raise ImageError(f"The image is too large; at most {MAX_PIXELS:,} pixels are read.") from error
    except ImageError:
        raise
    except Exception as error:  # for damaged files Pillow's decoders raise nearly anything: OSError, SyntaxError, …
        raise ImageError(f"The image is damaged or cut off ({error}).") from error


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """The image, shrunk where its longer side has more than `side` pixels."""
    scale = min(side / max(image.size), 1.0)
    return image if scale == 1.0 else image.resize([max(1, round(length * scale)) for length in image.size])


@lru_cache(maxsize=1)
def _readable_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this build of Pillow reads. Some come without AVIF or WebP."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _from_array(array: np.ndarray) -> Image.Image:
    if array.size == 0 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(f"An array of shape {array.shape} is not an image; expected (H, W), (H, W, 3) or (H, W, 4).")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if np.issubdtype(array.dtype, np.floating):
        if not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
            raise ImageError("An image given as floating-point numbers must lie in [0, 1].")
        array = (array * 255).round().astype(np.uint8)
    if array.dtype != np.uint8:
        raise ImageError(f"An image must hold uint8 or floating-point numbers, not {array.dtype}.")
    return _to_rgb(Image.fromarray(array))


def _to_rgb(image: Image.Image) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:  # the size is in the header: nothing is decoded yet
        raise ImageError(f"The image has {width} x {height} pixels; at most {MAX_PIXELS:,} are read.")
    if width == 0 or height == 0:
        raise ImageError("The image has no pixels.")
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, which Pillow's own conversion would clip to white."""
    values = np.asarray(image).astype(np.float64)
    if image.mode == "F" or values.min() < 0:  # no fixed range: stretch from the darkest to the brightest
        low, high = values.min(), values.max()
        values = (values - low) / (high - low or 1.0)
    else:
        values = values / (65535 if values.max() > 255 else 255)
    return Image.fromarray((values * 255).round().clip(0, 255).astype(np.uint8)).convert("RGB")
