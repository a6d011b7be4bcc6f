"""Images in zip archives, and what else is in one."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from fer_model.errors import ImageError
from fer_model.images import is_image
from fer_model.inference.files.find import Item

IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".avif")
"""Endings by which an archive's images are known where their content cannot be looked at."""

MAX_IMAGE_BYTES = 50_000_000
"""Of an image in an archive, unpacked. It is read into memory, and a small archive can unpack to gigabytes."""

# zipfile unpacks others at once, however little is asked for
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def zipped_images(file: Path) -> Iterator[Item]:
    """The images in a zip archive. One is in memory at a time, and none is written to disk.

    An image that is encrypted, damaged or too large comes as an item with a `problem`. `passed_over` names other files.

    Raises:
        ImageError: the archive cannot be read.
    """
    with open_archive(file) as archive:
        for info in images_in(archive):
            path = Path(f"{file}/{info.filename}")  # not file / name: a name that begins with a slash would replace it
            try:
                item = Item(path, _unpacked(archive, info))
            except Exception as error:  # as in open_archive
                item = Item(path, b"", problem=f"It cannot be taken out of its archive ({error}).")
            yield item


def open_archive(file: Path) -> zipfile.ZipFile:
    """The archive, open for reading.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # for damaged files it raises nearly anything: NotImplementedError, UnicodeError, …
        raise ImageError(f"{file.name} is not a zip archive that can be read.") from error


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as packed:
        if info.compress_type not in _COMPRESSIONS:
            raise ImageError("its compression is not the usual one, deflate")
        content = packed.read(MAX_IMAGE_BYTES + 1)
    if len(content) > MAX_IMAGE_BYTES:  # whatever size the archive says it has
        raise ImageError(f"it is larger than {MAX_IMAGE_BYTES:,} bytes")
    return content


def images_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The images in an archive, without the hidden copies that a Mac puts beside them."""
    return [info for info in _files_in(archive) if not _is_of_a_mac(info) and _holds_image(archive, info)]


def passed_over(file: Path) -> Iterator[tuple[str, str]]:
    """The other files in an archive, and why each is no image. What a Mac puts beside its files counts as one folder.

    Raises:
        ImageError: the archive cannot be read.
    """
    with open_archive(file) as archive:
        of_a_mac = False
        for info in _files_in(archive):
            if _is_of_a_mac(info):
                of_a_mac = True
            elif not _holds_image(archive, info):
                yield info.filename, "It is no image in a format that can be read; videos and archives in one are not."
    if of_a_mac:
        yield "__MACOSX", "It is what a Mac notes beside its files."


def _files_in(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    return [info for info in archive.infolist() if not info.is_dir()]


def _is_of_a_mac(info: zipfile.ZipInfo) -> bool:
    return info.filename.startswith("__MACOSX/")


def _holds_image(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    """By its name, else by its content, where that can be unpacked bit by bit."""
    if Path(info.filename).suffix.lower() in IMAGES:
        return True
    if info.compress_type not in _COMPRESSIONS:
        return False
    try:
        with archive.open(info) as packed:
            return is_image(packed.read(32))
    except Exception:  # as in open_archive
        return False
