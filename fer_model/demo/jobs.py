"""Long work for the tab and the endpoints: a video, and many pictures."""

import contextlib
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from fer_model.demo.gpu import Network
from fer_model.errors import ImageError
from fer_model.inference import annotate, bulk
from fer_model.inference.files.archives import images_in, open_archive, passed_over, zipped_images
from fer_model.inference.files.find import is_archive, shown

MAX_SECONDS = 60
"""Of a video; the rest is left out, and the page says so."""

MAX_WORK_SECONDS = 600
"""On one video. A file of 50 MB may hold hours of work, and other visitors wait."""

MAX_PICTURES = 500
"""Of one request, counting those in archives."""

MAX_ARCHIVED = 10_000
"""Files of any kind in the archives of one request. To look into 50 MB of empty ones takes half a minute."""


class Jobs:
    """What the tab and the endpoints do with videos and with many pictures."""

    def __init__(self, network: Network):
        self.network = network

    def video(self, path: Path, version: str | None, every: float, folder: Path) -> Iterator[tuple[int, float]]:
        """Write `folder`/annotated.mp4 and faces.csv; yields how many searched frames and which second are done.

        The video may be deleted as soon as this has yielded once: it is open.
        """

        def follow(tracker, frame, seconds):
            return self.network.follow_faces(version, tracker, frame, seconds, False)

        columns = bulk.columns(self.network.class_names(version))
        with (folder / "faces.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            limits = {"at_most": MAX_SECONDS, "patience": MAX_WORK_SECONDS}
            frames = annotate.annotate(path, folder / "annotated.mp4", follow, every=every, **limits)
            for number, (seconds, seen) in enumerate(frames, 1):
                when = {"file": path.name, "seconds": f"{seconds:.3f}"}
                for followed in seen:
                    writer.writerow({**when, "face": followed.number, **bulk.face_columns(followed.face)})
                if not seen:
                    writer.writerow(when)
                yield number, seconds

    def pictures(self, paths: Iterable[Path], version: str | None, level: bool, file: Path) -> Iterator[list[dict]]:
        """Write `file`, a table with a row for every face; yields each picture's rows when they are written.

        A picture or an archive that cannot be read has a row whose label tells why. So has, at the end, each other
        file in an archive; it is yielded too.

        Raises:
            ImageError: these are more than `MAX_PICTURES` or `MAX_ARCHIVED`; nothing has been written then.
        """
        paths = list(paths)
        if (total := how_many(paths)) > MAX_PICTURES:
            raise ImageError(f"These are {total:,} pictures; at most {MAX_PICTURES:,} are taken at a time.")
        columns = bulk.columns(self.network.class_names(version))
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.DictWriter(opened, columns)
            writer.writeheader()
            for name, item in _named(paths):
                rows = self._rows(name, item, version, level)
                writer.writerows(rows)
                yield rows

    def _rows(self, name: str, item: bulk.Item, version: str | None, level: bool) -> list[dict]:
        """Of one picture: one for each face, or one that says why there is none."""
        try:
            if item.problem:
                raise ImageError(item.problem)
            result = self.network.recognise(version, item.image, False, level, False)
        except ImageError as error:
            return [{"file": name, "label": str(error)}]
        rows = [{"file": name, "face": n, **bulk.face_columns(face)} for n, face in enumerate(result.faces, 1)]
        return rows or [{"file": name, "label": "no face found"}]


def how_many(paths: Iterable[Path]) -> int:
    """Pictures, counting those in archives; an archive that cannot be read is one, which `Jobs.pictures` names.

    Raises:
        ImageError: the archives hold more than `MAX_ARCHIVED` files.
    """
    pictures = archived = 0
    for path in paths:
        try:
            archive = open_archive(path) if is_archive(path) else None
        except ImageError:
            archive = None
        if archive is None:
            pictures += 1
            continue
        with archive:
            archived += len(archive.infolist())
            if archived > MAX_ARCHIVED:
                raise ImageError(f"These archives hold more than {MAX_ARCHIVED:,} files; please give fewer at a time.")
            pictures += len(images_in(archive))
    return pictures


def _named(paths: list[Path]) -> Iterator[tuple[str, bulk.Item]]:
    """The pictures and all files in archives, each with the name that its visitor knows it by.

    Names that a spreadsheet would take for a formula begin with ./ instead.
    """
    for name, item in _found(paths):
        name = shown(name)
        yield f"./{name}" if name.startswith(("=", "+", "-", "@")) else name, item


def _found(paths: list[Path]) -> Iterator[tuple[str, bulk.Item]]:
    for path in paths:
        if not is_archive(path):
            yield path.name, bulk.Item(path, path)  # a video, too: it turns out to be no picture
            continue
        try:
            for item in zipped_images(path):
                yield item.file.relative_to(path.parent).as_posix(), item
        except ImageError as error:
            yield path.name, bulk.Item(path, b"", problem=str(error))
    for path in filter(is_archive, paths):
        with contextlib.suppress(ImageError):  # it has been named
            for name, reason in passed_over(path):
                yield f"{path.name}/{name}", bulk.Item(path, b"", problem=reason)
