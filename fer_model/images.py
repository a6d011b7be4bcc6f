"""Any image that a person or a dataset may hold -> an upright 8-bit RGB `PIL.Image`."""

import base64
import binascii
import io
import os
from functools import lru_cache
from typing import BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, UnidentifiedImageError

from fer_model.errors import ImageError
from fer_model.mending import JPEG_END, MISSING_ROWS, mended

MAX_PIXELS = 50_000_000
"""Larger images are refused before they are decoded: a file of 76 KB can unpack to gigabytes."""

MAX_BYTES = 500_000_000
"""Of an image that is read into memory: from an open file, or to be decoded without what stands beside its pixels."""

# the formats of people's pictures; Pillow reads more, but for EPS it would start another program
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "MPO", "PPM", "AVIF", "HEIF")

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_TURNS = {  # by EXIF's orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

ImageSource = str | os.PathLike | bytes | bytearray | memoryview | BinaryIO | Image.Image | np.ndarray | torch.Tensor
"""What `open_image` takes."""


def open_image(source: ImageSource) -> Image.Image:
    """Decode one image, turn it upright (EXIF), put transparency on white, and convert it to RGB.

    The content says what it is, not the name. What stands beside the pixels does not matter: texts, EXIF, checksums,
    missing bytes at the end (see `mending`).

    Args:
        source: a path; the bytes of a file, also in base64 or as a data URL; a file that is open for reading bytes; a
            PIL image; an array of shape (H, W), (H, W, 3) or (H, W, 4), uint8 in [0, 255] or float in [0, 1]; or a
            tensor, also (3, H, W), as torchvision has them. Three channels are red, green, blue. Of an animation the
            first frame is taken.

    Raises:
        ImageError: the image is empty, unreadable, cut off, or larger than `MAX_PIXELS`, or `source` is of none of
            these kinds.
    """
    if isinstance(source, torch.Tensor):
        source = _as_array(source)
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        try:
            return _to_rgb(source)
        except ImageError:
            raise
        except Exception as error:  # Pillow may not have decoded it yet, see `_from_file`
            raise _damaged(error) from error
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_file(io.BytesIO(source))
    if isinstance(source, str | os.PathLike):
        return _from_name(source)
    if hasattr(source, "read"):
        return _from_file(io.BytesIO(_read(source)))
    raise ImageError(
        f"A {type(source).__name__} is not an image; give a path, a file's bytes, an open file, a PIL image, an array "
        f"or a tensor{', one at a time' if isinstance(source, list | tuple) else ''}."
    )


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """The image, shrunk where its longer side has more than `side` pixels."""
    scale = min(side / max(image.size), 1.0)
    return image if scale == 1.0 else image.resize([max(1, round(length * scale)) for length in image.size])


def is_image(head: bytes) -> bool:
    """Do the first 32 bytes of a file begin an image that `open_image` takes, or HEIC, which it may only name?"""
    accepting = [Image.OPEN[name][1] for name in _readable_formats()]
    return any(accept is not None and accept(head) for accept in accepting) or is_heic(head)


def is_heic(head: bytes) -> bool:
    """Do the first 32 bytes of a file begin HEIC, the images of iPhones?"""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS and b"avif" not in head


@lru_cache(maxsize=1)
def _readable_formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that are read here. Some builds of Pillow come without AVIF or WebP; HEIF is a package."""
    Image.init()
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


# What was given -> a file


def _from_name(source: str | os.PathLike) -> Image.Image:
    """A path, or base64 text."""
    name = os.fsdecode(source)
    if not os.path.isfile(name):
        if content := _from_base64(name):
            return _from_file(io.BytesIO(content))
        if name.startswith(("http://", "https://")):
            raise ImageError("An address is not fetched; download the image, and give its file.")
        raise ImageError(f"There is no file {_short(repr(name))}.")
    try:
        with open(name, "rb") as file:
            return _from_file(file)
    except OSError as error:
        raise ImageError(f"The file {_short(repr(name))} cannot be read ({error.strerror}).") from error


def _from_base64(text: str) -> bytes | None:
    """The image in base64 text or in a data URL; None where the text is neither."""
    start, _, data = text.partition(",")
    is_address = start.startswith("data:") and start.endswith(";base64")
    data = "".join((data if is_address else text).split()).translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
    try:
        content = base64.b64decode(data + "=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if is_address or is_image(content[:32]) else None


def _read(file: BinaryIO) -> bytes:
    """All of an open file, from its beginning, as Pillow takes it."""
    try:
        if file.seekable():
            file.seek(0)
        content = file.read(MAX_BYTES + 1)
    except Exception as error:  # whatever a program's own kind of file may raise
        raise ImageError(f"The open file cannot be read ({_short(str(error))}).") from error
    if not isinstance(content, bytes):
        raise ImageError("The open file gives text, not bytes; open it with the mode 'rb'.")
    if len(content) > MAX_BYTES:
        raise ImageError(f"The open file is too large; at most {MAX_BYTES:,} bytes are read.")
    return content


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    """(3, H, W), (1, H, W), (4, H, W) or what is an image as an array, too."""
    try:
        values = tensor.detach().cpu()
        values = values.float() if values.dtype == torch.bfloat16 else values
        return (values.permute(1, 2, 0) if values.ndim == 3 and len(values) in (1, 3, 4) else values).numpy()
    except (TypeError, RuntimeError) as error:  # sparse ones, those without values, …
        raise ImageError(f"This tensor is not an image ({_short(str(error))}).") from error


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
        raise ImageError(f"An image must hold uint8 or floating-point numbers, not {_short(str(array.dtype))}.")
    return _to_rgb(Image.fromarray(array))


# A file -> pixels


def _from_file(file: BinaryIO) -> Image.Image:
    """An image in a file that can be sought in."""
    head = file.read(32)
    if not head:
        raise ImageError("The image is an empty file, not an image in a format that can be read.")
    try:
        return _decoded(file)
    except ImageError:
        raise
    except Exception as error:  # for damaged files Pillow's decoders raise nearly anything: OSError, SyntaxError, …
        if not is_image(head):
            if isinstance(file, io.BytesIO) and head.isascii():
                image = _from_base64(file.getvalue().decode("ascii", "ignore"))
                if image:
                    return _from_file(io.BytesIO(image))
            raise ImageError("The file is not an image in a format that can be read (JPEG, PNG, WebP, …).") from error
        file.seek(0)
        content = file.read(MAX_BYTES + 1)
        for other in mended(content) if len(content) <= MAX_BYTES else ():
            try:
                return _decoded(io.BytesIO(other), maybe_cut=not content.rstrip(b"\0").endswith(JPEG_END))
            except Exception:  # as above
                continue
        if is_heic(head) and isinstance(error, UnidentifiedImageError):
            raise ImageError("The image is HEIC, which takes one more package: pip install pillow-heif") from error
        raise _damaged(error) from error


def _damaged(error: Exception) -> ImageError:
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own guard, at about 179 million pixels
        return ImageError(f"The image is too large; at most {MAX_PIXELS:,} pixels are read.")
    reason = "its header cannot be read" if isinstance(error, UnidentifiedImageError) else _short(str(error))
    return ImageError(f"The image is damaged or cut off ({reason}).")


def _short(text: str) -> str:
    return text if len(text) <= 300 else f"{text[:100]} … {text[-20:]}, of {len(text):,} characters"


def _decoded(file: BinaryIO, maybe_cut: bool = False) -> Image.Image:
    file.seek(0)
    with Image.open(file, formats=_readable_formats()) as image:
        if maybe_cut and image.format == "JPEG" and _missing_rows(image) > MISSING_ROWS:
            raise ImageError("The image is cut off.")
        return _to_rgb(image)


def _missing_rows(image: Image.Image) -> float:
    """The share of a JPEG's rows, from its bottom, that libjpeg has filled for lack of data: with grey, exactly."""
    _check_size(image)
    pixels = np.asarray(image).reshape(image.height, -1)
    there = np.flatnonzero((pixels.min(axis=1) < 127) | (pixels.max(axis=1) > 128))
    return 1 - (there[-1] + 1 if len(there) else 0) / image.height


# Pixels -> upright RGB


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:  # the size is in the header: nothing is decoded yet
        raise ImageError(f"The image has {width} x {height} pixels; at most {MAX_PIXELS:,} are read.")
    if width == 0 or height == 0:
        raise ImageError("The image has no pixels.")


def _to_rgb(image: Image.Image) -> Image.Image:
    _check_size(image)
    image.load()
    image = _upright(image)
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N", "I", "F"):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = _with_alpha(image)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # nearly anything, as above; such an image is shown as it lies
        return image
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _with_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("La", "RGBa"):  # colours that opacity has been multiplied into
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    try:
        return image.convert("RGBA")
    except ValueError:  # the transparent colour is none of the image's
        return image.convert("RGB").convert("RGBA")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, which Pillow's own conversion would clip to white."""
    values = np.asarray(image).astype(np.float64)  # changed in place below: a large one takes 400 MB
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("The image has no pixel that is a number.")
    low, high = values.min(where=finite, initial=np.inf), values.max(where=finite, initial=-np.inf)
    np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
    if image.mode == "F" or low < 0:  # no fixed range: stretch from the darkest to the brightest
        values -= low
        values /= high - low or 1.0
    else:
        values /= 65535 if high > 255 else 255
    values *= 255
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8)).convert("RGB")
