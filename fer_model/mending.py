"""Images that Pillow refuses for what stands beside their pixels, or because their end is missing, made readable.

Texts, EXIF, colour profiles and checksums are left out or made right. Up to a twentieth of the rows of a JPEG or PNG
may be missing at the bottom; they become grey or black. Of other formats a few bytes may be missing.
"""

import struct
import zlib
from collections.abc import Iterator

MISSING_BYTES = 64
"""How many may be missing at the end of a file. Its last pixels are then black."""

MISSING_ROWS = 0.05
"""Share of the rows, at the bottom, that may be missing."""

MAX_PIECES = 200_000
"""Of a file; what follows counts as missing. Programs write pieces of 4 kB or more. A file of 50 MB in tiny ones would
take minutes and gigabytes of memory."""

JPEG_END = b"\xff\xd9"

_LARGEST = 400_000_000  # bytes: 50 million pixels of four channels of 16 bits
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"


def mended(content: bytes) -> Iterator[bytes]:
    """What may be read in place of a file that Pillow refuses."""
    if content.startswith(_PNG):
        content = _png(content)
    elif content.startswith(_JPEG):
        content = _jpeg(content)
    elif content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        content = _webp(content)
    yield content
    yield content + bytes(MISSING_BYTES)


def _png(content: bytes) -> bytes:
    """Only what pixels and orientation need, with right checksums."""
    parts: dict[bytes, list[bytes]] = {}
    at = len(_PNG)
    for _ in range(MAX_PIECES):
        if at + 8 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT"):
            parts.setdefault(kind, []).append(content[at + 8 : at + 8 + length])
        at += 12 + length
    kept = {kind: b"".join(some) for kind, some in parts.items()}
    kept[b"IDAT"] = _rows(kept.get(b"IHDR", b""), kept.pop(b"IDAT", b""))  # the last of them
    return _PNG + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*kept.items(), (b"IEND", b""))
    )


def _rows(header: bytes, packed: bytes) -> bytes:
    """A PNG's packed rows, whatever their checksum says, with black ones where the last are missing."""
    if len(header) != 13 or header[12]:  # interlaced rows are in another order
        return packed
    width, height, depth, colour = struct.unpack_from(">IIBB", header)
    row = 1 + (width * depth * {2: 3, 4: 2, 6: 4}.get(colour, 1) + 7) // 8
    if not 0 < row * height <= _LARGEST:  # of 0, everything would be unpacked
        return packed
    try:
        rows = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed[2:], row * height)
    except zlib.error:
        return packed
    missing = row * height - len(rows)
    return zlib.compress(rows + bytes(missing), 1) if missing <= MISSING_ROWS * row * height else packed


def _jpeg(content: bytes) -> bytes:
    """Without what programs and cameras have added (APP1 to APP13, APP15, comments), but for EXIF; with an end."""
    kept, at = [_JPEG], len(_JPEG)
    for _ in range(MAX_PIECES):
        if at + 4 > len(content) or content[at] != 0xFF:
            break
        marker = content[at + 1]
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
        if marker == 0xDA:  # from here on there are pixels
            kept.append(content[at:])
            break
        beside = marker in (*range(0xE1, 0xEE), 0xEF, 0xFE) and content[at + 4 : at + 8] != b"Exif"
        if marker == 0xFF:  # a byte that fills
            end = at + 1
        elif not beside:
            kept.append(content[at:end])
        at = end
    return b"".join(kept) + JPEG_END


def _webp(content: bytes) -> bytes:
    """Only pixels and EXIF, with lengths that fit; the last chunk may be cut."""
    kept, at = [], 12
    for _ in range(MAX_PIECES):
        if at + 8 > len(content):
            break
        kind, length = struct.unpack_from("<4sI", content, at)
        data = content[at + 8 : at + 8 + length]
        missing = length - len(data)
        if kind in (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF") and missing <= MISSING_BYTES:
            if kind == b"VP8X":  # nothing but alpha and animation is announced
                data = bytes([data[0] & 0x12]) + data[1:] if data else data
            data += bytes(missing)
            kept += [kind, struct.pack("<I", len(data)), data, bytes(len(data) % 2)]
        at += 8 + length + length % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body
