"""Odd image files, each made from a drawn face: what people's disks, phones and web servers hold."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image, PngImagePlugin

from helpers.synthetic import draw_faces

FORMATS = {
    "jpeg": ("JPEG", {}),
    "jpeg-progressive": ("JPEG", {"progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "webp": ("WEBP", {}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "bmp": ("BMP", {}),
    "ppm": ("PPM", {}),
    "tiff": ("TIFF", {}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
}
"""What every build of Pillow that comes as a wheel writes and reads."""


def face(side: int = 128) -> Image.Image:
    """A drawn face, RGB. Not one of FER2013's."""
    _, pixels = next(iter(draw_faces(1, seed=0)))
    return Image.fromarray(pixels).convert("RGB").resize((side, side))


def saved(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corpus() -> Iterator[tuple[str, bytes]]:
    """Names, each once, and contents of files."""
    small, image = face(48), face()
    for name, (kind, options) in FORMATS.items():
        whole = saved(small, kind, **options)
        yield f"{name}, whole", whole
        for length in range(64, len(whole), 64 if len(whole) < 4000 else 512):
            yield f"{name}, its first {length} bytes", whole[:length]
        for missing in (1, 2, 4, 8):
            yield f"{name}, {missing} bytes missing", whole[:-missing]
        yield f"{name}, rubbish behind it", whole + b"rubbish" * 100
        yield f"{name}, rubbish before it", b"\n" + whole
        yield f"{name} and a zip", whole + _zipped(whole)
    yield from _modes(image)
    yield from _beside(image)
    yield from _sizes()
    yield from _foreign(image)


def _modes(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    grey = np.asarray(image.convert("L"))
    yield "16-bit grey PNG", saved(Image.fromarray(grey.astype(np.uint16) * 257))
    yield "16-bit grey TIFF", saved(Image.fromarray(grey.astype(np.uint16) * 257), "TIFF")
    yield "32-bit TIFF", saved(Image.fromarray(grey.astype(np.int32) * 1000), "TIFF")
    yield "floating-point TIFF", saved(Image.fromarray(grey.astype(np.float32) / 255), "TIFF")
    yield "floating-point TIFF of NaN", saved(Image.fromarray(np.full((64, 64), np.nan, np.float32)), "TIFF")
    yield "floating-point TIFF with infinity", saved(Image.fromarray(np.eye(64, dtype=np.float32) / 0.0), "TIFF")
    yield "16-bit colour PNG", _png(8, 8, 16, 2, b"".join(b"\0" + bytes(range(48)) for _ in range(8)))
    for mode in ("CMYK", "YCbCr", "L"):
        yield f"{mode} JPEG", saved(image.convert(mode), "JPEG")
    for mode in ("1", "L", "LA", "P", "RGBA"):
        yield f"{mode} PNG", saved(image.convert(mode))
    palette = image.convert("P")
    for name, clear in (("a colour", 0), ("several opacities", bytes(range(256))), ("too many", bytes(300))):
        yield f"palette PNG, transparent: {name}", saved(palette, transparency=clear)
    yield "RGB PNG with a transparent colour", saved(image, transparency=(0, 0, 0))
    yield "CMYK TIFF", saved(image.convert("CMYK"), "TIFF")
    yield "LAB TIFF", saved(image.convert("LAB"), "TIFF")
    frames = [image, Image.new("RGB", image.size, "red")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF", "MPO"):
        yield f"animated {kind}", saved(frames[0], kind, save_all=True, append_images=frames[1:])


def _beside(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """What stands beside the pixels."""
    for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
        for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535):
            exif = Image.Exif()
            exif[0x0112] = orientation
            yield f"{kind}, EXIF orientation {orientation}", saved(image, kind, exif=exif)
    odd = {"a text": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\2\0\0\0\2six\0\0\0\0\0", "no TIFF": b"Exif\0\0rubbish"}
    odd |= {"a loop": b"Exif\0\0II*\0\x08\0\0\0\1\0\x69\x87\4\0\1\0\0\0\x08\0\0\0\x08\0\0\0", "empty": b"Exif\0\0"}
    odd |= {"cut": b"Exif\0\0MM\0*\0\0\0\x08\0\xff\1\x12", "far away": b"Exif\0\0MM\0*\xff\xff\xff\xf0"}
    for name, exif in odd.items():
        for kind in ("JPEG", "PNG", "WEBP"):
            yield f"{kind}, EXIF is {name}", saved(image, kind, exif=exif)
    for name, profile in (("rubbish", b"rubbish" * 20), ("long", bytes(200_000))):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            yield f"{kind}, ICC profile is {name}", saved(image, kind, icc_profile=profile)
    for name, length in (("long", 100_000), ("very long", 3_000_000)):
        for packed in (False, True):
            text = PngImagePlugin.PngInfo()
            text.add_itxt("XML:com.adobe.xmp", "x" * length, zip=packed)
            yield f"PNG, {name} {'packed ' if packed else ''}text", saved(image, pnginfo=text)
    png = saved(image, dpi=(72, 72))
    for chunk in (b"IHDR", b"pHYs", b"IDAT", b"IEND"):
        at = png.find(chunk)
        end = at + 4 + int.from_bytes(png[at - 4 : at])
        yield f"PNG, wrong checksum of {chunk.decode()}", png[:end] + bytes([png[end] ^ 255]) + png[end + 1 :]
    yield "PNG, wrong checksum of the packed rows", png[:-20] + bytes([png[-20] ^ 255]) + png[-19:]
    jpeg = saved(image, "JPEG")
    for marker in (0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE):
        extra = bytes([0xFF, marker]) + struct.pack(">H", 302) + b"rubbish" * 43
        yield f"JPEG, rubbish in the marker {marker:X}", jpeg[:2] + extra[:304] + jpeg[2:]
    yield "JPEG, bytes that fill between its markers", jpeg[:2] + b"\xff" * 5 + jpeg[2:]


def _sizes() -> Iterator[tuple[str, bytes]]:
    for width, height in ((1, 1), (1, 10_000), (10_000, 1), (2, 3), (96, 96), (97, 97), (1, 60_000)):
        for kind in ("PNG", "JPEG", "GIF"):
            yield f"{kind} of {width} x {height}", saved(Image.new("RGB", (width, height), "gray"), kind)
    for width, height in ((0, 5), (5, 0), (8_000, 8_000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)):
        yield f"PNG that says {width} x {height}", _png(width, height, 8, 2, b"\0" * 64)
    yield "PNG that unpacks to 48 million black pixels", _png(8_000, 6_000, 1, 0, bytes(1_001 * 6_000))
    yield "PNG that unpacks to more than it says", _png(8, 8, 8, 0, bytes(20_000_000))
    for name, size in (("GIF", struct.pack("<HH", 65535, 65535)), ("BMP", struct.pack("<ii", 2**31 - 1, 2**31 - 1))):
        whole, at = saved(face(48), name), 6 if name == "GIF" else 18
        yield f"{name} that says it is enormous", whole[:at] + size + whole[at + len(size) :]
    yield "PPM that says it is enormous", b"P6 2000000000 2000000000 255\n" + bytes(100)
    yield "PPM of a negative width", b"P6 -5 5 255\n" + bytes(100)


def _foreign(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "zeros", bytes(1_000)
    yield "text", b"This is no image.\n" * 20
    yield "HTML in place of an image", b"<!DOCTYPE html><html><body>404 Not Found</body></html>"
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>'
    yield "PDF", b"%PDF-1.4\n1 0 obj\n"
    yield "EPS", saved(image, "EPS")
    yield "HEIC", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
    yield "JPEG XL", b"\xff\x0a" + bytes(200)
    yield "a video's beginning", b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(200)
    yield "a zip", _zipped(saved(image))
    yield "two images in one file", saved(image) + saved(image, "JPEG")
    yield "a GIF that is JavaScript too", b"GIF89a=1;alert(1);//" + bytes(64)
    for kind in ("TGA", "ICO", "PCX", "SGI", "DDS", "JPEG2000"):
        yield f"{kind}, a format that is not read", saved(image, kind)


def _zipped(content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.png", content)
    return file.getvalue()


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG with any header."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
